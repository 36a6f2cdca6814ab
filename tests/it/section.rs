//! Shielded sections that are counted, so that one that is cut is missed.

use std::sync::atomic::{AtomicUsize, Ordering};

use aiorun::shield;

/// Those that were begun, and those that came to their end.
#[derive(Default)]
pub(crate) struct Sections {
    begun: AtomicUsize,
    done: AtomicUsize,
}

impl Sections {
    pub(crate) async fn one(&self) {
        shield(async {
            self.begun.fetch_add(1, Ordering::SeqCst);
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            self.done.fetch_add(1, Ordering::SeqCst);
        })
        .await;
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits until as many have begun, since the first.
    pub(crate) async fn have_begun(&self, number: usize) {
        while self.begun() < number {
            tokio::task::yield_now().await;
        }
    }

    /// Says how many there were.
    #[track_caller]
    pub(crate) fn none_was_cut(&self) -> usize {
        let done = self.done.load(Ordering::SeqCst);
        assert_eq!(self.begun(), done);
        done
    }
}
