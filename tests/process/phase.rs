//! A second signal in each phase of a shutdown, for each value of `repeat_signal`. Each phase is held
//! up by something that does not end.

use std::process::{ExitCode, Termination};
use std::thread;
use std::time::Duration;

use aiorun::{Flavor, Handle, Phase, RepeatSignal};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::child::{Child, Program};
use crate::ended::Ended;
use crate::scene::{SINGLE_THREADED, Scene, block, idle, ready};

/// Long enough after the first signal to count as a repeated one.
const LATER: Duration = Duration::from_millis(700);
/// Much sooner than a patient limit, and later than an impatient one.
const SOON: Duration = Duration::from_secs(12);
const PATIENT: Duration = Duration::from_secs(60);
/// And later than the second signal comes, though the machine is busy.
const IMPATIENT: Duration = Duration::from_secs(3);
/// What a hook has of the budget.
const HALF_OF_IT: Duration = Duration::from_secs(2);
/// What a hook says that comes after everything else.
const HOOK: &str = "the other hook has run";

const MULTI_THREADED: [Flavor; 1] = [Flavor::MultiThread];

/// What the second signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing, but for a line.
    None,
    /// What is waited for gets no more time.
    Abort,
    /// The process leaves.
    Exit,
}

const MODES: [(&str, Signal, Effect); 7] = [
    ("auto", Signal::INT, Effect::Abort),
    ("auto", Signal::TERM, Effect::None),
    ("ignore", Signal::INT, Effect::None),
    ("abort", Signal::INT, Effect::Abort),
    ("abort", Signal::TERM, Effect::Abort),
    ("exit", Signal::INT, Effect::Exit),
    ("exit", Signal::TERM, Effect::Exit),
];

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("while_the_callback_runs", callback, |program| {
        each_mode(program, false, |ended, effect| match effect {
            Effect::None => is_cut(ended).lasts(IMPATIENT),
            _ => is_cut(ended),
        });
    });
    cases.every_flavor("while_tasks_are_awaited", tasks, |program| {
        each_mode(program, false, |ended, effect| match effect {
            Effect::None => is_cut(ended).lasts(IMPATIENT),
            _ => is_cut(ended),
        });
    });
    cases.every_flavor("while_jobs_are_awaited", jobs, |program| {
        each_mode(program, false, |ended, _| is_cut(ended));
    });
    cases.every_flavor("while_a_hook_runs", hook, |program| {
        // Hooks are never cut short.
        each_mode(program, false, |ended, _| is_cut(ended).lasts(HALF_OF_IT));
    });
    cases.on(
        &SINGLE_THREADED,
        "while_the_runtime_closes",
        close,
        |program| {
            each_mode(program, true, |ended, _| {
                ended
                    .exited(70)
                    .says_once(HOOK)
                    .says("is in no task of aiorun")
                    .never_says("AFTER")
            });
        },
    );
    cases.every_flavor("during_the_delay", delay, |program| {
        for (mode, second, _) in MODES {
            let ended = again(program, mode, second, PATIENT);
            // It ends the delay and does nothing else.
            ended
                .exited(0)
                .within(SOON)
                .says_once(HOOK)
                .says_once("AFTER")
                .says("again while shutting down");
            // As a wrapper forwards it: it counts once.
            let mut child = held_up(program, mode, PATIENT);
            for _ in 0..3 {
                child.signal(second);
                thread::sleep(Duration::from_millis(5));
            }
            let ended = child.finish();
            ended.exited(0).within(SOON).says_once(HOOK);
            ended.says_once("the task has taken its time");
        }
    });
    // Nobody holds it up, and a second signal finds nobody to be impatient with.
    cases.on(&MULTI_THREADED, "when_all_is_over", quick, |program| {
        for (mode, _, _) in MODES {
            let program = program.variant(&format!("{mode} 60"));
            program.stop_by(Signal::TERM).exited(0).says_once("AFTER");
        }
    });
}

/// Tries each mode; what its effect is but for leaving is up to `ends`.
fn each_mode(program: &Program, hooks_come_first: bool, ends: fn(&Ended, Effect) -> &Ended) {
    for (mode, second, effect) in MODES {
        let limit = match effect {
            Effect::None => IMPATIENT,
            _ => PATIENT,
        };
        let ended = again(program, mode, second, limit);
        ended.within(SOON);
        if effect == Effect::Exit {
            ended.exited(128 + second.as_raw()).never_says("AFTER");
            // Where hooks came first, they have run.
            let came_first = ended.count(HOOK);
            assert_eq!(came_first, usize::from(hooks_come_first), "{ended:?}");
        } else {
            ends(&ended, effect).says("again while shutting down");
        }
    }
}

fn is_cut(ended: &Ended) -> &Ended {
    ended
        .exited(1)
        .says_once(HOOK)
        .says_once("AFTER")
        .says("tests/process/phase.rs:")
}

/// Stops it, and sends the second signal when it is held up.
fn again(program: &Program, mode: &str, second: Signal, limit: Duration) -> Ended {
    let mut child = held_up(program, mode, limit);
    child.signal(second);
    child.finish()
}

/// A child that is held up for long enough.
fn held_up(program: &Program, mode: &str, limit: Duration) -> Child {
    let variant = format!("{mode} {}", limit.as_secs());
    let mut child = program.variant(&variant).start_ready();
    child.signal(Signal::TERM);
    child.wait_for("HELD UP");
    thread::sleep(LATER);
    child
}

/// What the parent asks for: a mode, and a limit in seconds.
fn variant(scene: &Scene) -> (RepeatSignal, Duration) {
    let (mode, limit) = scene.variant.split_once(' ').expect("a mode and a limit");
    let limit = limit.parse().expect("a number of seconds");
    (mode.parse().expect("a mode"), Duration::from_secs(limit))
}

fn builder(scene: &Scene) -> aiorun::Builder {
    let (mode, limit) = variant(scene);
    let mut builder = scene.builder();
    builder.repeat_signal(mode).shutdown_timeout(limit);
    builder
}

/// Runs until it is stopped, with a hook, and tells when it is held up in `phase`.
fn run(builder: &mut aiorun::Builder, phase: Phase, main: impl FnOnce() + Send) -> ExitCode {
    let exit = builder.run(async {
        aiorun::on_exit("say so", async { println!("{HOOK}") });
        let handle = Handle::current();
        thread::spawn(move || {
            while handle.phase() < phase {
                thread::sleep(Duration::from_millis(1));
            }
            println!("HELD UP");
        });
        main();
        ready();
        idle().await;
    });
    println!("AFTER");
    exit.report()
}

/// As [`builder`], with the limit for tasks and for jobs: what comes behind them has the time it needs,
/// however busy the machine is.
fn step_builder(scene: &Scene) -> aiorun::Builder {
    let (_, limit) = variant(scene);
    let mut builder = builder(scene);
    builder
        .timeout_task_shutdown(limit)
        .timeout_executor_shutdown(limit)
        .shutdown_timeout(2 * PATIENT);
    builder
}

fn callback(scene: &Scene) -> ExitCode {
    let mut builder = step_builder(scene);
    builder.shutdown_callback(idle);
    run(&mut builder, Phase::Stopping, || ())
}

fn delay(scene: &Scene) -> ExitCode {
    let mut builder = builder(scene);
    builder.shutdown_delay(PATIENT);
    run(&mut builder, Phase::Stopping, || {
        aiorun::shutdown_waits_for(async {
            while Handle::current().phase() < Phase::Cancelling {
                sleep(Duration::from_millis(1)).await;
            }
            sleep(LATER / 2).await;
            println!("the task has taken its time");
        });
    })
}

fn tasks(scene: &Scene) -> ExitCode {
    run(&mut step_builder(scene), Phase::Cancelling, || {
        aiorun::shutdown_waits_for(idle());
    })
}

fn jobs(scene: &Scene) -> ExitCode {
    run(&mut step_builder(scene), Phase::Draining, || {
        aiorun::spawn_blocking(block);
    })
}

fn hook(scene: &Scene) -> ExitCode {
    // Whatever the mode, a hook has its time. That is what is left for the second signal to come in.
    let mut builder = builder(scene);
    builder.shutdown_timeout(2 * HALF_OF_IT);
    run(&mut builder, Phase::Finishing, || {
        aiorun::on_exit("without end", idle());
    })
}

struct Blocks;

impl Drop for Blocks {
    fn drop(&mut self) {
        println!("HELD UP");
        block();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is left of such a task is what holds up the close"
)]
fn close(scene: &Scene) -> ExitCode {
    run(&mut builder(scene), Phase::Closed, || {
        tokio::spawn(async {
            let _blocks = Blocks;
            idle().await;
        });
    })
}

fn quick(scene: &Scene) -> ExitCode {
    run(&mut builder(scene), Phase::Closed, || ())
}
