//! The wrapper around every future that the supervisor owns.

use std::any::Any;
use std::error::Error;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::callback::CallbackResult;
use crate::current;
use crate::output::{Failed, Output, Panicked, Problem, message};
use crate::registry::{Outcome, Slot, Verdict};
use crate::run::{Command, MainEnd};
use crate::supervisor::Payload;
use crate::thread;

pin_project! {
    /// A future with a place in the registry. `E` says what its end means.
    pub(crate) struct Supervised<F, E> {
        // `None` when it has ended: the wrapper drops it, so that a panic of a destructor is known.
        #[pin]
        future: Option<F>,
        // After the future: a slot is free when all that the task owned is gone.
        place: Place,
        ending: PhantomData<fn() -> E>,
    }

    impl<F, E> PinnedDrop for Supervised<F, E> {
        /// tokio drops a task that did not end by itself: after `abort`, or with its runtime.
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.future.is_none() {
                return;
            }
            let slot = this.place.0;
            slot.drops();
            // On this thread; and yet its destructors are not those of a task that is polled.
            slot.enter(thread::number());
            if let Err(payload) = discard(this.future) {
                slot.settle(Outcome::Panicked);
                report(slot, &*payload);
            }
            slot.leave();
        }
    }
}

/// Drops what is in `slot`.
fn discard<T>(mut slot: Pin<&mut Option<T>>) -> Result<(), Payload> {
    catch_unwind(AssertUnwindSafe(|| slot.set(None)))
}

/// A panic that no handle will ever tell of.
#[cold]
fn report(slot: &'static Slot, payload: &(dyn Any + Send)) {
    if let (Some(run), Some(origin)) = (slot.registry().run(), slot.origin()) {
        let problem = || Problem::Panicked(message(payload));
        run.failed(&origin, problem());
        run.unhandled(origin, problem());
    }
}

/// A slot in use; its drop frees it.
#[derive(Debug)]
pub(crate) struct Place(&'static Slot);

/// What the end of a task means: to its handle, and to the run.
pub(crate) trait Ending<T> {
    fn returned(value: T, slot: &'static Slot) -> Output<T>;
    fn panicked(payload: Payload, slot: &'static Slot) -> Output<T>;
}

/// A failure is its handle's; unseen, it is the run's.
#[derive(Debug)]
pub(crate) struct Plain;
/// As [`Plain`], and an `Err` is a failure.
#[derive(Debug)]
pub(crate) struct Fallible;
/// The run's main.
#[derive(Debug)]
pub(crate) struct Main;
/// The shutdown callback.
#[derive(Debug)]
pub(crate) struct Callback;
/// An exit hook.
#[derive(Debug)]
pub(crate) struct Hook;

impl<F, E> Supervised<F, E> {
    pub(crate) fn new(future: F, place: Place) -> Self {
        Self {
            future: Some(future),
            place,
            ending: PhantomData,
        }
    }
}

impl<F: Future, E: Ending<F::Output>> Future for Supervised<F, E> {
    type Output = Output<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = self.place.0;
        if slot.needs_attention() {
            match slot.attend(cx.waker()) {
                Verdict::Poll => {}
                Verdict::Wait => return Poll::Pending,
                Verdict::Drop => return Poll::Ready(self.cut()),
                Verdict::Trace => return self.poll_traced(cx),
            }
        }
        let mut this = self.project();
        let result = {
            let _running = Running::new(slot);
            catch_unwind(AssertUnwindSafe(|| {
                let future = this.future.as_mut().as_pin_mut();
                let polled = future.expect("a task is not polled after its end").poll(cx);
                if polled.is_ready() {
                    this.future.set(None);
                }
                polled
            }))
        };
        match result {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(E::returned(value, slot)),
            Err(payload) => {
                // What is left of it may panic again, which tells nobody anything new.
                let _ = discard(this.future);
                Poll::Ready(panicked::<_, E>(payload, slot))
            }
        }
    }
}

impl<F: Future, E: Ending<F::Output>> Supervised<F, E> {
    /// Polls with a waker that notes where copies of it are taken, and answers with that.
    ///
    /// By `poll` itself: otherwise all that a future compiles to would be there twice.
    #[cold]
    #[inline(never)]
    fn poll_traced(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output<F::Output>> {
        let slot = self.place.0;
        let (polled, trace) = slot.poll_traced(cx.waker(), |cx| self.as_mut().poll(cx));
        slot.answer(trace);
        polled
    }

    /// Drops the future, which is suspended or was never polled.
    #[cold]
    fn cut(self: Pin<&mut Self>) -> Output<F::Output> {
        let this = self.project();
        let slot = this.place.0;
        slot.drops();
        let _running = Running::new(slot);
        match discard(this.future) {
            Ok(()) => Output::Cancelled,
            Err(payload) => panicked::<_, E>(payload, slot),
        }
    }
}

impl<F, E> Supervised<F, E> {
    /// For a future that is not tokio's, and so may be polled by another task each time.
    pub(crate) fn polled_with(self: Pin<&mut Self>, waker: &Waker) {
        self.project().place.0.polled_with(waker);
    }
}

#[cold]
#[inline(never)]
fn panicked<T, E: Ending<T>>(payload: Payload, slot: &'static Slot) -> Output<T> {
    slot.settle(Outcome::Panicked);
    E::panicked(payload, slot)
}

/// While it lives, the slot's task is the current one and runs on this thread.
struct Running {
    slot: &'static Slot,
    _entered: current::Entered,
}

impl Running {
    fn new(slot: &'static Slot) -> Self {
        slot.enter(thread::number());
        Self {
            slot,
            _entered: current::enter(Some(slot)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.slot.leave();
    }
}

/// A job for the blocking pool with a place in the registry.
pub(crate) struct Job<F> {
    job: F,
    // After the job, as in `Supervised`.
    place: Place,
}

impl<F> Job<F> {
    pub(crate) fn new(job: F, place: Place) -> Self {
        Self { job, place }
    }

    pub(crate) fn run<T, E: Ending<T>>(self) -> Output<T>
    where
        F: FnOnce() -> T,
    {
        // Dropped in reverse: the job's captures before its place.
        let Self { place, job } = self;
        let slot = place.0;
        if slot.start_job() == Verdict::Drop {
            return Output::Cancelled;
        }
        let _running = Running::new(slot);
        match catch_unwind(AssertUnwindSafe(job)) {
            Ok(value) => E::returned(value, slot),
            Err(payload) => panicked::<_, E>(payload, slot),
        }
    }
}

impl Place {
    pub(crate) fn new(slot: &'static Slot) -> Self {
        Self(slot)
    }

    pub(crate) fn slot(&self) -> &'static Slot {
        self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let slot = self.0;
        if slot.is_critical() {
            critical_ended(slot, Problem::Ended);
        }
        slot.free();
    }
}

impl<T> Ending<T> for Plain {
    fn returned(value: T, slot: &'static Slot) -> Output<T> {
        slot.settle(Outcome::Completed);
        match slot.take_live_receipts() {
            None => Output::Value(value),
            Some(receipts) => Output::Received(Box::new((value, receipts))),
        }
    }

    fn panicked(payload: Payload, slot: &'static Slot) -> Output<T> {
        if slot.is_critical() {
            critical_ended(slot, Problem::Panicked(message(&*payload)));
        }
        match (slot.registry().run(), slot.origin()) {
            (Some(run), Some(origin)) => {
                Output::Panicked(Box::new(Panicked::new(run, origin, payload)))
            }
            _ => Output::Cancelled,
        }
    }
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Ending<Result<T, E>> for Fallible {
    fn returned(value: Result<T, E>, slot: &'static Slot) -> Output<Result<T, E>> {
        if value.is_ok() {
            return Plain::returned(value, slot);
        }
        // What it has received, and passed on by `?`, is no failure.
        if let Some(receipts) = slot.take_live_receipts() {
            return Output::Received(Box::new((value, receipts)));
        }
        slot.settle(Outcome::Failed);
        if slot.is_critical() {
            critical_ended(slot, Problem::Unread);
        }
        match (slot.registry().run(), slot.origin()) {
            (Some(run), Some(origin)) => {
                Output::Failed(Box::new(Failed::new(run, origin, value, |value| {
                    value.err().map(Into::into)
                })))
            }
            _ => Output::Value(value),
        }
    }

    fn panicked(payload: Payload, slot: &'static Slot) -> Output<Result<T, E>> {
        Plain::panicked(payload, slot)
    }
}

/// The first word about a critical task is the run's error; the later ones change nothing.
#[cold]
fn critical_ended(slot: &'static Slot, problem: Problem) {
    if let (Some(run), Some(origin)) = (slot.registry().run(), slot.origin()) {
        run.send(Command::CriticalEnded(origin, problem));
    }
}

/// Tells the control thread. The output is nobody's.
fn tell<T>(slot: &'static Slot, command: Command) -> Output<T> {
    if let Some(run) = slot.registry().run() {
        run.send(command);
    }
    Output::Cancelled
}

impl Ending<Option<ExitCode>> for Main {
    fn returned(code: Option<ExitCode>, slot: &'static Slot) -> Output<Option<ExitCode>> {
        let Some(code) = code else {
            return Output::Cancelled;
        };
        let (outcome, end) = if code == ExitCode::SUCCESS {
            (Outcome::Completed, MainEnd::Returned)
        } else {
            (Outcome::Failed, MainEnd::Failed(code))
        };
        slot.settle(outcome);
        tell(slot, Command::MainEnded(end))
    }

    fn panicked(payload: Payload, slot: &'static Slot) -> Output<Option<ExitCode>> {
        tell(slot, Command::MainEnded(MainEnd::Panicked(payload)))
    }
}

impl Ending<CallbackResult> for Callback {
    fn returned(result: CallbackResult, slot: &'static Slot) -> Output<CallbackResult> {
        match result {
            Ok(()) => {
                slot.settle(Outcome::Completed);
                Output::Cancelled
            }
            Err(_) if slot.take_live_receipts().is_some() => Output::Cancelled,
            Err(error) => {
                slot.settle(Outcome::Failed);
                tell(slot, Command::CallbackFailed(Problem::Failed(error)))
            }
        }
    }

    fn panicked(payload: Payload, slot: &'static Slot) -> Output<CallbackResult> {
        tell(
            slot,
            Command::CallbackFailed(Problem::Panicked(message(&*payload))),
        )
    }
}

impl Ending<()> for Hook {
    fn returned((): (), slot: &'static Slot) -> Output<()> {
        slot.settle(Outcome::Completed);
        hook_ended(slot, None)
    }

    fn panicked(payload: Payload, slot: &'static Slot) -> Output<()> {
        hook_ended(slot, Some(message(&*payload)))
    }
}

fn hook_ended(slot: &'static Slot, panic: Option<String>) -> Output<()> {
    match slot.origin() {
        Some(origin) => tell(slot, Command::HookEnded(origin.id, panic)),
        None => Output::Cancelled,
    }
}
