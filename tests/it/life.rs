//! From the first phase to the last, and how often a run may be had.

use std::sync::mpsc;
use std::thread;

use aiorun::{Builder, Flavor, Handle, Phase, RunError, StopReason};

use crate::trial::{
    FLAVORS, Log, Watchdog, attempt, builder, checked, forever, on_a_runtime, passes, reach, run,
    spin_until,
};

#[test]
fn phases_move_forward_only() {
    for flavor in FLAVORS {
        let (send, handle) = mpsc::channel();
        let watcher = thread::spawn(move || {
            let handle: Handle = handle.recv().unwrap();
            let mut seen = vec![handle.phase()];
            while *seen.last().unwrap() != Phase::Closed {
                let now = handle.phase();
                assert!(now >= *seen.last().unwrap());
                seen.push(now);
                seen.dedup();
                thread::yield_now();
            }
            seen
        });
        passes(&mut builder(flavor), async move {
            send.send(Handle::current()).unwrap();
            aiorun::stop();
        });
        let seen = watcher.join().unwrap();
        assert!(seen.is_sorted(), "{seen:?}");
    }
}

#[test]
fn each_phase_is_seen_by_its_own() {
    for flavor in FLAVORS {
        let log = Log::default();
        let (of_callback, of_task, of_job, of_hook) =
            (log.clone(), log.clone(), log.clone(), log.clone());
        let exit = run(
            builder(flavor).shutdown_callback(move |handle: Handle| {
                of_callback.say(format!("callback {}", handle.phase()));
            }),
            async move {
                let handle = Handle::current();
                assert_eq!(handle.phase(), Phase::Running);
                aiorun::shutdown_waits_for(async move {
                    reach(Phase::Cancelling).await;
                    of_task.say(format!("task {}", Handle::current().phase()));
                });
                let inside = handle.clone();
                aiorun::spawn_blocking(move || {
                    spin_until(&inside, Phase::Draining);
                    of_job.say(format!("job {}", inside.phase()));
                });
                let inside = handle.clone();
                aiorun::on_exit("look", async move {
                    of_hook.say(format!("hook {}", inside.phase()));
                });
                aiorun::stop();
            },
        );
        let seen = [
            "callback stopping",
            "task cancelling",
            "job draining",
            "hook finishing",
        ];
        assert_eq!(log.lines(), seen);
        assert!(exit.is_success());
    }
}

#[test]
fn a_handle_outlives_its_run() {
    for flavor in FLAVORS {
        let mut handle = None;
        let exit = run(&mut builder(flavor), async {
            handle = Some(Handle::current());
            aiorun::stop();
        });
        let handle = handle.unwrap();
        assert_eq!(handle.phase(), Phase::Closed);
        assert!(handle.is_stopping());
        assert!(handle.tasks().is_empty());
        handle.stop();
        handle.stop_with(9);
        handle.on_exit("too late", async { panic!("never runs") });
        assert_eq!(on_a_runtime(handle.stopping()), StopReason::Stop);
        let late = handle.spawn(async { panic!("never runs") });
        assert!(late.is_finished());
        assert!(on_a_runtime(late).unwrap_err().is_cancelled());
        assert!(exit.is_success());
    }
}

#[test]
fn main_that_returns_leaves_the_program_running() {
    for flavor in FLAVORS {
        let exit = run(builder(flavor).run_forever(true), async {
            aiorun::spawn(async {
                let handle = Handle::current();
                while handle
                    .tasks()
                    .iter()
                    .any(|it| it.kind == aiorun::task::Kind::Main)
                {
                    tokio::task::yield_now().await;
                }
                assert!(!aiorun::is_stopping());
                aiorun::stop();
                forever().await;
            });
        });
        assert_eq!(exit.reason, StopReason::Stop);
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (1, 1)
        );
    }
}

#[test]
fn main_that_returns_ends_the_program_where_that_was_asked_for() {
    for flavor in FLAVORS {
        let exit = run(builder(flavor).run_forever(false), async {
            aiorun::spawn(forever());
        });
        assert_eq!(exit.reason, StopReason::MainReturned);
        assert!(exit.is_success());
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (1, 1)
        );
    }
}

#[test]
fn main_that_fails_ends_the_program() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async { Err::<(), _>("no feed") });
        assert_eq!(exit.reason, StopReason::MainFailed);
        assert!(matches!(exit.error, Some(RunError::MainFailed)));
        assert_eq!(exit.report.tasks.failed, 1);

        let exit = attempt(&mut builder(flavor), async {
            panic!("{} feeds", 0);
        });
        assert_eq!(exit.reason, StopReason::MainFailed);
        assert!(matches!(&exit.error, Some(RunError::MainPanicked(it)) if it == "0 feeds"));
        assert_eq!(exit.report.tasks.panicked, 1);
    }
}

#[test]
fn main_is_a_task_that_is_cancelled() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let _told = log.on_drop("main");
            aiorun::stop();
            forever().await;
        });
        assert_eq!(log.lines(), ["main"]);
        assert_eq!(
            (exit.report.tasks.spawned, exit.report.tasks.cancelled),
            (1, 1)
        );
    }
}

#[test]
fn two_hundred_runs_one_after_the_other() {
    for flavor in FLAVORS {
        for round in 0..200 {
            let exit = run(&mut builder(flavor), async {
                for _ in 0..round % 7 {
                    aiorun::spawn(forever());
                }
                aiorun::stop();
            });
            assert_eq!(exit.report.tasks.spawned, 1 + round % 7);
        }
    }
}

#[test]
fn runs_beside_each_other() {
    thread::scope(|scope| {
        for number in 0..12_u64 {
            scope.spawn(move || {
                let flavor = FLAVORS[usize::try_from(number).unwrap() % FLAVORS.len()];
                for _ in 0..20 {
                    let exit = run(&mut builder(flavor), async {
                        for _ in 0..number {
                            aiorun::spawn(tokio::task::yield_now()).await.unwrap();
                        }
                        aiorun::stop();
                    });
                    assert_eq!(exit.report.tasks.spawned, 1 + number);
                }
            });
        }
    });
}

#[test]
fn a_builder_can_be_used_again() {
    let mut builder = builder(Flavor::CurrentThread);
    for code in [3, 0] {
        let exit = run(&mut builder, async move { aiorun::stop_with(code) });
        assert_eq!(exit.is_success(), code == 0);
    }
}

#[test]
fn a_run_inside_a_blocking_job_is_a_run_of_its_own() {
    for flavor in FLAVORS {
        let outer = run(builder(flavor).run_forever(false), async move {
            let inner = aiorun::spawn_blocking(move || {
                let inner = run(&mut builder(flavor), async {
                    aiorun::spawn(async {}).await.unwrap();
                    aiorun::stop();
                });
                assert_eq!(inner.report.tasks.spawned, 2);
                assert!(!aiorun::is_stopping(), "the outer one runs on");
            });
            inner.await.unwrap();
        });
        assert_eq!(outer.reason, StopReason::MainReturned);
        assert_eq!(outer.report.tasks.spawned, 2);
    }
}

#[test]
fn a_run_inside_an_async_task_is_refused() {
    for flavor in FLAVORS {
        passes(builder(flavor).run_forever(false), async move {
            let refused = |exit: aiorun::Exit| {
                let exit = checked(exit);
                assert_eq!(exit.reason, StopReason::NotStarted);
                let text = exit.into_result().unwrap_err().to_string();
                assert!(
                    text.contains("supervise") && text.contains("spawn_blocking"),
                    "{text}"
                );
            };
            refused(builder(flavor).run(async {}));
            let task = aiorun::spawn(async move { builder(flavor).run(async {}) });
            refused(task.await.unwrap());
        });
    }
}

#[test]
#[should_panic(expected = "Cannot start a runtime from within a runtime")]
fn a_run_inside_somebody_elses_async_context_panics() {
    let _watchdog = Watchdog::new();
    on_a_runtime(async {
        let _ = Builder::new().signals([]).run(async { aiorun::stop() });
    });
}

#[test]
fn the_thread_is_free_again_after_a_run() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async { aiorun::stop() });
        assert!(Handle::try_current().is_err());
        assert!(tokio::runtime::Handle::try_current().is_err());
    }
}

#[test]
fn whoever_is_ready_goes_on() {
    for flavor in FLAVORS {
        let (send, handle) = mpsc::channel();
        passes(&mut builder(flavor), async move {
            aiorun::ready();
            aiorun::ready();
            aiorun::spawn(async { aiorun::ready() }).await.unwrap();
            aiorun::spawn_blocking(aiorun::ready).await.unwrap();
            let handle = Handle::current();
            send.send(handle.clone()).unwrap();
            let elsewhere = thread::spawn(move || handle.ready());
            elsewhere.join().unwrap();
            assert_eq!(Handle::current().phase(), Phase::Running);
            aiorun::on_exit("hook", async { aiorun::ready() });
            aiorun::stop();
        });
        // Of no consequence after the end.
        let handle: Handle = handle.recv().unwrap();
        handle.ready();
        assert_eq!(handle.phase(), Phase::Closed);
    }
}

#[test]
#[should_panic(expected = "`aiorun::ready` was called outside a supervisor")]
fn nobody_is_ready_outside() {
    aiorun::ready();
}
