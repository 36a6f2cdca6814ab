//! Exit codes, and that an error is shown once.

use std::process::{ExitCode, Termination};
use std::thread;
use std::time::Duration;

use aiorun::SignalExitStatus;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::scene::{Scene, block, idle, ready, ready_and_idle};

pub(crate) fn register(cases: &mut Cases) {
    main_ends(cases);
    told_to_stop(cases);
    something_fails(cases);
}

fn main_ends(cases: &mut Cases) {
    cases.every_flavor("main's_error_is_shown_once", main_fails, |program| {
        program
            .run()
            .exited(1)
            .says_once("main broke")
            .says_once("Error: ");
    });
    cases.every_flavor("main's_panic_is_101", main_panics, |program| {
        program.run().exited(101).says_once("main broke");
    });
    cases.every_flavor("main's_own_code", main_returns_a_code, |program| {
        program.run().exited(7).complains_not();
    });
    cases.every_flavor(
        "main_returns_and_that_is_the_end",
        main_returns,
        |program| {
            program.run().exited(0).complains_not();
        },
    );
    cases.every_flavor("stop_is_a_success", stops, |program| {
        program.run().exited(0).complains_not();
    });
}

fn told_to_stop(cases: &mut Cases) {
    cases.every_flavor("the_code_of_stop_with", stops_with_a_code, |program| {
        for variant in ["main", "task", "job", "thread"] {
            program.variant(variant).run().exited(9).complains_not();
        }
    });
    cases.every_flavor("the_first_reason_counts", two_reasons, |program| {
        program.run().exited(4).says_once("Stop").complains_not();
    });
    cases.every_flavor("main's_failure_beats_a_code", code_and_failure, |program| {
        program.run().exited(5).says_once("Stop");
    });
    cases.every_flavor("a_signal_by_its_number", by_number, |program| {
        program.stop_by(Signal::INT).exited(130).complains_not();
        program.stop_by(Signal::TERM).exited(143).complains_not();
    });
    cases.every_flavor(
        "a_failure_beats_the_signal's_number",
        signal_and_failure,
        |program| {
            program.stop_by(Signal::TERM).exited(1);
        },
    );
}

fn something_fails(cases: &mut Cases) {
    cases.every_flavor("a_refused_task_is_1", refused, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(1)
            .says_once("`stubborn`")
            .says("AFTER Refused");
    });
    cases.every_flavor("an_abandoned_job_is_1", abandoned, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(1)
            .says_once("`stubborn`")
            .says("AFTER Abandoned");
    });
    cases.every_flavor("the_end_of_a_critical_task_is_1", critical, |program| {
        for variant in ["returns", "panics", "is_awaited", "is_cancelled", "fails"] {
            let ended = program.variant(variant).run();
            ended
                .exited(1)
                .says_once("`heart`")
                .says("AFTER TaskFailed");
        }
    });
    cases.every_flavor(
        "a_critical_task_may_end_in_the_shutdown",
        critical_late,
        |program| {
            program.stop_by(Signal::TERM).exited(0).complains_not();
        },
    );
    cases.every_flavor(
        "an_unhandled_error_is_1_with_the_option",
        unhandled,
        |program| {
            program
                .variant("stop")
                .run()
                .exited(1)
                .says_once("it broke")
                .says("AFTER TaskFailed");
        },
    );
    cases.every_flavor(
        "an_unhandled_error_is_shown_and_no_more",
        unhandled,
        |program| {
            let mut child = program.start();
            child.wait_for("it broke");
            child.signal(Signal::TERM);
            child
                .finish()
                .exited(0)
                .says_once("it broke")
                .says("AFTER None");
        },
    );
}

fn main_fails(scene: &Scene) -> ExitCode {
    scene.run(async { Err::<(), _>("main broke") })
}

fn main_panics(scene: &Scene) -> ExitCode {
    scene.run(async { assert_eq!(1, 2, "main broke") })
}

fn main_returns_a_code(scene: &Scene) -> ExitCode {
    scene.run(async { ExitCode::from(7) })
}

fn main_returns(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder
        .run_forever(false)
        .run(async { Ok::<(), String>(()) })
        .report()
}

fn stops(scene: &Scene) -> ExitCode {
    scene.run(async { aiorun::stop() })
}

fn stops_with_a_code(scene: &Scene) -> ExitCode {
    let variant = scene.variant.clone();
    scene.run(async move {
        match &*variant {
            "main" => aiorun::stop_with(9),
            "task" => drop(aiorun::spawn(async {
                aiorun::stop_with(ExitCode::from(9));
            })),
            "job" => drop(aiorun::spawn_blocking(|| aiorun::stop_with(9))),
            _ => {
                let handle = aiorun::Handle::current();
                thread::spawn(move || handle.stop_with(9));
            }
        }
        idle().await;
    })
}

fn two_reasons(scene: &Scene) -> ExitCode {
    let exit = scene.builder().run(async {
        aiorun::stop_with(4);
        aiorun::stop_with(5);
        aiorun::Handle::current().raise(aiorun::Signal::TERM);
        idle().await;
    });
    println!("{:?}", exit.reason);
    exit.report()
}

fn code_and_failure(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    let exit = builder.shutdown_delay(Duration::from_secs(20)).run(async {
        aiorun::stop_with(4);
        aiorun::stopping().await;
        ExitCode::from(5)
    });
    println!("{:?}", exit.reason);
    exit.report()
}

fn by_number(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder
        .signal_exit_status(SignalExitStatus::Signal)
        .run(ready_and_idle())
        .report()
}

fn signal_and_failure(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_callback(|| Err("the callback broke"));
    builder
        .signal_exit_status(SignalExitStatus::Signal)
        .run(ready_and_idle())
        .report()
}

fn after(exit: aiorun::Exit) -> ExitCode {
    let error = exit.error.as_ref().map(|error| format!("{error:?}"));
    let kind = error
        .as_deref()
        .and_then(|text| text.split('(').next())
        .unwrap_or("None");
    println!("AFTER {kind}");
    exit.report()
}

fn refused(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.timeout_task_shutdown(Duration::from_millis(200));
    after(builder.run(async {
        aiorun::task("stubborn").protected().spawn(ready_and_idle());
    }))
}

fn abandoned(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.timeout_executor_shutdown(Duration::from_millis(200));
    after(builder.run(async {
        aiorun::task("stubborn").spawn_blocking(|| {
            ready();
            block();
        });
    }))
}

fn critical(scene: &Scene) -> ExitCode {
    let variant = scene.variant.clone();
    after(scene.builder().run(async move {
        let task = aiorun::task("heart").critical();
        match &*variant {
            "returns" => drop(task.spawn(async {})),
            "panics" => drop(task.spawn(async { panic!("a heart attack") })),
            "is_awaited" => drop(task.spawn(async {}).await),
            "fails" => drop(task.spawn_fallible(async { Err::<(), _>("a heart attack") })),
            _ => {
                let task = task.spawn(idle());
                task.cancel();
            }
        }
        idle().await;
    }))
}

fn critical_late(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        aiorun::task("heart").critical().spawn(ready_and_idle());
    }))
}

fn unhandled(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(scene.is("stop"));
    after(builder.run(async {
        aiorun::spawn_fallible(async {
            sleep(Duration::from_millis(20)).await;
            Err::<(), _>("it broke")
        });
        idle().await;
    }))
}
