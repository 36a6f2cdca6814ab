//! The traced waker, which notes who takes a copy of it.
//!
//! A future that suspends takes a copy of the waker at the bottom of the stack of polls, so a
//! backtrace from there shows every async function on the way. The copy itself is one of the task's
//! own waker: nothing of this outlives the poll. It is a poll like any other, by whoever polls the
//! task anyway and with no lock held, so whatever a future may do in a poll it may do in this one.
//!
//! The only file of the crate with `unsafe`, for a waker whose `clone` does something of its own
//! cannot be made without. The safe way, [`std::task::Wake`], has no say when it is cloned.

use std::backtrace::Backtrace;
use std::mem::ManuallyDrop;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::{Arc, Mutex};
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::time::Instant;

use crate::sync::lock_std as lock;

/// How many branches of one task are noted; a `join!` of more is told by their number.
const MOST_BRANCHES: usize = 16;

/// Where copies of a waker were taken.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) places: Vec<Backtrace>,
    /// How many there were beyond those.
    pub(crate) more: usize,
}

impl Taken {
    /// How many copies there were.
    pub(crate) fn count(&self) -> usize {
        self.places.len() + self.more
    }
}

/// What a traced waker points to.
struct Tracer {
    waker: Waker,
    /// From then on copies are only counted: whoever wants to know waits no longer.
    until: Instant,
    taken: Mutex<Taken>,
    /// Where it was used to wake, which tells where it is suspended if nobody takes a copy.
    woken: Mutex<Taken>,
}

/// A [`Waker`] is shared between threads, and so is what it points to.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Tracer>();
};

impl Tracer {
    /// Notes the caller.
    fn note_in(&self, taken: &Mutex<Taken>) {
        let is_full = lock(taken).places.len() == MOST_BRANCHES;
        // Taken without the lock; and a future is not to be told of a problem with its diagnosis.
        let place = if is_full || Instant::now() >= self.until {
            None
        } else {
            catch_unwind(Backtrace::force_capture).ok()
        };
        let mut taken = lock(taken);
        match place {
            Some(place) => taken.places.push(place),
            None => taken.more += 1,
        }
    }
}

/// Its address is the mark of a traced waker.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, forget);

/// A traced waker for one poll.
pub(crate) struct Traced {
    // Neither a copy of it nor the original ever leaves: what is lent is a reference.
    waker: Waker,
    tracer: Arc<Tracer>,
}

impl Traced {
    /// One that stands for `waker`, and notes where copies are taken until then.
    pub(crate) fn new(waker: &Waker, until: Instant) -> Self {
        let tracer = Arc::new(Tracer {
            waker: waker.clone(),
            until,
            taken: Mutex::default(),
            woken: Mutex::default(),
        });
        let data = Arc::as_ptr(&tracer);
        // SAFETY: The functions of `VTABLE` need a pointer to a `Tracer` that lives, and that any
        // thread may use. It is shared by its type. It lives for as long as `Self` has it, and so
        // does every reference to this waker, as `Self` lends none for longer. There are no copies
        // of it, as `clone` hands out those of `tracer.waker`. Dropping it does nothing.
        let waker = unsafe { Waker::new(data.cast(), &VTABLE) };
        Self { waker, tracer }
    }

    /// What a future is to be polled with.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Where copies were taken; if none were, where it was used to wake, as `yield_now` may do. `None` if
    /// there was no time to note any of them.
    pub(crate) fn taken(self) -> Option<Taken> {
        let mut taken = std::mem::take(&mut *lock(&self.tracer.taken));
        if taken.count() == 0 {
            taken = std::mem::take(&mut *lock(&self.tracer.woken));
        }
        (!taken.places.is_empty() || taken.more == 0).then_some(taken)
    }
}

/// The task's own waker, where `waker` is a traced one.
pub(crate) fn own(waker: &Waker) -> &Waker {
    match tracer_of(waker) {
        Some(tracer) => own(&tracer.waker),
        None => waker,
    }
}

/// Notes that the caller waits, for those who know the task's waker and take no copy.
pub(crate) fn note(waker: &Waker) {
    if let Some(tracer) = tracer_of(waker) {
        tracer.note_in(&tracer.taken);
    }
}

fn tracer_of(waker: &Waker) -> Option<&Tracer> {
    ptr::eq(waker.vtable(), &raw const VTABLE).then(|| {
        // SAFETY: Only `Traced` makes wakers with this table (whoever takes it from one to make
        // another has to fulfil its contract), and has what they point to for at least as long. What
        // is handed out lives no longer than the borrow of the waker.
        unsafe { tracer(waker.data()) }
    })
}

/// # Safety
///
/// `data` points to a `Tracer` that outlives `'a`.
unsafe fn tracer<'a>(data: *const ()) -> &'a Tracer {
    // SAFETY: The caller's promise. There are only shared references to a `Tracer`.
    unsafe { &*data.cast() }
}

/// # Safety
///
/// As for every function of the table: `data` is that of a waker of a `Traced`, and that lives.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: The waker lives, and its `Tracer` outlives it.
    let tracer = unsafe { tracer(data) };
    tracer.note_in(&tracer.taken);
    // The new `RawWaker` takes over what this copy owns.
    let waker = ManuallyDrop::new(tracer.waker.clone());
    RawWaker::new(waker.data(), waker.vtable())
}

/// # Safety
///
/// As [`clone`].
unsafe fn wake(data: *const ()) {
    // It owns nothing, so there is nothing to give up.
    // SAFETY: The same contract.
    unsafe { wake_by_ref(data) }
}

/// # Safety
///
/// As [`clone`].
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: The waker lives, and its `Tracer` outlives it.
    let tracer = unsafe { tracer(data) };
    tracer.note_in(&tracer.woken);
    tracer.waker.wake_by_ref();
}

/// For the drop of a traced waker.
unsafe fn forget(_: *const ()) {}

#[cfg(test)]
mod tests;
