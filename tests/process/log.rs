//! What an operator reads on standard error.

use std::process::{ExitCode, Termination};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::child::Program;
use crate::ended::Ended;
use crate::scene::{SINGLE_THREADED, Scene, block, idle, outlive, ready, ready_and_idle};

pub(crate) fn register(cases: &mut Cases) {
    words(cases);
    from_outside(cases);
}

fn words(cases: &mut Cases) {
    cases.every_flavor("the_words_in_their_order", quiet, |program| {
        let mut child = program.logging().start_ready();
        child.wait_for("Running forever.");
        child.signal(Signal::TERM);
        let ended = child.finish();
        ended.exited(0).in_order(&[
            "Running forever.",
            "Stopping the loop",
            "Entering shutdown phase.",
            "Cancelling pending tasks.",
            "Running pending tasks till complete",
            "Waiting for executor shutdown.",
            "Leaving. Bye!",
        ]);
        ended.in_order(&[
            "Entering shutdown phase.",
            "Cancelling task: task `idler`",
            "Leaving",
        ]);
        ended.says_in_a_line(&["DEBUG", "aiorun", "`idler`", "tests/process/log.rs"]);
        ended.says_in_a_line(&["INFO", "Leaving. Bye!", "SIGTERM", "spawned"]);
        ended.never_says("WARN").never_says("ERROR");
    });
    cases.every_flavor(
        "without_a_subscriber_only_trouble_is_shown",
        troubled,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended
                .exited(1)
                .says_once("aiorun: error: ")
                .says_once("aiorun: warning: ");
            for words in [
                "Stopping the loop",
                "Running forever",
                "Leaving. Bye!",
                "Cancelling",
            ] {
                ended.never_says(words);
            }
        },
    );
    cases.every_flavor(
        "every_5_seconds_it_says_what_it_waits_for",
        slow,
        |program| {
            for program in [program.clone(), program.logging()] {
                let ended = program.stop_by(Signal::TERM);
                ended
                    .exited(0)
                    .says_in_a_line(&["Still waiting, cancelling"]);
                ended.in_order(&["Still waiting", "`slow`"]);
                let after = ended.line("Still waiting").at - ended.told;
                assert!(
                    after >= Duration::from_millis(4900),
                    "already after {after:?}"
                );
                assert!(after < Duration::from_secs(20), "only after {after:?}");
            }
        },
    );
    cases.every_flavor("at_debug_level_it_says_where", slow, |program| {
        let ended = program.logging().stop_by(Signal::TERM);
        ended
            .exited(0)
            .says_in_a_line(&["DEBUG", "this is where they are:"]);
        let place = format!("at tests/process/log.rs:{}:", ended.figure("slow_line"));
        ended.in_order(&["Still waiting, ", "this is where", "`slow`", &place]);
        ended.says_in_a_line(&[&place, "process::log::slow"]);
        // Nobody is asked where nobody wants to know.
        let ended = program.stop_by(Signal::TERM);
        ended.exited(0).says("Still waiting").never_says(&place);
    });
}

fn from_outside(cases: &mut Cases) {
    cases.every_flavor(
        "nothing_in_a_name_steers_the_terminal",
        hostile,
        |program| {
            for program in [program.clone(), program.logging()] {
                let ended = dumps_and_stops(&program);
                ended
                    .exited(1)
                    .says("evil")
                    .says("broken pipe")
                    .says("bad hook");
                steers_nothing(&ended);
            }
        },
    );
    cases.on(
        &SINGLE_THREADED,
        "nothing_in_a_thread's_name_steers_the_terminal",
        hostile_thread,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended
                .exited(70)
                .says_in_a_line(&["`hog`", "running on evil"]);
            steers_nothing(&ended);
        },
    );
    cases.every_flavor("nothing_of_the_environment_is_shown", hostile, |program| {
        // The last two are read, where the feature is on. What cannot be used is named in a warning.
        let program = program
            .logging()
            .with("PASSWORD", &format!("hunter2{HOSTILE}"))
            .with("NOTIFY_SOCKET", HOSTILE)
            .with("WATCHDOG_USEC", HOSTILE);
        let ended = dumps_and_stops(&program);
        ended.exited(1).says("Leaving. Bye!").never_says("hunter2");
        steers_nothing(&ended);
    });
}

/// Asks the program of `hostile` for a dump, and stops it.
fn dumps_and_stops(program: &Program) -> Ended {
    let mut child = program.start_ready();
    child.signal(Signal::USR1);
    child.wait_for("evil");
    child.signal(Signal::TERM);
    child.finish()
}

fn quiet(scene: &Scene) -> ExitCode {
    scene.run(async {
        aiorun::task("idler").spawn(ready_and_idle());
    })
}

fn troubled(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.timeout_task_shutdown(Duration::from_millis(100));
    builder
        .run(async {
            outlive(aiorun::spawn_fallible(async {
                Err::<(), _>("nobody cares")
            }))
            .await;
            aiorun::shutdown_waits_for(idle());
            ready();
        })
        .report()
}

const HOSTILE: &str = "evil\u{1b}[31m\r\n\u{7}\u{202e}\u{9b}2J";

/// No control character has come through.
#[track_caller]
fn steers_nothing(ended: &Ended) {
    for control in ['\u{1b}', '\u{7}', '\r', '\u{202e}', '\u{9b}'] {
        ended.never_says(&control.to_string());
    }
}

/// The thread that calls `run` is stuck.
fn hostile_thread(scene: &Scene) -> ExitCode {
    thread::scope(|scope| {
        let run = || {
            let mut builder = scene.builder();
            builder.shutdown_timeout(Duration::from_millis(500));
            builder.run(async {
                aiorun::task("hog").spawn(async {
                    ready();
                    block();
                });
                idle().await;
            })
        };
        let named = thread::Builder::new().name(HOSTILE.to_owned());
        let thread = named.spawn_scoped(scope, run).expect("a thread");
        thread.join().expect("it does not panic").report()
    })
}

fn hostile(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder
        .timeout_task_shutdown(Duration::from_millis(100))
        .shutdown_timeout(Duration::from_secs(2))
        .dump_signal(aiorun::Signal::USR1);
    builder
        .run(async {
            aiorun::on_exit(format!("bad hook {HOSTILE}"), async { idle().await });
            aiorun::task(HOSTILE).protected().spawn(idle());
            let breaks = async { Err::<(), _>(format!("broken pipe {HOSTILE}")) };
            outlive(aiorun::task(HOSTILE).spawn_fallible(breaks)).await;
            ready();
        })
        .report()
}

fn slow(scene: &Scene) -> ExitCode {
    scene.run(async {
        aiorun::task("slow").protected().spawn(async {
            ready();
            aiorun::stopping().await;
            println!("slow_line={}", line!() + 1);
            sleep(Duration::from_millis(6500)).await;
        });
    })
}
