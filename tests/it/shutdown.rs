//! The order of a shutdown, and what each step waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiorun::task::{Kind, State, TaskInfo};
use aiorun::{Builder, Flavor, Handle, Phase};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::trial::{
    FLAVORS, Log, OnDrop, attempt, builder, error_text, forever, give_way, passes, reach, run,
    spin_until,
};

#[test]
fn everything_has_its_turn() {
    for flavor in FLAVORS {
        let log = Log::default();
        let (callback, main, hooks) = (log.clone(), log.clone(), log.clone());
        passes(
            builder(flavor).shutdown_callback(async move || {
                give_way().await;
                callback.say("callback");
            }),
            async move {
                let handle = Handle::current();
                aiorun::on_exit("first registered", async move { hooks.say("older hook") });
                let hooks = main.clone();
                aiorun::on_exit("last registered", async move { hooks.say("newer hook") });
                let told = main.on_drop("task");
                aiorun::spawn(async {
                    let _told = told;
                    forever().await;
                });
                let job = main.clone();
                aiorun::spawn_blocking(move || {
                    spin_until(&handle, Phase::Draining);
                    job.say("job");
                });
                aiorun::shutdown_waits_for(async move {
                    reach(Phase::Cancelling).await;
                    give_way().await;
                    main.say("protected");
                });
                give_way().await;
                aiorun::stop();
            },
        );
        log.say("after");
        let mut lines = log.lines();
        lines[1..3].sort();
        let order = [
            "callback",
            "protected",
            "task",
            "job",
            "newer hook",
            "older hook",
            "after",
        ];
        assert_eq!(lines, order);
    }
}

/// Waits until no task but main is inside a poll: one that is may go on to its end.
async fn all_are_suspended() {
    let suspended = |task: &TaskInfo| task.kind == Kind::Main || task.state == State::Suspended;
    while !Handle::current().tasks().iter().all(suspended) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn all_are_marked_before_the_first_is_woken() {
    for flavor in FLAVORS {
        for _ in 0..20 {
            let received = Arc::new(AtomicUsize::new(0));
            let exit = run(&mut builder(flavor), async {
                let (senders, receivers): (Vec<_>, Vec<_>) =
                    (0..100).map(|_| unbounded_channel()).unzip();
                for (number, mut inbox) in receivers.into_iter().enumerate() {
                    let others: Vec<UnboundedSender<usize>> = senders.clone();
                    let farewell = OnDrop::new(move || {
                        for other in others {
                            let _ = other.send(number);
                        }
                    });
                    let received = Arc::clone(&received);
                    aiorun::spawn(async move {
                        let _farewell = farewell;
                        while inbox.recv().await.is_some() {
                            received.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                all_are_suspended().await;
                aiorun::stop();
            });
            assert_eq!(received.load(Ordering::SeqCst), 0);
            assert_eq!(exit.report.tasks.cancelled, 100);
        }
    }
}

#[test]
fn a_task_that_was_never_polled_is_cancelled_too() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            aiorun::stop();
            spin_until(&Handle::current(), Phase::Cancelling);
            for _ in 0..10 {
                aiorun::spawn(forever());
            }
        });
        assert_eq!(
            (exit.report.tasks.cancelled, exit.report.tasks.completed),
            (10, 1)
        );
    }
}

#[test]
fn what_is_protected_is_awaited() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            for number in 0..3 {
                let log = log.clone();
                let work = async move {
                    aiorun::stopping().await;
                    reach(Phase::Cancelling).await;
                    give_way().await;
                    log.say(format!("{number} saved"));
                };
                match number {
                    0 => drop(aiorun::shutdown_waits_for(work)),
                    1 => drop(aiorun::task("kept").protected().spawn(work)),
                    // Its caller is cancelled meanwhile.
                    _ => {
                        let (started, has_started) = tokio::sync::oneshot::channel();
                        aiorun::spawn(async {
                            let work = aiorun::shutdown_waits_for(work);
                            started.send(()).unwrap();
                            let _ = work.await;
                            forever().await;
                        });
                        has_started.await.unwrap();
                    }
                }
            }
            give_way().await;
            aiorun::stop();
        });
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["0 saved", "1 saved", "2 saved"]);
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (4, 1)
        );
    }
}

/// Ends by itself, some time after it was told.
async fn winds_down(log: Log) {
    reach(Phase::Cancelling).await;
    give_way().await;
    log.say("wound down");
}

#[test]
fn what_is_cooperative_ends_by_itself() {
    for flavor in FLAVORS {
        let log = Log::default();
        let (one, all) = (log.clone(), log.clone());
        let exit = run(&mut builder(flavor), async move {
            aiorun::task("pump").cooperative().spawn(winds_down(one));
            aiorun::stop();
        });
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (2, 0)
        );
        let exit = run(builder(flavor).cooperative(true), async move {
            aiorun::spawn(winds_down(all));
            aiorun::stop();
            reach(Phase::Cancelling).await;
        });
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (2, 0)
        );
        assert_eq!(log.lines(), ["wound down", "wound down"]);
    }
}

#[test]
fn queued_jobs_run() {
    for flavor in FLAVORS {
        let exit = run(builder(flavor).executor_workers(1), async {
            let handle = Handle::current();
            aiorun::spawn_blocking(move || spin_until(&handle, Phase::Draining));
            for _ in 0..20 {
                aiorun::spawn_blocking(|| {});
            }
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.completed, 22);
    }
}

#[test]
fn a_task_whose_destructor_panics_is_in_the_report() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = attempt(&mut builder(flavor), async {
            let told = log.on_drop("another task");
            let fragile = OnDrop::new(|| panic!("it breaks"));
            aiorun::task("fragile").spawn(async {
                let _fragile = fragile;
                forever().await;
            });
            aiorun::spawn(async {
                let _told = told;
                forever().await;
            });
            let hook = log.clone();
            aiorun::on_exit("later", async move { hook.say("hook") });
            give_way().await;
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["another task", "hook"]);
        assert_eq!(
            (exit.report.tasks.panicked, exit.report.tasks.cancelled),
            (1, 1)
        );
        let failure = &exit.report.failures[0];
        assert_eq!(
            (failure.name(), failure.is_panic()),
            (Some("fragile"), true)
        );
        assert!(exit.is_success(), "it was not to stop the program");
    }
}

#[test]
fn a_destructor_that_panics_is_told_to_who_awaits() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let fragile = OnDrop::new(|| panic!("it breaks"));
            let task = aiorun::spawn(async {
                let _fragile = fragile;
                forever().await;
            });
            give_way().await;
            task.cancel();
            let error = task.await.unwrap_err();
            assert!(error.is_panic(), "{error}");
            assert_eq!(error.message(), Some("it breaks"));
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.panicked, 1);
    }
}

fn critical(flavor: Flavor, spawn: fn(aiorun::task::Builder)) -> aiorun::Exit {
    attempt(&mut builder(flavor), async move {
        spawn(aiorun::task("vital").critical());
        forever().await;
    })
}

#[test]
fn the_end_of_a_critical_task_is_that_of_the_program() {
    let ends: [fn(aiorun::task::Builder); 6] = [
        |task| drop(task.spawn(async {})),
        |task| drop(task.spawn(async { panic!("ends so") })),
        |task| drop(task.spawn_fallible(async { Err::<(), _>("ends so") })),
        |task| drop(task.spawn_blocking(|| {})),
        |task| {
            let task = task.spawn(forever());
            task.cancel();
        },
        |task| {
            let task = task.spawn(async {});
            aiorun::spawn(async { task.await.unwrap() });
        },
    ];
    for flavor in FLAVORS {
        for spawn in ends {
            let exit = critical(flavor, spawn);
            assert_eq!(exit.reason, aiorun::StopReason::TaskFailed);
            let text = error_text(&exit);
            assert!(text.contains("`vital`"), "{text}");
            let source = exit.error.as_ref().unwrap();
            assert!(
                matches!(source, aiorun::RunError::TaskFailed(it) if it.name() == Some("vital"))
            );
        }
    }
}

#[test]
fn a_critical_task_may_end_once_the_program_stops() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            aiorun::task("vital").critical().spawn(forever());
            aiorun::task("winds down")
                .critical()
                .protected()
                .spawn(reach(Phase::Cancelling));
            aiorun::stop();
        });
        assert!(exit.is_success());
    }
}

#[test]
fn a_report_is_a_table() {
    let mut builder = builder(Flavor::CurrentThread);
    let builder: &mut Builder = builder.timeout_task_shutdown(crate::trial::SHORT);
    let exit = attempt(builder, async {
        aiorun::task("stubborn").protected().spawn(forever());
        aiorun::on_exit("close", async {});
        aiorun::spawn_fallible(async { Err::<(), _>("no feed") });
        give_way().await;
        aiorun::stop();
    });
    let table = exit.report.to_string();
    let words = [
        "stop was called",
        "cancelling",
        "draining",
        "`stubborn`",
        "`close`",
        "no feed",
    ];
    for word in words {
        assert!(table.contains(word), "{word} is missing:\n{table}");
    }
    let mut lines = table.lines().skip_while(|line| !line.starts_with("tasks"));
    let mut row = || {
        let line = lines.next().expect("two lines of figures");
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (heads, figures) = (row().split_off(1), row());
    let columns: Vec<_> = heads.iter().zip(&figures).collect();
    let figure = |head: &str| {
        let column = columns.iter().find(|(known, _)| *known == head);
        column.map(|(_, figure)| figure.as_str())
    };
    assert_eq!(figure("spawned"), Some("4"), "{table}");
    assert_eq!(figure("completed"), Some("2"), "{table}");
    assert_eq!(figure("failed"), Some("1"), "{table}");
    assert_eq!(figure("refused"), Some("1"), "{table}");
    assert_eq!(figures.len(), heads.len());
    assert!(exit.report.shutdown_took() >= crate::trial::SHORT);
}
