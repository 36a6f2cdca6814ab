//! Many tasks of all kinds: each has one outcome, each destructor runs once.

use std::process::{ExitCode, Termination};
use std::time::Duration;

use aiorun::Flavor;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::scene::{Scene, idle, ready};
use crate::tally::{Token, adds_up, tell};

/// Of all kinds together.
const TASKS: u64 = 10_000;

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("all_outcomes_add_up", crowd, |program| {
        let ended = program.stop_by(Signal::TERM);
        adds_up(ended.exited(1).figures([
            // The tasks, and main.
            ("spawned", TASKS + 1),
            ("panicked", TASKS / 8),
            ("failed", TASKS / 8),
            ("refused", TASKS / 8),
            ("completed", TASKS / 8 * 3),
            ("cancelled", TASKS / 8 * 2 + 1),
            ("made", TASKS),
        ]));
    });
}

async fn forever(token: Token) {
    idle().await;
    drop(token);
}

async fn at_once(token: Token) {
    tokio::task::yield_now().await;
    drop(token);
}

fn start(number: u64, local: bool) {
    let token = Token::new();
    match number % 8 {
        0 if local => drop(aiorun::spawn_local(at_once(token))),
        0 | 1 => drop(aiorun::spawn(at_once(token))),
        2 => drop(aiorun::task("panics").spawn(async {
            at_once(token).await;
            // Without the panic hook, which would print ten thousand lines.
            std::panic::resume_unwind(Box::new("quietly"));
        })),
        3 => drop(aiorun::task("fails").spawn_fallible(async {
            at_once(token).await;
            Err::<(), _>("lost")
        })),
        4 if local => drop(aiorun::spawn_local(forever(token))),
        4 | 5 => drop(aiorun::spawn(forever(token))),
        6 => drop(aiorun::task("refuses").cooperative().spawn(forever(token))),
        _ => drop(aiorun::spawn_blocking(|| drop(token))),
    }
}

fn crowd(scene: &Scene) -> ExitCode {
    let local = scene.flavor == Flavor::Local;
    let mut builder = scene.builder();
    // Ten thousand lines are not the question.
    builder
        .unhandled_error_handler(|_| {})
        .timeout_task_shutdown(Duration::from_secs(1));
    let exit = builder.run(async move {
        for number in 0..TASKS {
            start(number, local);
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        // All that end by themselves have done so, the jobs included.
        while Token::dropped() < TASKS / 8 * 5 {
            sleep(Duration::from_millis(1)).await;
        }
        ready();
        idle().await;
    });
    tell(&exit);
    exit.report()
}
