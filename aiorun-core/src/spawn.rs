//! Starting tasks and jobs: the only file that hands work to tokio on behalf of users.

use std::borrow::Cow;
use std::error::Error;
use std::panic::Location;
use std::sync::Arc;

use crate::current;
use crate::group::Members;
use crate::join::JoinHandle;
use crate::output::Output;
use crate::registry::{Birth, PROTECTED, Slot};
use crate::run::Run;
use crate::supervised::{Ending, Fallible, Job, Place, Plain, Supervised};
use crate::task::{Builder, Id, Kind};

/// Starts a task: [`tokio::spawn`], supervised.
///
/// The task is cancelled and awaited at shutdown. Where that has begun already, a task spawned by
/// one that is about to be cancelled is cancelled with it; one spawned by anybody else, in a cleanup
/// say, runs and is awaited; and after the end of the run the future is dropped and the handle says
/// cancelled.
///
/// # Panics
///
/// Outside a supervisor. [`Handle::try_current`](crate::Handle::try_current) tells.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     let task = aiorun::spawn(async { "done" });
///     assert_eq!(task.await.unwrap(), "done");
///     aiorun::stop();
/// }
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    asynchronous(Birth::plain(Kind::Async, Location::caller()), future)
}

/// Starts a task that can fail: an `Err` that nobody saw is an unhandled failure, as a panic is.
///
/// An `Err` counts as seen when it was taken out of the [`JoinHandle`].
///
/// # Panics
///
/// Outside a supervisor.
///
/// ```
/// let exit = aiorun::Builder::new().stop_on_unhandled_errors(true).run(async {
///     aiorun::spawn_fallible(async { Err::<(), _>("the disk is full") });
/// });
/// assert!(exit.into_result().unwrap_err().to_string().contains("the disk is full"));
/// ```
#[track_caller]
pub fn spawn_fallible<F, T, E>(future: F) -> JoinHandle<Result<T, E>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    fallible(Birth::plain(Kind::Async, Location::caller()), future)
}

/// Starts a task that need not be `Send`, on the current thread: [`tokio::task::spawn_local`],
/// supervised.
///
/// # Panics
///
/// Outside a supervisor, or where tokio has no place for local tasks: choose `flavor = "local"`,
/// or bring a [`LocalSet`](tokio::task::LocalSet).
///
/// ```
/// use std::rc::Rc;
///
/// #[aiorun::main(flavor = "local")]
/// async fn main() {
///     let shared = Rc::new(5);
///     let task = aiorun::spawn_local(async move { *shared });
///     assert_eq!(task.await.unwrap(), 5);
///     aiorun::stop();
/// }
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    local(Birth::plain(Kind::Local, Location::caller()), None, future)
}

/// Runs a blocking job on a thread of the blocking pool: [`tokio::task::spawn_blocking`],
/// supervised.
///
/// Shutdown never cancels a job, queued or running: it waits for all of them within
/// `timeout_executor_shutdown`, and names those that it has to abandon.
///
/// # Panics
///
/// Outside a supervisor.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     let sum = aiorun::spawn_blocking(|| (1..=10).sum::<u32>());
///     assert_eq!(sum.await.unwrap(), 55);
///     aiorun::stop();
/// }
/// ```
#[track_caller]
pub fn spawn_blocking<F, R>(job: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    blocking(Birth::plain(Kind::Blocking, Location::caller()), None, job)
}

/// Starts a *protected* task, at once: shutdown does not cancel it, and waits for it within
/// `timeout_task_shutdown`.
///
/// The caller may be cancelled meanwhile, and need not await the handle at all. The task hears of
/// the shutdown through [`stopping`](crate::stopping). The Python package has a function of the
/// same name, which has to be awaited.
///
/// # Panics
///
/// Outside a supervisor.
///
/// ```
/// let exit = aiorun::run(async {
///     aiorun::shutdown_waits_for(async {
///         tokio::task::yield_now().await; // anything that must not be cut
///     });
///     aiorun::stop();
/// });
/// assert_eq!(exit.report.tasks.cancelled, 0);
/// ```
#[track_caller]
pub fn shutdown_waits_for<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    asynchronous(
        Birth::plain(Kind::Async, Location::caller()).marked(PROTECTED),
        future,
    )
}

/// Names a task that is to be started, and gives it other properties: see [`task::Builder`].
///
/// [`task::Builder`]: crate::task::Builder
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     let task = aiorun::task("greeter").spawn(async { "hello" });
///     assert_eq!(task.await.unwrap(), "hello");
///     aiorun::stop();
/// }
/// ```
pub fn task(name: impl Into<Cow<'static, str>>) -> Builder {
    Builder::new(name.into())
}

#[track_caller]
pub(crate) fn asynchronous<F>(birth: Birth, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    supervised::<_, Plain>(birth, future)
}

#[track_caller]
pub(crate) fn fallible<F, T, E>(birth: Birth, future: F) -> JoinHandle<Result<T, E>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    supervised::<_, Fallible>(birth, future)
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the home of tasks")]
fn supervised<F, E>(birth: Birth, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    E: Ending<F::Output> + 'static,
{
    let (slot, id) = place(&birth);
    match slot {
        Some(slot) => {
            let future = Supervised::<F, E>::new(future, Place::new(slot));
            JoinHandle::new(tokio::spawn(future), slot, birth.origin(id))
        }
        None => JoinHandle::too_late(birth.origin(id)),
    }
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the home of tasks")]
pub(crate) fn local<F>(
    birth: Birth,
    members: Option<&Arc<Members>>,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let (slot, id) = place_among(members, &birth);
    let origin = birth.origin(id);
    match slot {
        Some(slot) => {
            let future = Supervised::<F, Plain>::new(future, Place::new(slot));
            JoinHandle::new(tokio::task::spawn_local(future), slot, origin)
        }
        None => JoinHandle::too_late(origin),
    }
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the home of jobs")]
pub(crate) fn blocking<F, R>(birth: Birth, members: Option<&Arc<Members>>, job: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let (slot, id) = place_among(members, &birth);
    let origin = birth.origin(id);
    match slot {
        Some(slot) => {
            let job = Job::new(job, Place::new(slot));
            // The caller of a group may be on any thread.
            let runtime = members.and_then(|members| members.run().runtime());
            let job = || job.run::<R, Plain>();
            let inner = match runtime {
                Some(runtime) => runtime.spawn_blocking(job),
                None => tokio::task::spawn_blocking(job),
            };
            JoinHandle::new(inner, slot, origin)
        }
        None => JoinHandle::too_late(origin),
    }
}

/// A task that is a member of a group, from whatever thread.
pub(crate) fn member<F>(members: &Arc<Members>, birth: Birth, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let placed = members.admit(&birth);
    supervised_on::<_, Plain>(members.run(), placed, birth, future)
}

pub(crate) fn fallible_member<F, T, E>(
    members: &Arc<Members>,
    birth: Birth,
    future: F,
) -> JoinHandle<Result<T, E>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    let placed = members.admit(&birth);
    supervised_on::<_, Fallible>(members.run(), placed, birth, future)
}

/// A task on the runtime of `run`, from whatever thread.
pub(crate) fn task_on<F>(
    run: &Run,
    location: &'static Location<'static>,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let parent = current::slot().filter(|slot| std::ptr::eq(slot.registry(), run.registry));
    let birth = Birth::plain(Kind::Async, location);
    let placed = reserve_in(run, parent, &birth);
    supervised_on::<_, Plain>(run, placed, birth, future)
}

fn supervised_on<F, E>(
    run: &Run,
    (slot, id): (Option<&'static Slot>, Id),
    birth: Birth,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    E: Ending<F::Output> + 'static,
{
    let origin = birth.origin(id);
    match (run.runtime(), slot.map(Place::new)) {
        (Some(runtime), Some(place)) => {
            let slot = place.slot();
            let future = Supervised::<F, E>::new(future, place);
            JoinHandle::new(runtime.spawn(future), slot, origin)
        }
        _ => JoinHandle::too_late(origin),
    }
}

/// A task of the supervisor itself. `None` when the run is over.
pub(crate) fn internal<F, E>(run: &Run, birth: &Birth, future: F) -> Option<(&'static Slot, Id)>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    E: Ending<F::Output> + 'static,
{
    let runtime = run.runtime()?;
    let (slot, id) = reserve_in(run, None, birth);
    let slot = slot?;
    drop(runtime.spawn(Supervised::<F, E>::new(future, Place::new(slot))));
    Some((slot, id))
}

/// As [`internal`], on the blocking pool.
pub(crate) fn internal_blocking<F, R, E>(
    run: &Run,
    birth: &Birth,
    job: F,
) -> Option<(&'static Slot, Id)>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
    E: Ending<R> + 'static,
{
    let runtime = run.runtime()?;
    let (slot, id) = reserve_in(run, None, birth);
    let slot = slot?;
    let job = Job::new(job, Place::new(slot));
    drop(runtime.spawn_blocking(|| -> Output<R> { job.run::<R, E>() }));
    Some((slot, id))
}

/// A place in the registry of the caller's supervisor, or none when its run is over; and an id.
#[inline]
#[track_caller]
fn place(birth: &Birth) -> (Option<&'static Slot>, Id) {
    // The many spawns by tasks take no look at the runtime. A job may run one of its own.
    match current::slot() {
        Some(parent) if !parent.is_blocking() => {
            let registry = parent.registry();
            registry.admit(registry.epoch(), Some(parent), birth)
        }
        parent => place_anywhere(parent, birth),
    }
}

/// As [`place`], or as a member of a group, in the registry of that.
#[track_caller]
fn place_among(members: Option<&Arc<Members>>, birth: &Birth) -> (Option<&'static Slot>, Id) {
    members.map_or_else(|| place(birth), |members| members.admit(birth))
}

#[inline(never)]
#[track_caller]
fn place_anywhere(parent: Option<&'static Slot>, birth: &Birth) -> (Option<&'static Slot>, Id) {
    match current::run() {
        Some(run) => {
            let parent = parent.filter(|slot| std::ptr::eq(slot.registry(), run.registry));
            reserve_in(&run, parent, birth)
        }
        None => outside(match birth.kind() {
            Kind::Local => "spawn_local",
            Kind::Blocking => "spawn_blocking",
            _ if birth.is_protected() => "shutdown_waits_for",
            _ => "spawn",
        }),
    }
}

/// A place in the registry of `run`, as [`place`].
pub(crate) fn reserve_in(
    run: &Run,
    parent: Option<&Slot>,
    birth: &Birth,
) -> (Option<&'static Slot>, Id) {
    let placed = run.registry.admit(run.epoch, parent, birth);
    if birth.kind() == Kind::Main
        && let (Some(slot), id) = placed
    {
        run.note_main(slot, id);
    }
    placed
}

/// The panic of whatever needs a supervisor and finds none.
#[cold]
#[track_caller]
pub(crate) fn outside(what: &str) -> ! {
    panic!(
        "`aiorun::{what}` was called outside a supervisor: start the program with \
         `#[aiorun::main]` or `aiorun::run`, or ask `aiorun::Handle::try_current()` first"
    );
}
