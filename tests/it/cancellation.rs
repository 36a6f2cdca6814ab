//! The plain cancellation of one task: `JoinHandle::cancel`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use aiorun::{Flavor, JoinHandle};
use tokio::sync::oneshot;

use crate::trial::{FLAVORS, Log, builder, forever, give_way, passes, run};

async fn is_cancelled<T>(task: JoinHandle<T>) -> bool {
    task.await.is_err_and(|error| error.is_cancelled())
}

#[test]
fn a_suspended_task_is_dropped_and_its_destructors_run() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let told = log.on_drop("dropped");
            let task = aiorun::spawn(async {
                let _told = told;
                forever().await;
            });
            give_way().await;
            task.cancel();
            assert!(is_cancelled(task).await);
            assert_eq!(log.lines(), ["dropped"]);
            aiorun::stop();
        });
        assert_eq!(
            (exit.report.tasks.cancelled, exit.report.tasks.completed),
            (1, 1)
        );
    }
}

#[test]
fn a_running_task_receives_it_when_it_is_next_suspended() {
    let log = Log::default();
    let of_task = log.clone();
    passes(&mut builder(Flavor::MultiThread), async {
        let (started, has_started) = oneshot::channel();
        let (release, released) = mpsc::channel();
        let task = aiorun::spawn(async move {
            started.send(()).unwrap();
            released.recv().unwrap();
            of_task.say("to the end of the poll");
            tokio::task::yield_now().await;
            of_task.say("beyond it");
        });
        has_started.await.unwrap();
        task.cancel();
        release.send(()).unwrap();
        assert!(is_cancelled(task).await);
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["to the end of the poll"]);
}

#[test]
fn a_task_that_cancels_itself_receives_it_at_its_next_await() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        passes(&mut builder(flavor), async {
            let (give, given) = oneshot::channel::<JoinHandle<()>>();
            let (hand_out, handle) = oneshot::channel();
            let task = aiorun::spawn(async move {
                let own = given.await.unwrap();
                own.cancel();
                of_task.say("goes on");
                hand_out.send(own).ok().unwrap();
                forever().await;
            });
            give.send(task).ok().unwrap();
            assert!(is_cancelled(handle.await.unwrap()).await);
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["goes on"]);
    }
}

#[test]
fn a_task_that_ends_in_the_same_poll_has_completed() {
    let exit = run(&mut builder(Flavor::MultiThread), async {
        let (started, has_started) = oneshot::channel();
        let (release, released) = mpsc::channel();
        let task = aiorun::spawn(async move {
            started.send(()).unwrap();
            released.recv().unwrap()
        });
        has_started.await.unwrap();
        task.cancel();
        release.send(7).unwrap();
        assert_eq!(task.await.unwrap(), 7);
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.completed, 2);
}

#[test]
fn a_task_that_was_never_polled_never_is() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let polled = Arc::new(AtomicBool::new(false));
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let (mark, told) = (Arc::clone(&polled), log.on_drop("dropped"));
            let task = aiorun::spawn(async move {
                let _told = told;
                mark.store(true, Ordering::SeqCst);
            });
            task.cancel();
            assert!(is_cancelled(task).await);
            aiorun::stop();
        });
        assert!(!polled.load(Ordering::SeqCst));
        assert_eq!(log.lines(), ["dropped"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn a_task_that_has_ended_is_not_touched_nor_is_its_successor() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            for _ in 0..100 {
                let mut ended = aiorun::spawn(async { 1 });
                assert_eq!((&mut ended).await.unwrap(), 1);
                let (send, received) = oneshot::channel();
                let successor = aiorun::spawn(received);
                ended.cancel();
                give_way().await;
                send.send(2).unwrap();
                assert_eq!(successor.await.unwrap().unwrap(), 2);
            }
            aiorun::stop();
        });
    }
}

#[test]
fn a_protected_task_is_cancelled_by_its_handle() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let task = aiorun::shutdown_waits_for(forever());
            give_way().await;
            task.cancel();
            assert!(is_cancelled(task).await);
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn a_cooperative_task_is_told_and_goes_on() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let (send, received) = oneshot::channel();
            let task = aiorun::task("flusher").cooperative().spawn(received);
            give_way().await;
            task.cancel();
            give_way().await;
            assert!(!task.is_finished());
            send.send(3).unwrap();
            assert_eq!(task.await.unwrap().unwrap(), 3);
            aiorun::stop();
        });
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (2, 0)
        );
    }
}

#[test]
fn a_queued_job_is_dropped_and_a_running_one_is_not_interrupted() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(builder(flavor).executor_workers(1), async {
            let (started, has_started) = oneshot::channel();
            let (release, released) = mpsc::channel();
            let running = aiorun::spawn_blocking(move || {
                started.send(()).unwrap();
                released.recv().unwrap()
            });
            let of_queued = log.clone();
            let queued = aiorun::spawn_blocking(move || of_queued.say("runs"));
            has_started.await.unwrap();
            queued.cancel();
            running.cancel();
            release.send(5).unwrap();
            assert_eq!(running.await.unwrap(), 5);
            assert!(is_cancelled(queued).await);
            aiorun::stop();
        });
        assert!(log.lines().is_empty());
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (2, 1)
        );
    }
}

#[test]
fn a_request_is_not_lost_whenever_it_comes() {
    passes(&mut builder(Flavor::MultiThread), async {
        for round in 0..2000 {
            let task = aiorun::spawn(async {
                tokio::task::yield_now().await;
                forever().await;
            });
            for _ in 0..round % 50 {
                std::hint::spin_loop();
            }
            task.cancel();
            assert!(is_cancelled(task).await);
        }
        aiorun::stop();
    });
}

#[test]
fn requests_from_everywhere_at_once_are_one() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            for _ in 0..20 {
                let task = aiorun::spawn(forever());
                std::thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| task.cancel());
                    }
                });
                assert!(is_cancelled(task).await);
            }
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.cancelled, 20);
    }
}
