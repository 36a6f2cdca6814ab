//! `catch_cancel`: who catches a cancellation, and what happens to the rest of the task.

use std::error::Error;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use aiorun::{Builder, Cancelled, Flavor, Handle, JoinHandle, Phase, catch_cancel, shield};
use futures::future::{FutureExt as _, join_all, poll_fn};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc::unbounded_channel, oneshot};
use tokio::time::timeout;

use crate::request::{
    By, ROUNDS, canary, dawdle, finished, info, knowing_itself, race, requested, requested_after,
    suspended, ways,
};
use crate::trial::{
    FLAVORS, Log, OnDrop, SHORT, attempt, builder, checked, error_text, forever, give_way,
    on_a_runtime, passes, paused, run,
};

type Caught<T> = Result<T, Cancelled>;

/// Waits until it is cancelled, and says whether it was.
async fn caught() -> bool {
    catch_cancel(forever()).await.is_err()
}

/// A future, and how often it was polled.
fn counted<F: Future>(future: F) -> (impl Future<Output = F::Output>, Arc<AtomicUsize>) {
    let polls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polls);
    let mut future = Box::pin(future);
    let counting = poll_fn(move |cx| {
        count.fetch_add(1, Ordering::SeqCst);
        future.as_mut().poll(cx)
    });
    (counting, polls)
}

fn polls(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

// --- who catches ---------------------------------------------------------------------------------

#[test]
fn the_future_is_dropped_and_the_task_goes_on() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, exit) = requested(flavor, by, async move {
            let told = of_task.on_drop("dropped");
            let caught = catch_cancel(async {
                let _told = told;
                forever().await;
            });
            assert!(matches!(caught.await, Err(Cancelled { .. })));
            of_task.say("caught");
            give_way().await;
            of_task.say("cleaned up");
            7
        });
        assert_eq!(ended.unwrap(), 7);
        assert_eq!(log.lines(), ["dropped", "caught", "cleaned up"]);
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.caught), (2, 0, 1));
    }
}

#[test]
fn without_a_request_it_yields_what_its_future_returns() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            assert_eq!(catch_cancel(async { 1 }).await.unwrap(), 1);
            let later = catch_cancel(async {
                give_way().await;
                2
            });
            assert_eq!(later.await.unwrap(), 2);
            assert_eq!(
                aiorun::spawn(catch_cancel(async { 3 }))
                    .await
                    .unwrap()
                    .unwrap(),
                3
            );
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn behind_its_end_the_task_is_plain_again() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let told = log.on_drop("dropped");
        let (ended, exit) = requested(flavor, by, async {
            let _told = told;
            assert_eq!(catch_cancel(async { 1 }).await.unwrap(), 1);
            forever().await;
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(log.lines(), ["dropped"]);
        assert_eq!(
            (exit.report.tasks.cancelled, exit.report.tasks.caught),
            (1, 0)
        );
    }
}

#[test]
fn of_nested_ones_the_innermost_catches() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            let outermost = catch_cancel(async {
                let middle = catch_cancel(async {
                    let innermost = catch_cancel(forever()).await;
                    give_way().await;
                    innermost
                });
                let middle = middle.await;
                give_way().await;
                middle
            });
            outermost.await.unwrap().unwrap().is_err()
        });
        assert!(ended.unwrap());
        assert_eq!(exit.report.tasks.caught, 1);
    }
}

#[test]
fn when_the_inner_one_is_over_the_outer_one_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let outer = catch_cancel(async {
                assert_eq!(catch_cancel(async { 1 }).await.unwrap(), 1);
                forever().await;
            });
            outer.await.is_err()
        });
        assert!(ended.unwrap());
    }
}

#[test]
fn of_concurrent_ones_each_catches() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            let nested = async { catch_cancel(caught()).await.unwrap() };
            tokio::join!(caught(), caught(), nested)
        });
        assert_eq!(ended.unwrap(), (true, true, true));
        assert_eq!(exit.report.tasks.caught, 1, "a mark of the task");
    }
}

#[test]
fn plain_siblings_go_on() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, exit) = requested(flavor, by, async move {
            let (send, received) = oneshot::channel();
            let catching = async {
                assert!(caught().await);
                give_way().await;
                send.send(5).unwrap();
            };
            let told = of_task.on_drop("at its own end");
            let plain = async {
                let received = received.await.unwrap();
                of_task.say("received");
                drop(told);
                received
            };
            tokio::join!(catching, plain).1
        });
        assert_eq!(ended.unwrap(), 5);
        assert_eq!(log.lines(), ["received", "at its own end"]);
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

#[test]
fn of_a_select_the_first_that_catches_wins() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            tokio::select! {
                one = catch_cancel(forever()) => one.is_err(),
                other = catch_cancel(forever()) => other.is_err(),
            }
        });
        assert!(ended.unwrap());
    }
}

#[test]
fn a_scope_that_is_entered_later_starts_fresh() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            assert!(caught().await);
            let fresh = catch_cancel(async {
                give_way().await;
                aiorun::is_cancelled()
            });
            fresh.await
        });
        assert!(!ended.unwrap().unwrap());
    }
}

#[test]
fn a_later_request_is_received_again() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let of_task = log.clone();
            let task = aiorun::spawn(async move {
                for time in ["once", "twice"] {
                    assert!(caught().await);
                    of_task.say(time);
                }
                let _told = of_task.on_drop("cut in its cleanup");
                forever().await;
            });
            for done in 0..3 {
                while log.lines().len() < done {
                    tokio::task::yield_now().await;
                }
                suspended(task.id()).await;
                task.cancel();
            }
            assert!(task.await.unwrap_err().is_cancelled());
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["once", "twice", "cut in its cleanup"]);
        assert_eq!(
            (exit.report.tasks.cancelled, exit.report.tasks.caught),
            (1, 1)
        );
    }
}

#[test]
fn the_request_of_a_shutdown_is_a_later_one_too() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        let exit = run(&mut builder(flavor), async move {
            let of_task = of_main.clone();
            let task = aiorun::spawn(async move {
                assert!(caught().await);
                of_task.say("caught");
                let _told = of_task.on_drop("cut in its cleanup");
                forever().await;
            });
            suspended(task.id()).await;
            task.cancel();
            while of_main.lines().is_empty() {
                tokio::task::yield_now().await;
            }
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["caught", "cut in its cleanup"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn requests_merge_while_one_is_pending() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, released) = oneshot::channel::<()>();
            let task = aiorun::spawn(async {
                let caught = catch_cancel(async {
                    shield(released).await.unwrap();
                    forever().await;
                });
                assert!(caught.await.is_err());
                give_way().await;
                "cleaned up"
            });
            suspended(task.id()).await;
            for _ in 0..10 {
                task.cancel();
            }
            release.send(()).unwrap();
            assert_eq!(task.await.unwrap(), "cleaned up");
            aiorun::stop();
        });
    }
}

// --- entered while a request is pending ----------------------------------------------------------

#[test]
fn entered_while_a_request_is_pending_it_does_not_poll_its_future() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let log = log.clone();
            let (send, received) = oneshot::channel();
            knowing_itself(async move |own: JoinHandle<()>| {
                own.cancel();
                let (future, count) = counted(forever());
                assert!(catch_cancel(future).await.is_err());
                log.say(format!("after {} polls", polls(&count)));
                // That was the reception: this is not cut.
                give_way().await;
                log.say("cleaned up");
                send.send(()).unwrap();
            });
            received.await.unwrap();
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["after 0 polls", "cleaned up"]);
        assert_eq!(exit.report.tasks.caught, 1);
    }
}

#[test]
fn entered_while_a_shutdown_is_pending_it_does_not_poll_its_future() {
    let log = Log::default();
    let of_main = log.clone();
    passes(&mut builder(Flavor::MultiThread), async move {
        let marked = canary();
        let (started, has_started) = oneshot::channel();
        aiorun::spawn(async move {
            started.send(()).unwrap();
            marked.recv().unwrap();
            let (future, count) = counted(forever());
            assert!(catch_cancel(future).await.is_err());
            assert_eq!(polls(&count), 0);
            give_way().await;
            of_main.say("cleaned up");
        });
        has_started.await.unwrap();
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["cleaned up"]);
}

#[test]
fn entered_inside_another_one_it_receives_for_all() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let (send, received) = oneshot::channel();
            knowing_itself(async move |own: JoinHandle<()>| {
                let outer = catch_cancel(async {
                    own.cancel();
                    let inner = catch_cancel(forever()).await;
                    // The outer one was not innermost, and hears of it.
                    give_way().await;
                    (inner.is_err(), aiorun::is_cancelled())
                });
                send.send(outer.await).unwrap();
            });
            assert_eq!(received.await.unwrap().unwrap(), (true, true));
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.caught, 1);
    }
}

#[test]
fn a_consumer_ends_after_the_item_in_hand_whatever_waits() {
    for (flavor, by) in ways() {
        let (send, mut queue) = unbounded_channel();
        (0..100).for_each(|item| send.send(item).unwrap());
        let (release, released) = oneshot::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let mut gate = Some((started, released));
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = requested_after(
            flavor,
            by,
            async {
                has_started.await.unwrap();
                // The request comes first, the release when the task has been passed over.
                aiorun::shutdown_waits_for(async move {
                    if by == By::Shutdown {
                        crate::trial::reach(Phase::Cancelling).await;
                    }
                    give_way().await;
                    release.send(()).unwrap();
                });
            },
            async move {
                let mut handle = async |item| {
                    if item == 3 {
                        let (started, released) = gate.take().unwrap();
                        started.send(()).unwrap();
                        released.await.unwrap();
                    }
                    of_task.say(format!("{item}"));
                };
                while let Ok(Some(item)) = catch_cancel(queue.recv()).await {
                    shield(handle(item)).await;
                }
                queue.len()
            },
        );
        assert_eq!(log.lines(), ["0", "1", "2", "3"]);
        assert_eq!(ended.unwrap(), 96);
        drop(send);
    }
}

// --- values --------------------------------------------------------------------------------------

#[test]
fn a_value_of_the_poll_in_which_the_request_comes_is_kept() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let of_task = log.clone();
            let id = knowing_itself(async move |own: JoinHandle<()>| {
                let produced = catch_cancel(async {
                    tokio::task::yield_now().await;
                    own.cancel();
                    7
                });
                of_task.say(format!("{:?}", produced.await.ok()));
                // It is still pending, and received here.
                assert!(caught().await);
                of_task.say("caught");
            });
            while Handle::current().tasks().iter().any(|task| task.id == id) {
                tokio::task::yield_now().await;
            }
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["Some(7)", "caught"]);
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

#[test]
fn a_value_of_the_poll_in_which_the_shutdown_comes_is_kept() {
    let (ended, exit) = {
        let mut ended = None;
        let exit = run(&mut builder(Flavor::MultiThread), async {
            let marked = canary();
            let (started, has_started) = oneshot::channel();
            let task = aiorun::spawn(async move {
                let produced = catch_cancel(async move {
                    tokio::task::yield_now().await;
                    started.send(()).unwrap();
                    marked.recv().unwrap();
                    7
                });
                produced.await.ok()
            });
            has_started.await.unwrap();
            aiorun::stop();
            ended = Some(task);
        });
        (ended.unwrap().now_or_never().unwrap(), exit)
    };
    assert_eq!(ended.unwrap(), Some(7));
    assert_eq!(
        (exit.report.tasks.completed, exit.report.tasks.caught),
        (2, 0)
    );
}

#[test]
fn what_was_not_produced_is_still_there() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (send, mut received) = oneshot::channel();
            let task = aiorun::spawn(async move {
                assert!(catch_cancel(&mut received).await.is_err());
                received.await.unwrap()
            });
            suspended(task.id()).await;
            // Marked first: the value comes to a task that is about to be told.
            task.cancel();
            send.send(7).unwrap();
            assert_eq!(task.await.unwrap(), 7);
            aiorun::stop();
        });
    }
}

// --- under wakers of their own -------------------------------------------------------------------

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
            let outer: Boxed<Caught<()>> = Box::pin(catch_cancel(inner));
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
        let open = Arc::new(std::sync::Mutex::new(Some(open)));
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        for _ in 0..2 {
            let (both, open, released) = (both.clone(), open.clone(), released.clone());
            aiorun::spawn(async move {
                both.wait();
                if thread::current().id() == home {
                    let _ = released.lock().unwrap().recv();
                } else {
                    open.lock().unwrap().take().unwrap().send(()).unwrap();
                }
            });
        }
        assert!(was_moved.recv().unwrap(), "to another worker");
        drop(release);
        suspended(task.id()).await;
        task.cancel();
        assert!(task.await.unwrap());
        aiorun::stop();
    });
}

// --- the life of one -----------------------------------------------------------------------------

#[test]
fn one_that_was_never_polled_catches_nothing() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let told = log.on_drop("dropped");
        let (ended, exit) = requested(flavor, by, async {
            let _never = catch_cancel(async {
                let _told = told;
                forever().await;
            });
            forever().await;
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(log.lines(), ["dropped"]);
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn one_that_was_dropped_half_way_catches_nothing() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, exit) = requested(flavor, by, async move {
            let told = of_task.on_drop("dropped");
            let half_way = catch_cancel(async {
                let _told = told;
                forever().await;
            });
            assert!(half_way.now_or_never().is_none());
            of_task.say("gone");
            forever().await;
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(log.lines(), ["dropped", "gone"]);
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn ones_that_are_dropped_out_of_order_leave_the_others_right() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            // The outer one goes first: what was inside lives on and is innermost.
            let mut inner = Box::pin(catch_cancel(forever()));
            let outer = catch_cancel(poll_fn(|cx| inner.as_mut().poll(cx)));
            assert!(outer.now_or_never().is_none());
            inner.await.is_err()
        });
        assert!(ended.unwrap());
    }
}

#[test]
fn one_that_was_moved_half_way_belongs_to_who_polls_it() {
    for flavor in FLAVORS {
        for first_goes_on in [true, false] {
            passes(&mut builder(flavor), async {
                let (hand_over, handed_over) = oneshot::channel();
                let first = aiorun::spawn(async move {
                    let mut moving = Box::pin(catch_cancel(forever()));
                    assert!((&mut moving).now_or_never().is_none());
                    hand_over.send(moving).unwrap();
                    if first_goes_on {
                        forever().await;
                    }
                });
                let moving = handed_over.await.unwrap();
                if first_goes_on {
                    suspended(first.id()).await;
                } else {
                    finished(&first).await;
                }
                let second = aiorun::spawn(async { moving.await.is_err() });
                suspended(second.id()).await;
                first.cancel();
                assert_eq!(first.await.is_err(), first_goes_on, "it has no scope");
                give_way().await;
                assert!(!second.is_finished());
                second.cancel();
                assert!(second.await.unwrap());
                aiorun::stop();
            });
        }
    }
}

#[test]
fn one_that_was_moved_half_way_keeps_its_value() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (send, received) = oneshot::channel();
            let (hand_over, handed_over) = oneshot::channel();
            let first = aiorun::spawn(async move {
                let mut moving = Box::pin(catch_cancel(received));
                assert!((&mut moving).now_or_never().is_none());
                hand_over.send(moving).unwrap();
                forever().await;
            });
            let moving = handed_over.await.unwrap();
            let second = aiorun::spawn(moving);
            suspended(second.id()).await;
            send.send(7).unwrap();
            assert_eq!(second.await.unwrap().unwrap().unwrap(), 7);
            suspended(first.id()).await;
            aiorun::stop();
        });
    }
}

#[test]
fn one_that_was_made_outside_belongs_to_who_polls_it() {
    for (flavor, by) in ways() {
        let outside = catch_cancel(forever());
        let (ended, _) = requested(flavor, by, outside);
        assert!(ended.unwrap().is_err());
    }
}

#[test]
fn polled_after_its_end_it_panics_clearly() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let completed = aiorun::spawn(async {
                let mut done = Box::pin(catch_cancel(async { 1 }));
                assert_eq!((&mut done).await.unwrap(), 1);
                done.await.map(drop)
            });
            let cancelled = aiorun::spawn(async {
                let mut done = Box::pin(catch_cancel(forever()));
                assert!((&mut done).await.is_err());
                done.await
            });
            suspended(cancelled.id()).await;
            cancelled.cancel();
            for task in [completed, cancelled] {
                let error = task.await.unwrap_err();
                let message = error.message().unwrap();
                assert!(message.contains("catch_cancel"), "{message}");
            }
            aiorun::stop();
        });
    }
    let mut outside = Box::pin(catch_cancel(async { 1 }));
    assert!((&mut outside).now_or_never().is_some());
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| outside.now_or_never()));
    let payload = again.unwrap_err();
    let message = payload.downcast_ref::<&str>().map(ToString::to_string);
    let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
    assert!(message.unwrap().contains("catch_cancel"));
}

#[test]
fn a_panic_goes_through_and_leaves_the_scopes_right() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let broken = catch_cancel(catch_cancel(async { panic!("in the depth") }));
            let broken = std::panic::AssertUnwindSafe(broken).catch_unwind().await;
            assert!(broken.is_err());
            caught().await
        });
        assert!(ended.unwrap());
    }
}

#[test]
fn a_destructor_that_panics_while_it_is_caught_is_the_panic_of_the_task() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let task = aiorun::spawn(async {
                let fragile = OnDrop::new(|| panic!("it breaks"));
                let caught = catch_cancel(async {
                    let _fragile = fragile;
                    forever().await;
                });
                caught.await.is_err()
            });
            suspended(task.id()).await;
            task.cancel();
            assert_eq!(task.await.unwrap_err().message(), Some("it breaks"));
            aiorun::stop();
        });
    }
}

#[test]
fn a_destructor_may_use_scopes() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = requested(flavor, by, async move {
            let clean_up = OnDrop::new(move || {
                let fresh = catch_cancel(shield(async { aiorun::is_cancelled() }));
                of_task.say(format!("{:?}", fresh.now_or_never().unwrap().unwrap()));
            });
            let caught = catch_cancel(async {
                let _clean_up = clean_up;
                forever().await;
            });
            caught.await.is_err()
        });
        assert!(ended.unwrap());
        assert_eq!(log.lines(), ["false"]);
    }
}

// --- fired and not yielded -----------------------------------------------------------------------

/// Runs a task that is told of a value and of its cancellation in the same poll, and tells how it
/// ended. On one thread, so that the task has no turn between the two.
fn told_of_both<T, F>(
    flavor: Flavor,
    body: impl FnOnce(oneshot::Receiver<u8>) -> F,
) -> Result<T, aiorun::JoinError>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let (send, received) = oneshot::channel();
    let body = body(received);
    let mut ended = None;
    passes(&mut builder(flavor), async {
        let task = aiorun::spawn(body);
        suspended(task.id()).await;
        task.cancel();
        send.send(7).unwrap();
        finished(&task).await;
        ended = Some(task);
        aiorun::stop();
    });
    ended.unwrap().now_or_never().unwrap()
}

/// Takes the value, and so drops a catch that has fired and was not asked.
async fn prefers(received: oneshot::Receiver<u8>) -> u8 {
    tokio::select! {
        biased;
        value = received => value.unwrap(),
        _ = catch_cancel(forever()) => 0,
    }
}

#[test]
fn one_that_is_dropped_before_it_yields_hands_the_request_back() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let log = Log::default();
        let of_task = log.clone();
        let ended = told_of_both(flavor, async move |received| {
            of_task.say(format!("{}", prefers(received).await));
            forever().await;
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(log.lines(), ["7"]);
        let ended = told_of_both(flavor, async |received| {
            let value = prefers(received).await;
            let (future, count) = counted(forever());
            (value, catch_cancel(future).await.is_err(), polls(&count))
        });
        assert_eq!(ended.unwrap(), (7, true, 0));
    }
}

#[test]
fn what_another_scope_has_received_is_not_handed_back() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let ended = told_of_both(flavor, async |received| {
            let both = tokio::join!(prefers(received), caught());
            give_way().await;
            both
        });
        assert_eq!(ended.unwrap(), (7, true), "a catch beside it");
        let ended = told_of_both(flavor, async |received| {
            let listens = catch_cancel(async { aiorun::cancelled().await });
            let both = tokio::join!(prefers(received), listens);
            give_way().await;
            (both.0, both.1.is_ok())
        });
        assert_eq!(ended.unwrap(), (7, true), "a cooperative scope beside it");
    }
}

#[test]
fn one_that_completes_behind_a_shield_hands_the_request_back() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let log = Log::default();
        let of_task = log.clone();
        let ended = told_of_both(flavor, async move |received| {
            let (complete, completed) = oneshot::channel();
            let (release, released) = oneshot::channel();
            let shielded = async {
                let value = received.await.unwrap();
                // From now on nothing is received, and the catch beside it has fired already.
                shield(async {
                    give_way().await;
                    complete.send(value).unwrap();
                    released.await.unwrap();
                })
                .await;
                of_task.say("saved");
            };
            let completes = async {
                let value = catch_cancel(completed).await.unwrap().unwrap();
                give_way().await;
                of_task.say(format!("{value}"));
                release.send(()).unwrap();
            };
            tokio::join!(biased; shielded, completes);
            caught().await
        });
        assert!(ended.unwrap());
        assert_eq!(log.lines(), ["7", "saved"]);
    }
}

#[test]
fn one_that_has_fired_looks_again_for_shields() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let log = Log::default();
        let of_task = log.clone();
        let ended = told_of_both(flavor, async move |received| {
            let shielded = async {
                received.await.unwrap();
                shield(give_way()).await;
                of_task.say("saved");
            };
            let catches = async {
                assert!(caught().await);
                of_task.say("caught");
            };
            tokio::join!(biased; shielded, catches);
        });
        ended.unwrap();
        assert_eq!(log.lines(), ["saved", "caught"]);
    }
}

// --- whose task it is ----------------------------------------------------------------------------

#[test]
fn main_catches_like_any_other() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            aiorun::spawn(async { aiorun::stop() });
            assert!(caught().await);
            give_way().await;
            log.say("cleaned up");
        });
        assert_eq!(log.lines(), ["cleaned up"]);
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.caught),
            (2, 1)
        );
    }
}

#[test]
fn main_under_supervise_catches_like_any_other() {
    let log = Log::default();
    let of_main = log.clone();
    let exit = on_a_runtime(async {
        let mut builder = Builder::new();
        let run = builder.signals([]).supervise(async move {
            let child = aiorun::spawn(async {
                aiorun::stop();
                caught().await
            });
            let crowd = join_all((0..50).map(|_| caught())).await;
            assert!(crowd.into_iter().all(|caught| caught));
            assert!(child.await.unwrap());
            of_main.say("cleaned up");
        });
        // Polled by somebody else than tokio.
        let mut crowd: FuturesUnordered<_> = [run].into_iter().collect();
        crowd.next().await.unwrap()
    });
    let exit = checked(exit);
    assert!(exit.is_success(), "{:?}", exit.error);
    assert_eq!(log.lines(), ["cleaned up"]);
    assert_eq!(exit.report.tasks.caught, 2);
}

#[test]
fn in_the_callback_and_in_hooks_nobody_requests() {
    async fn works(log: Log) {
        let value = catch_cancel(async {
            give_way().await;
            shield(give_way()).await;
            aiorun::checkpoint().await;
            aiorun::is_cancelled()
        });
        log.say(format!("{:?}", value.await.unwrap()));
        assert!(aiorun::cancelled().now_or_never().is_none());
        assert!(!aiorun::is_cancelled());
    }
    for flavor in FLAVORS {
        let log = Log::default();
        let (of_callback, of_hook) = (log.clone(), log.clone());
        let exit = run(
            builder(flavor).shutdown_callback(async move || works(of_callback).await),
            async {
                aiorun::on_exit("hook", works(of_hook));
                aiorun::stop();
            },
        );
        assert_eq!(log.lines(), ["false", "false"]);
        assert_eq!(exit.report.tasks.caught, 0);
        assert!(exit.report.hooks[0].is_success());
    }
}

#[test]
fn in_a_protected_task_shutdown_leaves_it_alone_and_its_handle_does_not() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        let exit = run(&mut builder(flavor), async move {
            let cancelled = aiorun::shutdown_waits_for(caught());
            suspended(cancelled.id()).await;
            cancelled.cancel();
            assert!(cancelled.await.unwrap());
            aiorun::shutdown_waits_for(async move {
                let waited = catch_cancel(async {
                    crate::trial::reach(Phase::Cancelling).await;
                    give_way().await;
                });
                of_task.say(format!("{:?}", waited.await.is_ok()));
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["true"]);
        assert_eq!(exit.report.tasks.caught, 1);
    }
}

#[test]
fn what_it_spawns_once_it_was_told_runs() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, exit) = requested(flavor, By::Shutdown, async move {
            assert!(caught().await);
            let child = aiorun::spawn(async move {
                give_way().await;
                of_task.say("saved");
            });
            child.await.is_ok()
        });
        assert!(ended.unwrap());
        assert_eq!(log.lines(), ["saved"]);
        assert_eq!(exit.report.tasks.completed, 3);
    }
}

#[test]
fn what_it_spawns_before_it_was_told_of_this_shutdown_is_born_cancelled() {
    let log = Log::default();
    let of_task = log.clone();
    let exit = run(&mut builder(Flavor::MultiThread), async move {
        let marked = canary();
        let (started, has_started) = oneshot::channel();
        let task = aiorun::spawn(async move {
            assert!(caught().await, "an earlier request, of its handle");
            started.send(()).unwrap();
            marked.recv().unwrap();
            let told = of_task.on_drop("dropped");
            aiorun::spawn(async move {
                let _told = told;
                of_task.say("polled");
            });
        });
        suspended(task.id()).await;
        task.cancel();
        has_started.await.unwrap();
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["dropped"]);
    assert_eq!(exit.report.tasks.cancelled, 2, "the canary and the child");
}

// --- what is told of it --------------------------------------------------------------------------

#[test]
fn a_task_that_caught_is_listed_with_the_place() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, released) = oneshot::channel();
            let task = aiorun::spawn(async {
                let (line, caught) = (line!(), catch_cancel(forever()).await);
                assert!(caught.is_err());
                released.await.unwrap();
                line
            });
            suspended(task.id()).await;
            assert!(info(task.id()).caught.is_none());
            task.cancel();
            while info(task.id()).caught.is_none() {
                tokio::task::yield_now().await;
            }
            let caught = info(task.id()).caught.unwrap();
            release.send(()).unwrap();
            assert_eq!(
                (caught.file(), caught.line()),
                (file!(), task.await.unwrap())
            );
            aiorun::stop();
        });
    }
}

#[test]
fn a_task_that_caught_and_refuses_is_named_with_the_place() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).timeout_task_shutdown(SHORT), async {
            let task = aiorun::task("slow").spawn(async {
                assert!(caught().await);
                forever().await;
            });
            suspended(task.id()).await;
            aiorun::stop();
        });
        let [refused] = &exit.report.refused[..] else {
            panic!("{}", exit.report)
        };
        assert!(refused.caught.is_some_and(|place| place.file() == file!()));
        assert!(refused.asked.is_none() && refused.shielded.is_none());
        let text = error_text(&exit);
        assert!(
            text.contains("caught at tests/it/catch_cancel.rs:"),
            "{text}"
        );
        assert_eq!(
            (exit.report.tasks.refused, exit.report.tasks.caught),
            (1, 1)
        );
    }
}

#[test]
fn a_mark_is_no_outcome() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let completes = aiorun::spawn(async { assert!(caught().await) });
            let fails = aiorun::spawn_fallible(async {
                assert!(caught().await);
                Err::<(), _>("no disk")
            });
            let panics = aiorun::spawn(async { assert!(!caught().await, "it is told") });
            let ids = [completes.id(), fails.id(), panics.id()];
            for id in ids {
                suspended(id).await;
            }
            completes.cancel();
            fails.cancel();
            panics.cancel();
            completes.await.unwrap();
            fails.await.unwrap().unwrap_err();
            panics.await.unwrap_err();
            aiorun::stop();
        });
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.failed, tasks.panicked), (2, 1, 1));
        assert_eq!((tasks.spawned, tasks.caught), (4, 3));
    }
}

#[test]
fn the_types_go_everywhere() {
    fn everywhere<T: Error + Clone + Debug + Send + Sync + Unpin + 'static>() {}
    fn send_sync<T: Send + Sync + Debug>(_: &T) {}
    everywhere::<Cancelled>();
    send_sync(&catch_cancel(std::future::ready(())));
    send_sync(&shield(std::future::ready(())));
    send_sync(&aiorun::checkpoint());
    send_sync(&aiorun::cancelled());
}

#[test]
fn the_error_says_what_it_is() {
    let (ended, _) = requested(Flavor::CurrentThread, By::Handle, catch_cancel(forever()));
    let error = ended.unwrap().unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert_eq!(error.clone().to_string(), error.to_string());
    assert!(error.source().is_none());
}

// --- races ---------------------------------------------------------------------------------------

/// How a task of a race may end: it caught, or was dropped where it had no scope.
#[track_caller]
fn told_or_dropped(ended: Result<bool, aiorun::JoinError>) {
    match ended {
        Ok(caught) => assert!(caught),
        Err(error) => assert!(error.is_cancelled(), "{error}"),
    }
}

#[test]
fn a_request_against_the_first_poll() {
    let exit = run(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let task = aiorun::spawn(caught());
            dawdle(round % 50 * 10);
            task.cancel();
            told_or_dropped(task.await);
        }
        aiorun::stop();
    });
    let tasks = exit.report.tasks;
    assert_eq!(tasks.completed + tasks.cancelled, 1 + u64::from(ROUNDS));
    assert_eq!(tasks.caught, tasks.completed - 1);
}

#[test]
fn a_request_against_the_completion() {
    let exit = run(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let (send, mut received) = oneshot::channel();
            let task = aiorun::spawn(async move {
                match catch_cancel(&mut received).await {
                    Ok(value) => value.unwrap(),
                    Err(_) => received.await.unwrap(),
                }
            });
            suspended(task.id()).await;
            race(round, || task.cancel(), || send.send(round).unwrap());
            assert_eq!(task.await.unwrap(), round, "it is neither lost nor cut");
        }
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.completed, 1 + u64::from(ROUNDS));
}

#[test]
fn a_request_against_the_end_of_the_last_shield() {
    let exit = run(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let (send, received) = oneshot::channel();
            let (saved, was_saved) = oneshot::channel();
            let task = aiorun::spawn(async {
                let caught = catch_cancel(async {
                    saved.send(shield(received).await.unwrap()).unwrap();
                    forever().await;
                });
                caught.await.is_err()
            });
            suspended(task.id()).await;
            race(round, || task.cancel(), || send.send(round).unwrap());
            assert!(task.await.unwrap());
            assert_eq!(was_saved.await.unwrap(), round);
        }
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.caught, u64::from(ROUNDS));
}

#[test]
fn a_request_against_the_creation_of_a_scope_on_another_worker() {
    async fn in_and_out() -> bool {
        loop {
            tokio::task::yield_now().await;
            if catch_cancel(tokio::task::yield_now()).await.is_err() {
                return true;
            }
        }
    }
    let exit = run(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let tasks: Vec<_> = (0..4).map(|_| aiorun::spawn(in_and_out())).collect();
            dawdle(round % 50 * 10);
            tasks.iter().for_each(JoinHandle::cancel);
            for task in tasks {
                told_or_dropped(task.await);
            }
        }
        aiorun::stop();
    });
    let tasks = exit.report.tasks;
    assert_eq!(tasks.completed + tasks.cancelled, 1 + 4 * u64::from(ROUNDS));
    assert_eq!(tasks.caught, tasks.completed - 1);
}

#[test]
fn a_request_against_an_abort() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let exit = run(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let count = Arc::clone(&dropped);
            let guard = OnDrop::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            let task = aiorun::spawn(async {
                let caught = catch_cancel(async {
                    let _guard = guard;
                    forever().await;
                });
                caught.await.is_err()
            });
            suspended(task.id()).await;
            race(round, || task.cancel(), || task.abort());
            told_or_dropped(task.await);
        }
        aiorun::stop();
    });
    assert_eq!(polls(&dropped), ROUNDS as usize);
    let tasks = exit.report.tasks;
    assert_eq!(tasks.completed + tasks.cancelled, 1 + u64::from(ROUNDS));
}

#[test]
fn ten_requests_at_once() {
    let exit = run(&mut builder(Flavor::MultiThread), async {
        for _ in 0..ROUNDS / 5 {
            let task = aiorun::spawn(caught());
            suspended(task.id()).await;
            let start = Barrier::new(10);
            thread::scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| {
                        start.wait();
                        task.cancel();
                    });
                }
            });
            assert!(task.await.unwrap());
        }
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.caught, u64::from(ROUNDS / 5));
}

#[test]
fn a_shutdown_against_whatever_the_tasks_are_doing() {
    let ends = Arc::new(AtomicUsize::new(0));
    for round in 0..ROUNDS / 2 {
        let exit = run(&mut builder(Flavor::MultiThread), async {
            for number in 0..20 {
                let count = Arc::clone(&ends);
                let end = OnDrop::new(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                });
                aiorun::spawn(async move {
                    let _end = end;
                    for _ in 0..number {
                        tokio::task::yield_now().await;
                    }
                    tokio::select! {
                        caught = caught() => assert!(caught),
                        nested = catch_cancel(caught()) => assert!(nested.unwrap_or(true)),
                    }
                });
            }
            dawdle(round % 50 * 20);
            aiorun::stop();
        });
        let tasks = exit.report.tasks;
        assert_eq!(tasks.completed + tasks.cancelled, 21);
        assert_eq!(tasks.caught, tasks.completed - 1);
    }
    assert_eq!(polls(&ends), (ROUNDS / 2 * 20) as usize);
}
