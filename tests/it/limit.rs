//! Limits that expire, and how much time is left before they do. aiorun's limits are real time, so
//! these tests wait for them.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use aiorun::task::Kind;
use aiorun::{Builder, Exit, Flavor, Handle, Phase, RunError, shield};

use crate::trial::{
    BUDGET, FLAVORS, Log, SHORT, all_begin, attempt, builder, error_text, forever, give_way,
    passes, reach, run, spin_until,
};

/// Whatever thread has spawned them: each has its part of the registry.
#[test]
fn the_oldest_that_refused_is_first() {
    let exit = attempt(
        builder(Flavor::MultiThread).timeout_task_shutdown(SHORT),
        async {
            let handle = Handle::current();
            for _ in 0..9 {
                let handle = handle.clone();
                let spawner = std::thread::spawn(move || {
                    handle.spawn(shield(forever()));
                    std::thread::sleep(Duration::from_millis(5));
                });
                spawner.join().unwrap();
            }
            all_begin().await;
            aiorun::stop();
        },
    );
    let ages: Vec<_> = exit.report.refused.iter().map(|task| task.age).collect();
    assert_eq!(ages.len(), 9);
    assert!(ages.is_sorted_by(|one, next| one >= next), "{ages:?}");
}

/// What one of them gives back as it is dropped sets others free, which is not where they were.
#[test]
fn a_deadlock_is_shown_as_it_was() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).timeout_task_shutdown(SHORT), async {
            let locks = [(); 2].map(|()| Arc::new(tokio::sync::Mutex::new(())));
            let both_have_one = Arc::new(tokio::sync::Barrier::new(2));
            for (name, order) in [("there", [0, 1]), ("back", [1, 0])] {
                let [first, second] = order.map(|it| Arc::clone(&locks[it]));
                let both_have_one = Arc::clone(&both_have_one);
                aiorun::task(name).protected().spawn(async move {
                    let _first = first.lock().await;
                    both_have_one.wait().await;
                    let _second = second.lock().await;
                    forever().await;
                });
            }
            give_way().await;
            aiorun::stop();
        });
        assert_eq!(exit.report.refused.len(), 2);
        for task in &exit.report.refused {
            let branches = task.trace.as_ref().expect("it was asked").branches();
            let awaits = branches[0].awaits.as_deref();
            assert_eq!(awaits, Some("tokio::sync::mutex::Mutex::lock"), "{task}");
        }
    }
}

#[test]
fn tasks_that_refuse_are_named_and_dropped() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = attempt(builder(flavor).timeout_task_shutdown(SHORT), async {
            for number in 0..3 {
                let told = log.on_drop("dropped");
                let task = aiorun::task(format!("stubborn {number}"));
                let task = if number == 0 {
                    task.cooperative()
                } else {
                    task.protected()
                };
                task.spawn(async {
                    let _told = told;
                    forever().await;
                });
            }
            aiorun::spawn(forever());
            let hook = log.clone();
            aiorun::on_exit("later", async move { hook.say("hook") });
            give_way().await;
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["dropped", "dropped", "dropped", "hook"]);
        let mut names: Vec<_> = exit
            .report
            .refused
            .iter()
            .filter_map(|it| it.name())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["stubborn 0", "stubborn 1", "stubborn 2"]);
        assert!(matches!(&exit.error, Some(RunError::Refused(tasks)) if tasks.len() == 3));
        let text = error_text(&exit);
        assert!(
            text.contains("`stubborn 2`") && text.contains("tests/it/limit.rs"),
            "{text}"
        );
        assert_eq!(
            (exit.report.tasks.refused, exit.report.tasks.cancelled),
            (3, 1)
        );
        assert!(exit.report.shutdown_took() >= SHORT);
    }
}

#[test]
fn a_cooperative_task_is_never_dropped_before_the_limit() {
    for flavor in FLAVORS {
        let limit = crate::trial::SHORT;
        let mut dropped = None;
        let exit = attempt(builder(flavor).timeout_task_shutdown(limit), async {
            let (tell, told) = mpsc::channel();
            let handle = Handle::current();
            let guard = crate::trial::OnDrop::new(move || {
                let _ = tell.send(std::time::Instant::now());
            });
            aiorun::task("told").cooperative().spawn(async move {
                let _guard = guard;
                forever().await;
            });
            let stopped = std::time::Instant::now();
            handle.stop();
            dropped = Some((stopped, told));
        });
        let (stopped, told) = dropped.unwrap();
        assert!(told.recv().unwrap() - stopped >= limit);
        assert_eq!(exit.report.refused[0].name(), Some("told"));
    }
}

#[test]
fn jobs_that_do_not_end_are_named_and_left() {
    for flavor in FLAVORS {
        let (release, released) = mpsc::channel::<()>();
        let log = Log::default();
        let exit = attempt(builder(flavor).timeout_executor_shutdown(SHORT), async {
            let (started, has_started) = tokio::sync::oneshot::channel();
            aiorun::task("endless").spawn_blocking(move || {
                started.send(()).unwrap();
                let _ = released.recv();
            });
            has_started.await.unwrap();
            let hook = log.clone();
            aiorun::on_exit("later", async move { hook.say("hook") });
            aiorun::stop();
        });
        drop(release);
        assert_eq!(log.lines(), ["hook"]);
        assert!(matches!(&exit.error, Some(RunError::Abandoned(jobs)) if jobs.len() == 1));
        let job = &exit.report.abandoned[0];
        assert_eq!((job.name(), job.kind), (Some("endless"), Kind::Blocking));
        assert!(error_text(&exit).contains("`endless`"));
        assert_eq!(exit.report.tasks.refused, 1);
        assert!(exit.report.refused.is_empty());
    }
}

#[test]
fn of_refused_and_abandoned_the_first_is_the_error() {
    let (release, released) = mpsc::channel::<()>();
    let mut builder = builder(Flavor::MultiThread);
    builder
        .timeout_task_shutdown(SHORT)
        .timeout_executor_shutdown(SHORT);
    let exit = attempt(&mut builder, async {
        aiorun::spawn_blocking(move || {
            let _ = released.recv();
        });
        aiorun::shutdown_waits_for(forever());
        aiorun::stop();
    });
    drop(release);
    assert!(matches!(exit.error, Some(RunError::Refused(_))));
    assert_eq!(
        (exit.report.refused.len(), exit.report.abandoned.len()),
        (1, 1)
    );
    assert_eq!(exit.report.tasks.refused, 2);
}

#[test]
fn a_task_that_never_yields_is_left_behind() {
    let (release, released) = mpsc::channel::<()>();
    let mut builder = builder(Flavor::MultiThread);
    builder.timeout_task_shutdown(SHORT);
    let exit = attempt(&mut builder, async {
        let (started, has_started) = tokio::sync::oneshot::channel();
        aiorun::task("hog").spawn(async move {
            started.send(()).unwrap();
            let _ = released.recv();
        });
        has_started.await.unwrap();
        aiorun::stop();
    });
    drop(release);
    let text = error_text(&exit);
    assert!(
        text.contains("`hog`") && text.contains("running on"),
        "{text}"
    );
    assert_eq!(exit.report.tasks.refused, 1);
}

#[test]
fn a_limit_of_zero_does_not_wait() {
    for flavor in FLAVORS {
        let exit = attempt(
            builder(flavor).timeout_task_shutdown(Duration::ZERO),
            async {
                aiorun::shutdown_waits_for(forever());
                give_way().await;
                aiorun::stop();
            },
        );
        assert_eq!(exit.report.refused.len(), 1);
        assert!(exit.report.shutdown_took() < Duration::from_secs(10));
    }
}

#[test]
fn the_budget_bounds_all_steps_together() {
    for flavor in FLAVORS {
        let (release, released) = mpsc::channel::<()>();
        let budget = Duration::from_secs(2);
        let mut builder = builder(flavor);
        builder.shutdown_timeout(budget).shutdown_callback(forever);
        let began = std::time::Instant::now();
        let exit = attempt(&mut builder, async {
            aiorun::shutdown_waits_for(forever());
            aiorun::on_exit("hangs", forever());
            aiorun::spawn_blocking(move || {
                let _ = released.recv();
            });
            aiorun::stop();
        });
        drop(release);
        assert_eq!(
            (exit.report.refused.len(), exit.report.abandoned.len()),
            (2, 1)
        );
        assert!(!exit.report.hooks[0].is_success());
        // What is promised is half a second on top; the rest is for a busy machine.
        assert!(
            began.elapsed() < budget + Duration::from_secs(10),
            "{}",
            exit.report
        );
    }
}

/// Limits that are easy to tell apart, however busy the machine is.
fn spacious(flavor: Flavor) -> Builder {
    let mut builder = builder(flavor);
    builder.shutdown_timeout(Duration::from_secs(1000));
    builder
}

#[track_caller]
fn about(seconds: u64) {
    let left = aiorun::time_left().expect("a limit").as_secs_f64();
    let most = Duration::from_secs(seconds).as_secs_f64();
    assert!(left <= most && left > most * 0.93, "{left} of {most}");
}

#[test]
fn everybody_has_time_of_their_own() {
    for flavor in FLAVORS {
        passes(spacious(flavor).shutdown_callback(|| about(900)), async {
            assert!(aiorun::time_left().is_none(), "nobody stops yet");
            let handle = Handle::current();
            aiorun::shutdown_waits_for(async {
                aiorun::stopping().await;
                about(900);
                reach(Phase::Cancelling).await;
                about(900);
            });
            let (started, has_started) = tokio::sync::oneshot::channel();
            aiorun::spawn_blocking(move || {
                assert!(aiorun::time_left().is_none());
                started.send(()).unwrap();
                spin_until(&handle, Phase::Stopping);
                about(500);
                spin_until(&handle, Phase::Draining);
                about(500);
            });
            aiorun::on_exit("older", async { about(500) });
            aiorun::on_exit("newer", async { about(500) });
            let runtime = tokio::runtime::Handle::current();
            runtime.spawn(async {
                aiorun::stopping().await;
                about(1000);
            });
            has_started.await.unwrap();
            assert!(aiorun::time_left().is_none());
            aiorun::spawn_blocking(aiorun::stop);
            aiorun::stopping().await;
            about(900);
        });
    }
}

#[test]
fn limits_that_were_given_are_those_that_are_told() {
    for flavor in FLAVORS {
        let mut builder = spacious(flavor);
        builder.timeout_task_shutdown(Duration::from_secs(300));
        builder.timeout_executor_shutdown(Duration::from_secs(200));
        passes(&mut builder, async {
            let handle = Handle::current();
            aiorun::spawn_blocking(move || {
                spin_until(&handle, Phase::Draining);
                about(200);
            });
            aiorun::shutdown_waits_for(async {
                reach(Phase::Cancelling).await;
                about(300);
            });
            aiorun::stop();
        });
    }
}

#[test]
fn without_a_limit_none_is_left() {
    for flavor in FLAVORS {
        passes(builder(flavor).shutdown_timeout(None), async {
            let handle = Handle::current();
            aiorun::shutdown_waits_for(async {
                reach(Phase::Cancelling).await;
                assert!(aiorun::time_left().is_none());
            });
            aiorun::spawn_blocking(move || {
                spin_until(&handle, Phase::Draining);
                assert!(aiorun::time_left().is_none());
            });
            aiorun::on_exit("looks", async { assert!(aiorun::time_left().is_none()) });
            aiorun::stop();
        });
    }
}

type Options = fn(&mut Builder) -> &mut Builder;

fn given(options: Options) -> Exit {
    let mut builder = Builder::new();
    builder.flavor(Flavor::CurrentThread).signals([]);
    run(options(&mut builder), async {
        aiorun::stop();
        aiorun::on_exit("looks", async {
            let told = aiorun::time_left().map(|left| left.as_secs_f64() * 2.0);
            aiorun::on_exit(format!("{}", told.unwrap_or(-1.0)), async {});
        });
    })
}

#[test]
fn the_budget_is_the_sum_of_its_parts_where_that_is_more() {
    let cases: [(Options, Option<Duration>); 5] = [
        (|it| it, Some(BUDGET)),
        (
            |it| it.timeout_task_shutdown(Duration::from_secs(5)),
            Some(BUDGET),
        ),
        (
            |it| {
                it.timeout_task_shutdown(Duration::from_secs(500));
                it.timeout_executor_shutdown(Duration::from_secs(400))
            },
            Some(Duration::from_secs(900)),
        ),
        (|it| it.timeout_task_shutdown(None), None),
        (
            |it| {
                it.timeout_task_shutdown(None)
                    .shutdown_timeout(Duration::from_secs(70))
            },
            Some(Duration::from_secs(70)),
        ),
    ];
    for (options, budget) in cases {
        let exit = given(options);
        let told: f64 = exit.report.hooks[1].name().parse().unwrap();
        let budget = budget.map_or(-1.0, |budget| budget.as_secs_f64());
        assert!((told - budget).abs() < 10.0, "{told} instead of {budget}");
    }
}
