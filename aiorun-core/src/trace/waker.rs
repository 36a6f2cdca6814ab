//! The traced poll: a poll with a waker that notes who takes a copy of it.
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
use std::sync::Mutex;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

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

/// What a traced waker points to.
struct Tracer<'a> {
    waker: &'a Waker,
    taken: Mutex<Taken>,
}

/// A [`Waker`] is shared between threads, and so is what it points to.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Tracer<'_>>();
};

impl Tracer<'_> {
    /// Notes the caller.
    fn note(&self) {
        if lock(&self.taken).places.len() == MOST_BRANCHES {
            lock(&self.taken).more += 1;
            return;
        }
        // Taken without the lock; and a future is not to be told of a problem with its diagnosis.
        if let Ok(place) = catch_unwind(Backtrace::force_capture) {
            lock(&self.taken).places.push(place);
        }
    }
}

/// Its address is the mark of a traced waker.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, forget);

/// Calls `poll` with a waker for `waker`'s task; tells where copies of it were taken.
///
/// Never inlined, so that a backtrace shows where the task begins.
#[inline(never)]
pub(crate) fn poll_traced(waker: &Waker, poll: &mut dyn FnMut(&mut Context<'_>)) -> Taken {
    let tracer = Tracer {
        waker,
        taken: Mutex::default(),
    };
    {
        let data: *const Tracer<'_> = &raw const tracer;
        // SAFETY: The functions of `VTABLE` need a pointer to a `Tracer` that lives and that any
        // thread may use. It is shared by its type, and outlives `noting`, which is dropped first.
        // No copy of `noting` exists, as its `clone` hands out copies of `tracer.waker`; and no
        // reference to it leaves `poll`, which has to work for any lifetime of the `Context`.
        let noting = unsafe { Waker::new(data.cast(), &VTABLE) };
        poll(&mut Context::from_waker(&noting));
    }
    tracer
        .taken
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The task's own waker, where `waker` is a traced one.
pub(crate) fn own(waker: &Waker) -> &Waker {
    match tracer_of(waker) {
        Some(tracer) => own(tracer.waker),
        None => waker,
    }
}

/// Notes that the caller waits, for those who know the task's waker and take no copy.
pub(crate) fn note(waker: &Waker) {
    if let Some(tracer) = tracer_of(waker) {
        tracer.note();
    }
}

fn tracer_of(waker: &Waker) -> Option<&Tracer<'_>> {
    ptr::eq(waker.vtable(), &raw const VTABLE).then(|| {
        // SAFETY: Only `poll_traced` makes wakers with this table (whoever takes it from one to make
        // another has to fulfil its contract). As `waker` is borrowed, so is one of those, whose
        // `Tracer` outlives it. What is handed out lives no longer than the borrow.
        unsafe { tracer(waker.data()) }
    })
}

/// # Safety
///
/// `data` points to a `Tracer` that outlives `'a`.
unsafe fn tracer<'a>(data: *const ()) -> &'a Tracer<'a> {
    // SAFETY: The caller's promise. There are only shared references to a `Tracer`.
    unsafe { &*data.cast() }
}

/// # Safety
///
/// As for every function of the table: `data` is that of a waker that `poll_traced` has made, and
/// that lives.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: The waker lives, and its `Tracer` outlives it.
    let tracer = unsafe { tracer(data) };
    tracer.note();
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
    unsafe { tracer(data) }.waker.wake_by_ref();
}

/// For the drop of a traced waker.
unsafe fn forget(_: *const ()) {}

#[cfg(test)]
mod tests;
