//! Paused time and the control thread.
//!
//! Under `start_paused` tokio's clock jumps to the next timer as soon as the runtime is idle. While
//! the control thread owes a step (it was told to stop, say, and has not got to it), the runtime
//! looks idle and is not: a blocking job that does nothing holds the clock meanwhile, for tokio does
//! not move it while one runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

#[derive(Debug, Default)]
pub(crate) struct Pause {
    debts: Mutex<Debts>,
    paid: Condvar,
}

#[derive(Debug, Default)]
struct Debts {
    owed: usize,
    held: bool,
    /// One of the debts is to look at the registry.
    change: bool,
    /// There is no control thread any more.
    closed: bool,
}

impl Pause {
    /// Notes a step that the control thread owes from now on.
    pub(crate) fn owe(self: &Arc<Self>, runtime: &Handle) {
        self.note(self.lock(), runtime);
    }

    /// Notes that the control thread has to look at the registry, once however often it is told.
    pub(crate) fn owe_change(self: &Arc<Self>, runtime: &Handle) {
        let mut debts = self.lock();
        if !std::mem::replace(&mut debts.change, true) {
            self.note(debts, runtime);
        }
    }

    /// The control thread is about to look at the registry; says whether it owed that.
    pub(crate) fn change_seen(&self) -> bool {
        std::mem::take(&mut self.lock().change)
    }

    fn note(self: &Arc<Self>, mut debts: MutexGuard<'_, Debts>, runtime: &Handle) {
        if debts.closed {
            return;
        }
        debts.owed += 1;
        if !std::mem::replace(&mut debts.held, true) {
            let pause = Arc::clone(self);
            drop(debts);
            // tokio panics where there is no thread to be had; then the clock is not held.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                drop(runtime.spawn_blocking(move || pause.hold()));
            }));
        }
    }

    /// The control thread ends: nobody owes anything.
    pub(crate) fn close(&self) {
        let mut debts = self.lock();
        debts.closed = true;
        debts.owed = 0;
        self.paid.notify_all();
    }

    /// Notes that the control thread has done a step it owed.
    pub(crate) fn pay(&self) {
        let mut debts = self.lock();
        debts.owed = debts.owed.saturating_sub(1);
        if debts.owed == 0 {
            self.paid.notify_all();
        }
    }

    fn hold(&self) {
        let paid = self.paid.wait_while(self.lock(), |debts| debts.owed > 0);
        paid.unwrap_or_else(PoisonError::into_inner).held = false;
    }

    fn lock(&self) -> MutexGuard<'_, Debts> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
