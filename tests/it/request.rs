//! What the tests of scopes share: a task whose cancellation is requested in either way, and
//! requests that race against something else.

use std::hint;
use std::pin::Pin;
use std::sync::Barrier;
use std::thread;

use aiorun::task::{Id, State, TaskInfo};
use aiorun::{Exit, Flavor, Handle, JoinError, JoinHandle, catch_cancel};
use futures::future::{FutureExt as _, lazy};
use tokio::sync::oneshot;

use crate::trial::{FLAVORS, OnDrop, builder, forever, run};

/// What requests a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Handle,
    Shutdown,
}

/// Each flavour with either.
pub(crate) fn ways() -> impl Iterator<Item = (Flavor, By)> {
    let both = |flavor| [(flavor, By::Handle), (flavor, By::Shutdown)];
    FLAVORS.into_iter().flat_map(both)
}

/// Runs a task until it waits, requests its cancellation, and tells how the task and the run ended.
#[track_caller]
pub(crate) fn requested<T>(
    flavor: Flavor,
    by: By,
    task: impl Future<Output = T> + Send + 'static,
) -> (Result<T, JoinError>, Exit)
where
    T: Send + 'static,
{
    requested_after(flavor, by, async {}, task)
}

/// As [`requested`], with something that has to happen before.
#[track_caller]
pub(crate) fn requested_after<T>(
    flavor: Flavor,
    by: By,
    before: impl Future,
    task: impl Future<Output = T> + Send + 'static,
) -> (Result<T, JoinError>, Exit)
where
    T: Send + 'static,
{
    requested_and_told(flavor, by, before, task, None)
}

/// As [`requested_after`], for a task that hears when the request is out. Where a shutdown requests,
/// one more task is cancelled: the one that tells.
#[track_caller]
pub(crate) fn hearing_of_it<T, F>(
    flavor: Flavor,
    by: By,
    before: impl Future,
    task: impl FnOnce(oneshot::Receiver<()>) -> F,
) -> (Result<T, JoinError>, Exit)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let (tell, told) = oneshot::channel();
    requested_and_told(flavor, by, before, task(told), Some(tell))
}

#[track_caller]
fn requested_and_told<T>(
    flavor: Flavor,
    by: By,
    before: impl Future,
    task: impl Future<Output = T> + Send + 'static,
    tell: Option<oneshot::Sender<()>>,
) -> (Result<T, JoinError>, Exit)
where
    T: Send + 'static,
{
    let tell = tell.map(|tell| move || tell.send(()).unwrap_or_default());
    let mut ended = None;
    let exit = run(&mut builder(flavor), async {
        let task = aiorun::spawn(task);
        before.await;
        suspended(task.id()).await;
        match by {
            By::Shutdown => {
                if let Some(tell) = tell {
                    canary(tell);
                }
                aiorun::stop();
            }
            By::Handle => {
                task.cancel();
                if let Some(tell) = tell {
                    tell();
                }
                finished(&task).await;
                aiorun::stop();
            }
        }
        ended = Some(task);
    });
    let ended = ended.expect("main runs to its end").now_or_never();
    (ended.expect("the task has ended"), exit)
}

/// Waits until it is cancelled, and says whether it was.
pub(crate) async fn caught() -> bool {
    catch_cancel(forever()).await.is_err()
}

/// What is known of a task that lives.
#[track_caller]
pub(crate) fn info(id: Id) -> TaskInfo {
    let mut tasks = Handle::current().tasks().into_iter();
    tasks.find(|task| task.id == id).expect("it lives")
}

/// Waits until the task waits.
pub(crate) async fn suspended(id: Id) {
    while !matches!(info(id).state, State::Suspended | State::Cancelling) {
        tokio::task::yield_now().await;
    }
}

/// Waits until the task has ended, and does not read what it yields.
pub(crate) async fn finished<T>(task: &JoinHandle<T>) {
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
}

/// Starts a task that is told its own handle.
pub(crate) fn knowing_itself<T, F>(body: impl FnOnce(JoinHandle<T>) -> F + Send + 'static) -> Id
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let (give, given) = oneshot::channel();
    let task = aiorun::spawn(async { body(given.await.expect("a handle")).await });
    let id = task.id();
    give.send(task).expect("a task that waits");
    id
}

/// Where something may be polled that then moves into a task of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Elsewhere {
    Thread,
    Bare,
    Job,
}

pub(crate) const ELSEWHERE: [Elsewhere; 3] = [Elsewhere::Thread, Elsewhere::Bare, Elsewhere::Job];

/// Polls a future once, and gives it back.
pub(crate) async fn begun<F>(elsewhere: Elsewhere, mut future: Pin<Box<F>>) -> Pin<Box<F>>
where
    F: Future + Send + 'static,
{
    let begin = move || {
        assert!(future.as_mut().now_or_never().is_none());
        future
    };
    match elsewhere {
        Elsewhere::Thread => thread::spawn(begin).join().unwrap(),
        #[expect(
            clippy::disallowed_methods,
            reason = "a bare task is one of the places"
        )]
        Elsewhere::Bare => tokio::spawn(lazy(|_| begin())).await.unwrap(),
        Elsewhere::Job => aiorun::spawn_blocking(begin).await.unwrap(),
    }
}

/// Starts a task that a shutdown drops, and calls something then: all tasks are marked by that time.
pub(crate) fn canary(tell: impl FnOnce() + Send + 'static) {
    let farewell = OnDrop::new(tell);
    aiorun::spawn(async {
        let _farewell = farewell;
        forever().await;
    });
}

/// What hears, in the middle of a poll, that all tasks are marked.
pub(crate) fn marked() -> std::sync::mpsc::Receiver<()> {
    let (tell, told) = std::sync::mpsc::channel();
    canary(move || tell.send(()).unwrap_or_default());
    told
}

/// How often a race is run.
pub(crate) const ROUNDS: u32 = 300;

/// Calls both at once, as nearly as threads can, now the one a little earlier and now the other.
pub(crate) fn race(round: u32, one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            dawdle(round % 7 * 20);
            one();
        });
        start.wait();
        dawdle(round % 11 * 20);
        other();
    });
}

/// Lets a moment pass.
pub(crate) fn dawdle(moments: u32) {
    for _ in 0..moments {
        hint::spin_loop();
    }
}
