//! Options that contradict each other, and what is said about it.

use aiorun::{Builder, Flavor, RunError, Signal, StopReason};

use crate::trial::{attempt, on_a_runtime};

type Options = fn(&mut Builder) -> &mut Builder;

/// What is wrong, and the words that have to tell.
const WRONG: &[(Options, &[&str])] = &[
    (
        |it| it.worker_threads(0),
        &["`worker_threads`", "at least 1"],
    ),
    (
        |it| it.executor_workers(0),
        &["`executor_workers`", "at least 1"],
    ),
    (
        |it| it.thread_stack_size(0),
        &["`thread_stack_size`", "at least 1"],
    ),
    (
        |it| it.flavor(Flavor::CurrentThread).worker_threads(2),
        &["`worker_threads`", "multi_thread"],
    ),
    (
        |it| it.flavor(Flavor::Local).worker_threads(2),
        &["`worker_threads`", "multi_thread"],
    ),
    (
        |it| it.start_paused(true),
        &["`start_paused`", "current_thread", "local"],
    ),
    (
        |it| {
            it.stop_on_unhandled_errors(true)
                .unhandled_error_handler(|_| {})
        },
        &[
            "`unhandled_error_handler`",
            "`stop_on_unhandled_errors`",
            "leave one out",
        ],
    ),
    (|it| it.signals([Signal::KILL]), &["SIGKILL"]),
    (|it| it.signals([Signal::TERM, Signal::STOP]), &["SIGSTOP"]),
    (|it| it.signals([]).dump_signal(Signal::KILL), &["SIGKILL"]),
    (
        |it| it.signals([Signal::USR1]).dump_signal(Signal::USR1),
        &["SIGUSR1", "`signals`", "`dump_signal`"],
    ),
    (
        |it| it.dump_signal(Signal::INT),
        &["SIGINT", "`signals`", "`dump_signal`"],
    ),
];

const OF_THE_RUNTIME: &[(Options, &str)] = &[
    (|it| it.flavor(Flavor::CurrentThread), "`flavor`"),
    (|it| it.worker_threads(1), "`worker_threads`"),
    (|it| it.thread_stack_size(1 << 20), "`thread_stack_size`"),
    (|it| it.executor_workers(1), "`executor_workers`"),
    (|it| it.start_paused(false), "`start_paused`"),
    (|it| it.name("mine"), "`name`"),
];

#[track_caller]
fn refused(exit: aiorun::Exit, words: &[&str]) {
    assert_eq!(exit.reason, StopReason::NotStarted);
    assert!(!exit.is_success());
    let error = exit.into_result().unwrap_err();
    assert!(matches!(error, RunError::Config(_)), "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
}

#[test]
fn contradictions_are_told_and_main_never_runs() {
    for (options, words) in WRONG {
        let mut builder = Builder::new();
        refused(
            attempt(options(&mut builder), async { panic!("main runs") }),
            words,
        );
    }
}

#[test]
fn contradictions_are_told_by_supervise_too() {
    for (options, words) in WRONG.iter().skip(6) {
        let mut builder = Builder::new();
        let main = async { panic!("main runs") };
        refused(on_a_runtime(options(&mut builder).supervise(main)), words);
    }
}

#[test]
fn options_of_the_runtime_make_no_sense_in_supervise() {
    for (options, name) in OF_THE_RUNTIME {
        let mut builder = Builder::new();
        let main = async { panic!("main runs") };
        let exit = on_a_runtime(options(builder.signals([])).supervise(main));
        refused(exit, &[name, "supervise", "where that runtime is built"]);
    }
}

#[test]
fn the_name_is_that_of_the_threads() {
    let mut name = None;
    crate::trial::passes(
        crate::trial::builder(Flavor::MultiThread).name("feeder"),
        async {
            let task = async { std::thread::current().name().map(str::to_owned) };
            name = aiorun::spawn(task).await.unwrap();
            aiorun::stop();
        },
    );
    assert_eq!(name.as_deref(), Some("feeder"));
}

#[test]
fn texts_of_a_configuration_file_are_read() {
    assert_eq!("local".parse(), Ok(Flavor::Local));
    assert_eq!("abort".parse(), Ok(aiorun::RepeatSignal::Abort));
    assert_eq!("signal".parse(), Ok(aiorun::SignalExitStatus::Signal));
    let text = "threads".parse::<Flavor>().unwrap_err().to_string();
    assert!(
        text.contains("\"threads\"") && text.contains("`multi_thread`"),
        "{text}"
    );
}
