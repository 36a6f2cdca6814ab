//! Tasks that are held up in what they do about their cancellation: the program ends within its
//! limit, or when it is told again, and names the place.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use aiorun::{cancelled, catch_cancel, is_cancelled, shield};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::cancellation::after;
use crate::case::Cases;
use crate::child::{Child, Program};
use crate::ended::Ended;
use crate::scene::{Farewell, Scene, idle, ready, ready_and_idle};

const LIMIT: Duration = Duration::from_secs(1);
/// Far more than the limit, and far less than what the culprits would take.
const MOST: Duration = Duration::from_secs(10);
/// Long enough after the first signal to count as a repeated one.
const LATER: Duration = Duration::from_millis(700);

pub(crate) fn register(cases: &mut Cases) {
    without_end(cases);
    repeated_signals(cases);
}

fn without_end(cases: &mut Cases) {
    cases.every_flavor(
        "a_task_that_catches_and_never_ends",
        stuck_catcher,
        |program| {
            refuses(program, "caught at", "caught_line");
        },
    );
    cases.every_flavor("a_task_that_asks_and_never_ends", stuck_asker, |program| {
        for variant in ["is_cancelled", "cancelled", "inside"] {
            refuses(&program.variant(variant), "asked at", "asked_line");
        }
    });
    cases.every_flavor("a_shield_that_never_ends", stuck_shield, |program| {
        refuses(program, "shielded at", "shielded_line");
    });
    cases.every_flavor(
        "a_main_that_catches_and_never_ends",
        stuck_main,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            let caught = format!("caught at {}", place(&ended, "caught_line"));
            ended
                .exited(1)
                .within(MOST)
                .says_in_a_line(&["  main spawned at ", &caught])
                .says_in_a_line(&["REFUSED main ", &caught]);
        },
    );
    cases.every_flavor(
        "a_shield_of_a_bare_task_that_never_ends",
        stuck_stray,
        |program| is_named_as_a_stray(&program.stop_by(Signal::TERM)),
    );
}

fn repeated_signals(cases: &mut Cases) {
    cases.every_flavor("a_second_int_ends_a_cleanup", long_cleanup, |program| {
        for first in [Signal::INT, Signal::TERM] {
            let mut child = in_cleanup(&program.variant("endless"), first);
            child.signal(Signal::INT);
            let ended = child.finish();
            is_ended_by_force(&ended);
            is_named(&ended, "caught at", "caught_line");
        }
    });
    cases.every_flavor("a_second_int_ends_a_shield", long_cleanup, |program| {
        let mut child = in_cleanup(&program.variant("shielded"), Signal::INT);
        child.signal(Signal::INT);
        let ended = child.finish();
        is_ended_by_force(&ended);
        is_named(&ended, "shielded at", "shielded_line");
    });
    cases.every_flavor(
        "a_second_int_ends_a_shield_of_a_bare_task",
        stuck_stray,
        |program| {
            let mut child = in_cleanup(&program.variant("patient"), Signal::TERM);
            child.signal(Signal::INT);
            is_named_as_a_stray(&child.finish());
        },
    );
    cases.every_flavor(
        "a_second_term_leaves_a_cleanup_alone",
        long_cleanup,
        |program| {
            for first in [Signal::INT, Signal::TERM] {
                let mut child = in_cleanup(&program.variant("slow"), first);
                child.signal(Signal::TERM);
                // It has heard of the signal, and the cleanup is still at work.
                child.wait_for("SIGTERM again while shutting down");
                child.signal(Signal::USR1);
                let ended = child.finish();
                ended
                    .exited(0)
                    .says_once("cleaned up")
                    .says_once("the hook has run");
                ended.figures([("caught", 1), ("refused", 0)]);
            }
        },
    );
}

/// The place in this file whose line the child has told.
fn place(ended: &Ended, name: &str) -> String {
    format!("tests/process/held_up.rs:{}:", ended.figure(name))
}

/// The task is refused at the limit, and named with the place that it is held up by.
#[track_caller]
fn refuses(program: &Program, words: &str, line: &str) {
    let ended = program.stop_by(Signal::TERM);
    ended
        .exited(1)
        .within(MOST)
        .says_once("culprit dropped")
        .says("did not end within the limit");
    is_named(&ended, words, line);
    ended.figures([("refused", 1)]);
}

/// The warning and the report name the task, where it was started, and the place.
#[track_caller]
fn is_named(ended: &Ended, words: &str, line: &str) {
    let spawned = format!("spawned at {}", place(ended, "spawned_line"));
    let place = format!("{words} {}", place(ended, line));
    ended.says_in_a_line(&["  task `culprit`", &spawned, &place]);
    ended.says_in_a_line(&["REFUSED task `culprit`", &spawned, &place]);
}

/// The warning and the report name the shield, for its task is not known.
fn is_named_as_a_stray(ended: &Ended) {
    ended
        .exited(1)
        .within(MOST)
        .says_once("stray dropped")
        .says("did not end within the limit");
    let place = place(ended, "shielded_line");
    ended.says_in_a_line(&["  a shield", "not aiorun's", &place]);
    ended.says_in_a_line(&["REFUSED a shield", "not aiorun's", &place]);
}

fn is_ended_by_force(ended: &Ended) {
    ended
        .exited(1)
        .within(MOST)
        .says_once("cleanup dropped")
        .never_says("cleaned up")
        .says_once("the hook has run");
    ended.figures([("caught", 1), ("refused", 1)]);
}

/// A child that is in its cleanup for long enough.
fn in_cleanup(program: &Program, signal: Signal) -> Child {
    let mut child = program.start_ready();
    child.signal(signal);
    child.wait_for("cleaning up");
    thread::sleep(LATER);
    child
}

fn limited(scene: &Scene) -> aiorun::Builder {
    let mut builder = scene.builder();
    builder.shutdown_timeout(LIMIT);
    builder
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is said of such a task is the question"
)]
fn stuck_stray(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    if !scene.is("patient") {
        builder.shutdown_timeout(LIMIT);
    }
    after(builder.run(async {
        tokio::spawn(async {
            let _farewell = Farewell("stray dropped");
            let commit = async {
                ready();
                aiorun::stopping().await;
                println!("cleaning up");
                idle().await;
            };
            println!("shielded_line={}", line!() + 1);
            shield(commit).await;
        });
        idle().await;
    }))
}

fn stuck_catcher(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        println!("spawned_line={}", line!() + 1);
        aiorun::task("culprit").spawn(async {
            let _farewell = Farewell("culprit dropped");
            println!("caught_line={}", line!() + 1);
            let caught = catch_cancel(ready_and_idle()).await;
            idle().await;
            drop(caught);
        });
    }))
}

async fn asks(with: &str) {
    if with == "cancelled" {
        println!("asked_line={}", line!() + 1);
        drop(cancelled());
    } else {
        println!("asked_line={}", line!() + 1);
        assert!(!is_cancelled());
    }
    ready_and_idle().await;
}

fn stuck_asker(scene: &Scene) -> ExitCode {
    let variant = scene.variant.clone();
    after(limited(scene).run(async move {
        println!("spawned_line={}", line!() + 1);
        aiorun::task("culprit").spawn(async move {
            let _farewell = Farewell("culprit dropped");
            if variant == "inside" {
                let _ = catch_cancel(asks("is_cancelled")).await;
            } else {
                asks(&variant).await;
            }
        });
    }))
}

fn stuck_shield(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        println!("spawned_line={}", line!() + 1);
        aiorun::task("culprit").spawn(async {
            let _farewell = Farewell("culprit dropped");
            println!("shielded_line={}", line!() + 1);
            shield(ready_and_idle()).await;
        });
    }))
}

fn stuck_main(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        println!("caught_line={}", line!() + 1);
        let _ = catch_cancel(ready_and_idle()).await;
        idle().await;
    }))
}

fn long_cleanup(scene: &Scene) -> ExitCode {
    let variant = scene.variant.clone();
    after(scene.builder().run(async move {
        aiorun::on_exit("say so", async { println!("the hook has run") });
        let mut finish = signal(SignalKind::user_defined1()).unwrap();
        println!("spawned_line={}", line!() + 1);
        aiorun::task("culprit").spawn(async move {
            println!("caught_line={}", line!() + 1);
            let _ = catch_cancel(ready_and_idle()).await;
            let _farewell = Farewell("cleanup dropped");
            println!("cleaning up");
            match &*variant {
                "endless" => idle().await,
                "shielded" => {
                    println!("shielded_line={}", line!() + 1);
                    shield(idle()).await;
                }
                _ => drop(finish.recv().await),
            }
            println!("cleaned up");
        });
    }))
}
