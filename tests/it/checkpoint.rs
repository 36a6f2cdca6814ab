//! `checkpoint`: a place where a cancellation is received.

use std::task::Poll;

use aiorun::{
    Flavor, Handle, JoinHandle, cancelled, catch_cancel, checkpoint, is_cancelled, shield,
};
use futures::future::{FutureExt as _, join_all, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;

use crate::request::{By, finished, knowing_itself, marked, ways};
use crate::trial::{FLAVORS, Log, builder, forever, give_way, passes, run};

#[test]
fn without_a_request_it_is_done_at_once() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            assert!(checkpoint().now_or_never().is_some());
            let task = aiorun::spawn(async { checkpoint().now_or_never().is_some() });
            assert!(task.await.unwrap());
            aiorun::stop();
        });
    }
}

#[test]
fn it_does_not_yield_to_other_tasks() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        passes(&mut builder(flavor), async {
            let other = aiorun::spawn(async {});
            for _ in 0..1000 {
                checkpoint().await;
            }
            assert!(!other.is_finished());
            other.await.unwrap();
            aiorun::stop();
        });
    }
}

/// Runs a task that requests its own cancellation, and tells what it said.
fn requests_itself<F>(
    flavor: Flavor,
    body: impl FnOnce(JoinHandle<()>, Log) -> F + Send + 'static,
) -> (Vec<String>, aiorun::Exit)
where
    F: Future<Output = ()> + Send + 'static,
{
    let log = Log::default();
    let of_task = log.clone();
    let exit = run(&mut builder(flavor), async {
        let id = knowing_itself(|own| body(own, of_task));
        while Handle::current().tasks().iter().any(|task| task.id == id) {
            tokio::task::yield_now().await;
        }
        aiorun::stop();
    });
    (log.lines(), exit)
}

#[test]
fn a_plain_task_is_dropped_there() {
    for flavor in FLAVORS {
        let (lines, exit) = requests_itself(flavor, async |own, log| {
            let _told = log.on_drop("dropped");
            own.cancel();
            log.say("before");
            checkpoint().await;
            log.say("after");
        });
        assert_eq!(lines, ["before", "dropped"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn a_catch_around_it_catches() {
    for flavor in FLAVORS {
        let (lines, exit) = requests_itself(flavor, async |own, log| {
            let caught = catch_cancel(async {
                own.cancel();
                checkpoint().await;
                log.say("after");
            });
            log.say(format!("{:?}", caught.await));
            checkpoint().await;
            log.say("cleaned up");
        });
        assert_eq!(lines, ["Err(Cancelled)", "cleaned up"]);
        assert_eq!(exit.report.tasks.caught, 1);
    }
}

#[test]
fn a_cooperative_task_goes_on_and_is_told() {
    for flavor in FLAVORS {
        let (lines, _) = requests_itself(flavor, async |own, log| {
            let mut told = cancelled();
            own.cancel();
            log.say(format!("{}", (&mut told).now_or_never().is_some()));
            checkpoint().await;
            log.say(format!("{}", told.now_or_never().is_some()));
            checkpoint().await;
            log.say(format!("{}", is_cancelled()));
        });
        assert_eq!(lines, ["false", "true", "true"]);
    }
}

#[test]
fn inside_a_shield_it_is_done_at_once() {
    for flavor in FLAVORS {
        let (lines, _) = requests_itself(flavor, async |own, log| {
            let shielded = shield(async {
                own.cancel();
                checkpoint().await;
                log.say("in the shield");
            });
            assert!(shielded.now_or_never().is_some());
            log.say("behind it");
            checkpoint().await;
            log.say("after");
        });
        assert_eq!(lines, ["in the shield", "behind it"]);
    }
}

#[test]
fn in_a_crowd_it_works_under_wakers_of_its_own() {
    for flavor in FLAVORS {
        let (lines, _) = requests_itself(flavor, async |own, log| {
            let each = join_all((0..100).map(|_| async {
                give_way().await;
                own.cancel();
                loop {
                    checkpoint().await;
                    tokio::task::yield_now().await;
                }
            }));
            let caught = catch_cancel(each).await;
            log.say(format!("{}", caught.is_err()));
        });
        assert_eq!(lines, ["true"]);
    }
}

#[test]
fn in_futures_unordered_a_plain_task_is_dropped_there() {
    for flavor in FLAVORS {
        let (lines, exit) = requests_itself(flavor, async |own, log| {
            let crowd: FuturesUnordered<_> = (0..10)
                .map(async |number| {
                    tokio::task::yield_now().await;
                    if number > 0 {
                        forever().await;
                    }
                    own.cancel();
                    log.say("before");
                    checkpoint().await;
                    log.say("after");
                })
                .collect();
            crowd.count().await;
        });
        assert_eq!(lines, ["before"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

/// As crowds do with whoever has woken itself: nobody is suspended in between.
#[test]
fn polled_again_in_the_same_poll_of_the_task_it_is_not_passed() {
    for flavor in FLAVORS {
        let (lines, exit) = requests_itself(flavor, async |own, log| {
            own.cancel();
            let mut passing = checkpoint();
            let several_times = poll_fn(|cx| {
                for _ in 0..5 {
                    assert!(passing.poll_unpin(cx).is_pending());
                }
                log.say("pending");
                Poll::<()>::Pending
            });
            several_times.await;
        });
        assert_eq!(lines, ["pending"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

/// Somebody who blocks the task until the checkpoint is passed waits for what cannot be: that the
/// task is suspended meanwhile.
#[test]
fn where_the_task_is_blocked_it_is_passed() {
    for flavor in FLAVORS {
        let (lines, exit) = requests_itself(flavor, async |own, log| {
            own.cancel();
            for _ in 0..2 {
                let mut passing = checkpoint();
                while (&mut passing).now_or_never().is_none() {}
                log.say("passed");
            }
            checkpoint().await;
            log.say("after");
        });
        assert_eq!(lines, ["passed", "passed"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn where_tokio_blocks_the_task_in_place_it_is_passed() {
    let log = Log::default();
    let of_task = log.clone();
    let exit = run(&mut builder(Flavor::MultiThread), async {
        let (begun, has_begun) = oneshot::channel();
        let (go, gone) = oneshot::channel();
        let task = aiorun::spawn(async move {
            begun.send(()).unwrap();
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    gone.await.unwrap();
                    checkpoint().await;
                    of_task.say("passed");
                });
            });
            checkpoint().await;
            of_task.say("after");
        });
        has_begun.await.unwrap();
        task.cancel();
        go.send(()).unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["passed"]);
    assert_eq!(exit.report.tasks.cancelled, 1);
}

/// Computes, and awaits nothing but the place to stop.
async fn compute(mut begun: Option<oneshot::Sender<()>>) {
    for round in 0_u64.. {
        std::hint::black_box(round);
        if round == 1000
            && let Some(begun) = begun.take()
        {
            begun.send(()).unwrap();
        }
        checkpoint().await;
    }
}

#[test]
fn a_loop_that_awaits_nothing_else_is_cancelled() {
    for (flavor, by) in ways() {
        let exit = run(&mut builder(flavor), async {
            let (begun, has_begun) = oneshot::channel();
            let handle = Handle::current();
            let (give, given) = oneshot::channel::<JoinHandle<()>>();
            // On one thread nobody else gets a turn, so the request comes from outside.
            let outside = std::thread::spawn(move || {
                has_begun.blocking_recv().unwrap();
                let task = given.blocking_recv().unwrap();
                match by {
                    By::Handle => task.cancel(),
                    By::Shutdown => handle.stop(),
                }
                task
            });
            give.send(aiorun::spawn(compute(Some(begun)))).unwrap();
            if by == By::Handle {
                let task = tokio::task::yield_now()
                    .map(|()| outside.join().unwrap())
                    .await;
                finished(&task).await;
                aiorun::stop();
            } else {
                forever().await;
            }
        });
        let cancelled = if by == By::Handle { 1 } else { 2 };
        assert_eq!(exit.report.tasks.cancelled, cancelled);
    }
}

#[test]
fn a_shutdown_that_is_pending_is_received_there() {
    let log = Log::default();
    let of_task = log.clone();
    let exit = run(&mut builder(Flavor::MultiThread), async move {
        let marked = marked();
        let (begun, has_begun) = oneshot::channel();
        aiorun::spawn(async move {
            let _told = of_task.on_drop("dropped");
            begun.send(()).unwrap();
            marked.recv().unwrap();
            drop(marked);
            checkpoint().await;
            of_task.say("after");
        });
        has_begun.await.unwrap();
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["dropped"]);
    assert_eq!(exit.report.tasks.cancelled, 2);
}

#[test]
fn polled_after_its_end_it_does_no_harm() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let mut done = checkpoint();
            assert!((&mut done).now_or_never().is_some());
            assert!((&mut done).now_or_never().is_some());
            aiorun::stop();
        });
    }
}
