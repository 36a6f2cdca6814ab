//! Something that happens once, and that threads wait for.
//!
//! A channel of std would do, and be fifteen kilobytes of every program: it has three flavours, and
//! each is compiled for what it carries.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::sync::lock_std as lock;

#[derive(Debug, Default)]
pub(crate) struct Latch {
    is_open: AtomicBool,
    /// Held where it is opened, so that nobody looks before and sleeps after that.
    opening: Mutex<()>,
    opened: Condvar,
}

impl Latch {
    pub(crate) fn open(&self) {
        let opening = lock(&self.opening);
        self.is_open.store(true, Release);
        drop(opening);
        self.opened.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Acquire)
    }

    /// Waits for it to be opened, and says whether it was.
    pub(crate) fn wait(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let closed = lock(&self.opening);
        drop(
            self.opened
                .wait_timeout_while(closed, left, |()| !self.is_open()),
        );
        self.is_open()
    }
}

/// Opens a latch when it is dropped.
#[derive(Debug)]
pub(crate) struct Opens(pub(crate) Arc<Latch>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_waits_is_told_when_it_opens_and_not_before() {
        let latch = Arc::new(Latch::default());
        assert!(!latch.wait(Instant::now()));
        assert!(!latch.is_open());
        let (say, said) = mpsc::channel();
        let waiting = Arc::clone(&latch);
        let thread = std::thread::spawn(move || {
            say.send(false).unwrap();
            let hour = Duration::from_secs(60 * 60);
            say.send(waiting.wait(Instant::now() + hour)).unwrap();
        });
        let soon = Duration::from_secs(60);
        assert_eq!(said.recv_timeout(soon), Ok(false));
        drop(Opens(Arc::clone(&latch)));
        assert_eq!(said.recv_timeout(soon), Ok(true));
        assert!(latch.is_open() && latch.wait(Instant::now()));
        thread.join().unwrap();
    }
}
