//! Tokens that hear of a cancellation, and tokens that stop a run.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use aiorun::{
    Builder, Handle, Phase, StopReason, cancelled, catch_cancel, is_cancelled, shield, stopping,
    token,
};
use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::trial::{FLAVORS, attempt, builder, forever, on_a_runtime, passes, paused, run};

#[test]
fn it_is_cancelled_with_the_task_and_the_task_is_told_and_not_dropped() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let (start, started) = oneshot::channel();
            let task = aiorun::spawn(async {
                let token = token();
                assert!(!token.is_cancelled());
                start.send(()).unwrap();
                token.cancelled().await;
                assert!(is_cancelled());
                yield_now().await; // a plain task would be dropped here
                "cleaned up"
            });
            started.await.unwrap();
            task.cancel();
            assert_eq!(task.await.unwrap(), "cleaned up");
            aiorun::stop();
            token().cancelled().await;
        });
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

#[test]
fn it_is_cancelled_when_cancelled_resolves_and_not_before() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (start, started) = oneshot::channel();
            let (ask, asked) = oneshot::channel();
            let task = aiorun::spawn(async {
                let (token, mut told) = (token(), cancelled());
                start.send(()).unwrap();
                shield(async {
                    asked.await.unwrap();
                    yield_now().await;
                    assert!(!token.is_cancelled(), "the shield keeps it out");
                    assert!((&mut told).now_or_never().is_none());
                })
                .await;
                told.await;
                assert!(token.is_cancelled());
            });
            started.await.unwrap();
            task.cancel();
            ask.send(()).unwrap();
            task.await.unwrap();
            aiorun::stop();
        });
    }
}

#[test]
fn it_belongs_to_the_catch_that_asks() {
    passes(&mut paused(), async {
        let (send, receive) = oneshot::channel();
        let task = aiorun::spawn(async {
            let outer = token();
            let Err(_) = catch_cancel(forever()).await else {
                panic!("it is cancelled");
            };
            assert!(outer.is_cancelled() && token().is_cancelled());
            // A scope that is entered later starts fresh, and so does its token.
            let fresh = catch_cancel(async {
                let fresh = token();
                assert!(!fresh.is_cancelled());
                send.send(()).unwrap();
                fresh.cancelled().await;
                token().cancelled().await;
                "told"
            });
            assert_eq!(fresh.await.unwrap(), "told");
            // One that is over leaves its token to the task, which was told.
            let left = catch_cancel(async { token() }).await.unwrap();
            assert!(left.is_cancelled());
        });
        yield_now().await;
        task.cancel();
        receive.await.unwrap();
        task.cancel();
        task.await.unwrap();
        aiorun::stop();
    });
}

#[test]
fn that_of_a_catch_that_is_over_hears_of_the_task() {
    passes(&mut paused(), async {
        let task = aiorun::task("listens").cooperative().spawn(async {
            let left = catch_cancel(async { token() }).await.unwrap();
            assert!(!left.is_cancelled());
            left.cancelled().await;
            assert!(is_cancelled());
        });
        yield_now().await;
        task.cancel();
        task.await.unwrap();
        aiorun::stop();
    });
}

#[test]
fn to_cancel_it_is_nobody_elses_affair() {
    passes(&mut paused(), async {
        let task = aiorun::spawn(async {
            let (one, other) = (token(), token());
            drop(one.clone().drop_guard());
            assert!(one.is_cancelled());
            assert!(!other.is_cancelled() && !token().is_cancelled() && !is_cancelled());
            other.cancelled().await;
        });
        yield_now().await;
        task.cancel();
        task.await.unwrap();
        aiorun::stop();
    });
}

#[test]
fn it_ends_with_its_task_in_whatever_way() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let ends: [(&str, fn()); 2] = [("returns", || {}), ("panics", || panic!("at its end"))];
            for (how, end) in ends {
                let task = aiorun::spawn(async move {
                    let token = token();
                    let (send, receive) = mpsc::channel();
                    send.send(token).unwrap();
                    yield_now().await;
                    std::thread::spawn(move || {
                        let token = receive.recv().unwrap();
                        TOKENS.lock().unwrap().push(token);
                    })
                    .join()
                    .unwrap();
                    end();
                });
                let _ = task.await;
                let left = TOKENS.lock().unwrap().pop().expect("a token");
                assert!(left.is_cancelled(), "its task {how}");
            }
            let (send, receive) = oneshot::channel();
            let task = aiorun::spawn(async {
                send.send(token()).unwrap();
                forever().await;
            });
            let left = receive.await.unwrap();
            assert!(!left.is_cancelled());
            task.abort();
            left.cancelled().await;
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.panicked, 1);
        assert!(exit.error.is_none());
    }
}

static TOKENS: Mutex<Vec<CancellationToken>> = Mutex::new(Vec::new());

#[test]
fn that_of_a_main_that_returned_hears_of_the_shutdown() {
    for flavor in FLAVORS {
        let (tell, told) = mpsc::channel();
        passes(builder(flavor).run_forever(true), async move {
            let token = token();
            aiorun::shutdown_waits_for(async move {
                while Handle::current()
                    .tasks()
                    .iter()
                    .any(|task| task.kind == aiorun::task::Kind::Main)
                {
                    yield_now().await;
                }
                assert!(!token.is_cancelled());
                aiorun::stop();
                token.cancelled().await;
                tell.send(Handle::current().phase()).unwrap();
            });
        });
        assert!(told.recv().unwrap() >= Phase::Cancelling);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what bare tasks and jobs get")]
fn bare_tasks_and_jobs_hear_of_the_shutdown() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let bare = tokio::spawn(async {
                let token = token();
                assert!(!token.is_cancelled());
                token.cancelled().await;
                Handle::current().phase()
            });
            let job = aiorun::spawn_blocking(|| {
                let token = token();
                tokio::runtime::Handle::current().block_on(token.cancelled());
                is_cancelled()
            });
            let cut = aiorun::spawn_blocking(|| {
                let token = token();
                tokio::runtime::Handle::current().block_on(token.cancelled());
            });
            while Handle::current()
                .tasks()
                .iter()
                .filter(|task| task.cooperative)
                .count()
                < 3
            {
                yield_now().await; // the two jobs, and main, by the bare task
            }
            cut.cancel();
            cut.await.unwrap();
            assert!(!job.is_finished());
            aiorun::stop();
            assert!(bare.await.unwrap() >= Phase::Cancelling);
            assert!(job.await.unwrap());
        });
        assert_eq!(exit.report.tasks.completed, 3);
    }
}

#[test]
fn outside_it_is_never_cancelled() {
    on_a_runtime(async {
        let token = token();
        assert!(token.cancelled().now_or_never().is_none());
        token.cancel();
        assert!(token.is_cancelled());
    });
}

#[test]
fn a_protected_task_is_not_told_by_the_shutdown() {
    passes(&mut paused(), async {
        aiorun::shutdown_waits_for(async {
            let token = token();
            stopping().await;
            while Handle::current().phase() < Phase::Cancelling {
                yield_now().await;
            }
            sleep(Duration::from_secs(1)).await;
            assert!(!token.is_cancelled());
        });
        aiorun::stop();
    });
}

#[test]
fn a_tracker_is_awaited_by_a_task_with_a_token() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let tracker = TaskTracker::new();
            for _ in 0..10 {
                let token = token();
                aiorun::task("worker")
                    .cooperative()
                    .spawn(tracker.track_future(async move { token.cancelled().await }));
            }
            aiorun::stop();
            token().cancelled().await;
            tracker.close();
            tracker.wait().await;
            assert!(tracker.is_empty());
        });
        assert_eq!(exit.report.tasks.completed, 11);
    }
}

#[test]
fn a_token_stops_a_run() {
    for flavor in FLAVORS {
        let token = CancellationToken::new();
        let canceller = token.clone();
        let exit = run(builder(flavor).stop_when(token), async move {
            aiorun::spawn(async move { canceller.cancel() });
            aiorun::shutdown_waits_for(async {
                assert_eq!(stopping().await, StopReason::TokenCancelled);
            });
            forever().await;
        });
        assert_eq!(exit.reason, StopReason::TokenCancelled);
        assert_eq!(exit.reason.to_string(), "the token was cancelled");
        assert!(exit.is_success());
    }
}

#[test]
fn a_parent_stops_a_run_from_another_thread() {
    for flavor in FLAVORS {
        let parent = CancellationToken::new();
        let mut builder = builder(flavor);
        builder.stop_when(parent.child_token());
        let exit = run(&mut builder, async move {
            std::thread::spawn(move || parent.cancel());
            forever().await;
        });
        assert_eq!(exit.reason, StopReason::TokenCancelled);
    }
}

#[test]
fn one_that_was_cancelled_before_keeps_main_from_starting() {
    for flavor in FLAVORS {
        let token = CancellationToken::new();
        token.cancel();
        let exit = run(builder(flavor).stop_when(token), async {
            panic!("main is polled");
        });
        assert_eq!(exit.reason, StopReason::TokenCancelled);
        assert_eq!(exit.report.tasks.spawned, 0);
    }
}

#[test]
fn a_run_under_a_token_can_be_embedded() {
    on_a_runtime(async {
        let token = CancellationToken::new();
        let canceller = token.clone();
        let exit = Builder::new()
            .signals([])
            .stop_when(token)
            .supervise(async move {
                canceller.cancel();
                forever().await;
            })
            .await;
        assert_eq!(exit.reason, StopReason::TokenCancelled);
    });
}

#[test]
fn the_clock_stands_while_a_token_stops_the_run() {
    let token = CancellationToken::new();
    let canceller = token.clone();
    passes(paused().stop_when(token), async move {
        aiorun::shutdown_waits_for(async move {
            let began = Instant::now();
            canceller.cancel();
            futures::future::select(stopping(), std::pin::pin!(sleep(Duration::from_secs(60))))
                .await;
            assert_eq!(began.elapsed(), Duration::ZERO);
        });
        forever().await;
    });
}

#[test]
fn nothing_of_a_run_stays_with_a_token() {
    let token = CancellationToken::new();
    let kept = Arc::new(());
    let weak = Arc::downgrade(&kept);
    passes(builder(FLAVORS[0]).stop_when(token.clone()), async move {
        aiorun::on_exit("keep", async move { drop(kept) });
        aiorun::stop();
    });
    assert!(weak.upgrade().is_none());
    token.cancel(); // tells nobody
}
