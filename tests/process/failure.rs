//! Failures: who hears of one, and that none prevents a later step.

use std::process::{ExitCode, Termination};
use std::time::Duration;

use aiorun::{RunError, SignalAction};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::ended::Ended;
use crate::scene::{Farewell, Scene, idle, outlive, ready, ready_and_idle};

pub(crate) fn register(cases: &mut Cases) {
    in_tasks(cases);
    in_callbacks(cases);
    unseen(cases);
    seen_and_reported(cases);
}

fn in_tasks(cases: &mut Cases) {
    cases.every_flavor("a_panic_in_a_task", in_task, |program| {
        all_steps(&program.stop_by(Signal::TERM))
            .exited(0)
            .says("broken task");
    });
    cases.every_flavor("a_panic_in_a_destructor", in_destructor, |program| {
        let ended = program.stop_by(Signal::TERM);
        all_steps(&ended)
            .exited(0)
            .says("broken destructor")
            .says("failures=1 panicked=1");
    });
    cases.every_flavor(
        "a_panic_of_protected_work_in_the_shutdown",
        in_cleanup,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            all_steps(&ended)
                .exited(0)
                .says("broken cleanup")
                .says("failures=1 panicked=1");
        },
    );
    cases.every_flavor("a_panic_in_a_job_in_the_shutdown", in_job, |program| {
        let ended = program.stop_by(Signal::TERM);
        all_steps(&ended)
            .exited(0)
            .says("broken job")
            .says("failures=1 panicked=1");
    });
}

fn in_callbacks(cases: &mut Cases) {
    cases.every_flavor("a_panic_in_the_callback", in_callback, |program| {
        for variant in ["sync", "async"] {
            let ended = program.variant(variant).stop_by(Signal::TERM);
            all_steps(&ended)
                .exited(1)
                .says("broken callback")
                .says("failures=1 panicked=1");
        }
    });
    cases.every_flavor("a_panic_in_a_hook", in_hook, |program| {
        let ended = program.stop_by(Signal::TERM);
        all_steps(&ended)
            .exited(1)
            .says_in_a_line(&["`broken`", "broken hook", "failure.rs"]);
    });
    cases.every_flavor(
        "a_panic_in_the_error_handler",
        in_error_handler,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            all_steps(&ended)
                .exited(0)
                .says("unhandled_error_handler panicked")
                .says("lost and found");
        },
    );
    cases.every_flavor(
        "a_panic_in_the_shutdown_handler",
        in_shutdown_handler,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            all_steps(&ended)
                .exited(0)
                .says("shutdown_handler panicked");
        },
    );
    cases.every_flavor("main's_panic_is_no_different", in_main, |program| {
        all_steps(&program.run())
            .exited(101)
            .says_once("broken main");
    });
}

fn unseen(cases: &mut Cases) {
    cases.every_flavor("a_handle_dropped_before_the_end", unhandled, |program| {
        for kind in ["panic", "error"] {
            is_unhandled(&program.variant(&format!("before {kind}")).run());
        }
    });
    cases.every_flavor("a_handle_dropped_after_the_end", unhandled, |program| {
        for kind in ["panic", "error"] {
            is_unhandled(&program.variant(&format!("after {kind}")).run());
        }
    });
    cases.every_flavor("a_handle_unread_at_the_end", unread, |program| {
        for variant in ["panic", "error"] {
            let ended = program.variant(variant).run();
            ended
                .exited(0)
                .says_once("failures=1")
                .says_in_a_line(&["`loser`", "failure.rs"]);
        }
    });
    cases.every_flavor(
        "a_handle_unread_at_the_end_with_the_option",
        unread,
        |program| {
            for variant in ["stop panic", "stop error"] {
                let ended = program.variant(variant).run();
                ended
                    .exited(1)
                    .says_once("failures=1")
                    .says_in_a_line(&["`loser`", "failure.rs"])
                    .says("the error: ");
            }
        },
    );
}

fn seen_and_reported(cases: &mut Cases) {
    cases.every_flavor(
        "a_failure_that_is_awaited_is_nobody_else's",
        awaited,
        |program| {
            let ended = program.run();
            ended
                .exited(0)
                .says_once("it was a panic")
                .says_once("it was an error: lost");
            ended
                .says_once("failures=0")
                .never_says("aiorun: error")
                .says_once("no error");
        },
    );
    cases.every_flavor(
        "the_first_failure_is_the_error_and_all_are_reported",
        several,
        |program| {
            let ended = program.run();
            ended
                .exited(1)
                .says_once("failures=3")
                .says_once("the error: number 0");
            for number in 0..3 {
                ended.says_in_a_line(&["`loser`", &format!("number {number}")]);
            }
        },
    );
    cases.every_flavor("a_cancellation_is_no_failure", cancelled, |program| {
        program
            .run()
            .exited(0)
            .says_once("failures=0")
            .complains_not();
    });
    cases.every_flavor("an_error_that_cannot_be_shown", unshowable, |program| {
        program
            .run()
            .exited(1)
            .says("`Display` panicked")
            .says_once("hook");
    });
}

/// What happens in every shutdown, whatever breaks.
fn all_steps(ended: &Ended) -> &Ended {
    ended
        .says_once("bystander cleaned up")
        .says_once("protected work done");
    ended
        .says_once("job done")
        .says_times(2, "hook done")
        .says_once("AFTER");
    ended.within(Duration::from_secs(15))
}

fn is_unhandled(ended: &Ended) {
    ended
        .exited(1)
        .says_once("failures=1")
        .says_in_a_line(&["`loser`", "lost"]);
    ended.says_once("the error: lost");
}

fn after(exit: aiorun::Exit) -> ExitCode {
    let (failures, panicked) = (exit.report.failures.len(), exit.report.tasks.panicked);
    println!("AFTER failures={failures} panicked={panicked}");
    match &exit.error {
        Some(RunError::TaskFailed(failure)) => println!("the error: {}", failure.message()),
        Some(_) => println!("another error"),
        None => println!("no error"),
    }
    exit.report()
}

/// One of each, for a shutdown to wait for.
fn bystanders() {
    aiorun::on_exit("first", async { println!("hook done") });
    let farewell = Farewell("bystander cleaned up");
    aiorun::spawn(async {
        idle().await;
        drop(farewell);
    });
    aiorun::shutdown_waits_for(async {
        aiorun::stopping().await;
        sleep(Duration::from_millis(100)).await;
        aiorun::spawn_blocking(|| println!("job done"));
        println!("protected work done");
    });
}

fn last_hook() {
    aiorun::on_exit("last", async { println!("hook done") });
}

fn break_at_once(what: &str) {
    assert!(what.is_empty(), "{what}");
}

fn in_task(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        bystanders();
        last_hook();
        let _ = aiorun::spawn(async { break_at_once("broken task") }).await;
        aiorun::spawn(async { break_at_once("broken task") });
        ready();
    }))
}

struct Breaks;

impl Drop for Breaks {
    fn drop(&mut self) {
        break_at_once("broken destructor");
    }
}

fn in_destructor(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        bystanders();
        last_hook();
        aiorun::spawn(async {
            let _breaks = Breaks;
            ready_and_idle().await;
        });
    }))
}

fn in_cleanup(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        bystanders();
        last_hook();
        aiorun::shutdown_waits_for(async {
            ready();
            aiorun::stopping().await;
            sleep(Duration::from_millis(20)).await;
            break_at_once("broken cleanup");
        });
    }))
}

fn in_job(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        bystanders();
        last_hook();
        aiorun::spawn_blocking(|| {
            ready();
            while !aiorun::is_stopping() {
                std::thread::sleep(Duration::from_millis(5));
            }
            break_at_once("broken job");
        });
    }))
}

fn in_callback(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    if scene.is("sync") {
        builder.shutdown_callback(|| break_at_once("broken callback"));
    } else {
        builder.shutdown_callback(async || break_at_once("broken callback"));
    }
    after(builder.run(async {
        bystanders();
        last_hook();
        ready();
    }))
}

fn in_hook(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        bystanders();
        aiorun::on_exit("broken", async { break_at_once("broken hook") });
        last_hook();
        ready();
    }))
}

fn in_error_handler(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.unhandled_error_handler(|_| break_at_once("broken handler"));
    after(builder.run(async {
        bystanders();
        last_hook();
        outlive(aiorun::spawn_fallible(async {
            Err::<(), _>("lost and found")
        }))
        .await;
        ready();
    }))
}

fn in_shutdown_handler(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_handler(|_, _| {
        break_at_once("broken handler");
        SignalAction::Ignore
    });
    after(builder.run(async {
        bystanders();
        last_hook();
        ready();
    }))
}

fn in_main(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        bystanders();
        last_hook();
        break_at_once("broken main");
    }))
}

/// Fails by a panic or an error, as the variant says.
async fn lose(panics: bool) -> Result<(), &'static str> {
    tokio::task::yield_now().await;
    if panics {
        break_at_once("lost");
    }
    Err("lost")
}

fn unhandled(scene: &Scene) -> ExitCode {
    let (before, panics) = (
        scene.variant.starts_with("before"),
        scene.variant.ends_with("panic"),
    );
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(true);
    after(builder.run(async move {
        let (finish, may_finish) = tokio::sync::oneshot::channel::<()>();
        let task = aiorun::task("loser").spawn_fallible(async move {
            let _ = may_finish.await;
            lose(panics).await
        });
        if before {
            drop(task);
            finish.send(()).unwrap();
        } else {
            finish.send(()).unwrap();
            outlive(task).await;
        }
        idle().await;
    }))
}

fn unread(scene: &Scene) -> ExitCode {
    let panics = scene.variant.ends_with("panic");
    // Kept beyond the end of main and of the run.
    let (keep, kept) = std::sync::mpsc::channel();
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(scene.variant.starts_with("stop"));
    let exit = builder.run(async move {
        let task = aiorun::task("loser").spawn_fallible(lose(panics));
        while !task.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
        keep.send(task).unwrap();
        aiorun::stop();
    });
    let code = after(exit);
    drop(kept);
    code
}

fn awaited(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(true).run_forever(false);
    after(builder.run(async {
        let panic = aiorun::spawn_fallible(lose(true)).await.unwrap_err();
        if panic.is_panic() {
            println!("it was a panic");
        }
        let error = aiorun::spawn_fallible(lose(false))
            .await
            .unwrap()
            .unwrap_err();
        println!("it was an error: {error}");
        let _ = aiorun::spawn_blocking(|| break_at_once("lost")).await;
        let _ = aiorun::shutdown_waits_for(lose(true)).await;
    }))
}

fn several(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(true);
    after(builder.run(async {
        for number in 0..3_u64 {
            aiorun::task("loser")
                .protected()
                .spawn_fallible(async move {
                    if number > 0 {
                        // The first one has failed by then.
                        aiorun::stopping().await;
                    }
                    Err::<(), _>(format!("number {number}"))
                });
        }
        idle().await;
    }))
}

fn cancelled(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(true).run_forever(false);
    after(builder.run(async {
        let task = aiorun::spawn(idle());
        task.cancel();
        drop(task);
        let task = aiorun::spawn(idle());
        task.abort();
        drop(task);
        let task = aiorun::spawn(idle());
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    }))
}

#[derive(Debug)]
struct Unshowable;

impl std::fmt::Display for Unshowable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        break_at_once("broken text");
        Ok(())
    }
}

impl std::error::Error for Unshowable {}

fn unshowable(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(true);
    builder
        .run(async {
            aiorun::on_exit("say so", async { println!("hook") });
            aiorun::spawn_fallible(async { Err::<(), _>(Unshowable) });
            idle().await;
        })
        .report()
}
