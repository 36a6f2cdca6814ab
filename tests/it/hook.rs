//! Exit hooks.

use std::time::Duration;

use aiorun::{Handle, HookReport, Phase, RunError, shield};
use futures::FutureExt as _;
use tokio::sync::oneshot;

use crate::trial::{
    FLAVORS, Log, OnDrop, SHORT, attempt, builder, error_text, forever, give_way, reach, run,
};

fn names(hooks: &[HookReport]) -> Vec<&str> {
    hooks.iter().map(HookReport::name).collect()
}

#[test]
fn the_newest_comes_first_and_one_at_a_time() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            for number in 0..4 {
                let log = log.clone();
                aiorun::on_exit(number.to_string(), async move {
                    log.say(format!("{number} begins"));
                    give_way().await;
                    log.say(format!("{number} ends"));
                });
            }
            aiorun::stop();
        });
        assert_eq!(names(&exit.report.hooks), ["3", "2", "1", "0"]);
        let in_turn = [3, 2, 1, 0].map(|it| [format!("{it} begins"), format!("{it} ends")]);
        assert_eq!(log.lines(), in_turn.concat());
        assert_eq!(exit.report.tasks.spawned, 5);
        assert!(
            exit.report
                .hooks
                .iter()
                .all(|hook| hook.location.file() == file!())
        );
    }
}

#[test]
fn everybody_may_register_one() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            aiorun::spawn(async { aiorun::on_exit("task", async {}) })
                .await
                .unwrap();
            aiorun::spawn_blocking(|| aiorun::on_exit("job", async {}))
                .await
                .unwrap();
            let handle = Handle::current();
            let thread = std::thread::spawn(move || handle.on_exit("thread", async {}));
            thread.join().unwrap();
            aiorun::stop();
        });
        assert_eq!(names(&exit.report.hooks), ["thread", "job", "task"]);
    }
}

#[test]
fn one_that_was_registered_late_runs() {
    for flavor in FLAVORS {
        let log = Log::default();
        let (of_callback, of_main) = (log.clone(), log.clone());
        let exit = run(
            builder(flavor).shutdown_callback(move || {
                aiorun::on_exit(
                    "of the callback",
                    async move { of_callback.say("callback") },
                );
            }),
            async move {
                aiorun::shutdown_waits_for(async move {
                    reach(Phase::Cancelling).await;
                    aiorun::on_exit("of a task", async move {
                        of_main.say("task");
                        aiorun::on_exit("of a hook", async move { of_main.say("hook") });
                    });
                });
                aiorun::stop();
            },
        );
        assert_eq!(log.lines(), ["task", "hook", "callback"]);
        let order = ["of a task", "of a hook", "of the callback"];
        assert_eq!(names(&exit.report.hooks), order);
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the last to be waited for is a bare task"
)]
fn one_that_is_registered_while_the_last_shield_is_waited_for_runs() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        let exit = run(&mut builder(flavor), async move {
            let (begun, has_begun) = oneshot::channel();
            aiorun::on_exit("first", async { has_begun.await.unwrap() });
            tokio::spawn(async move {
                reach(Phase::Cancelling).await;
                let last = shield(async move {
                    begun.send(()).unwrap();
                    // Until none begins any more, which is when all hooks have run.
                    while shield(async {}).now_or_never().is_some() {
                        tokio::task::yield_now().await;
                    }
                    aiorun::on_exit("late", async move {
                        give_way().await;
                        of_main.say("late");
                    });
                });
                last.await;
            });
            aiorun::stop();
        });
        assert_eq!(names(&exit.report.hooks), ["first", "late"]);
        assert_eq!(log.lines(), ["late"]);
    }
}

/// By the destructor of a task that was ended by force, when all hooks have run.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the last to be waited for is a bare task"
)]
fn who_refuses_is_named_though_a_hook_comes_late() {
    for flavor in FLAVORS {
        let mut builder = builder(flavor);
        builder.shutdown_timeout(2 * SHORT);
        let exit = attempt(&mut builder, async {
            let (entered, has_entered) = oneshot::channel();
            // There is something to wait for until then.
            aiorun::on_exit("first", async { has_entered.await.unwrap() });
            tokio::spawn(async {
                reach(Phase::Cancelling).await;
                let last = shield(async {
                    entered.send(()).unwrap();
                    while shield(async {}).now_or_never().is_some() {
                        tokio::task::yield_now().await;
                    }
                    let (begun, has_begun) = oneshot::channel();
                    aiorun::task("stubborn").protected().spawn(async {
                        let _hook = OnDrop::new(|| aiorun::on_exit("late", async {}));
                        begun.send(()).unwrap();
                        forever().await;
                    });
                    has_begun.await.unwrap();
                });
                last.await;
            });
            aiorun::stop();
        });
        let [refused] = &exit.report.refused[..] else {
            panic!("{:#?}", exit.report);
        };
        assert_eq!(refused.name(), Some("stubborn"));
        assert!(refused.trace.is_some());
        assert!(matches!(exit.error, Some(RunError::Refused(_))), "{exit:?}");
    }
}

#[test]
fn one_that_panics_stops_no_other() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = attempt(&mut builder(flavor), async {
            let hook = log.clone();
            aiorun::on_exit("older", async move { hook.say("older") });
            aiorun::on_exit("breaks", async {
                give_way().await;
                panic!("no disk");
            });
            let hook = log.clone();
            aiorun::on_exit("newer", async move { hook.say("newer") });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["newer", "older"]);
        let well: Vec<_> = exit
            .report
            .hooks
            .iter()
            .map(HookReport::is_success)
            .collect();
        assert_eq!(well, [true, false, true]);
        assert!(matches!(&exit.error, Some(RunError::Hook(hook)) if hook.name() == "breaks"));
        assert!(error_text(&exit).contains("no disk"));
        assert_eq!(exit.report.tasks.panicked, 1);
    }
}

#[test]
fn one_that_hangs_has_half_of_what_is_left() {
    for flavor in FLAVORS {
        let log = Log::default();
        let mut builder = builder(flavor);
        let exit = attempt(builder.shutdown_timeout(Duration::from_secs(2)), async {
            let hook = log.clone();
            aiorun::on_exit("older", async move { hook.say("older") });
            let told = log.on_drop("dropped");
            aiorun::on_exit("hangs", async {
                let _told = told;
                forever().await;
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["dropped", "older"]);
        let hook = &exit.report.hooks[0];
        assert_eq!((hook.name(), hook.is_success()), ("hangs", false));
        assert!(hook.took >= Duration::from_millis(500), "{hook}");
        assert!(matches!(&exit.error, Some(RunError::Hook(hook)) if hook.name() == "hangs"));
        assert!(error_text(&exit).contains("did not end within"));
    }
}

#[test]
fn one_that_blocks_is_left_behind() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let log = Log::default();
    let mut builder = builder(aiorun::Flavor::MultiThread);
    // Enough for the other one, however busy the machine is.
    let exit = attempt(builder.shutdown_timeout(Duration::from_secs(4)), async {
        let hook = log.clone();
        aiorun::on_exit("older", async move { hook.say("older") });
        aiorun::on_exit("blocks", async move {
            let _ = released.recv();
        });
        aiorun::stop();
    });
    drop(release);
    assert_eq!(log.lines(), ["older"]);
    assert!(!exit.report.hooks[0].is_success());
    assert!(matches!(&exit.error, Some(RunError::Hook(hook)) if hook.name() == "blocks"));
}

#[test]
fn what_a_hook_started_and_does_not_end_counts_to_its_time() {
    for flavor in FLAVORS {
        let mut builder = builder(flavor);
        let exit = attempt(builder.shutdown_timeout(Duration::from_secs(2)), async {
            aiorun::on_exit("leaves a task", async {
                aiorun::task("left").spawn(forever());
            });
            aiorun::stop();
        });
        assert!(exit.report.hooks[0].took >= Duration::from_millis(500));
        assert_eq!(exit.report.refused[0].name(), Some("left"));
        assert!(error_text(&exit).contains("`left`"));
    }
}

#[test]
fn the_destructor_of_one_may_panic() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            aiorun::on_exit("older", async {});
            aiorun::on_exit("fragile", async {
                let _fragile = OnDrop::new(|| panic!("at its end"));
            });
            aiorun::stop();
        });
        let well: Vec<_> = exit
            .report
            .hooks
            .iter()
            .map(HookReport::is_success)
            .collect();
        assert_eq!(well, [false, true]);
        assert!(error_text(&exit).contains("at its end"), "{}", exit.report);
    }
}

#[test]
fn a_hook_sees_a_supervisor_and_no_task() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            aiorun::on_exit("looks", async {
                assert!(aiorun::is_stopping());
                let tasks = Handle::current().tasks();
                assert_eq!(tasks.len(), 1, "only itself");
                assert_eq!(tasks[0].kind, aiorun::task::Kind::Hook);
                assert_eq!(tasks[0].name(), Some("looks"));
                tokio::task::yield_now().await;
            });
            aiorun::spawn(forever());
            aiorun::stop();
        });
        assert!(exit.is_success());
    }
}
