//! The exit code: the first of several that applies.

use std::pin::Pin;
use std::process::{ExitCode, Termination};

use aiorun::{Builder, Exit, Handle, Signal, SignalExitStatus, StopReason};

use crate::trial::{FLAVORS, SHORT, attempt, builder, forever, give_way};

type Main = Pin<Box<dyn Future<Output = ExitCode>>>;

struct Case {
    name: &'static str,
    options: fn(&mut Builder),
    main: fn() -> Main,
    reason: StopReason,
    /// The variant, or nothing.
    error: &'static str,
    code: u8,
}

const TERM: StopReason = StopReason::Signal(Signal::TERM);

fn as_signal(builder: &mut Builder) {
    builder.signal_exit_status(SignalExitStatus::Signal);
}

fn failing_hook() {
    aiorun::on_exit("fails", async { panic!("a hook that fails") });
}

fn refusing_task() {
    aiorun::shutdown_waits_for(forever());
}

async fn ok() -> ExitCode {
    give_way().await;
    ExitCode::SUCCESS
}

macro_rules! case {
    ($name:literal, $options:expr, $main:expr => $reason:expr, $error:expr, $code:literal) => {
        Case {
            name: $name,
            options: $options,
            main: || Box::pin(async { $main }),
            reason: $reason,
            error: $error,
            code: $code,
        }
    };
}

#[rustfmt::skip]
fn of_main() -> Vec<Case> {
    vec![
        case!("main returns", |it| { it.run_forever(false); }, ok().await
            => StopReason::MainReturned, "", 0),
        case!("main's own code", |_| (), ExitCode::from(7)
            => StopReason::MainFailed, "MainFailed", 7),
        case!("main's own before that of stop_with", |_| (), { aiorun::stop_with(3); ExitCode::from(7) }
            => StopReason::Stop, "MainFailed", 7),
        case!("main's own before that of an error", |_| (), { failing_hook(); ExitCode::from(7) }
            => StopReason::MainFailed, "MainFailed", 7),
        case!("main's own before that of a signal", as_signal,
            { Handle::current().raise(Signal::TERM); ExitCode::from(7) }
            => TERM, "MainFailed", 7),
        case!("main's panic", |_| (), panic!("main panics")
            => StopReason::MainFailed, "MainPanicked", 101),
        case!("main's panic before stop_with", |_| (), { aiorun::stop_with(3); panic!("main panics") }
            => StopReason::Stop, "MainPanicked", 101),
    ]
}

#[rustfmt::skip]
fn of_errors() -> Vec<Case> {
    vec![
        case!("a failed hook before stop_with", |_| (),
            { failing_hook(); aiorun::stop_with(3); ok().await }
            => StopReason::Stop, "Hook", 1),
        case!("a refused task before stop_with", |it| { it.timeout_task_shutdown(SHORT); },
            { refusing_task(); aiorun::stop_with(3); ok().await }
            => StopReason::Stop, "Refused", 1),
        case!("a failed callback before a signal",
            |it| { as_signal(it); it.shutdown_callback(|| Err::<(), _>("no")); },
            { Handle::current().raise(Signal::TERM); ok().await }
            => TERM, "Callback", 1),
        case!("an unhandled failure without the option", |_| (),
            { let _ = aiorun::spawn_fallible(async { Err::<(), _>("no") }).abort_handle();
              give_way().await; aiorun::stop(); ok().await }
            => StopReason::Stop, "", 0),
        case!("an unhandled failure with the option", |it| { it.stop_on_unhandled_errors(true); },
            { aiorun::spawn_fallible(async { Err::<(), _>("no") }); ok().await }
            => StopReason::TaskFailed, "TaskFailed", 1),
        case!("the end of a critical task", |_| (),
            { aiorun::task("vital").critical().spawn(async {}); ok().await }
            => StopReason::TaskFailed, "TaskFailed", 1),
    ]
}

#[rustfmt::skip]
fn of_reasons() -> Vec<Case> {
    vec![
        case!("stop", |_| (), { aiorun::stop(); ok().await } => StopReason::Stop, "", 0),
        case!("stop_with", |_| (), { aiorun::stop_with(3); ok().await } => StopReason::Stop, "", 3),
        case!("stop_with of an ExitCode", |_| (), { aiorun::stop_with(ExitCode::FAILURE); ok().await }
            => StopReason::Stop, "", 1),
        case!("stop_with success", |_| (), { aiorun::stop_with(0); ok().await }
            => StopReason::Stop, "", 0),
        case!("a signal", |_| (), { Handle::current().raise(Signal::TERM); ok().await }
            => TERM, "", 0),
        case!("a signal that counts", as_signal, { Handle::current().raise(Signal::TERM); ok().await }
            => TERM, "", 143),
        case!("SIGINT that counts", as_signal, { Handle::current().raise(Signal::INT); ok().await }
            => StopReason::Signal(Signal::INT), "", 130),
        case!("stop_with after a signal", |_| (),
            { Handle::current().raise(Signal::TERM); aiorun::stop_with(3); ok().await }
            => TERM, "", 0),
        case!("stop_with after a signal that counts", as_signal,
            { Handle::current().raise(Signal::TERM); aiorun::stop_with(3); ok().await }
            => TERM, "", 143),
        case!("a signal that counts after stop_with", as_signal,
            { aiorun::stop_with(3); Handle::current().raise(Signal::TERM); ok().await }
            => StopReason::Stop, "", 3),
    ]
}

fn variant(exit: &Exit) -> String {
    let error = exit.error.as_ref().map(|error| format!("{error:?}"));
    error
        .unwrap_or_default()
        .split('(')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn the_first_that_applies() {
    for flavor in FLAVORS {
        for case in [of_main(), of_errors(), of_reasons()].into_iter().flatten() {
            let mut builder = builder(flavor);
            (case.options)(&mut builder);
            let exit = attempt(&mut builder, (case.main)());
            let what = format!("{} in {flavor:?}", case.name);
            assert_eq!(exit.reason, case.reason, "{what}");
            assert_eq!(variant(&exit), case.error, "{what}");
            assert_eq!(exit.is_success(), case.code == 0, "{what}");
            assert_eq!(
                Termination::report(exit),
                ExitCode::from(case.code),
                "{what}"
            );
        }
    }
}

#[test]
fn an_error_is_the_err_of_into_result_and_a_code_is_not() {
    for flavor in FLAVORS {
        let run = |main: fn() -> Main| -> Exit { attempt(&mut builder(flavor), main()) };
        let report = run(|| {
            Box::pin(async {
                aiorun::stop_with(3);
                ok().await
            })
        })
        .into_result();
        assert_eq!(report.unwrap().reason, StopReason::Stop);
        let error = run(|| {
            Box::pin(async {
                failing_hook();
                aiorun::stop();
                ok().await
            })
        });
        let text = error.into_result().unwrap_err().to_string();
        assert!(
            text.contains("`fails`") && text.contains("a hook that fails"),
            "{text}"
        );
    }
}
