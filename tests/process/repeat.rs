//! Signals that come again while the program shuts down, and the delay that they end.

use std::process::{ExitCode, Termination};
use std::thread;
use std::time::Duration;

use aiorun::{Flavor, Handle, Phase, RepeatSignal};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::case::Cases;
use crate::child::{Child, Program};
use crate::scene::{AGES, Farewell, SINGLE_THREADED, Scene, idle, ready, ready_and_idle, spin};

/// Long enough after the first signal to count as a repeated one.
const LATER: Duration = Duration::from_millis(700);
const SOON: Duration = Duration::from_secs(8);

pub(crate) fn register(cases: &mut Cases) {
    modes(cases);
    aborts(cases);
    exits(cases);
    impatience(cases);
    delays(cases);
}

fn modes(cases: &mut Cases) {
    cases.every_flavor("auto_aborts_by_a_second_int", stubborn, |program| {
        for first in [Signal::INT, Signal::TERM] {
            let ended = again(&program.variant("auto"), first, Signal::INT);
            ended
                .exited(1)
                .within(SOON)
                .says("`stubborn`")
                .says_once("hook")
                .says_once("AFTER");
        }
    });
    cases.every_flavor("auto_ignores_a_second_term", slow, |program| {
        for first in [Signal::INT, Signal::TERM] {
            let program = program.variant("auto").logging();
            let ended = goes_on(&program, first, Signal::TERM);
            ended.exited(0).says_once("done");
            ended.says_in_a_line(&["Still waiting"]).says("`slow`");
        }
    });
    cases.every_flavor("ignore_ignores_both", slow, |program| {
        for second in [Signal::INT, Signal::TERM] {
            let ended = goes_on(&program.variant("ignore"), Signal::INT, second);
            ended.exited(0).says_once("done").says("`slow`");
        }
    });
    cases.every_flavor("abort_aborts_by_both", stubborn, |program| {
        for second in [Signal::INT, Signal::TERM] {
            let ended = again(&program.variant("abort"), Signal::TERM, second);
            ended
                .exited(1)
                .within(SOON)
                .says("`stubborn`")
                .says_once("hook")
                .says_once("AFTER");
        }
    });
}

fn aborts(cases: &mut Cases) {
    cases.every_flavor("abort_leaves_no_time_to_jobs", stubborn_job, |program| {
        let ended = again(program, Signal::TERM, Signal::TERM);
        ended
            .exited(1)
            .within(SOON)
            .says("`stubborn`")
            .says_once("hook");
    });
    cases.every_flavor(
        "abort_leaves_no_time_to_the_callback",
        stubborn_callback,
        |program| {
            let ended = again(program, Signal::TERM, Signal::TERM);
            ended
                .exited(1)
                .within(SOON)
                .says_once("hook")
                .says_once("task cleaned up");
        },
    );
}

fn exits(cases: &mut Cases) {
    cases.every_flavor("exit_leaves_at_once", stubborn, |program| {
        let program = program.variant("exit");
        let ended = again(&program, Signal::INT, Signal::INT);
        ended
            .exited(130)
            .within(SOON)
            .never_says("hook")
            .never_says("AFTER");
        let ended = again(&program, Signal::INT, Signal::TERM);
        ended
            .exited(143)
            .within(SOON)
            .never_says("hook")
            .never_says("AFTER");
    });
    cases.on(
        &[Flavor::MultiThread],
        "exit_leaves_when_all_is_stuck",
        stuck,
        exit_when_stuck,
    );
    cases.on(
        &SINGLE_THREADED,
        "exit_leaves_when_the_thread_is_stuck",
        stuck,
        exit_when_stuck,
    );
    cases.every_flavor("a_burst_is_one_signal", quick, |program| {
        for mode in ["auto", "abort", "exit"] {
            let mut child = program.variant(mode).start_ready();
            for _ in 0..5 {
                child.signal(Signal::INT);
            }
            child.finish().exited(0).says_once("done").complains_not();
        }
    });
}

fn impatience(cases: &mut Cases) {
    cases.on(
        &SINGLE_THREADED,
        "auto_does_not_wait_for_a_stuck_thread",
        hog,
        |program| {
            let mut child = program.logging().start_ready();
            child.signal(Signal::INT);
            child.wait_for("Stopping the loop");
            thread::sleep(LATER);
            child.signal(Signal::INT);
            child
                .finish()
                .exited(70)
                .within(SOON)
                .says_in_a_line(&["`hog`", "repeat.rs"]);
        },
    );
}

fn delays(cases: &mut Cases) {
    cases.every_flavor("the_delay_lets_everything_work", delayed, |program| {
        let ended = program.variant("short").stop_by(Signal::TERM);
        ended
            .exited(0)
            .not_before(Duration::from_secs(1))
            .within(SOON);
        ended.in_order(&["a new task in the delay", "task cleaned up"]);
    });
    cases.every_flavor("a_repeat_ends_the_delay_and_no_more", delayed, |program| {
        for second in [Signal::INT, Signal::TERM] {
            let ended = again(&program.variant("long"), Signal::INT, second);
            ended
                .exited(0)
                .within(SOON)
                .says_once("task cleaned up")
                .says_once("protected work done");
        }
    });
    cases.every_flavor(
        "the_delay_ends_when_no_task_is_left",
        delayed_for_little,
        |program| {
            program
                .stop_by(Signal::TERM)
                .exited(0)
                .within(SOON)
                .says_once("task cleaned up");
            program
                .variant("stop")
                .run()
                .exited(0)
                .within(SOON)
                .says_once("task cleaned up");
        },
    );
    cases.every_flavor("a_failure_has_no_delay", delayed_failure, |program| {
        program.run().exited(1).within(SOON);
    });
}

/// Stops it by one signal, and sends another when it counts as repeated.
fn again(program: &Program, first: Signal, second: Signal) -> crate::ended::Ended {
    let mut child = stopping(program, first);
    thread::sleep(LATER);
    child.signal(second);
    child.finish()
}

/// As [`again`], for a child that is not to mind, and ends when it is told.
fn goes_on(program: &Program, first: Signal, second: Signal) -> crate::ended::Ended {
    let mut child = stopping(program, first);
    thread::sleep(LATER);
    child.signal(second);
    child.wait_for("again while shutting down");
    child.wait_for("`slow`");
    child.signal(Signal::USR1);
    child.finish()
}

/// A child that has begun to stop.
fn stopping(program: &Program, signal: Signal) -> Child {
    let mut child = program.start_ready();
    child.signal(signal);
    child.wait_for("STOPPING");
    child
}

fn exit_when_stuck(program: &Program) {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = program.start();
        child.wait_for("STOPPING");
        thread::sleep(LATER);
        child.signal(signal);
        child.finish().exited(code).within(SOON);
    }
}

fn mode(scene: &Scene) -> RepeatSignal {
    scene.variant.parse().expect("a mode")
}

fn hook_and_watcher() {
    aiorun::on_exit("say so", async { println!("hook") });
    aiorun::shutdown_waits_for(async {
        aiorun::stopping().await;
        println!("STOPPING");
    });
}

fn stubborn(scene: &Scene) -> ExitCode {
    let exit = scene.builder().repeat_signal(mode(scene)).run(async {
        hook_and_watcher();
        aiorun::task("stubborn").protected().spawn(ready_and_idle());
    });
    println!("AFTER");
    exit.report()
}

fn stubborn_job(scene: &Scene) -> ExitCode {
    let main = async {
        hook_and_watcher();
        aiorun::task("stubborn").spawn_blocking(|| {
            ready();
            thread::sleep(AGES);
        });
    };
    scene
        .builder()
        .repeat_signal(RepeatSignal::Abort)
        .run(main)
        .report()
}

fn stubborn_callback(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder
        .repeat_signal(RepeatSignal::Abort)
        .shutdown_callback(idle);
    let main = async {
        hook_and_watcher();
        aiorun::spawn(async {
            let _farewell = Farewell("task cleaned up");
            ready_and_idle().await;
        });
    };
    builder.run(main).report()
}

fn slow(scene: &Scene) -> ExitCode {
    let main = async {
        hook_and_watcher();
        let mut finish = signal(SignalKind::user_defined1()).unwrap();
        aiorun::task("slow").protected().spawn(async move {
            ready();
            finish.recv().await;
            println!("done");
        });
    };
    scene
        .builder()
        .repeat_signal(mode(scene))
        .run(main)
        .report()
}

fn quick(scene: &Scene) -> ExitCode {
    let main = async {
        aiorun::shutdown_waits_for(async {
            ready();
            aiorun::stopping().await;
            sleep(Duration::from_millis(200)).await;
            println!("done");
        });
    };
    scene
        .builder()
        .repeat_signal(mode(scene))
        .run(main)
        .report()
}

fn hog(scene: &Scene) -> ExitCode {
    scene.run(async {
        aiorun::task("hog").spawn(async {
            ready();
            spin();
        });
        idle().await;
    })
}

/// No thread of the runtime gets any further.
fn stuck(scene: &Scene) -> ExitCode {
    let main = async {
        hook_and_watcher();
        aiorun::stop();
        // Without an await, at which the shutdown might find main before it is stuck.
        while Handle::current().phase() < Phase::Stopping {
            thread::yield_now();
        }
        println!("STOPPING");
        for _ in 0..2 {
            aiorun::spawn(async { spin() });
        }
        spin();
    };
    let mut builder = scene.builder();
    builder.shutdown_delay(Duration::from_millis(100));
    builder.repeat_signal(RepeatSignal::Exit).run(main).report()
}

fn delayed(scene: &Scene) -> ExitCode {
    let delay = if scene.is("short") {
        Duration::from_secs(1)
    } else {
        AGES
    };
    let mut builder = scene.builder();
    builder.shutdown_timeout(None).shutdown_delay(delay);
    let main = async {
        aiorun::spawn(async {
            let _farewell = Farewell("task cleaned up");
            aiorun::stopping().await;
            println!("STOPPING");
            sleep(Duration::from_millis(10)).await;
            aiorun::spawn(async { println!("a new task in the delay") });
            idle().await;
        });
        aiorun::shutdown_waits_for(async {
            ready();
            aiorun::stopping().await;
            sleep(Duration::from_secs(2)).await;
            println!("protected work done");
        });
    };
    builder.run(main).report()
}

fn delayed_for_little(scene: &Scene) -> ExitCode {
    let stops = scene.is("stop");
    let mut builder = scene.builder();
    builder.shutdown_timeout(None).shutdown_delay(AGES);
    let main = async move {
        aiorun::spawn(async {
            let _farewell = Farewell("task cleaned up");
            ready();
            aiorun::stopping().await;
            sleep(Duration::from_millis(300)).await;
        });
        if stops {
            aiorun::stop();
        }
    };
    builder.run(main).report()
}

fn delayed_failure(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_timeout(None).shutdown_delay(AGES);
    let main = async {
        aiorun::spawn(idle());
        Err::<(), _>("main broke")
    };
    builder.run(main).report()
}
