//! Groups: a part of the program that is cancelled, awaited, listed and shut down alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use aiorun::{Builder, Flavor, Group, Handle, JoinHandle, Phase, StopReason, catch_cancel, shield};
use futures::FutureExt as _;
use tokio::sync::oneshot;

use crate::trial::{
    BUDGET, FLAVORS, Log, SHORT, all_begin, attempt, builder, forever, in_one_of_five, passes,
    paused, run,
};

fn names(group: &Group) -> Vec<String> {
    let tasks = group.tasks().into_iter();
    tasks.map(|task| task.name.unwrap().into_owned()).collect()
}

/// Waits until the run has no task but main.
async fn alone() {
    while Handle::current().tasks().len() > 1 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn members_of_every_sort() {
    passes(&mut builder(Flavor::Local), async {
        let group = aiorun::group("g");
        assert_eq!(group.name(), "g");
        let value = group.spawn(async { 1 });
        let named = group.task("named").spawn(async { 2 });
        let local = group.task("local").spawn_local(async { 3 });
        let job = group.task("job").spawn_blocking(|| 4);
        let failed = group.spawn_fallible(async { Err::<(), _>("5") });
        let sub = group.group("sub").spawn(async { 6 });
        let mut told = names(&group);
        told.sort();
        assert_eq!(told[..2], ["g", "g"], "{told:?}");
        for name in ["g/local", "g/named", "g/sub"] {
            assert!(told.iter().any(|told| told == name), "{told:?}");
        }
        let sum = value.await.unwrap() + named.await.unwrap() + local.await.unwrap();
        let sum = sum + job.await.unwrap() + sub.await.unwrap();
        assert_eq!((sum, failed.await.unwrap()), (16, Err("5")));
        group.join().await;
        assert!(group.tasks().is_empty());
        let report = group.shutdown(Duration::ZERO).await;
        let tasks = report.tasks;
        assert_eq!((tasks.spawned, tasks.completed, tasks.failed), (6, 5, 1));
        aiorun::stop();
    });
}

#[test]
fn a_member_leaves_once_however_it_ends() {
    for flavor in FLAVORS {
        passes(builder(flavor).unhandled_error_handler(|_| {}), async {
            let group = aiorun::group("g");
            let aborted = group.spawn(forever());
            aborted.abort();
            group.spawn(forever()).cancel();
            let caught = group.spawn(async { drop(catch_cancel(forever()).await) });
            let panicked = group.spawn(async { panic!("on purpose") });
            assert!(panicked.await.unwrap_err().is_panic());
            let begun = group.spawn(forever());
            all_begin().await;
            caught.cancel();
            begun.cancel();
            group.spawn(async {});
            group.join().await;
            let counts = group.shutdown(Duration::ZERO).await.tasks;
            assert_eq!((counts.spawned, counts.completed), (6, 2));
            assert_eq!(
                (counts.cancelled, counts.panicked, counts.caught),
                (3, 1, 1)
            );
            aiorun::stop();
        });
    }
}

#[test]
fn to_cancel_one_leaves_the_others_alone() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let groups = ["a", "b"].map(aiorun::group);
            let tasks = groups.each_ref().map(|group| {
                let protected = group.task("protected").protected().spawn(forever());
                [group.spawn(forever()), protected]
            });
            let outside = aiorun::spawn(forever());
            groups[0].cancel();
            let [first, second] = tasks;
            for task in first {
                assert!(task.await.unwrap_err().is_cancelled());
            }
            all_begin().await;
            assert!(!outside.is_finished());
            assert!(!second.iter().any(JoinHandle::is_finished));
            // It goes on.
            assert_eq!(groups[0].spawn(async { 1 }).await.unwrap(), 1);
            groups[1].cancel();
            groups[1].join().await;
            aiorun::stop();
        });
    }
}

#[test]
fn what_is_nested_belongs_to_all_above() {
    passes(&mut builder(Flavor::CurrentThread), async {
        let tenant = aiorun::group("tenant");
        let billing = tenant.group("billing");
        let mail = billing.group("mail");
        tenant.spawn(forever());
        billing.spawn(forever());
        mail.task("sender").spawn(forever());
        all_begin().await;
        assert_eq!(names(&mail), ["tenant/billing/mail/sender"]);
        assert_eq!(names(&billing).len(), 2);
        assert_eq!(names(&tenant).len(), 3);
        mail.cancel();
        mail.join().await;
        assert_eq!((names(&billing).len(), names(&tenant).len()), (1, 2));
        let report = tenant.shutdown(BUDGET).await;
        assert_eq!((report.tasks.spawned, report.tasks.cancelled), (3, 3));
        for group in [&tenant, &billing, &mail, &mail.group("later")] {
            assert!(group.is_closed());
            let refused = group.spawn(async { unreachable!("it is closed") });
            assert!(refused.is_finished());
            assert!(refused.await.unwrap_err().is_cancelled());
        }
        aiorun::stop();
    });
}

#[test]
fn one_below_is_shut_down_alone() {
    passes(&mut builder(Flavor::MultiThread), async {
        let tenant = aiorun::group("tenant");
        let billing = tenant.group("billing");
        billing.spawn(forever());
        let other = tenant.spawn(forever());
        let report = billing.shutdown(BUDGET).await;
        assert_eq!(report.tasks.spawned, 1);
        assert!(billing.is_closed() && !tenant.is_closed());
        assert!(!other.is_finished());
        tenant.spawn(async {}).await.unwrap();
        aiorun::stop();
    });
}

#[test]
fn join_waits_for_what_members_spawn() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            fn tree(group: &Group, depth: u32, seen: Arc<AtomicU32>) {
                let again = group.clone();
                group.spawn(async move {
                    seen.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    for _ in 0..if depth > 0 { 2 } else { 0 } {
                        tree(&again, depth - 1, Arc::clone(&seen));
                    }
                });
            }
            let (group, seen) = (aiorun::group("tree"), Arc::<AtomicU32>::default());
            tree(&group, 6, Arc::clone(&seen));
            group.join().await;
            assert_eq!(seen.load(Ordering::SeqCst), (1 << 7) - 1);
            aiorun::stop();
        });
    }
}

#[test]
fn an_empty_group_is_joined_at_once() {
    passes(&mut paused(), async {
        aiorun::group("g").join().await;
        aiorun::group("g").group("h").join().await;
        aiorun::stop();
    });
}

#[test]
fn many_wait_and_one_that_is_dropped_loses_nothing() {
    passes(&mut builder(Flavor::MultiThread), async {
        let group = aiorun::group("g");
        let (end, ends) = oneshot::channel::<()>();
        group.spawn(async move { drop(ends.await) });
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let group = group.clone();
                aiorun::spawn(async move { group.join().await })
            })
            .collect();
        assert!(group.join().now_or_never().is_none());
        end.send(()).unwrap();
        group.join().await;
        for waiter in waiters {
            waiter.await.unwrap();
        }
        aiorun::stop();
    });
}

#[test]
fn dropping_the_last_handle_does_nothing_to_the_members() {
    passes(&mut builder(Flavor::CurrentThread), async {
        let (end, ends) = oneshot::channel();
        let task = aiorun::group("g").spawn(async move { ends.await.unwrap() });
        all_begin().await;
        assert_eq!(Handle::current().tasks().len(), 2);
        end.send(7).unwrap();
        assert_eq!(task.await.unwrap(), 7);
        alone().await;
        aiorun::stop();
    });
}

#[test]
fn a_shutdown_spares_the_protected_and_jobs_and_waits_for_them() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            let group = aiorun::group("g");
            let (end, ends) = oneshot::channel::<()>();
            let of_protected = log.clone();
            group.task("protected").protected().spawn(async move {
                ends.await.unwrap();
                of_protected.say("protected");
            });
            let (begun, begins) = mpsc::channel();
            let of_job = log.clone();
            group.task("job").spawn_blocking(move || {
                begun.send(()).unwrap();
                while !aiorun::is_cancelled() {
                    std::thread::yield_now();
                }
                of_job.say("job");
                end.send(()).unwrap();
            });
            begins.recv().unwrap();
            let report = group.shutdown(BUDGET).await;
            assert_eq!((report.tasks.completed, report.tasks.cancelled), (2, 0));
            assert!(report.refused.is_empty() && report.abandoned.is_empty());
            assert_eq!(report.reason, StopReason::Stop);
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["job", "protected"]);
    }
}

#[test]
fn who_does_not_end_is_told_with_where_it_is_and_the_program_goes_on() {
    let a_shutdown = |flavor| {
        let exit = run(&mut builder(flavor), async {
            let group = aiorun::group("g");
            for _ in 0..3 {
                group.task("deaf").cooperative().spawn(async {
                    tokio::time::sleep(3 * BUDGET).await;
                });
            }
            group.spawn(shield(forever()));
            group.spawn(forever());
            aiorun::task("outside").cooperative().spawn(async {
                aiorun::cancelled().await;
            });
            all_begin().await;
            let report = group.shutdown(SHORT).await;
            assert!(group.tasks().is_empty());
            assert_eq!(report.refused.len(), 4, "{report}");
            let tasks = report.tasks;
            assert_eq!((tasks.refused, tasks.cancelled, tasks.spawned), (4, 1, 5));
            let shown = report.to_string();
            assert!(shown.contains("`g/deaf`"), "{shown}");
            assert!(
                shown.contains("sleep") && shown.contains("group.rs"),
                "{shown}"
            );
            let phases: Vec<_> = report.phases.iter().map(|phase| phase.phase).collect();
            assert_eq!(phases, [Phase::Running, Phase::Cancelling]);
            assert!(report.shutdown_took() >= SHORT);
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.refused, 4);
        assert!(exit.report.refused.is_empty() && exit.is_success());
    };
    for flavor in FLAVORS {
        in_one_of_five(|| a_shutdown(flavor));
    }
}

#[test]
fn who_is_stuck_in_a_poll_is_told_and_so_are_jobs() {
    let (end, ends) = mpsc::channel::<()>();
    let ends = Arc::new(std::sync::Mutex::new(ends));
    let exit = run(builder(Flavor::MultiThread).worker_threads(3), async {
        let group = aiorun::group("g");
        let (begun, begins) = tokio::sync::mpsc::channel(2);
        let mut begins = begins;
        let (of_job, has_begun) = (Arc::clone(&ends), begun.clone());
        group.task("job").spawn_blocking(move || {
            let ends = of_job.lock().unwrap();
            has_begun.blocking_send(()).unwrap();
            let _ = ends.recv();
        });
        begins.recv().await.unwrap();
        let of_task = Arc::clone(&ends);
        group.task("stuck").spawn(async move {
            begun.try_send(()).unwrap();
            drop(of_task.lock());
        });
        begins.recv().await.unwrap();
        let report = group.shutdown(SHORT).await;
        let [stuck] = &report.refused[..] else {
            panic!("{report}")
        };
        assert!(
            stuck.unresponsive && stuck.name() == Some("g/stuck"),
            "{stuck}"
        );
        let [job] = &report.abandoned[..] else {
            panic!("{report}")
        };
        assert_eq!(job.name(), Some("g/job"));
        assert_eq!((report.tasks.refused, report.tasks.spawned), (2, 2));
        // They are the program's, which waits for them.
        assert_eq!(group.tasks().len(), 2);
        drop(end);
        group.join().await;
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.completed, 3);
}

#[test]
fn in_paused_time_the_limit_is_the_clocks() {
    passes(paused().stop_on_unhandled_errors(true), async {
        let group = aiorun::group("g");
        group.task("slow").cooperative().spawn(async {
            aiorun::cancelled().await;
            tokio::time::sleep(Duration::from_secs(1800)).await;
        });
        group.task("deaf").protected().spawn(forever());
        all_begin().await;
        let report = group.shutdown(Duration::from_secs(3600)).await;
        assert_eq!((report.tasks.completed, report.tasks.refused), (1, 1));
        assert!(report.refused[0].trace.is_some(), "{report}");
        aiorun::stop();
    });
}

#[test]
fn without_a_limit_worth_mentioning_all_are_ended() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let group = aiorun::group("g");
            let task = group.spawn(forever());
            group.task("protected").protected().spawn(forever());
            all_begin().await;
            let report = group.shutdown(Duration::ZERO).await;
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!((report.tasks.cancelled, report.tasks.refused), (1, 1));
            aiorun::stop();
        });
    }
}

#[test]
fn a_shutdown_that_is_dropped_has_asked_and_goes_on_when_called_again() {
    passes(&mut builder(Flavor::CurrentThread), async {
        let group = aiorun::group("g");
        let task = group.spawn(forever());
        let (end, ends) = oneshot::channel::<()>();
        group
            .task("protected")
            .protected()
            .spawn(async { drop(ends.await) });
        all_begin().await;
        assert!(group.shutdown(BUDGET).now_or_never().is_none());
        assert!(group.is_closed());
        assert!(task.await.unwrap_err().is_cancelled());
        end.send(()).unwrap();
        let report = group.shutdown(BUDGET).await;
        assert_eq!((report.tasks.completed, report.tasks.cancelled), (1, 1));
        aiorun::stop();
    });
}

#[test]
fn a_program_that_stops_cancels_a_group_in_its_phase() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let storage = aiorun::group("storage").shutdown_phase(1);
            let spawned = |group: &Group, what: &'static str| {
                let told = log.on_drop(what);
                group.spawn(async move {
                    let _told = told;
                    forever().await;
                });
            };
            spawned(&storage.group("index"), "1");
            spawned(&aiorun::group("front"), "0");
            let late = storage.task("late").shutdown_phase(2);
            let told = log.on_drop("2");
            late.spawn(async move {
                let _told = told;
                forever().await;
            });
            all_begin().await;
            aiorun::stop();
            // A group that is being shut down at the same time is done when its members are.
            drop(storage);
        });
        assert_eq!(log.lines(), ["0", "1", "2"]);
        assert_eq!(exit.report.tasks.cancelled, 3);
    }
}

#[test]
fn a_group_outlives_its_run() {
    let mut kept = None;
    passes(builder(Flavor::MultiThread).run_forever(false), async {
        let group = aiorun::group("g");
        group.spawn(forever());
        kept = Some(group);
    });
    let group = kept.unwrap();
    assert!(group.tasks().is_empty() && !group.is_closed());
    group.cancel();
    crate::trial::on_a_runtime(async {
        assert!(group.spawn(async {}).await.unwrap_err().is_cancelled());
        let job = group.task("job").spawn_blocking(|| ());
        assert!(job.await.unwrap_err().is_cancelled());
        group.join().await;
        let report = group.shutdown(Duration::ZERO).await;
        assert_eq!((report.tasks.spawned, report.tasks.cancelled), (1, 1));
    });
}

#[test]
fn from_any_thread() {
    passes(&mut builder(Flavor::CurrentThread), async {
        let group = Handle::current().group("afar");
        let of_thread = group.clone();
        let thread = std::thread::spawn(move || {
            let job = of_thread.task("job").spawn_blocking(|| 1);
            (of_thread.spawn(async { 2 }), job)
        });
        let (task, job) = thread.join().unwrap();
        assert_eq!((task.await.unwrap(), job.await.unwrap()), (2, 1));
        group.handle().stop();
    });
}

#[test]
#[should_panic(expected = "`aiorun::group` was called outside a supervisor")]
fn outside() {
    drop(aiorun::group("g"));
}

/// Whoever is spawned while all are cancelled is cancelled too, or was spawned afterwards.
#[test]
fn nobody_slips_through_a_shutdown() {
    const ROUNDS: u32 = 300;
    let exit = attempt(builder(Flavor::MultiThread).worker_threads(2), async {
        for _ in 0..ROUNDS {
            let group = aiorun::group("g");
            let spawners: Vec<_> = (0..2)
                .map(|_| {
                    let group = group.group("sub");
                    aiorun::spawn(async move {
                        while !group.is_closed() {
                            group.spawn(forever());
                            tokio::task::yield_now().await;
                        }
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            let report = group.shutdown(BUDGET).await;
            let tasks = report.tasks;
            assert_eq!((tasks.spawned, tasks.refused), (tasks.cancelled, 0));
            assert!(group.tasks().is_empty());
            for spawner in spawners {
                spawner.await.unwrap();
            }
        }
        aiorun::stop();
    });
    assert!(exit.is_success(), "{}", exit.report);
}

#[test]
fn under_supervise_a_group_goes_with_its_supervisor() {
    crate::trial::on_a_runtime(async {
        let mut builder = Builder::new();
        let mut group = None;
        let exit = builder.signals([]).run_forever(false).supervise(async {
            let made = aiorun::group("g");
            made.spawn(forever());
            group = Some(made);
        });
        assert!(exit.await.is_success());
        group.unwrap().join().await;
    });
}
