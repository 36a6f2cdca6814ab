//! The test suite of the Python package, as black-box cases; the numbers are those of its tests in
//! the order of its files. (A9 is about wrong options, which are compile errors in the attribute;
//! here is what `Builder` makes of them. A13 is about Windows.)

use std::error::Error;
use std::process::{ExitCode, Termination};
use std::thread;
use std::time::Duration;

use aiorun::{Builder, Flavor, Handle};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::scene::{AGES, Farewell, Scene, idle, outlive, ready, ready_and_idle};

pub(crate) fn register(cases: &mut Cases) {
    signals(cases);
    callbacks(cases);
    errors(cases);
}

fn signals(cases: &mut Cases) {
    cases.every_flavor(
        "a01_a_signal_cancels_and_is_a_success",
        cancelled,
        |program| {
            for signal in [Signal::INT, Signal::TERM] {
                for variant in ["", "executor"] {
                    let ended = program.variant(variant).stop_by(signal);
                    ended
                        .exited(0)
                        .says_once("task cleaned up")
                        .says_once("main cleaned up");
                    ended.complains_not().within(Duration::from_secs(10));
                }
            }
        },
    );
    cases.every_flavor(
        "a02_without_main_it_runs_until_a_signal",
        no_main,
        |program| {
            for signal in [Signal::INT, Signal::TERM] {
                let mut child = program.logging().start();
                child.wait_for("Running forever.");
                child.signal(signal);
                child.finish().exited(0).says_once("AFTER");
            }
        },
    );
    cases.every_flavor(
        "a03_more_signals_do_not_break_the_cleanup",
        cleanup,
        |program| {
            for pause in [0, 1, 50] {
                let mut child = program.start_ready();
                for _ in 0..5 {
                    child.signal(Signal::TERM);
                    thread::sleep(Duration::from_millis(pause));
                }
                child.finish().exited(0).in_order(&["done", "AFTER"]);
            }
        },
    );
    cases.every_flavor(
        "a04_enduring_work_ends_in_every_form",
        enduring,
        |program| {
            for form in ["awaited", "held", "dropped", "in_a_task"] {
                let ended = program.variant(form).stop_by(Signal::TERM);
                ended.exited(0).says_once("done").complains_not();
            }
        },
    );
    cases.every_flavor(
        "a05_cancelling_the_inner_task_reaches_its_caller",
        indirect,
        |program| {
            program
                .run()
                .exited(0)
                .says_once("cancelled: true")
                .never_says("done");
        },
    );
}

fn callbacks(cases: &mut Cases) {
    cases.every_flavor(
        "a06_the_callback_runs_once_and_first",
        callback,
        |program| {
            for form in [
                "fn",
                "fn_with_handle",
                "async",
                "async_with_handle",
                "closure",
            ] {
                let ended = program.variant(form).stop_by(Signal::TERM);
                ended
                    .exited(0)
                    .says_once("callback")
                    .in_order(&["callback", "task cleaned up"]);
            }
        },
    );
    cases.every_flavor(
        "a07_an_error_of_the_callback_is_the_run's",
        bad_callback,
        |program| {
            for form in ["sync", "async", "sync_panic", "async_panic"] {
                let ended = program.variant(form).stop_by(Signal::TERM);
                ended
                    .exited(1)
                    .says_once("task cleaned up")
                    .says_once("AFTER");
                ended.says_in_a_line(&["shutdown callback", "the callback broke"]);
            }
        },
    );
    cases.every_flavor(
        "a08_main's_error_wins_over_the_callback's",
        two_errors,
        |program| {
            let ended = program.run();
            ended
                .exited(3)
                .says_once("the callback broke")
                .says_once("main broke");
        },
    );
}

fn errors(cases: &mut Cases) {
    cases.once(
        "a09_contradictory_options_are_refused",
        contradiction,
        |program| {
            for (variant, says) in [
                ("handler", "`stop_on_unhandled_errors`"),
                ("workers", "`worker_threads`"),
                ("zero", "`executor_workers`"),
                ("kill", "SIGKILL"),
                ("dump", "SIGTERM"),
            ] {
                let ended = program.variant(variant).run();
                ended
                    .exited(1)
                    .says_once("Error: ")
                    .says(says)
                    .says("NotStarted");
                ended.never_says("main was polled");
            }
        },
    );
    cases.every_flavor("a10_an_unhandled_error_stops", unhandled, |program| {
        for variant in ["error", "panic"] {
            let ended = program.variant(variant).run();
            ended
                .exited(1)
                .says("`fragile`")
                .says("tests/process/python.rs");
            ended.says("it broke").says_once("main cleaned up");
        }
    });
    cases.every_flavor("a11_the_handler_is_called", handler, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended.exited(0).says_once("handler: `first` true it broke");
        ended
            .says_once("handler: `second` false it failed")
            .says_once("main cleaned up");
    });
    cases.every_flavor(
        "a12_who_swallows_its_cancellation_is_ended",
        naughty,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended
                .exited(1)
                .not_before(Duration::from_secs(1))
                .within(Duration::from_secs(8));
            ended
                .says_in_a_line(&["`naughty`", "tests/process/python.rs"])
                .says_once("AFTER");
        },
    );
}

fn cancelled(scene: &Scene) -> ExitCode {
    let executor = scene.is("executor");
    let mut builder = scene.builder();
    if executor {
        builder.executor_workers(2);
    }
    let main = async move {
        let _farewell = Farewell("main cleaned up");
        if executor {
            aiorun::spawn_blocking(|| {}).await.unwrap();
        }
        aiorun::spawn(async {
            let _farewell = Farewell("task cleaned up");
            ready_and_idle().await;
        });
        idle().await;
    };
    builder.run(main).report()
}

fn no_main(scene: &Scene) -> ExitCode {
    let exit = scene.builder().run_without_main();
    println!("AFTER");
    exit.report()
}

fn cleanup(scene: &Scene) -> ExitCode {
    let exit = scene.builder().run(async {
        aiorun::shutdown_waits_for(async {
            aiorun::stopping().await;
            sleep(Duration::from_millis(400)).await;
            println!("done");
        });
        ready_and_idle().await;
    });
    println!("AFTER");
    exit.report()
}

fn enduring(scene: &Scene) -> ExitCode {
    async fn work() {
        aiorun::stopping().await;
        sleep(Duration::from_millis(100)).await;
        println!("done");
    }
    let form = scene.variant.clone();
    scene.run(async move {
        match &*form {
            "awaited" => {
                let work = aiorun::shutdown_waits_for(work());
                ready();
                let _ = work.await;
            }
            "held" => {
                let _handle = aiorun::shutdown_waits_for(work());
                ready_and_idle().await;
            }
            "dropped" => {
                drop(aiorun::shutdown_waits_for(work()));
                ready();
            }
            _ => drop(aiorun::spawn(async {
                let work = aiorun::shutdown_waits_for(work());
                ready();
                let _ = work.await;
            })),
        }
    })
}

fn indirect(scene: &Scene) -> ExitCode {
    scene.run(async {
        let inner = aiorun::shutdown_waits_for(async {
            sleep(AGES).await;
            println!("done");
        });
        inner.cancel();
        println!("cancelled: {}", inner.await.unwrap_err().is_cancelled());
        aiorun::stop();
    })
}

fn plain_callback() {
    println!("callback");
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "this is how a callback gets it"
)]
fn callback_with_handle(handle: Handle) {
    println!("callback while {}", handle.phase());
}

async fn async_callback() {
    sleep(Duration::from_millis(20)).await;
    println!("callback");
}

async fn async_callback_with_handle(handle: Handle) {
    println!("callback while {}", handle.phase());
}

fn callback(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    match &*scene.variant {
        "fn" => builder.shutdown_callback(plain_callback),
        "fn_with_handle" => builder.shutdown_callback(callback_with_handle),
        "async" => builder.shutdown_callback(async_callback),
        "async_with_handle" => builder.shutdown_callback(async_callback_with_handle),
        _ => builder.shutdown_callback(|| println!("callback")),
    };
    run_with_task(&mut builder)
}

fn run_with_task(builder: &mut Builder) -> ExitCode {
    let exit = builder.run(async {
        aiorun::spawn(async {
            let _farewell = Farewell("task cleaned up");
            ready_and_idle().await;
        });
    });
    println!("AFTER");
    exit.report()
}

fn broken_callback() -> Result<(), Box<dyn Error>> {
    Err("the callback broke".into())
}

async fn broken_async_callback() -> Result<(), String> {
    Err("the callback broke".into())
}

fn bad_callback(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    match &*scene.variant {
        "sync" => builder.shutdown_callback(broken_callback),
        "async" => builder.shutdown_callback(broken_async_callback),
        "sync_panic" => builder.shutdown_callback(|| assert_eq!(1, 2, "the callback broke")),
        _ => builder.shutdown_callback(async || assert_eq!(1, 2, "the callback broke")),
    };
    run_with_task(&mut builder)
}

fn two_errors(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_callback(broken_callback);
    let main = async {
        eprintln!("main broke");
        ExitCode::from(3)
    };
    builder.run(main).report()
}

fn contradiction(scene: &Scene) -> ExitCode {
    let mut builder = Builder::new();
    match &*scene.variant {
        "handler" => builder
            .stop_on_unhandled_errors(true)
            .unhandled_error_handler(|_| {}),
        "workers" => builder.flavor(Flavor::CurrentThread).worker_threads(2),
        "zero" => builder.executor_workers(0),
        "kill" => builder.signals([aiorun::Signal::KILL]),
        _ => builder.dump_signal(aiorun::Signal::TERM),
    };
    let exit = builder.run(async { println!("main was polled") });
    println!(
        "{:?} {}",
        exit.reason,
        matches!(exit.error, Some(aiorun::RunError::Config(_)))
    );
    exit.report()
}

fn unhandled(scene: &Scene) -> ExitCode {
    let panics = scene.is("panic");
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(true);
    let main = async move {
        let _farewell = Farewell("main cleaned up");
        if panics {
            aiorun::task("fragile").spawn(async { panic!("it broke") });
        } else {
            aiorun::task("fragile").spawn_fallible(async { Err::<(), _>("it broke") });
        }
        idle().await;
    };
    builder.run(main).report()
}

fn handler(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.unhandled_error_handler(|error| {
        let (name, is_panic) = (error.name().unwrap_or_default(), error.is_panic());
        println!("handler: `{name}` {is_panic} {}", error.message());
        if !is_panic {
            ready();
        }
    });
    let main = async {
        let _farewell = Farewell("main cleaned up");
        outlive(aiorun::task("first").spawn(async { panic!("it broke") })).await;
        aiorun::task("second").spawn_fallible(async { Err::<(), _>("it failed") });
        idle().await;
    };
    builder.run(main).report()
}

fn naughty(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.timeout_task_shutdown(Duration::from_secs(1));
    let exit = builder.run(async {
        aiorun::task("naughty")
            .cooperative()
            .spawn(ready_and_idle());
        idle().await;
    });
    println!("AFTER");
    exit.report()
}
