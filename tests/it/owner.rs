//! Whose supervisor a call finds, and so in whose report a task is counted.

#![expect(
    clippy::disallowed_methods,
    reason = "bare tasks and jobs are the subject"
)]

use std::thread;

use aiorun::{Builder, Exit, Flavor, Handle};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::trial::{FLAVORS, builder, checked, on_a_runtime, run};

/// Runs `main`, which starts this many tasks in whatever way.
#[track_caller]
fn counts(flavor: Flavor, tasks: u64, main: impl Future<Output = ()>) {
    let exit = run(&mut builder(flavor), async {
        main.await;
        aiorun::stop();
    });
    let counted = exit.report.tasks;
    assert_eq!((counted.spawned, counted.completed), (1 + tasks, 1 + tasks));
}

async fn one_task() {
    aiorun::spawn(async {}).await.unwrap();
}

#[test]
fn a_bare_task() {
    for flavor in FLAVORS {
        counts(flavor, 2, async {
            tokio::spawn(one_task()).await.unwrap();
            tokio::spawn(async { tokio::spawn(one_task()).await })
                .await
                .unwrap()
                .unwrap();
        });
    }
}

#[test]
fn a_bare_blocking_job() {
    for flavor in FLAVORS {
        counts(flavor, 2, async {
            let job = tokio::task::spawn_blocking(|| {
                assert!(!aiorun::is_stopping());
                (aiorun::spawn(async {}), aiorun::spawn_blocking(|| {}))
            });
            let (task, job) = job.await.unwrap();
            task.await.unwrap();
            job.await.unwrap();
        });
    }
}

#[test]
fn a_task_started_by_a_job_of_ours() {
    for flavor in FLAVORS {
        counts(flavor, 2, async {
            aiorun::spawn_blocking(|| aiorun::spawn(async {}))
                .await
                .unwrap()
                .await
                .unwrap();
        });
    }
}

#[test]
fn a_local_set_inside_a_task() {
    for flavor in [Flavor::MultiThread, Flavor::CurrentThread] {
        counts(flavor, 3, async {
            let set = tokio::task::LocalSet::new();
            let inside = set.run_until(async {
                tokio::task::spawn_local(one_task()).await.unwrap();
                aiorun::spawn_local(one_task()).await.unwrap();
            });
            inside.await;
        });
    }
}

#[test]
fn a_thread_that_has_entered_the_runtime() {
    for flavor in FLAVORS {
        counts(flavor, 1, async {
            let runtime = tokio::runtime::Handle::current();
            let thread = thread::spawn(move || {
                assert!(Handle::try_current().is_err(), "not yet");
                let entered = runtime.enter();
                let task = aiorun::spawn(async {});
                drop(entered);
                assert!(Handle::try_current().is_err(), "no longer");
                task
            });
            thread.join().unwrap().await.unwrap();
        });
    }
}

#[test]
fn futures_polled_by_somebody_else() {
    for flavor in FLAVORS {
        counts(flavor, 40, async {
            let mut all: FuturesUnordered<_> = (0..20).map(|_| one_task()).collect();
            while all.next().await.is_some() {}
            futures::future::join_all((0..20).map(|_| one_task())).await;
        });
    }
}

#[test]
fn a_nested_run_counts_for_itself() {
    for flavor in FLAVORS {
        counts(flavor, 3, async move {
            let job = aiorun::spawn_blocking(move || {
                let before = aiorun::spawn(async {});
                counts(flavor, 2, async {
                    one_task().await;
                    tokio::spawn(one_task()).await.unwrap();
                });
                (before, aiorun::spawn(async {}))
            });
            let (before, after) = job.await.unwrap();
            before.await.unwrap();
            after.await.unwrap();
        });
    }
}

#[test]
fn a_nested_runtime_has_no_supervisor() {
    for flavor in FLAVORS {
        counts(flavor, 1, async {
            let job = tokio::task::spawn_blocking(|| {
                on_a_runtime(async { Handle::try_current().is_err() })
            });
            assert!(job.await.unwrap());
            one_task().await;
        });
    }
}

#[test]
fn a_future_belongs_to_who_polls_it() {
    counts(Flavor::MultiThread, 1, async {
        // Created here, polled there.
        let future = one_task();
        let there = thread::spawn(|| counts(Flavor::CurrentThread, 1, future));
        aiorun::spawn_blocking(|| there.join().unwrap())
            .await
            .unwrap();
    });
}

#[test]
fn a_handle_starts_tasks_in_its_own_run() {
    for flavor in FLAVORS {
        counts(flavor, 2, async move {
            let outer = Handle::current();
            let job = aiorun::spawn_blocking(move || {
                counts(flavor, 0, async {
                    assert_eq!(outer.spawn(async { 8 }).await.unwrap(), 8);
                });
            });
            job.await.unwrap();
        });
    }
}

#[test]
fn two_supervisors_at_once_keep_their_own() {
    fn lively(tasks: u64) -> Exit {
        run(&mut builder(Flavor::MultiThread), async move {
            for number in 0..tasks {
                let task = match number % 3 {
                    0 => tokio::spawn(one_task()).await,
                    1 => tokio::spawn(async { aiorun::spawn_blocking(|| {}).await.unwrap() }).await,
                    _ => {
                        one_task().await;
                        Ok(())
                    }
                };
                task.unwrap();
            }
            aiorun::stop();
        })
    }
    thread::scope(|scope| {
        let runs = [100, 150, 200].map(|tasks| (tasks, scope.spawn(move || lively(tasks))));
        for (tasks, run) in runs {
            assert_eq!(run.join().unwrap().report.tasks.spawned, 1 + tasks);
        }
    });
}

#[test]
fn supervisors_of_two_runtimes_on_one_thread() {
    let exits = on_a_runtime(async {
        let mut builder = Builder::new();
        let outer = builder.signals([]).supervise(async {
            one_task().await;
            let job = aiorun::spawn_blocking(|| {
                let mut builder = Builder::new();
                on_a_runtime(builder.signals([]).supervise(async {
                    one_task().await;
                    one_task().await;
                    aiorun::stop();
                }))
            });
            let inner = checked(job.await.unwrap());
            assert_eq!(inner.report.tasks.spawned, 3);
            aiorun::stop();
        });
        outer.await
    });
    let outer = checked(exits);
    assert!(outer.is_success(), "{:?}", outer.error);
    assert_eq!(outer.report.tasks.spawned, 3);
}

#[test]
fn strays_are_counted_where_they_are_dropped() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            for _ in 0..5 {
                tokio::spawn(std::future::pending::<()>());
            }
            aiorun::spawn(std::future::pending::<()>());
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.spawned, 2);
        // On a busy machine tokio may count our two for a moment longer than we do.
        let strays = exit.report.strays;
        assert!((5..=7).contains(&strays), "{strays}");
    }
}
