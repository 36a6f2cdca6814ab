//! Who may stop a run, and which reason counts.

use std::process::{ExitCode, Termination};
use std::sync::mpsc;
use std::thread;

use aiorun::{Builder, Exit, Flavor, Handle, Signal, StopReason};
use futures::FutureExt as _;

use crate::trial::{FLAVORS, attempt, builder, forever, on_a_runtime, passes, run};

#[track_caller]
fn stops(stopper: impl AsyncFn() + Copy) {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            stopper().await;
            forever().await;
        });
        assert_eq!(exit.reason, StopReason::Stop);
        assert!(exit.is_success());
    }
}

#[test]
fn main_stops() {
    stops(async || aiorun::stop());
}

#[test]
fn a_task_stops() {
    stops(async || drop(aiorun::spawn(async { aiorun::stop() })));
}

#[test]
fn a_blocking_job_stops() {
    stops(async || drop(aiorun::spawn_blocking(aiorun::stop)));
}

#[test]
fn a_thread_stops_by_a_handle() {
    stops(async || {
        let handle = Handle::current();
        thread::spawn(move || handle.stop());
    });
}

#[test]
fn a_destructor_stops() {
    stops(async || {
        let _stop = crate::trial::OnDrop::new(aiorun::stop);
    });
}

#[test]
fn a_thousand_threads_stop() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let handle = Handle::current();
            aiorun::spawn_blocking(move || {
                thread::scope(|scope| {
                    for number in 0..1000 {
                        let handle = handle.clone();
                        let code = u8::try_from(number % 7 + 1).unwrap();
                        scope.spawn(move || handle.stop_with(code));
                    }
                });
            });
            forever().await;
        });
        assert_eq!(exit.reason, StopReason::Stop);
        let code = Termination::report(exit);
        assert!((1..=7).any(|it| code == ExitCode::from(it)), "{code:?}");
    }
}

type Reason = fn();

fn stop_with_3() {
    aiorun::stop_with(3);
}

fn raise_term() {
    Handle::current().raise(Signal::TERM);
}

fn raise_int() {
    Handle::current().raise(Signal::INT);
}

#[test]
fn the_first_reason_wins() {
    let reasons: [(Reason, StopReason); 3] = [
        (stop_with_3, StopReason::Stop),
        (raise_term, StopReason::Signal(Signal::TERM)),
        (raise_int, StopReason::Signal(Signal::INT)),
    ];
    for flavor in FLAVORS {
        for (first, reason) in reasons {
            for (second, _) in reasons {
                let exit = run(&mut builder(flavor), async {
                    first();
                    second();
                    aiorun::stop();
                });
                assert_eq!(exit.reason, reason);
            }
        }
    }
}

#[test]
fn the_first_of_several_codes_wins() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            aiorun::stop_with(3);
            aiorun::stop_with(4);
        });
        assert_eq!(Termination::report(exit), ExitCode::from(3));
    }
}

#[test]
fn main_that_fails_after_a_stop_is_the_error_and_not_the_reason() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            aiorun::stop();
            Err::<(), _>("on the way out")
        });
        assert_eq!(exit.reason, StopReason::Stop);
        assert!(matches!(exit.error, Some(aiorun::RunError::MainFailed)));
    }
}

#[test]
fn stopping_yields_the_reason_to_everybody() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            assert!(!aiorun::is_stopping());
            let inside = aiorun::shutdown_waits_for(async {
                let mut stopping = aiorun::stopping();
                let first = (&mut stopping).await;
                assert_eq!(first, stopping.await, "it can be asked again");
                assert_eq!(
                    first,
                    aiorun::stopping().await,
                    "a new one resolves as well"
                );
                first
            });
            let afar = Handle::current().stopping();
            let (tell, told) = mpsc::channel();
            thread::spawn(move || tell.send(on_a_runtime(afar)));
            Handle::current().raise(Signal::HUP);
            let reason = StopReason::Signal(Signal::HUP);
            aiorun::shutdown_waits_for(async move {
                assert_eq!(inside.await.unwrap(), reason);
                assert!(aiorun::is_stopping());
            });
            assert_eq!(aiorun::stopping().await, reason);
            aiorun::spawn_blocking(move || assert_eq!(told.recv().unwrap(), reason));
        });
    }
}

#[test]
fn outside_a_supervisor_nothing_ever_stops() {
    assert!(!aiorun::is_stopping());
    assert!(aiorun::time_left().is_none());
    on_a_runtime(async {
        assert!(!aiorun::is_stopping());
        let mut stopping = aiorun::stopping();
        assert!((&mut stopping).now_or_never().is_none());
        crate::trial::give_way().await;
        assert!((&mut stopping).now_or_never().is_none());
    });
}

#[test]
fn reasons_are_told_in_words() {
    let told = |exit: Exit| exit.reason.to_string();
    let mut builder = builder(Flavor::CurrentThread);
    assert_eq!(
        told(run(&mut builder, async { aiorun::stop() })),
        "stop was called"
    );
    assert_eq!(
        told(run(&mut builder, async { raise_term() })),
        "signal SIGTERM"
    );
    assert_eq!(
        told(run(builder.run_forever(false), async {})),
        "main returned"
    );
    assert_eq!(
        told(attempt(&mut builder, async { Err::<(), _>("") })),
        "main failed"
    );
    assert_eq!(
        told(Builder::new().worker_threads(0).run(async {})),
        "not started"
    );
}
