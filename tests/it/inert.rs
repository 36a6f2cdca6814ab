//! Where there is nothing to cancel: outside any supervisor, and in blocking jobs, which hear of a
//! cancellation but are never interrupted.

use std::thread;

use aiorun::{
    Flavor, Handle, JoinHandle, Phase, cancelled, catch_cancel, checkpoint, is_cancelled, shield,
};
use futures::future::FutureExt as _;
use tokio::sync::oneshot;

use crate::request::{By, ways};
use crate::trial::{
    FLAVORS, Log, builder, forever, give_way, on_a_runtime, passes, reach, run, spin_until,
};

/// Everything just runs.
async fn is_inert() {
    assert_eq!(catch_cancel(async { 1 }).await.unwrap(), 1);
    assert_eq!(shield(async { 2 }).await, 2);
    let nested = catch_cancel(shield(catch_cancel(async {
        checkpoint().await;
        is_cancelled()
    })));
    assert!(!nested.await.unwrap().unwrap());
    assert!(checkpoint().now_or_never().is_some());
    let mut never = cancelled();
    assert!((&mut never).now_or_never().is_none());
    assert!((&mut never).now_or_never().is_none());
    assert!(catch_cancel(forever()).now_or_never().is_none());
    assert!(shield(forever()).now_or_never().is_none());
    assert!(!is_cancelled());
}

#[test]
fn without_a_runtime() {
    is_inert().now_or_never().unwrap();
    let elsewhere = thread::spawn(|| is_inert().now_or_never());
    elsewhere.join().unwrap().unwrap();
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "bare tasks outside any supervisor"
)]
fn on_a_runtime_that_nobody_supervises() {
    on_a_runtime(async {
        is_inert().await;
        tokio::spawn(is_inert()).await.unwrap();
        tokio::task::spawn_blocking(|| tokio::runtime::Handle::current().block_on(is_inert()))
            .await
            .unwrap();
    });
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a job of ours would be what is asked about"
)]
fn on_a_nested_runtime_that_nobody_supervises() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let handle = Handle::current();
            let (hold, released) = oneshot::channel::<()>();
            aiorun::shutdown_waits_for(released);
            tokio::task::spawn_blocking(move || {
                spin_until(&handle, Phase::Cancelling);
                assert!(is_cancelled(), "in the runtime that is supervised");
                on_a_runtime(is_inert());
                of_main.say("inert");
                drop(hold);
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["inert"]);
    }
}

#[test]
fn on_a_thread_of_ones_own_beside_a_run() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let handle = Handle::current();
            let (hold, released) = oneshot::channel::<()>();
            aiorun::shutdown_waits_for(released);
            thread::spawn(move || {
                spin_until(&handle, Phase::Cancelling);
                is_inert().now_or_never().unwrap();
                of_main.say("inert");
                drop(hold);
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["inert"]);
    }
}

#[test]
fn behind_a_run() {
    passes(&mut builder(Flavor::CurrentThread), async {
        aiorun::stop();
    });
    is_inert().now_or_never().unwrap();
}

// --- jobs ----------------------------------------------------------------------------------------

#[test]
fn a_job_hears_of_the_request() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_job = log.clone();
        let exit = run(&mut builder(flavor), async {
            let (begun, has_begun) = oneshot::channel();
            let job = aiorun::spawn_blocking(move || {
                begun.send(is_cancelled()).unwrap();
                while !is_cancelled() {
                    thread::yield_now();
                }
                // It is not interrupted, and goes on as long as it likes.
                of_job.say("told");
                7
            });
            assert!(!has_begun.await.unwrap());
            request(by, &job);
            let done = shield(job).await;
            assert_eq!(done.unwrap(), 7);
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["told"]);
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

fn request<T>(by: By, job: &JoinHandle<T>) {
    match by {
        By::Handle => job.cancel(),
        By::Shutdown => aiorun::stop(),
    }
}

#[test]
fn a_job_may_wait_for_the_request() {
    for (flavor, by) in ways() {
        let exit = run(&mut builder(flavor), async {
            let (begun, has_begun) = oneshot::channel();
            let job = aiorun::spawn_blocking(move || {
                let mut told = cancelled();
                assert!((&mut told).now_or_never().is_none());
                begun.send(()).unwrap();
                tokio::runtime::Handle::current().block_on(&mut told);
                assert!(told.now_or_never().is_some());
                is_cancelled()
            });
            has_begun.await.unwrap();
            request(by, &job);
            assert!(shield(job).await.unwrap());
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

#[test]
fn the_request_of_another_job_is_none_of_its_business() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (begun, has_begun) = oneshot::channel();
            let (release, released) = std::sync::mpsc::channel::<()>();
            let asked = aiorun::spawn_blocking(move || {
                begun.send(()).unwrap();
                released.recv().unwrap();
                (is_cancelled(), cancelled().now_or_never().is_some())
            });
            has_begun.await.unwrap();
            let (begun, has_begun) = oneshot::channel();
            let other = aiorun::spawn_blocking(move || {
                begun.send(()).unwrap();
                while !is_cancelled() {
                    thread::yield_now();
                }
            });
            has_begun.await.unwrap();
            other.cancel();
            other.await.unwrap();
            release.send(()).unwrap();
            assert_eq!(asked.await.unwrap(), (false, false));
            aiorun::stop();
        });
    }
}

#[test]
fn a_job_that_uses_the_place_of_one_that_was_told_is_not() {
    for flavor in FLAVORS {
        passes(builder(flavor).executor_workers(1), async {
            for _ in 0..50 {
                let (begun, has_begun) = oneshot::channel();
                let told = aiorun::spawn_blocking(move || {
                    begun.send(()).unwrap();
                    while !is_cancelled() {
                        thread::yield_now();
                    }
                });
                has_begun.await.unwrap();
                told.cancel();
                told.await.unwrap();
                assert!(!aiorun::spawn_blocking(is_cancelled).await.unwrap());
            }
            aiorun::stop();
        });
    }
}

#[test]
fn in_a_job_scopes_are_inert() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_job = log.clone();
        let exit = run(&mut builder(flavor), async {
            let (begun, has_begun) = oneshot::channel();
            let job = aiorun::spawn_blocking(move || {
                begun.send(()).unwrap();
                while !is_cancelled() {
                    thread::yield_now();
                }
                let works = async {
                    checkpoint().await;
                    assert_eq!(shield(async { 2 }).await, 2);
                    let caught = catch_cancel(async {
                        give_way().await;
                        is_cancelled()
                    });
                    caught.await
                };
                let caught = tokio::runtime::Handle::current().block_on(works);
                of_job.say(format!("{:?}", caught.ok()));
            });
            has_begun.await.unwrap();
            request(by, &job);
            shield(job).await.unwrap();
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["Some(true)"]);
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn a_job_that_starts_during_the_shutdown_hears_of_it_at_once() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_job = log.clone();
        passes(builder(flavor).executor_workers(1), async move {
            let handle = Handle::current();
            aiorun::spawn_blocking(move || spin_until(&handle, Phase::Cancelling));
            aiorun::spawn_blocking(move || of_job.say(format!("{}", is_cancelled())));
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["true"]);
    }
}

#[test]
fn in_the_callback_on_the_blocking_pool_nothing_is_cancelled() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_callback = log.clone();
        let callback = move || {
            of_callback.say(format!("{}", is_cancelled()));
            assert!(cancelled().now_or_never().is_none());
        };
        passes(builder(flavor).shutdown_callback(callback), async {
            aiorun::stop();
            reach(Phase::Cancelling).await;
        });
        assert_eq!(log.lines(), ["false"]);
    }
}
