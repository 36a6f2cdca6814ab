//! Many tasks of all kinds: each has one outcome, each destructor runs once.

use std::process::{ExitCode, Termination};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aiorun::Flavor;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::scene::{Scene, idle, ready};

/// Of all kinds together.
const TASKS: u64 = 10_000;

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("all_outcomes_add_up", crowd, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended.exited(1).says_once("REPORT");
        let figure = |name| ended.figure(name);
        // The tasks, and main.
        assert_eq!(figure("spawned"), TASKS + 1, "{ended:?}");
        assert_eq!(figure("ended"), figure("spawned"), "{ended:?}");
        assert_eq!(figure("panicked"), TASKS / 8, "{ended:?}");
        assert_eq!(figure("failed"), TASKS / 8, "{ended:?}");
        assert_eq!(figure("refused"), TASKS / 8, "{ended:?}");
        assert_eq!(figure("completed"), TASKS / 8 * 3, "{ended:?}");
        assert_eq!(figure("cancelled"), TASKS / 8 * 2 + 1, "{ended:?}");
        assert_eq!(figure("made"), TASKS, "{ended:?}");
        assert_eq!(figure("dropped"), TASKS, "{ended:?}");
    });
}

static MADE: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// What every task owns.
struct Token;

impl Token {
    fn new() -> Self {
        MADE.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
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
        while DROPPED.load(Ordering::SeqCst) < TASKS / 8 * 5 {
            sleep(Duration::from_millis(1)).await;
        }
        ready();
        idle().await;
    });
    let tasks = exit.report.tasks;
    let ended = tasks.completed + tasks.failed + tasks.panicked + tasks.cancelled + tasks.refused;
    println!(
        "REPORT spawned={} ended={ended} completed={} failed={} panicked={} cancelled={} refused={} \
         made={} dropped={}",
        tasks.spawned,
        tasks.completed,
        tasks.failed,
        tasks.panicked,
        tasks.cancelled,
        tasks.refused,
        MADE.load(Ordering::SeqCst),
        DROPPED.load(Ordering::SeqCst),
    );
    exit.report()
}
