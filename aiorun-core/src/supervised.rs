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
use crate::output::{Failed, Other, Output, Panicked, Problem, message};
use crate::registry::{Outcome, Slot, Verdict};
use crate::run::{Command, MainEnd};
use crate::supervisor::Payload;
use crate::thread;

pin_project! {
    /// A future with a place in the registry. `E` says what its end means.
    pub(crate) struct Supervised<F, E> {
        #[pin]
        stage: Stage<F>,
        ending: PhantomData<fn() -> E>,
    }

    impl<F, E> PinnedDrop for Supervised<F, E> {
        /// tokio drops a task that did not end by itself: after `abort`, or with its runtime.
        fn drop(this: Pin<&mut Self>) {
            let stage = this.project().stage;
            if let Some(slot) = stage.slot() {
                stage.drop_alive(slot);
            }
        }
    }
}

pin_project! {
    /// Eight bytes more than the future: that it has ended is told by a slot that is none.
    #[project = StageProjection]
    enum Stage<F> {
        Alive {
            #[pin]
            future: F,
            // Freed by whoever ends the stage, when the future is gone.
            slot: &'static Slot,
        },
        Ended,
    }
}

impl<F> Stage<F> {
    fn slot(&self) -> Option<&'static Slot> {
        match self {
            Self::Alive { slot, .. } => Some(slot),
            Self::Ended => None,
        }
    }

    /// Drops a future that nobody polls any more, and gives its place back.
    #[cold]
    #[inline(never)]
    fn drop_alive(self: Pin<&mut Self>, slot: &'static Slot) {
        // Whatever happens.
        let _place = Place(slot);
        in_span(slot, || {
            slot.drops();
            // On this thread; and yet its destructors are not those of a task that is polled.
            slot.enter(thread::number());
            if let Err(payload) = self.discard() {
                slot.settle(Outcome::Panicked);
                report(slot, &*payload);
            }
            slot.leave();
        });
    }

    /// Drops the future.
    fn discard(mut self: Pin<&mut Self>) -> Result<(), Payload> {
        catch_unwind(AssertUnwindSafe(|| self.set(Self::Ended)))
    }
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
    fn returned(value: T, place: Place) -> Output<T>;
    fn panicked(payload: Payload, place: Place) -> Output<T>;
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
        let slot = place.slot();
        std::mem::forget(place);
        Self {
            stage: Stage::Alive { future, slot },
            ending: PhantomData,
        }
    }
}

impl<F: Future, E: Ending<F::Output>> Future for Supervised<F, E> {
    type Output = Output<F::Output>;

    #[expect(
        clippy::inline_always,
        reason = "a call would be a third of what a poll costs"
    )]
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self;
        let StageProjection::Alive { future, slot } = this.as_mut().project().stage.project()
        else {
            ended();
        };
        let slot = *slot;
        if slot.needs_attention() {
            match slot.attend(cx.waker()) {
                Verdict::Poll => {}
                verdict => return this.obey(verdict, cx),
            }
        }
        let polled = {
            let _running = Running::new(slot);
            catch_unwind(AssertUnwindSafe(|| future.poll(cx)))
        };
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(this.end(slot, Ok(value))),
            Err(payload) => Poll::Ready(this.end(slot, Err(payload))),
        }
    }
}

#[cold]
fn ended() -> ! {
    panic!("a task is not polled after its end");
}

impl<F: Future, E: Ending<F::Output>> Supervised<F, E> {
    /// Does what a poll has to do instead.
    #[cold]
    #[inline(never)]
    fn obey(
        self: Pin<&mut Self>,
        verdict: Verdict,
        cx: &mut Context<'_>,
    ) -> Poll<Output<F::Output>> {
        match verdict {
            Verdict::Poll => self.poll(cx),
            Verdict::Wait => Poll::Pending,
            Verdict::Drop => Poll::Ready(self.cut()),
            Verdict::Trace => self.poll_traced(cx),
            Verdict::Span => self.poll_in_span(cx),
        }
    }

    /// Drops what is left of the future, and then gives its place back.
    #[inline(never)]
    fn end(
        self: Pin<&mut Self>,
        slot: &'static Slot,
        result: Result<F::Output, Payload>,
    ) -> Output<F::Output> {
        let discarded = {
            let _running = Running::new(slot);
            self.project().stage.discard()
        };
        match (result, discarded) {
            (Ok(value), Ok(())) => E::returned(value, Place(slot)),
            (Ok(value), Err(payload)) => {
                // It is nobody's now, and may panic again, which tells nobody anything new.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
                panicked::<_, E>(payload, Place(slot))
            }
            (Err(payload), _) => panicked::<_, E>(payload, Place(slot)),
        }
    }

    /// Polls with a waker that notes where copies of it are taken, and answers with that.
    ///
    /// By `poll` itself: otherwise all that a future compiles to would be there twice.
    #[cold]
    #[inline(never)]
    fn poll_traced(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output<F::Output>> {
        let slot = self.slot();
        let (polled, trace) = slot.poll_traced(cx.waker(), |cx| self.as_mut().poll(cx));
        slot.answer(trace);
        polled
    }

    /// Polls in the span of the task; by `obey`, for the same reason.
    #[cold]
    fn poll_in_span(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output<F::Output>> {
        let slot = self.slot();
        let polled = in_span(slot, || self.obey(Verdict::Poll, cx));
        if polled.is_pending() {
            slot.put_down_span();
        }
        polled
    }

    /// Drops the future, which is suspended or was never polled.
    #[cold]
    fn cut(self: Pin<&mut Self>) -> Output<F::Output> {
        let slot = self.slot();
        slot.drops();
        let dropped = {
            let _running = Running::new(slot);
            self.project().stage.discard()
        };
        match dropped {
            Ok(()) => {
                drop(Place(slot));
                Output::Cancelled
            }
            Err(payload) => panicked::<_, E>(payload, Place(slot)),
        }
    }
}

impl<F, E> Supervised<F, E> {
    /// For a future that is not tokio's, and so may be polled by another task each time.
    pub(crate) fn polled_with(self: Pin<&mut Self>, waker: &Waker) {
        self.slot().polled_with(waker);
    }

    fn slot(&self) -> &'static Slot {
        let slot = self.stage.slot();
        slot.expect("a task is not polled after its end")
    }
}

/// Does something in the span of the task, if it has one that is not entered.
#[cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "there are no spans")
)]
fn in_span<T>(slot: &'static Slot, work: impl FnOnce() -> T) -> T {
    #[cfg(feature = "tracing")]
    if let Some(span) = slot.take_up_span() {
        return span.in_scope(work);
    }
    work()
}

#[cold]
#[inline(never)]
fn panicked<T, E: Ending<T>>(payload: Payload, place: Place) -> Output<T> {
    place.slot().settle(Outcome::Panicked);
    E::panicked(payload, place)
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
        in_span(slot, || {
            let result = {
                let _running = Running::new(slot);
                catch_unwind(AssertUnwindSafe(job))
            };
            match result {
                Ok(value) => E::returned(value, place),
                Err(payload) => panicked::<_, E>(payload, place),
            }
        })
    }
}

impl Place {
    pub(crate) fn new(slot: &'static Slot) -> Self {
        Self(slot)
    }

    pub(crate) fn slot(&self) -> &'static Slot {
        self.0
    }

    /// As its drop, and the task's end is `outcome` unless another one is noted.
    #[inline]
    fn end(self, outcome: Outcome) {
        let Self(slot) = self;
        std::mem::forget(self);
        slot.end(outcome);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.end(Outcome::Cancelled);
    }
}

impl<T> Ending<T> for Plain {
    #[inline]
    fn returned(value: T, place: Place) -> Output<T> {
        let receipts = place.slot().take_live_receipts();
        place.end(Outcome::Completed);
        match receipts {
            None => Output::Value(value),
            Some(receipts) => Other::Received(value, receipts).into(),
        }
    }

    fn panicked(payload: Payload, place: Place) -> Output<T> {
        let slot = place.slot();
        if slot.is_critical() {
            critical_ended(slot, Problem::Panicked(message(&*payload)));
        }
        match (slot.registry().run(), slot.origin()) {
            (Some(run), Some(origin)) => {
                Other::Panicked(Panicked::new(run, origin, payload)).into()
            }
            _ => Output::Cancelled,
        }
    }
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Ending<Result<T, E>> for Fallible {
    fn returned(value: Result<T, E>, place: Place) -> Output<Result<T, E>> {
        if value.is_ok() {
            return Plain::returned(value, place);
        }
        // What it has received, and passed on by `?`, is no failure.
        let slot = place.slot();
        if let Some(receipts) = slot.take_live_receipts() {
            return Other::Received(value, receipts).into();
        }
        slot.settle(Outcome::Failed);
        if slot.is_critical() {
            critical_ended(slot, Problem::Unread);
        }
        match (slot.registry().run(), slot.origin()) {
            (Some(run), Some(origin)) => {
                let into_error = |value: Result<T, E>| value.err().map(Into::into);
                Other::Failed(Failed::new(run, origin, value, into_error)).into()
            }
            _ => Output::Value(value),
        }
    }

    fn panicked(payload: Payload, place: Place) -> Output<Result<T, E>> {
        Plain::panicked(payload, place)
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
fn tell<T>(place: &Place, command: Command) -> Output<T> {
    if let Some(run) = place.slot().registry().run() {
        run.send(command);
    }
    Output::Cancelled
}

impl Ending<Option<ExitCode>> for Main {
    fn returned(code: Option<ExitCode>, place: Place) -> Output<Option<ExitCode>> {
        let Some(code) = code else {
            return Output::Cancelled;
        };
        let (outcome, end) = if code == ExitCode::SUCCESS {
            (Outcome::Completed, MainEnd::Returned)
        } else {
            (Outcome::Failed, MainEnd::Failed(code))
        };
        place.slot().settle(outcome);
        tell(&place, Command::MainEnded(end))
    }

    fn panicked(payload: Payload, place: Place) -> Output<Option<ExitCode>> {
        tell(&place, Command::MainEnded(MainEnd::Panicked(payload)))
    }
}

impl Ending<CallbackResult> for Callback {
    fn returned(result: CallbackResult, place: Place) -> Output<CallbackResult> {
        let slot = place.slot();
        match result {
            Ok(()) => {
                slot.settle(Outcome::Completed);
                Output::Cancelled
            }
            Err(_) if slot.take_live_receipts().is_some() => Output::Cancelled,
            Err(error) => {
                slot.settle(Outcome::Failed);
                tell(&place, Command::CallbackFailed(Problem::Failed(error)))
            }
        }
    }

    fn panicked(payload: Payload, place: Place) -> Output<CallbackResult> {
        let problem = Problem::Panicked(message(&*payload));
        tell(&place, Command::CallbackFailed(problem))
    }
}

impl Ending<()> for Hook {
    fn returned((): (), place: Place) -> Output<()> {
        place.slot().settle(Outcome::Completed);
        hook_ended(&place, None)
    }

    fn panicked(payload: Payload, place: Place) -> Output<()> {
        hook_ended(&place, Some(message(&*payload)))
    }
}

fn hook_ended(place: &Place, panic: Option<String>) -> Output<()> {
    match place.slot().origin() {
        Some(origin) => tell(place, Command::HookEnded(origin.id, panic)),
        None => Output::Cancelled,
    }
}
