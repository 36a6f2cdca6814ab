//! Something that happens once, and that threads wait for.
//!
//! A channel of std would do, and be fifteen kilobytes of every program: it has three flavours, and
//! each is compiled for what it carries.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::sync::lock_std as lock;

#[derive(Debug, Default)]
pub(crate) struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Latch {
    pub(crate) fn open(&self) {
        *lock(&self.open) = true;
        self.opened.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        *lock(&self.open)
    }

    /// Waits for it to be opened, and says whether it was.
    pub(crate) fn wait(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self
            .opened
            .wait_timeout_while(lock(&self.open), left, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
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
