//! Scopes under wakers that are not their task's: in crowds, streams, `select!`, boxes, timeouts, on
//! another worker.

use std::pin::Pin;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use aiorun::{
    Builder, Cancelled, Flavor, Handle, Phase, cancelled, catch_cancel, is_cancelled, shield,
};
use futures::future::{FutureExt as _, join_all, poll_fn};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::request::{By, caught, requested, requested_after, suspended, ways};
use crate::trial::{
    FLAVORS, Log, builder, checked, forever, on_a_runtime, passes, paused, reach, ring_until, run,
};

#[test]
fn in_futures_unordered_each_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let all: FuturesUnordered<_> = (0..100).map(|_| caught()).collect();
            all.filter(|caught| std::future::ready(*caught))
                .count()
                .await
        });
        assert_eq!(ended.unwrap(), 100);
    }
}

#[test]
fn of_a_thousand_joined_each_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let all = join_all((0..1000).map(|_| caught())).await;
            all.into_iter().filter(|caught| *caught).count()
        });
        assert_eq!(ended.unwrap(), 1000);
    }
}

#[test]
fn around_a_crowd_of_catches_none_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let crowd = catch_cancel(join_all((0..100).map(|_| caught())));
            crowd.await.map(|all| all.into_iter().all(|caught| caught))
        });
        assert!(ended.unwrap().unwrap());
    }
}

#[test]
fn around_a_crowd_of_plain_ones_it_catches() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = requested(flavor, by, async move {
            let crowd: FuturesUnordered<_> = (0..100)
                .map(|_| {
                    let told = of_task.on_drop("dropped");
                    async {
                        let _told = told;
                        forever().await;
                    }
                })
                .collect();
            catch_cancel(crowd.count()).await.is_err()
        });
        assert!(ended.unwrap());
        assert_eq!(log.lines(), ["dropped"; 100]);
    }
}

#[test]
fn in_a_stream_each_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let stream = stream::iter(0..100).map(|_| caught()).buffer_unordered(30);
            // A scope that is entered later starts fresh, and nobody requests again.
            stream
                .take(30)
                .filter(|caught| std::future::ready(*caught))
                .count()
                .await
        });
        assert_eq!(ended.unwrap(), 30);
    }
}

#[test]
fn around_the_next_item_of_a_stream_it_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let mut items = stream::iter([1, 2, 3]).chain(stream::pending());
            let mut sum = 0;
            loop {
                match catch_cancel(items.next()).await {
                    Ok(item) => sum += item.unwrap(),
                    Err(_) => break sum,
                }
            }
        });
        assert_eq!(ended.unwrap(), 6);
    }
}

#[test]
fn around_a_join_set_it_catches_and_the_set_is_still_there() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = requested(flavor, by, async move {
            let mut set = tokio::task::JoinSet::new();
            for _ in 0..3 {
                let told = of_task.on_drop("dropped");
                set.spawn(async {
                    let _told = told;
                    forever().await;
                });
            }
            assert!(catch_cancel(set.join_next()).await.is_err());
            let left = set.len();
            set.shutdown().await;
            left
        });
        assert_eq!(ended.unwrap(), 3);
        assert_eq!(log.lines(), ["dropped"; 3]);
    }
}

#[test]
fn around_the_handles_of_other_tasks_it_catches_and_they_go_on() {
    for flavor in FLAVORS {
        let (ended, exit) = requested(flavor, By::Handle, async {
            let (release, _) = tokio::sync::broadcast::channel(1);
            let tasks = (0..5).map(|number| {
                let mut released = release.subscribe();
                aiorun::spawn(async move { released.recv().await.map(|()| number) })
            });
            let mut tasks: FuturesUnordered<_> = tasks.collect();
            assert!(catch_cancel(tasks.next()).await.is_err());
            release.send(()).unwrap();
            let numbers = tasks.map(|number| number.unwrap().unwrap());
            numbers.fold(0, async |sum, number| sum + number).await
        });
        assert_eq!(ended.unwrap(), 10);
        assert_eq!(exit.report.tasks.cancelled, 0);
    }
}

#[test]
fn under_a_timeout_and_around_one_it_catches() {
    const LONG: Duration = Duration::from_secs(10_000);
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            tokio::join!(
                timeout(LONG, catch_cancel(forever())),
                catch_cancel(timeout(LONG, forever())),
            )
        });
        let (under, around) = ended.unwrap();
        assert!(under.unwrap().is_err());
        assert!(around.is_err());
    }
}

#[test]
fn a_scope_that_a_timeout_cut_is_gone() {
    let exit = run(&mut paused(), async {
        let (passed, has_passed) = oneshot::channel();
        let task = aiorun::spawn(async {
            let cut = timeout(Duration::from_secs(1), catch_cancel(forever())).await;
            passed.send(cut.is_err()).unwrap();
            forever().await;
        });
        assert!(has_passed.await.unwrap());
        suspended(task.id()).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.caught, 0);
}

#[test]
fn boxed_it_catches() {
    type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let inner: Boxed<()> = Box::pin(forever());
            let outer: Boxed<Result<(), Cancelled>> = Box::pin(catch_cancel(inner));
            let all: Vec<Boxed<bool>> =
                vec![Box::pin(async { outer.await.is_err() }), Box::pin(caught())];
            join_all(all).await
        });
        assert_eq!(ended.unwrap(), [true, true]);
    }
}

#[test]
fn in_a_disabled_branch_of_a_select_it_catches_nothing() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            let enabled = false;
            tokio::select! {
                caught = catch_cancel(forever()), if enabled => caught.is_err(),
                () = forever() => false,
            }
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn beside_a_disabled_branch_of_a_select_it_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let enabled = false;
            tokio::select! {
                _ = catch_cancel(forever()), if enabled => false,
                caught = catch_cancel(forever()) => caught.is_err(),
            }
        });
        assert!(ended.unwrap());
    }
}

#[test]
fn made_afresh_in_each_round_of_a_select_it_catches() {
    const TICKS: usize = 1000;
    for (flavor, by) in ways() {
        let (ticks, mut tick) = unbounded_channel();
        (0..TICKS).for_each(|_| ticks.send(()).unwrap());
        let (last, is_last) = oneshot::channel();
        let (ended, _) = requested_after(flavor, by, is_last, async move {
            let mut last = Some(last);
            let mut rounds = 0;
            loop {
                tokio::select! {
                    biased;
                    caught = catch_cancel(forever()) => break (caught.is_err(), rounds),
                    Some(()) = tick.recv() => rounds += 1,
                }
                if rounds == TICKS {
                    last.take().unwrap().send(()).unwrap();
                }
            }
        });
        assert_eq!(ended.unwrap(), (true, TICKS));
        drop(ticks);
    }
}

/// Waits at the gate, and says on which threads that was.
async fn two_threads(gate: oneshot::Receiver<()>, first: mpsc::Sender<thread::ThreadId>) -> bool {
    let one = thread::current().id();
    first.send(one).unwrap();
    gate.await.unwrap();
    thread::current().id() != one
}

#[test]
fn moved_to_another_worker_it_catches() {
    let (tell, told) = mpsc::channel();
    let (moved, was_moved) = mpsc::channel();
    let (open, gate) = oneshot::channel();
    passes(&mut builder(Flavor::MultiThread), async move {
        let task = aiorun::spawn(async move {
            let caught = catch_cancel(async {
                moved.send(two_threads(gate, tell).await).unwrap();
                forever().await;
            });
            caught.await.is_err()
        });
        let home = told.recv().unwrap();
        suspended(task.id()).await;
        // Both workers are held, and whoever is on the other one wakes the task there.
        let both = Arc::new(Barrier::new(2));
        let open = Arc::new(Mutex::new(Some(open)));
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        for _ in 0..2 {
            let (both, open, released) = (both.clone(), open.clone(), released.clone());
            let (begin, has_begun) = mpsc::channel();
            aiorun::spawn(async move {
                begin.send(()).unwrap();
                both.wait();
                if thread::current().id() == home {
                    let _ = released.lock().unwrap().recv();
                } else {
                    open.lock().unwrap().take().unwrap().send(()).unwrap();
                }
            });
            // Or a worker takes both, and is held with the other one in its queue.
            ring_until(&has_begun);
        }
        assert!(was_moved.recv().unwrap(), "to another worker");
        drop(release);
        suspended(task.id()).await;
        task.cancel();
        assert!(task.await.unwrap());
        aiorun::stop();
    });
}

// --- wakers that do more than wake ---------------------------------------------------------------

/// A waker that calls something.
struct Calls<F>(F);

impl<F: Fn() + Send + Sync + 'static> Calls<F> {
    fn waker(call: F) -> Waker {
        Arc::new(Self(call)).into()
    }
}

impl<F: Fn() + Send + Sync + 'static> Wake for Calls<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

type Waits = Pin<Box<dyn Future<Output = ()> + Send>>;

#[track_caller]
fn waits_with(waker: &Waker, one: &mut Waits) {
    let polled = one.as_mut().poll(&mut Context::from_waker(waker));
    assert!(polled.is_pending());
}

/// Three that the shutdown tells.
#[expect(
    clippy::disallowed_methods,
    reason = "listeners of a bare task are told by the shutdown"
)]
async fn of_a_bare_task() -> [Waits; 3] {
    let bare = tokio::spawn(async { std::array::from_fn(|_| Box::pin(cancelled()) as _) });
    bare.await.unwrap()
}

/// Three that are told of one thing, by a task, by the shutdown, and when it begins.
async fn who_waits() -> [[Waits; 3]; 3] {
    let (give, given) = oneshot::channel();
    aiorun::spawn(async {
        let own = cancelled();
        let others: [Waits; 3] = std::array::from_fn(|_| Box::pin(cancelled()) as _);
        give.send(others).unwrap_or_default();
        own.await;
    });
    let of_main = std::array::from_fn(|_| Box::pin(aiorun::stopping().map(drop)) as _);
    [given.await.unwrap(), of_a_bare_task().await, of_main]
}

#[test]
fn one_that_panics_is_at_nobodys_cost() {
    for flavor in FLAVORS {
        let log = Log::default();
        let mut kept = Vec::new();
        let exit = run(&mut builder(flavor), async {
            for mut three in who_waits().await {
                let log = log.clone();
                let woken = Calls::waker(move || log.say("woken"));
                waits_with(&woken, &mut three[0]);
                waits_with(&Calls::waker(|| panic!("a waker")), &mut three[1]);
                waits_with(&woken, &mut three[2]);
                kept.push(three);
            }
            aiorun::shutdown_waits_for(async {
                reach(Phase::Cancelling).await;
                join_all(of_a_bare_task().await).await;
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["woken"; 6]);
        // Nobody was dropped for it, and who comes later is told too.
        assert_eq!(exit.report.tasks.completed, 3);
    }
}

#[test]
fn one_that_polls_and_drops_in_place_finds_everything_open() {
    for flavor in FLAVORS {
        let log = Log::default();
        let mut kept = Vec::new();
        passes(&mut builder(flavor), async {
            for [mut one, mut polled, mut dropped] in who_waits().await {
                // They have a place in the list that is being walked.
                waits_with(Waker::noop(), &mut polled);
                waits_with(Waker::noop(), &mut dropped);
                let others = Mutex::new(Some((polled, dropped)));
                let log = log.clone();
                let in_place = Calls::waker(move || {
                    if let Some((polled, dropped)) = others.lock().unwrap().take() {
                        drop(dropped);
                        log.say(format!("{:?}", polled.now_or_never()));
                    }
                });
                waits_with(&in_place, &mut one);
                kept.push(one);
            }
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["Some(())"; 3]);
    }
}

/// As an executor does that polls where it is woken.
struct Executor(Mutex<Option<Waits>>);

impl Executor {
    fn run(self: &Arc<Self>) {
        let waker = Arc::clone(self).into();
        let mut place = self.0.lock().unwrap();
        if let Some(one) = place.as_mut() {
            let polled = one.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                *place = None;
            }
        }
    }
}

impl Wake for Executor {
    fn wake(self: Arc<Self>) {
        self.run();
    }
}

#[test]
fn one_that_owns_what_it_wakes_may_drop_it() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            for one in who_waits().await.into_iter().flatten() {
                let log = log.clone();
                let told = async move {
                    one.await;
                    log.say("told");
                };
                Arc::new(Executor(Mutex::new(Some(Box::pin(told))))).run();
            }
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["told"; 9]);
    }
}

/// A waker that owns parts of the task that is running. They go with its last clone.
fn owner(log: &Log) -> Waker {
    let mut parts: [Waits; 3] = [
        Box::pin(cancelled()),
        Box::pin(catch_cancel(forever()).map(drop)),
        Box::pin(shield(forever())),
    ];
    for part in &mut parts {
        waits_with(Waker::noop(), part);
    }
    let parts = Mutex::new((parts, log.on_drop("dropped")));
    Calls::waker(move || drop(parts.lock().unwrap()))
}

#[test]
fn one_whose_last_clone_is_dropped_with_a_scope_may_own_others() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        passes(&mut builder(flavor), async move {
            let task = aiorun::spawn(async move {
                let catch: Waits = Box::pin(catch_cancel(forever()).map(drop));
                let listener: Waits = Box::pin(cancelled());
                for mut one in [catch, listener] {
                    waits_with(&owner(&of_task), &mut one);
                    of_task.say("another one comes");
                    waits_with(&owner(&of_task), &mut one);
                    of_task.say("it goes");
                    drop(one);
                }
                of_task.say("the end");
            });
            task.await.unwrap();
            aiorun::stop();
        });
        let each = ["another one comes", "dropped", "it goes", "dropped"];
        assert_eq!(log.lines(), [&each[..], &each, &["the end"]].concat());
    }
}

/// What happens between the mark of all tasks and the wake of the others.
struct Meanwhile {
    handle: mpsc::Receiver<Handle>,
    run: Option<Handle>,
    tell: Option<mpsc::Sender<()>>,
    done: mpsc::Receiver<()>,
}

impl Meanwhile {
    fn on_wake(&mut self) {
        if self.run.is_none() {
            self.run = self.handle.try_recv().ok();
        }
        let cancelling = |run: &Handle| run.phase() == Phase::Cancelling;
        if self.run.as_ref().is_some_and(cancelling)
            && let Some(tell) = self.tell.take()
        {
            tell.send(()).unwrap();
            self.done.recv().unwrap();
        }
    }
}

/// Main's waker is that of whoever drives `supervise`. It is the first to be woken here, when all are
/// marked, and holds the walk up. What another task receives meanwhile, in the middle of a poll, is
/// for all its parts.
#[test]
fn what_a_task_receives_between_the_mark_and_the_wake_reaches_all_its_parts() {
    for _ in 0..10 {
        let (hand, handle) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let (receive, done) = mpsc::channel();
        let meanwhile = Arc::new(Mutex::new(Meanwhile {
            handle,
            run: None,
            tell: Some(tell),
            done,
        }));
        let exit = on_a_runtime(async {
            let mut builder = Builder::new();
            let mut supervised = Box::pin(builder.signals([]).supervise(async {
                hand.send(Handle::current()).unwrap();
                aiorun::spawn(async {
                    let asks = async move {
                        tokio::task::yield_now().await;
                        aiorun::stop();
                        told.recv().unwrap();
                        assert!(is_cancelled());
                        receive.send(()).unwrap();
                    };
                    let (caught, ()) = tokio::join!(biased; caught(), asks);
                    assert!(caught);
                });
                forever().await;
            }));
            let drive = poll_fn(move |cx| {
                let (outer, meanwhile) = (cx.waker().clone(), Arc::clone(&meanwhile));
                let waker = Calls::waker(move || {
                    meanwhile.lock().unwrap().on_wake();
                    outer.wake_by_ref();
                });
                supervised.as_mut().poll(&mut Context::from_waker(&waker))
            });
            drive.await
        });
        let exit = checked(exit);
        assert!(exit.is_success(), "{:?}", exit.error);
        assert_eq!(exit.report.tasks.caught, 1);
    }
}
