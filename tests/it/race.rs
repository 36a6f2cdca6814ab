//! Requests that come at the worst moment, many times over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use aiorun::{Flavor, JoinHandle, catch_cancel, shield};
use tokio::sync::oneshot;

use crate::request::{ROUNDS, caught, dawdle, race, suspended};
use crate::trial::{OnDrop, builder, forever, run};

fn count(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

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
    assert_eq!(count(&dropped), ROUNDS as usize);
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
    assert_eq!(count(&ends), (ROUNDS / 2 * 20) as usize);
}
