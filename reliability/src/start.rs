//! Programs that are stopped at any moment of their start.

use std::process::{ExitCode, Termination as _};
use std::thread;
use std::time::Duration;

use aiorun::{shutdown_waits_for, spawn};
use fastrand::Rng;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::child::Program;
use crate::ended::Ended;
use crate::scene::{Scene, idle};
use crate::storm::Verdict::Held;
use crate::storm::{FLAVORS, Storm, Trial, Verdict};
use crate::tally::{Token, adds_up, tell};

pub(crate) const STORM: Storm = Storm {
    name: "start",
    promise: "A program that gets SIGINT or SIGTERM at a random moment of its first 50 ms, half of them of the \
              first 5, was either ended by the signal's default action before main began, or stops with 0; what \
              was protected has finished.",
    scene,
    check,
};

fn scene(scene: &Scene) -> ExitCode {
    let exit = scene.builder().run(async {
        println!("MAIN");
        shutdown_waits_for(protected());
        for _ in 0..8 {
            let token = Token::new();
            spawn(async {
                idle().await;
                drop(token);
            });
        }
        idle().await;
    });
    tell(&exit);
    exit.report()
}

async fn protected() {
    println!("BEGUN");
    sleep(Duration::from_millis(1)).await;
    println!("FINISHED");
}

fn check(trial: &Trial) -> Verdict {
    let count = trial.size(10_000, 600);
    let programs = FLAVORS.map(|flavor| trial.program(flavor, 0));
    let ends = trial.each(count, |number, rng| {
        let program = &programs[usize::from(number % 2 == 1)];
        stopped_at_random(program, rng)
    });
    let of = |end| ends.iter().filter(|(it, _)| *it == end).count();
    let slowest = ends.iter().map(|(_, took)| *took).max().unwrap_or_default();
    Held(format!(
        "{count} programs: {} ended by the default action, {} stopped before main, {} stopped after, each \
         with its protected task; the slowest ended {slowest:.1?} after its signal",
        of(End::ByDefault),
        of(End::BeforeMain),
        of(End::Clean)
    ))
}

#[derive(PartialEq, Eq)]
enum End {
    ByDefault,
    BeforeMain,
    Clean,
}

/// How it ended, and how long after the signal.
fn stopped_at_random(program: &Program, rng: &mut Rng) -> (End, Duration) {
    let most = if rng.bool() { 50_000 } else { 5_000 };
    let signal = if rng.bool() {
        Signal::INT
    } else {
        Signal::TERM
    };
    let moment = Duration::from_micros(rng.u64(..most));
    let mut child = program.start();
    thread::sleep(moment);
    child.signal(signal);
    let ended = child.finish();
    (judge(&ended, signal), ended.took)
}

fn judge(ended: &Ended, signal: Signal) -> End {
    if ended.status.code().is_none() {
        ended.killed_by(signal.as_raw()).never_says("MAIN");
        return End::ByDefault;
    }
    let begun = ended.count("BEGUN");
    ended
        .exited(0)
        .never_says("panicked at")
        .never_says("aiorun: error")
        .says_times(begun, "FINISHED");
    adds_up(ended);
    if ended.count("MAIN") == 0 {
        End::BeforeMain
    } else {
        End::Clean
    }
}
