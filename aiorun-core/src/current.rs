//! Which task, and so which supervisor, the calling code belongs to.
//!
//! A task of ours names itself in a thread-local while it is polled. Code that runs elsewhere —
//! tasks from bare `tokio::spawn`, `spawn_blocking` threads, whoever entered the runtime — is found
//! by the id of the tokio runtime it runs in: one supervisor per runtime.

use std::cell::Cell;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::runtime;

use crate::registry::Slot;
use crate::run::Run;
use crate::scope::Scopes;
use crate::task::Kind;

thread_local! {
    static SLOT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
}

/// Restores the previous slot: polls nest.
#[derive(Debug)]
pub(crate) struct Entered(Option<&'static Slot>);

/// Names `slot` as the current one until the guard is dropped.
pub(crate) fn enter(slot: Option<&'static Slot>) -> Entered {
    Entered(SLOT.replace(slot))
}

impl Drop for Entered {
    fn drop(&mut self) {
        SLOT.set(self.0);
    }
}

/// The task of ours that is being polled, or the job that runs, on this thread.
pub(crate) fn slot() -> Option<&'static Slot> {
    // A destructor of another thread-local may ask when ours is gone.
    SLOT.try_with(Cell::get).ok().flatten()
}

/// Whether a task of ours, with this slot, is being polled on this thread.
pub(crate) fn is_polling(other: &'static Slot) -> bool {
    slot().is_some_and(|slot| std::ptr::eq(slot, other))
}

/// Whether it is the task with this slot, and these scopes of it are not those of an earlier task.
pub(crate) fn is_of(slot: &'static Slot, scopes: &Scopes) -> bool {
    is_polling(slot) && !scopes.has_ended()
}

/// What the calling code belongs to, as far as a cancellation is concerned.
pub(crate) enum Site {
    Task(&'static Slot),
    Job(&'static Slot),
    /// A task that is not ours, in a runtime with a supervisor.
    Bare(Arc<Run>),
    Outside,
}

pub(crate) fn site() -> Site {
    match slot() {
        Some(slot) if slot.is_job() => Site::Job(slot),
        Some(slot) if slot.is_polled_here() => Site::Task(slot),
        _ => run().map_or(Site::Outside, Site::Bare),
    }
}

/// Whether the calling code is that of a task of ours.
pub(crate) fn is_in_task() -> bool {
    slot().is_some() && matches!(site(), Site::Task(_))
}

/// Which sort of task of ours the calling code is part of.
pub(crate) fn kind() -> Option<Kind> {
    slot().map(Slot::kind)
}

/// Those that run: mostly one.
static RUNS: RwLock<Vec<(runtime::Id, Arc<Run>)>> = RwLock::new(Vec::new());

/// The supervisor of the calling code.
pub(crate) fn run() -> Option<Arc<Run>> {
    run_of_runtime().or_else(|| slot()?.registry().run())
}

/// The supervisor of the runtime that is entered. This comes before the current slot: a job may run
/// a runtime of its own.
fn run_of_runtime() -> Option<Arc<Run>> {
    let id = runtime::Handle::try_current().ok()?.id();
    let runs = RUNS.read().unwrap_or_else(PoisonError::into_inner);
    let run = runs.iter().find(|(of, _)| *of == id);
    run.map(|(_, run)| Arc::clone(run))
}

/// A supervisor's claim on a runtime.
#[derive(Debug)]
pub(crate) struct Claim(runtime::Id);

impl Claim {
    /// `None` if the runtime has a supervisor already.
    pub(crate) fn new(runtime: &runtime::Handle, run: &Arc<Run>) -> Option<Self> {
        let id = runtime.id();
        let mut runs = RUNS.write().unwrap_or_else(PoisonError::into_inner);
        if runs.iter().any(|(of, _)| *of == id) {
            return None;
        }
        runs.push((id, Arc::clone(run)));
        Some(Self(id))
    }

    /// For good: there are threads of the runtime that nobody waits for any more, and what they still
    /// run belongs to a run that is over, and to no other.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut runs = RUNS.write().unwrap_or_else(PoisonError::into_inner);
        let at = runs.iter().position(|(of, _)| *of == self.0);
        let ended = at.map(|at| runs.swap_remove(at));
        drop(runs);
        drop(ended);
    }
}
