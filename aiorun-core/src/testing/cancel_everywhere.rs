//! Cancel everywhere: a future is cancelled at each of its awaits, one run after the other.
//!
//! A run is a task of the supervisor that is polled in its place, as main is under `supervise`: so it
//! may borrow, `catch_cancel` and `shield` act in it, and a dump shows it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::current;
use crate::output::{Origin, Other, Output, Problem, message};
use crate::registry::{Birth, Slot, too_late};
use crate::run::Run;
use crate::scope::Place as Call;
use crate::spawn::reserve_in;
use crate::supervised::{Place, Plain, Supervised};
use crate::supervisor::Payload;
use crate::task::{Id, Kind, Trace};
use crate::text::PrintableLines;
use crate::trace::waker::Traced;

use super::{judge, test_builder};

/// How many runs there are at the most, unless `max_runs` says otherwise.
const MAX_RUNS: usize = 1000;
/// How often a run is tried again that was over before it came to be cancelled.
const ATTEMPTS: usize = 10;

/// Runs a future again and again, and cancels it at another of its awaits each time.
///
/// Whatever awaits may end there: by `select!`, a timeout, a connection that is dropped, a shutdown.
/// A future that was only ever tested to its end was tested in one of the ways it can go. This takes it
/// through all of them, and after each run the test may [`check`](CancelAtEveryAwait::check) what must
/// be true all the same.
///
/// `run` makes the future of a run. The first runs to its end, and tells how often the future is
/// suspended. For each of these *suspensions*, which are polls that returned [`Poll::Pending`], there are
/// two more runs that are cancelled there: one is [dropped](Way::Drop), and one is
/// [requested](Way::Request) to cancel, which it may catch. It ends when a run is over before it came to
/// be cancelled. A future that waits for real I/O may be suspended more often one time, and less often
/// another: what was missed is tried again some times.
///
/// The first thing that goes wrong makes the test fail, by a panic that tells the way, the number of
/// the run, and where the future was suspended: the chain of async functions down to the await, as in a
/// [`Dump`](crate::Dump). In a `join!` there are several.
///
/// ```text
/// `cancel_at_every_await` at tests/account.rs:66:5: the check failed after run 2, which was dropped at suspension 1 of 2
///     at tests/account.rs:58:34  account::Account::transfer
///     awaiting tokio::task::yield_now::yield_now
/// assertion `left == right` failed
///   left: 90
///  right: 100
/// ```
///
/// It works in any tokio runtime, in `#[aiorun::test]` as in `#[tokio::test]`, and with paused time. A run
/// is part of the supervisor that is there; where there is none, one is there meanwhile.
///
/// A run that calls [`stop`](crate::stop) stops what it is part of, and the runs to come are not tried. So that
/// is an error, in `#[aiorun::test]` a failure behind the back of the test, whose body is cancelled. Code that
/// stops its program is better told how to, by a closure say, which in the test does something harmless.
///
/// # Panics
///
/// When awaited:
///
/// - when a check or a run panics, a destructor in it too,
/// - when the future was not suspended in any run, for then nothing was tested,
/// - after [`max_runs`](CancelAtEveryAwait::max_runs),
/// - where there was no supervisor, when a task that a run has spawned fails or does not end, as in a
///   test, and when a run has stopped the program,
/// - outside a tokio runtime.
///
/// ```
/// use std::cell::Cell;
/// use aiorun::testing::cancel_at_every_await;
///
/// struct Account { mine: Cell<i32>, yours: Cell<i32> }
///
/// impl Account {
///     async fn transfer(&self, amount: i32) {
///         tokio::task::yield_now().await; // ask whether it is allowed
///         self.mine.update(|mine| mine - amount);
///         self.yours.update(|yours| yours + amount);
///         tokio::task::yield_now().await; // tell them
///     }
/// }
///
/// # #[aiorun::main(flavor = "current_thread", run_forever = false)]
/// # async fn main() {
/// // In a test:
/// let account = Account { mine: Cell::new(100), yours: Cell::new(0) };
/// cancel_at_every_await(|| account.transfer(10))
///     .check(async |_| assert_eq!(account.mine.get() + account.yours.get(), 100))
///     .await;
/// # }
/// ```
#[track_caller]
pub fn cancel_at_every_await<'a, R, T>(run: R) -> CancelAtEveryAwait<'a, T>
where
    R: AsyncFnMut() -> T + 'a,
    T: 'a,
{
    CancelAtEveryAwait {
        subject: Box::new(run),
        check: Box::new(async |_: Trial<T>| ()),
        max_runs: MAX_RUNS,
        place: Location::caller(),
    }
}

/// What [`cancel_at_every_await`] returns: to be awaited.
///
/// # Cancel safety
///
/// Dropped half-way, it drops the run that is under way, and the rest is not tried.
#[must_use = "nothing runs before it is awaited"]
pub struct CancelAtEveryAwait<'a, T> {
    subject: Box<dyn Subject<T> + 'a>,
    check: Box<dyn Check<T> + 'a>,
    max_runs: usize,
    place: Call,
}

impl<'a, T> CancelAtEveryAwait<'a, T> {
    /// What must be true after every run, those that were not cancelled too. Its asserts may await; it is
    /// not cancelled itself. Default: nothing, so that only a panic in a run is an error.
    ///
    /// What it looks at lives outside of the closures and is borrowed by both, for most things that
    /// tasks share may be used by `&`. It may also leave things as the next run is to find them.
    ///
    /// ```
    /// use aiorun::testing::cancel_at_every_await;
    /// use tokio::sync::Semaphore;
    ///
    /// # #[aiorun::main(flavor = "current_thread", run_forever = false)]
    /// # async fn main() {
    /// let permits = Semaphore::new(1);
    /// cancel_at_every_await(async || {
    ///     let _permit = permits.acquire().await.unwrap();
    ///     tokio::task::yield_now().await;
    ///     "done"
    /// })
    /// .check(async |trial| {
    ///     assert_eq!(permits.available_permits(), 1);
    ///     assert_eq!(trial.output.is_none(), trial.cancelled.is_some());
    /// })
    /// .await;
    /// # }
    /// ```
    pub fn check(mut self, check: impl AsyncFnMut(Trial<T>) + 'a) -> Self {
        self.check = Box::new(check);
        self
    }

    /// How many runs there are at the most: a future that is suspended n times takes 2n + 3. Default:
    /// 1000.
    ///
    /// ```
    /// use aiorun::testing::cancel_at_every_await;
    ///
    /// # #[aiorun::main(flavor = "current_thread", run_forever = false)]
    /// # async fn main() {
    /// cancel_at_every_await(tokio::task::yield_now).max_runs(5).await;
    /// # }
    /// ```
    pub fn max_runs(mut self, most: usize) -> Self {
        self.max_runs = most;
        self
    }
}

/// A run that is over: what a [`check`](CancelAtEveryAwait::check) gets.
///
/// ```
/// use aiorun::testing::{Way, cancel_at_every_await};
///
/// # #[aiorun::main(flavor = "current_thread", run_forever = false)]
/// # async fn main() {
/// cancel_at_every_await(async || {
///     aiorun::catch_cancel(tokio::task::yield_now()).await.is_err()
/// })
/// .check(async |trial| match trial.cancelled {
///     None => assert_eq!(trial.output, Some(false)),
///     Some(Way::Request) => assert_eq!(trial.output, Some(true)),
///     Some(_) => assert_eq!(trial.output, None),
/// })
/// .await;
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Trial<T> {
    /// What the future returned. `None` if it was dropped before it was done.
    pub output: Option<T>,
    /// How it was cancelled. `None` for one that was not.
    pub cancelled: Option<Way>,
    /// How often it was suspended: up to the suspension at which it was cancelled, that included, or to
    /// its end.
    pub suspensions: usize,
    /// Where it was suspended when it was cancelled. Awaits that it had passed by in the same poll may be
    /// among them.
    pub trace: Option<Trace>,
}

/// How a run is cancelled.
///
/// ```
/// use aiorun::testing::Way;
///
/// assert_eq!(Way::Drop.to_string(), "dropped");
/// assert_eq!(Way::Request.to_string(), "requested to cancel");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// The future is dropped where it is suspended, as `select!`, a timeout, or a closed runtime does.
    /// Nothing in it can object.
    Drop,
    /// Its cancellation is requested, as by [`JoinHandle::cancel`](crate::JoinHandle::cancel) or a
    /// shutdown: it is told where it catches, shields or asks, and goes on to its end then. Otherwise it is
    /// dropped.
    Request,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Drop => "dropped",
            Self::Request => "requested to cancel",
        })
    }
}

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Makes a future for each run. For `dyn`, which `AsyncFnMut` is not.
trait Subject<T> {
    fn begin<'a>(&'a mut self) -> LocalFuture<'a, T>
    where
        T: 'a;
}

impl<R: AsyncFnMut() -> T, T> Subject<T> for R {
    fn begin<'a>(&'a mut self) -> LocalFuture<'a, T>
    where
        T: 'a,
    {
        // What the closure does before its first await belongs to the run too.
        Box::pin(async move { self().await })
    }
}

/// As [`Subject`].
trait Check<T> {
    fn begin<'a>(&'a mut self, trial: Trial<T>) -> LocalFuture<'a, ()>
    where
        T: 'a;
}

impl<C: AsyncFnMut(Trial<T>), T> Check<T> for C {
    fn begin<'a>(&'a mut self, trial: Trial<T>) -> LocalFuture<'a, ()>
    where
        T: 'a,
    {
        Box::pin(async move { self(trial).await })
    }
}

/// Where a run is to be cancelled.
#[derive(Clone, Copy)]
struct Point {
    way: Way,
    /// Of its suspensions which, counted from 1.
    at: usize,
}

/// What is seen of a run.
#[derive(Default)]
struct Seen {
    suspensions: Cell<usize>,
    struck: Cell<bool>,
    trace: RefCell<Option<Trace>>,
}

/// The future of a run. It counts its suspensions, and is cancelled at one of them.
struct Watched<'a, T> {
    /// `None` when it was dropped.
    future: Option<LocalFuture<'a, T>>,
    point: Option<Point>,
    task: (&'static Slot, Id),
    seen: &'a Seen,
}

impl<T> Future for Watched<'_, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        let seen = this.seen;
        let Some(future) = &mut this.future else {
            return Poll::Ready(None);
        };
        let number = seen.suspensions.get() + 1;
        let next = this.point.filter(|point| point.at == number);
        let Some(Point { way, .. }) = next.filter(|_| !seen.struck.get()) else {
            let polled = future.as_mut().poll(cx);
            if polled.is_pending() && !seen.struck.get() {
                seen.suspensions.set(number);
            }
            return polled.map(Some);
        };
        let traced = Traced::new(cx.waker(), Instant::now() + Duration::from_secs(1));
        let polled = future
            .as_mut()
            .poll(&mut Context::from_waker(traced.waker()));
        if let Poll::Ready(value) = polled {
            return Poll::Ready(Some(value));
        }
        seen.suspensions.set(number);
        seen.struck.set(true);
        *seen.trace.borrow_mut() = traced.taken().map(Trace::new);
        match way {
            // Inside the task, whose panic a panic of its destructors is.
            Way::Drop => {
                this.future = None;
                Poll::Ready(None)
            }
            Way::Request => {
                let (slot, id) = this.task;
                slot.cancel(id);
                Poll::Pending
            }
        }
    }
}

/// One run after the other.
struct Series<'a, T> {
    of: CancelAtEveryAwait<'a, T>,
    runs: usize,
    /// How often a run that was not cancelled has been suspended.
    most: usize,
}

impl<T> Series<'_, T> {
    /// Goes through all of them; an error is a report.
    async fn go(&mut self, run: &Run) -> Result<(), String> {
        self.trial(run, None).await?;
        for at in 1.. {
            let mut struck = false;
            for way in [Way::Drop, Way::Request] {
                struck |= self.strike(run, Point { way, at }).await?;
            }
            if !struck && at > self.most {
                break;
            }
        }
        if self.most == 0 {
            return Err(self.says(format_args!(
                "the future was not suspended once in {} runs, so there is no await to cancel it at",
                self.runs
            )));
        }
        Ok(())
    }

    /// Runs it until it is cancelled there, or is hardly ever suspended so often: of two runs with real
    /// I/O the one may find everything ready that the other has to wait for.
    async fn strike(&mut self, run: &Run, point: Point) -> Result<bool, String> {
        for _ in 0..ATTEMPTS {
            if self.trial(run, Some(point)).await? {
                return Ok(true);
            }
            if point.at > self.most.max(1) {
                break;
            }
        }
        Ok(false)
    }

    /// One run, and the check of it. Says whether it was cancelled.
    async fn trial(&mut self, run: &Run, point: Option<Point>) -> Result<bool, String> {
        if self.runs == self.of.max_runs {
            return Err(self.says(format_args!(
                "{} runs are not enough for a future that is suspended {} times: allow more with \
                 `max_runs`, or give it less to wait for",
                self.runs, self.most
            )));
        }
        self.runs += 1;
        // So that none begins with what others have left of tokio's budget, and is suspended for that.
        tokio::task::yield_now().await;
        let seen = Seen::default();
        let name = format!("run {} of `cancel_at_every_await`", self.runs);
        let birth = Birth::plain(Kind::Local, self.of.place).named(name.into());
        let parent = current::slot().filter(|slot| std::ptr::eq(slot.registry(), run.registry));
        let (slot, id) = reserve_in(run, parent, &birth);
        let Some(slot) = slot else {
            // The runtime is closing, and so nobody polls this any more.
            return pending().await;
        };
        let place = Place::new(slot);
        let watched = Watched {
            future: Some(self.of.subject.begin()),
            point,
            task: (slot, id),
            seen: &seen,
        };
        let output = {
            let mut task = pin!(Supervised::<_, Plain>::new(watched, place));
            poll_fn(|cx| {
                task.as_mut().polled_with(cx.waker());
                task.as_mut().poll(cx)
            })
            .await
        };
        let struck = seen.struck.get();
        let cancelled = point.filter(|_| struck).map(|point| point.way);
        self.most = self.most.max(seen.suspensions.get());
        let output = value(output).map_err(|payload| {
            self.fails(
                format_args!("run {}", self.runs),
                cancelled,
                &seen,
                &payload,
            )
        })?;
        if output.is_none() && !struck {
            let why = if run.is_stopping() {
                STOPPED
            } else {
                "a run was cancelled by somebody else"
            };
            return Err(self.says(format_args!("{why}")));
        }
        let trial = Trial {
            output,
            cancelled,
            suspensions: seen.suspensions.get(),
            trace: seen.trace.borrow().clone(),
        };
        let checked = caught(self.of.check.begin(trial)).await;
        checked.map_err(|payload| {
            self.fails(
                format_args!("the check failed after run {}", self.runs),
                cancelled,
                &seen,
                &payload,
            )
        })?;
        Ok(struck)
    }

    /// The report of what has panicked.
    fn fails(
        &self,
        what: fmt::Arguments<'_>,
        cancelled: Option<Way>,
        seen: &Seen,
        payload: &Payload,
    ) -> String {
        let how = match cancelled {
            None => "was not cancelled".to_owned(),
            Some(way) => {
                let at = seen.suspensions.get();
                format!("was {way} at suspension {at} of {}", self.most)
            }
        };
        let mut report = self.says(format_args!("{what}, which {how}"));
        if let Some(trace) = &*seen.trace.borrow() {
            for line in trace.to_string().lines() {
                report.push_str("\n    ");
                report.push_str(line);
            }
        }
        let said = message(&**payload);
        format!("{report}\n{}", PrintableLines(&said))
    }

    /// A line of the test that it is about.
    fn says(&self, what: fmt::Arguments<'_>) -> String {
        format!("`cancel_at_every_await` at {}: {what}", self.of.place)
    }
}

/// What a run has returned, or its panic.
fn value<T>(output: Output<Option<T>>) -> Result<Option<T>, Payload> {
    let other = match output {
        Output::Value(value) => return Ok(value),
        Output::Cancelled => return Ok(None),
        Output::Other(other) => other.take(),
    };
    match other {
        Some(Other::Received(value, _)) => Ok(value),
        Some(Other::Panicked(panic)) => panic.take().map_or(Ok(None), Err),
        Some(Other::Failed(failed)) => Ok(failed.take().flatten()),
        None => Ok(None),
    }
}

/// Runs a future, and yields its panic.
async fn caught(mut future: LocalFuture<'_, ()>) -> Result<(), Payload> {
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    })
    .await
}

/// Where there is no supervisor.
async fn go_alone<T>(mut series: Series<'_, T>) {
    let mut ended = None;
    let place = series.of.place;
    let exit = test_builder()
        .supervise(async {
            let run = current::run();
            let run: Arc<Run> = run.expect("`supervise` is a supervisor");
            ended = Some(series.go(&run).await);
        })
        .await;
    if let Some(Err(mut report)) = ended {
        // One of them may be why.
        for failure in &exit.report.failures {
            report = format!("{report}\n{failure}");
        }
        panic!("{report}");
    }
    judge(&exit);
    assert!(
        ended.is_some(),
        "`cancel_at_every_await` at {place}: a run has stopped the program"
    );
}

const STOPPED: &str = "the program was stopped before it was through with all awaits";

/// A series that has not come to its end. When the program is stopped its future is dropped; that is not to
/// look as if nothing had been found.
struct Unfinished<'a> {
    run: &'a Run,
    place: &'static Location<'static>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.run.is_stopping() || std::thread::panicking() {
            return;
        }
        let origin = Origin {
            id: too_late(),
            name: Some(Arc::new("cancel_at_every_await".into())),
            location: self.place,
            kind: Kind::Local,
        };
        self.run.failed(&origin, Problem::Unread);
        self.run.unhandled(origin, Problem::Failed(STOPPED.into()));
    }
}

impl<'a, T: 'a> IntoFuture for CancelAtEveryAwait<'a, T> {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let mut series = Series {
            of: self,
            runs: 0,
            most: 0,
        };
        Box::pin(async move {
            let Some(run) = current::run() else {
                return go_alone(series).await;
            };
            let unfinished = Unfinished {
                run: &run,
                place: series.of.place,
            };
            let result = series.go(&run).await;
            std::mem::forget(unfinished);
            if let Err(report) = result {
                panic!("{report}");
            }
        })
    }
}

impl<T> fmt::Debug for CancelAtEveryAwait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelAtEveryAwait")
            .field("max_runs", &self.max_runs)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
