//! The `shutdown_handler`: asked for every signal.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use aiorun::{Handle, Phase, Signal, SignalAction, StopReason};

use crate::trial::{FLAVORS, attempt, builder, forever, passes, run};

#[test]
fn it_is_asked_about_each_signal_in_turn() {
    for flavor in FLAVORS {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&asked);
        let exit = run(
            builder(flavor).shutdown_handler(move |signal, handle: &Handle| {
                assert_eq!(handle.phase(), Phase::Running);
                note.lock().unwrap().push(signal);
                match signal {
                    Signal::TERM => SignalAction::Stop,
                    _ => SignalAction::Ignore,
                }
            }),
            async {
                let handle = Handle::current();
                for signal in [Signal::HUP, Signal::USR1, Signal::HUP, Signal::TERM] {
                    handle.raise(signal);
                }
                forever().await;
            },
        );
        assert_eq!(exit.reason, StopReason::Signal(Signal::TERM));
        let all = [Signal::HUP, Signal::USR1, Signal::HUP, Signal::TERM];
        assert_eq!(*asked.lock().unwrap(), all);
    }
}

#[test]
fn it_may_use_its_handle() {
    for flavor in FLAVORS {
        let exit = run(
            builder(flavor).shutdown_handler(|_, handle| {
                assert_eq!(handle.tasks().len(), 1);
                assert!(Handle::try_current().is_ok());
                aiorun::on_exit("of the handler", async {});
                handle.stop_with(0);
                SignalAction::Ignore
            }),
            async {
                Handle::current().raise(Signal::INT);
                forever().await;
            },
        );
        assert_eq!(exit.reason, StopReason::Stop);
        assert_eq!(exit.report.hooks.len(), 1);
    }
}

#[test]
fn one_that_panics_has_said_stop() {
    for flavor in FLAVORS {
        let exit = run(
            builder(flavor).shutdown_handler(|_, _| panic!("no idea")),
            async {
                Handle::current().raise(Signal::TERM);
                forever().await;
            },
        );
        assert_eq!(exit.reason, StopReason::Signal(Signal::TERM));
        assert!(exit.is_success());
    }
}

#[test]
fn one_that_does_not_answer_has_said_stop() {
    for flavor in FLAVORS {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let exit = attempt(
            builder(flavor).shutdown_handler(move |_, _| {
                let _ = released.lock().unwrap().recv();
                SignalAction::Ignore
            }),
            async {
                Handle::current().raise(Signal::TERM);
                forever().await;
            },
        );
        drop(release);
        assert_eq!(exit.reason, StopReason::Signal(Signal::TERM));
        assert!(exit.is_success());
    }
}

#[test]
fn it_is_not_asked_about_a_stop() {
    for flavor in FLAVORS {
        passes(
            builder(flavor).shutdown_handler(|_, _| panic!("nobody raised one")),
            async { aiorun::stop() },
        );
    }
}

#[test]
fn it_is_asked_while_the_program_stops_too() {
    for flavor in FLAVORS {
        let asked = Arc::new(AtomicUsize::new(0));
        let note = Arc::clone(&asked);
        let exit = run(
            builder(flavor).shutdown_handler(move |_, _| {
                note.fetch_add(1, Ordering::SeqCst);
                SignalAction::Stop
            }),
            async {
                let (handle, asked) = (Handle::current(), Arc::clone(&asked));
                aiorun::shutdown_waits_for(async move {
                    aiorun::stopping().await;
                    handle.raise(Signal::TERM);
                    while asked.load(Ordering::SeqCst) < 2 {
                        tokio::task::yield_now().await;
                    }
                });
                Handle::current().raise(Signal::TERM);
            },
        );
        assert!(exit.is_success());
    }
}
