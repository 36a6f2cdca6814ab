//! Which signals stop a program, who else sees them, and what they do when it is over.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Termination};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aiorun::{SignalAction, StopReason};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGTERM;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::case::Cases;
use crate::scene::{AGES, Farewell, Scene, block, idle, ready, ready_and_idle};

const KILLED_BY_INT: i32 = 2;
const KILLED_BY_TERM: i32 = 15;
const KILLED_BY_HUP: i32 = 1;

pub(crate) fn register(cases: &mut Cases) {
    sets(cases);
    others(cases);
    handlers(cases);
}

fn sets(cases: &mut Cases) {
    cases.every_flavor("the_set_is_int_and_term", simple, |program| {
        program.stop_by(Signal::INT).exited(0).says("SIGINT");
        program.stop_by(Signal::TERM).exited(0).says("SIGTERM");
        // `nohup` may have ignored it for all of us.
        let program = program.started_by(&["env", "--default-signal=HUP"]);
        program.stop_by(Signal::HUP).killed_by(KILLED_BY_HUP);
    });
    cases.every_flavor("hup_can_be_added", with_hup, |program| {
        program.stop_by(Signal::HUP).exited(0).says("SIGHUP");
        program.stop_by(Signal::TERM).exited(0).says("SIGTERM");
    });
    cases.every_flavor("an_empty_set_leaves_all_as_it_was", without, |program| {
        program.stop_by(Signal::TERM).killed_by(KILLED_BY_TERM);
        program.stop_by(Signal::INT).killed_by(KILLED_BY_INT);
    });
    cases.every_flavor("the_default_is_back_after_the_run", then_wait, |program| {
        for (signal, number) in [(Signal::INT, KILLED_BY_INT), (Signal::TERM, KILLED_BY_TERM)] {
            let mut child = program.start();
            child.wait_for("AFTER");
            child.signal(signal);
            child.finish().killed_by(number);
        }
    });
    cases.every_flavor("a_second_run_hears_signals_too", two_runs, |program| {
        let mut child = program.start();
        child.wait_for("READY 1");
        child.signal(Signal::TERM);
        child.wait_for("READY 2");
        child.signal(Signal::TERM);
        child.wait_for("AFTER");
        child.signal(Signal::TERM);
        child
            .finish()
            .killed_by(KILLED_BY_TERM)
            .says_times(2, "ended by SIGTERM");
    });
    cases.every_flavor("one_signal_stops_all_supervisors", in_parallel, |program| {
        let mut child = program.start();
        child.wait_for("READY 1");
        child.wait_for("READY 2");
        child.signal(Signal::TERM);
        child.finish().exited(0).says_times(2, "ended by SIGTERM");
    });
    cases.every_flavor("one_that_goes_on_still_hears", first_ends, |program| {
        let mut child = program.start();
        child.wait_for("the other has ended");
        child.wait_for("READY");
        child.signal(Signal::TERM);
        child.finish().exited(0).says_once("ended by SIGTERM");
    });
}

fn others(cases: &mut Cases) {
    cases.every_flavor("others_who_listen_see_it_too", listeners, |program| {
        for variant in ["tokio", "signal_hook_before", "signal_hook_inside"] {
            let ended = program.variant(variant).stop_by(Signal::TERM);
            ended
                .exited(0)
                .says_once("somebody else saw it")
                .says_once("AFTER");
        }
    });
    cases.every_flavor(
        "a_handler_of_somebody_else_is_left_alone",
        foreign_handler,
        |program| {
            let mut child = program.start();
            child.wait_for("AFTER");
            child.signal(Signal::TERM);
            child.finish().exited(0).says_once("still handled");
        },
    );
    cases.every_flavor("the_sender_is_in_the_log", simple, |program| {
        let ended = program.logging().stop_by(Signal::TERM);
        let sender = format!("sender={}", std::process::id());
        ended
            .exited(0)
            .says_in_a_line(&["Stopping the loop", "SIGTERM", &sender]);
    });
}

fn handlers(cases: &mut Cases) {
    cases.every_flavor("the_handler_decides", asked, |program| {
        let mut child = program.start_ready();
        child.signal(Signal::HUP);
        child.wait_for("asked about SIGHUP");
        child.wait_for("still there");
        child.signal(Signal::TERM);
        child
            .finish()
            .exited(0)
            .says_once("asked about SIGTERM")
            .says("ended by SIGTERM");
    });
    cases.every_flavor("a_handler_that_never_answers_says_stop", mute, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(0)
            .not_before(Duration::from_millis(900))
            .within(Duration::from_secs(10));
    });
    cases.every_flavor("a_dump_is_written_on_request", dumping, |program| {
        let mut child = program.start_ready();
        child.signal(Signal::USR1);
        child.wait_for("`in the dump`");
        child.signal(Signal::TERM);
        child.finish().exited(0);
    });
    cases.once(
        "a_child_of_the_program_inherits_nothing",
        parent,
        |program| {
            program
                .run()
                .exited(0)
                .says_once("its child was killed by 15");
        },
    );
    cases.every_flavor("a_storm_of_signals", storm, |program| {
        let mut child = program.start_ready();
        for _ in 0..100 {
            child.signal(Signal::TERM);
        }
        child.finish().exited(0).in_order(&["done", "AFTER"]);
    });
}

fn tell(exit: aiorun::Exit) -> ExitCode {
    if let StopReason::Signal(signal) = exit.reason {
        println!("ended by {signal}");
    }
    exit.report()
}

fn simple(scene: &Scene) -> ExitCode {
    tell(scene.builder().run(ready_and_idle()))
}

fn with_hup(scene: &Scene) -> ExitCode {
    let signals = [
        aiorun::Signal::INT,
        aiorun::Signal::TERM,
        aiorun::Signal::HUP,
    ];
    tell(scene.builder().signals(signals).run(ready_and_idle()))
}

fn without(scene: &Scene) -> ExitCode {
    tell(scene.builder().signals([]).run(ready_and_idle()))
}

fn then_wait(scene: &Scene) -> ExitCode {
    let code = scene.run(async { aiorun::stop() });
    println!("AFTER");
    block();
    code
}

fn two_runs(scene: &Scene) -> ExitCode {
    for number in [1, 2] {
        tell(scene.builder().run(async move {
            println!("READY {number}");
            idle().await;
        }));
    }
    println!("AFTER");
    block();
    ExitCode::FAILURE
}

fn in_parallel(scene: &Scene) -> ExitCode {
    thread::scope(|scope| {
        for number in [1, 2] {
            scope.spawn(move || {
                tell(scene.builder().run(async move {
                    println!("READY {number}");
                    idle().await;
                }))
            });
        }
    });
    ExitCode::SUCCESS
}

fn first_ends(scene: &Scene) -> ExitCode {
    thread::scope(|scope| {
        scope.spawn(|| tell(scene.builder().run(ready_and_idle())));
        scope.spawn(|| {
            let exit = scene.builder().run(async { aiorun::stop() });
            println!("the other has ended: {:?}", exit.reason);
        });
    });
    ExitCode::SUCCESS
}

fn listeners(scene: &Scene) -> ExitCode {
    let seen = Arc::new(AtomicBool::new(false));
    let register = {
        let seen = Arc::clone(&seen);
        move || {
            signal_hook::flag::register(SIGTERM, seen).unwrap();
        }
    };
    if scene.is("signal_hook_before") {
        register.clone()();
    }
    let variant = scene.variant.clone();
    let seen_by_tokio = Arc::clone(&seen);
    let exit = scene.builder().run(async move {
        if variant == "signal_hook_inside" {
            register();
        }
        if variant == "tokio" {
            let mut signals = signal(SignalKind::terminate()).unwrap();
            aiorun::shutdown_waits_for(async move {
                signals.recv().await;
                seen_by_tokio.store(true, Ordering::SeqCst);
            });
        }
        ready_and_idle().await;
    });
    if seen.load(Ordering::SeqCst) {
        println!("somebody else saw it");
    }
    println!("AFTER");
    exit.report()
}

/// What handled a signal before the run does so after it: the default does not come back.
fn foreign_handler(scene: &Scene) -> ExitCode {
    let seen = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&seen)).unwrap();
    let code = scene.run(async { aiorun::stop() });
    println!("AFTER");
    let until = Instant::now() + Duration::from_secs(30);
    while !seen.load(Ordering::SeqCst) && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    println!("still handled");
    code
}

fn asked(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.signals([aiorun::Signal::TERM, aiorun::Signal::HUP]);
    let (was_asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
    builder.shutdown_handler(move |signal, handle| {
        println!("asked about {signal} while {}", handle.phase());
        let _ = was_asked.send(());
        if signal == aiorun::Signal::HUP {
            SignalAction::Ignore
        } else {
            SignalAction::Stop
        }
    });
    tell(builder.run(async move {
        ready();
        asks.recv().await;
        sleep(Duration::from_millis(50)).await;
        println!("still there: {}", !aiorun::is_stopping());
        idle().await;
    }))
}

fn mute(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_handler(|_, _| {
        block();
        SignalAction::Ignore
    });
    builder.run(ready_and_idle()).report()
}

/// Neither a blocked nor an ignored signal is handed on.
fn parent(scene: &Scene) -> ExitCode {
    scene.run(async {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        println!(
            "its child was killed by {}",
            status.signal().unwrap_or_default()
        );
        aiorun::stop();
    })
}

fn dumping(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.dump_signal(aiorun::Signal::USR1);
    let main = async {
        aiorun::task("in the dump").spawn(sleep(AGES));
        ready_and_idle().await;
    };
    builder.run(main).report()
}

fn storm(scene: &Scene) -> ExitCode {
    let exit = scene.builder().run(async {
        aiorun::shutdown_waits_for(async {
            let _farewell = Farewell("done");
            aiorun::stopping().await;
            sleep(Duration::from_millis(300)).await;
        });
        ready_and_idle().await;
    });
    println!("AFTER");
    exit.report()
}
