//! `catch_cancel`: who catches a cancellation, and what happens to the rest of the task.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiorun::{
    Builder, Cancellation, Cancelled, Flavor, Handle, JoinHandle, Phase, cancelled, catch_cancel,
    is_cancelled, shield,
};
use futures::future::{FutureExt as _, join_all, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use crate::request::{
    By, ELSEWHERE, begun, caught, finished, hearing_of_it, info, knowing_itself, marked, requested,
    requested_after, suspended, ways,
};
use crate::trial::{
    FLAVORS, Log, OnDrop, SHORT, attempt, builder, checked, error_text, forever, give_way,
    on_a_runtime, passes, run,
};

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
        let marked = marked();
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
        let (begun, has_begun) = oneshot::channel();
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = hearing_of_it(flavor, by, has_begun, |requested| async move {
            let mut in_hand = Some((begun, requested));
            let mut handle = async |item| {
                if item == 3 {
                    let (begun, requested) = in_hand.take().unwrap();
                    begun.send(()).unwrap();
                    requested.await.unwrap();
                    give_way().await;
                }
                of_task.say(format!("{item}"));
            };
            while let Ok(Some(item)) = catch_cancel(queue.recv()).await {
                shield(handle(item)).await;
            }
            queue.len()
        });
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
            let marked = marked();
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
fn the_destructors_of_one_that_was_dropped_half_way_ask_in_its_scope() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (asked, was_asked) = oneshot::channel();
            let asks = OnDrop::new(|| asked.send(is_cancelled()).unwrap());
            let task = aiorun::spawn(async {
                let half_way = catch_cancel(async {
                    let _asks = asks;
                    forever().await;
                });
                assert!(half_way.now_or_never().is_none());
                forever().await;
            });
            assert!(!was_asked.await.unwrap());
            suspended(task.id()).await;
            let info = info(task.id());
            assert!(!info.cooperative && info.asked.is_none(), "{info:?}");
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            aiorun::stop();
        });
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
fn one_that_was_first_polled_elsewhere_belongs_to_the_task_it_moves_to() {
    for (flavor, by) in ways() {
        for elsewhere in ELSEWHERE {
            let (moved, is_moved) = oneshot::channel();
            let (ended, exit) = requested_after(flavor, by, is_moved, async move {
                let moving = Box::pin(catch_cancel(forever()));
                let moving = begun(elsewhere, moving).await;
                moved.send(()).unwrap();
                moving.await.is_err()
            });
            assert!(matches!(ended, Ok(true)), "{elsewhere:?} {ended:?}");
            assert_eq!(exit.report.tasks.caught, 1);
        }
    }
}

type UnderWay = Pin<Box<dyn Future<Output = bool> + Send>>;

fn is_pending(one: &mut UnderWay) -> bool {
    one.as_mut().now_or_never().is_none()
}

/// What is under way when its task ends, and lives on.
struct Leftovers {
    catches: [UnderWay; 4],
    shields: [UnderWay; 2],
    listener: Cancellation,
}

impl Leftovers {
    fn new() -> Self {
        let mut left = Self {
            catches: std::array::from_fn(|_| Box::pin(caught()) as _),
            shields: std::array::from_fn(|_| Box::pin(shield(forever()).map(|()| false)) as _),
            listener: cancelled(),
        };
        assert!(left.catches.iter_mut().all(is_pending));
        assert!(left.shields.iter_mut().all(is_pending));
        assert!((&mut left.listener).now_or_never().is_none());
        left
    }

    /// Does with them whatever may be done, and returns a catch.
    fn dispersed(self) -> UnderWay {
        let [dropped, mut polled, mut forgotten, kept] = self.catches;
        drop(dropped);
        assert!(is_pending(&mut polled) && is_pending(&mut forgotten));
        drop(polled);
        std::mem::forget(forgotten);
        let [dropped, mut polled] = self.shields;
        drop(dropped);
        assert!(is_pending(&mut polled));
        kept
    }
}

#[test]
fn what_a_run_has_left_does_no_harm_in_the_next_one() {
    for flavor in FLAVORS {
        let mut left = None;
        for round in 0..10 {
            let old: Option<Leftovers> = left.take();
            let exit = run(&mut builder(flavor), async {
                if let Some(mut old) = old {
                    let (hand_over, handed_over) = oneshot::channel();
                    let heir = aiorun::spawn(async {
                        assert!((&mut old.listener).now_or_never().is_some());
                        hand_over.send(old.dispersed()).unwrap_or_default();
                    });
                    heir.await.unwrap();
                    let catches = aiorun::spawn(handed_over.await.unwrap());
                    suspended(catches.id()).await;
                    let plain = aiorun::spawn(forever());
                    suspended(plain.id()).await;
                    plain.cancel();
                    assert!(plain.await.unwrap_err().is_cancelled());
                    assert!(!catches.is_finished());
                    catches.cancel();
                    assert!(catches.await.unwrap());
                }
                left = aiorun::spawn(async { Some(Leftovers::new()) })
                    .await
                    .unwrap();
                aiorun::stop();
            });
            assert_eq!(exit.report.tasks.caught, u64::from(round > 0));
        }
    }
}

/// On one thread, so that it is the place of the first that the second gets.
#[test]
fn what_a_task_has_left_is_none_of_its_successors() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        passes(&mut builder(flavor), async {
            let first = aiorun::spawn(async { Leftovers::new() });
            let left = first.await.unwrap();
            let (release, released) = oneshot::channel();
            let second = aiorun::spawn(async {
                let caught = catch_cancel(async {
                    shield(released).await.unwrap();
                    forever().await;
                });
                caught.await.is_err()
            });
            suspended(second.id()).await;
            second.cancel();
            give_way().await;
            drop(left);
            give_way().await;
            assert!(!second.is_finished());
            release.send(()).unwrap();
            assert!(second.await.unwrap());
            aiorun::stop();
        });
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
fn one_that_has_fired_yields_whatever_begins_to_be_shielded_beside_it() {
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
        assert_eq!(log.lines(), ["caught", "saved"]);
    }
}

/// The cleanups of many in one task run beside each other: none waits for the shield of another.
#[test]
fn cleanups_in_shields_run_beside_each_other() {
    for (flavor, by) in ways() {
        let barrier = Arc::new(tokio::sync::Barrier::new(100));
        let (ended, _) = requested(flavor, by, async move {
            let connections = (0..100).map(|_| async {
                assert!(caught().await);
                shield(barrier.wait()).await;
            });
            join_all(connections).await.len()
        });
        assert_eq!(ended.unwrap(), 100);
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
        let marked = marked();
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
                assert!(catch_cancel(forever()).await.is_err());
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
fn the_error_says_what_it_is() {
    let (ended, _) = requested(Flavor::CurrentThread, By::Handle, catch_cancel(forever()));
    let error = ended.unwrap().unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert_eq!(error.clone().to_string(), error.to_string());
    assert!(error.source().is_none());
}
