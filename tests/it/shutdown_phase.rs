//! Phases of the shutdown: who is cancelled when the others have ended.

use std::time::Duration;

use aiorun::{Builder, Flavor, Handle, Phase, Signal, catch_cancel, shield};
use tokio::sync::{mpsc, oneshot};

use crate::trial::{
    FLAVORS, Log, SHORT, all_begin, attempt, builder, error_text, forever, give_way,
    in_one_of_five, passes, paused, reach, run,
};

/// A task that says when it was cancelled, and a moment later that it has ended.
fn talker(log: &Log, phase: u8) {
    let log = log.clone();
    aiorun::task(format!("of phase {phase}"))
        .shutdown_phase(phase)
        .spawn(async move {
            aiorun::cancelled().await;
            log.say(format!("{phase} cancelled"));
            give_way().await;
            log.say(format!("{phase} ended"));
        });
}

#[test]
fn each_is_cancelled_when_those_before_have_ended() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            for phase in [3, 0, u8::MAX, 1] {
                talker(&log, phase);
            }
            let of_hook = log.clone();
            aiorun::on_exit("hook", async move { of_hook.say("hook") });
            all_begin().await;
            aiorun::stop();
        });
        let expected = [
            "0 cancelled",
            "0 ended",
            "1 cancelled",
            "1 ended",
            "3 cancelled",
            "3 ended",
            "255 cancelled",
            "255 ended",
            "hook",
        ];
        assert_eq!(log.lines(), expected);
        assert_eq!(exit.report.tasks.completed, 6);
    }
}

/// Whatever a task of phase 0 may rely on in a shutdown.
#[test]
fn in_its_turn_a_task_is_cancelled_as_any_other() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let later = |name: &'static str| aiorun::task(name).shutdown_phase(1);
            let told = log.on_drop("plain dropped");
            later("plain").spawn(async move {
                let _told = told;
                forever().await;
            });
            let of_catcher = log.clone();
            later("catcher").spawn(async move {
                assert!(catch_cancel(forever()).await.is_err());
                assert!(aiorun::is_cancelled());
                // Its cleanup may start tasks of its own.
                aiorun::spawn(give_way()).await.unwrap();
                of_catcher.say("caught");
            });
            let of_shielded = log.clone();
            later("shielded").spawn(async move {
                shield(async {
                    reach(Phase::Cancelling).await;
                    give_way().await;
                    assert!(
                        catch_cancel(async {}).await.is_ok(),
                        "nothing to see inside"
                    );
                })
                .await;
                of_shielded.say("shielded");
                forever().await;
            });
            let of_protected = log.clone();
            later("protected").protected().spawn(async move {
                aiorun::stopping().await;
                give_way().await;
                of_protected.say("protected");
            });
            all_begin().await;
            aiorun::stop();
        });
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["caught", "plain dropped", "protected", "shielded"]);
        assert_eq!(
            (exit.report.tasks.caught, exit.report.tasks.refused),
            (1, 0)
        );
    }
}

#[test]
fn a_task_that_waits_for_its_turn_is_as_before_the_shutdown() {
    for flavor in FLAVORS {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<u32>>(1);
        passes(&mut builder(flavor), async move {
            aiorun::task("pool").shutdown_phase(1).spawn(async move {
                while let Some(answer) = asked.recv().await {
                    assert!(aiorun::is_stopping());
                    // By a task of its own, which is not cancelled either.
                    let number = aiorun::spawn(async {
                        give_way().await;
                        7
                    });
                    answer.send(number.await.unwrap()).unwrap();
                }
            });
            aiorun::task("worker").spawn(async move {
                aiorun::cancelled().await;
                for _ in 0..3 {
                    let (answer, answered) = oneshot::channel();
                    ask.send(answer).await.unwrap();
                    assert_eq!(answered.await.unwrap(), 7);
                }
            });
            all_begin().await;
            aiorun::stop();
        });
    }
}

#[test]
fn what_it_spawns_has_its_phase() {
    passes(&mut builder(Flavor::CurrentThread), async {
        let parent = aiorun::task("parent").shutdown_phase(4).spawn(async {
            aiorun::task("child").spawn(forever());
            aiorun::shutdown_waits_for(aiorun::stopping());
            aiorun::task("other").shutdown_phase(0).spawn(forever());
            let job = aiorun::task("job").shutdown_phase(2);
            let of_job = job.spawn_blocking(|| Handle::current().tasks());
            let seen = of_job.await.unwrap().into_iter();
            let job = seen.filter(|task| task.name() == Some("job"));
            let tasks = Handle::current().tasks().into_iter().chain(job);
            let tasks = tasks.map(|task| (task.name().map(str::to_owned), task));
            tasks.collect::<std::collections::BTreeMap<_, _>>()
        });
        let tasks = parent.await.unwrap();
        let phase = |name: Option<&str>| tasks[&name.map(str::to_owned)].shutdown_phase;
        let names = ["parent", "child", "other", "job"].map(Some);
        assert_eq!(names.map(phase), [4, 4, 0, 0]);
        assert!(
            tasks
                .values()
                .any(|task| task.protected && task.shutdown_phase == 4)
        );
        let shown = |name: &str| tasks[&Some(name.to_owned())].to_string();
        assert!(
            shown("child").contains("shutdown phase 4, "),
            "{}",
            shown("child")
        );
        assert!(
            !shown("other").contains("shutdown phase"),
            "{}",
            shown("other")
        );
        aiorun::stop();
    });
}

#[test]
fn one_that_does_not_end_takes_its_share_of_the_time_only() {
    // In half of it, whose turn comes then has to end, on a busy machine too.
    const LONG: Duration = Duration::from_millis(1500);
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = attempt(builder(flavor).timeout_task_shutdown(2 * LONG), async {
            let of_deaf = log.clone();
            aiorun::task("deaf").cooperative().spawn(async move {
                aiorun::cancelled().await;
                // The limit is that of all tasks.
                let left = aiorun::time_left().unwrap();
                assert!(left > LONG && left <= 2 * LONG, "{left:?}");
                of_deaf.say("told");
                forever().await;
            });
            talker(&log, 1);
            all_begin().await;
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["told", "1 cancelled", "1 ended"]);
        let names: Vec<_> = exit.report.refused.iter().map(|task| task.name()).collect();
        assert_eq!(names, [Some("deaf")]);
        assert_eq!(exit.report.tasks.refused, 1);
        let cancelling = exit.report.phases[2];
        assert!(cancelling.ended >= cancelling.began + 2 * LONG);
    }
}

#[test]
fn who_refuses_is_told_with_its_phase() {
    let exit = attempt(
        builder(Flavor::MultiThread).timeout_task_shutdown(SHORT),
        async {
            let task = aiorun::task("deaf").shutdown_phase(6);
            task.spawn(shield(forever()));
            all_begin().await;
            aiorun::stop();
        },
    );
    assert_eq!(exit.report.refused[0].shutdown_phase, 6);
    let text = format!("{}\n{}", error_text(&exit), exit.report);
    assert_eq!(text.matches("shutdown phase 6, ").count(), 2, "{text}");
}

/// Plain tasks whose turn has not come have had no chance to hear of it, and so have not refused.
#[test]
fn an_abort_ends_all_phases_at_once() {
    let an_abort = |flavor| {
        let log = Log::default();
        let exit = attempt(&mut builder(flavor), async {
            aiorun::task("deaf").protected().spawn(forever());
            for phase in [1, 2, 200] {
                let told = log.on_drop(format!("{phase} dropped"));
                aiorun::task("later").shutdown_phase(phase).spawn(async {
                    let _told = told;
                    forever().await;
                });
            }
            all_begin().await;
            crate::repeat::insist(Handle::current(), Signal::INT);
            forever().await;
        });
        assert_eq!(log.lines().len(), 3);
        assert_eq!(
            (exit.report.tasks.refused, exit.report.tasks.cancelled),
            (1, 4)
        );
        assert!(exit.report.shutdown_took() < crate::trial::BUDGET / 2);
    };
    for flavor in FLAVORS {
        in_one_of_five(|| an_abort(flavor));
    }
}

#[test]
fn without_time_nobody_waits_for_a_turn() {
    let exit = run(
        builder(Flavor::CurrentThread).timeout_task_shutdown(Duration::ZERO),
        async {
            for phase in 0..4 {
                aiorun::task("plain").shutdown_phase(phase).spawn(forever());
            }
            all_begin().await;
            aiorun::stop();
            forever().await;
        },
    );
    assert_eq!(exit.report.tasks.cancelled, 5);
}

#[test]
fn a_phase_that_comes_up_in_the_shutdown_has_its_turn() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            let of_first = log.clone();
            aiorun::spawn(async move {
                aiorun::cancelled().await;
                talker(&of_first, 2);
                give_way().await;
                of_first.say("0 ended");
            });
            all_begin().await;
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["0 ended", "2 cancelled", "2 ended"]);
    }
}

#[test]
fn who_comes_to_a_phase_that_had_its_turn_is_awaited() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            let of_last = log.clone();
            aiorun::task("last").shutdown_phase(2).spawn(async move {
                aiorun::cancelled().await;
                let of_late = of_last.clone();
                aiorun::task("late").shutdown_phase(1).spawn(async move {
                    give_way().await;
                    of_late.say("late ended");
                });
                talker(&of_last, 9);
            });
            all_begin().await;
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["late ended", "9 cancelled", "9 ended"]);
    }
}

#[test]
fn a_shield_in_a_task_of_somebody_else_is_awaited_before_the_next() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            talker(&log, 1);
            let of_bare = log.clone();
            let (begun, has_begun) = oneshot::channel();
            #[expect(clippy::disallowed_methods, reason = "a task of somebody else")]
            tokio::spawn(shield(async move {
                begun.send(()).unwrap();
                reach(Phase::Cancelling).await;
                give_way().await;
                of_bare.say("bare ended");
            }));
            has_begun.await.unwrap();
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["bare ended", "1 cancelled", "1 ended"]);
    }
}

#[test]
fn a_request_to_one_task_does_not_wait_for_its_turn() {
    passes(&mut builder(Flavor::CurrentThread), async {
        let later = aiorun::task("later").shutdown_phase(1).spawn(forever());
        give_way().await;
        later.cancel();
        assert!(later.await.unwrap_err().is_cancelled());
        aiorun::stop();
    });
}

#[test]
fn in_paused_time_no_timer_runs_ahead_of_a_turn() {
    let log = Log::default();
    passes(&mut paused(), async {
        for phase in 0..4 {
            let log = log.clone();
            let task = aiorun::task("timer").shutdown_phase(phase);
            task.spawn(async move {
                aiorun::cancelled().await;
                tokio::time::sleep(Duration::from_secs(3600)).await;
                log.say(format!("{phase}"));
            });
        }
        all_begin().await;
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["0", "1", "2", "3"]);
}

/// A crowd in each phase, on all threads, and every one of them spawns another.
#[test]
fn crowds() {
    const CROWD: u32 = 2_000;
    let log = Log::default();
    let exit = run(&mut builder(Flavor::MultiThread), async {
        for number in 0..CROWD {
            let phase = (number % 5) as u8;
            let log = log.clone();
            aiorun::task("one of many")
                .shutdown_phase(phase)
                .spawn(async move {
                    aiorun::cancelled().await;
                    aiorun::spawn(give_way());
                    log.say(format!("{phase}"));
                });
        }
        all_begin().await;
        aiorun::stop();
    });
    let lines = log.lines();
    assert!(lines.is_sorted(), "one was cancelled before its turn");
    assert_eq!(lines.len(), CROWD as usize);
    assert_eq!(exit.report.tasks.spawned, u64::from(2 * CROWD + 1));
}

#[test]
fn a_supervisor_that_is_dropped_keeps_the_order() {
    let log = Log::default();
    crate::trial::on_a_runtime(async {
        let (started, starts) = oneshot::channel();
        let main = async {
            talker(&log, 1);
            talker(&log, 0);
            all_begin().await;
            started.send(Handle::current()).unwrap();
            forever().await;
        };
        let mut builder = Builder::new();
        let supervised = builder.signals([]).supervise(main);
        let handle = tokio::select! {
            handle = starts => handle.unwrap(),
            exit = supervised => unreachable!("{exit:?}"),
        };
        while handle.phase() < Phase::Closed {
            tokio::task::yield_now().await;
        }
    });
    let expected = ["0 cancelled", "0 ended", "1 cancelled", "1 ended"];
    assert_eq!(log.lines(), expected);
}
