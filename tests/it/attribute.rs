//! `#[aiorun::test]`, and what makes such a test fail. The functions here are the tests.

use std::time::Duration;

use aiorun::task::Kind;
use aiorun::{Handle, Phase, Signal, StopReason};
use rstest::rstest;

use crate::trial::{OnDrop, forever, give_way};

#[aiorun::test]
async fn passes() {
    assert_eq!(aiorun::spawn(async { 6 * 7 }).await.unwrap(), 42);
}

#[aiorun::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_on_workers() {
    passes_with(1).await;
}

#[aiorun::test(flavor = "local")]
async fn passes_locally() {
    let shared = std::rc::Rc::new(1);
    assert_eq!(
        aiorun::spawn_local(async move { *shared }).await.unwrap(),
        1
    );
}

async fn passes_with(number: u32) {
    assert_eq!(
        aiorun::spawn_blocking(move || number + 1).await.unwrap(),
        number + 1
    );
}

#[aiorun::test]
async fn leaves_tasks_behind() {
    aiorun::spawn(forever());
    aiorun::task("named").spawn(forever());
    aiorun::spawn_blocking(|| {});
    aiorun::on_exit("hook", async { give_way().await });
}

#[aiorun::test]
async fn sees_failures_that_are_its_own() {
    assert!(aiorun::spawn(async { panic!("seen") }).await.is_err());
    let error = aiorun::spawn_fallible(async { Err::<(), _>("seen") }).await;
    assert_eq!(error.unwrap(), Err("seen"));
}

#[aiorun::test]
async fn may_use_a_question_mark() -> Result<(), Box<dyn std::error::Error>> {
    let number: u32 = "42".parse()?;
    assert_eq!(aiorun::spawn(async move { number }).await?, 42);
    Ok(())
}

#[aiorun::test]
#[should_panic(expected = "of the body")]
async fn fails_with_the_panic_of_its_body() {
    give_way().await;
    panic!("of the body");
}

#[test]
#[allow(unnameable_test_items, reason = "it is called here")]
fn fails_with_the_very_payload_of_its_body() {
    #[derive(Debug, PartialEq)]
    struct Payload(u8);

    #[aiorun::test]
    async fn raises() {
        std::panic::panic_any(Payload(7));
    }

    let payload = std::panic::catch_unwind(raises).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&Payload(7)));
}

#[aiorun::test]
#[should_panic(expected = "task `detached` (spawned at tests/it/attribute.rs:")]
async fn fails_when_a_detached_task_panics() {
    aiorun::task("detached").spawn(async { panic!("behind its back") });
    forever().await;
}

#[aiorun::test]
#[should_panic(expected = "behind its back")]
async fn fails_when_a_detached_task_fails() {
    aiorun::spawn_fallible(async { Err::<(), _>("behind its back") });
    forever().await;
}

#[aiorun::test]
#[should_panic(expected = "while it is cancelled")]
async fn fails_when_a_task_panics_at_its_end() {
    aiorun::spawn_blocking(|| panic!("while it is cancelled"));
}

#[aiorun::test]
#[should_panic(expected = "panicked: it breaks")]
async fn fails_when_a_destructor_panics() {
    let fragile = OnDrop::new(|| panic!("it breaks"));
    aiorun::spawn(async move {
        let _fragile = fragile;
        forever().await;
    });
}

#[aiorun::test(timeout_task_shutdown = "500ms")]
#[should_panic(expected = "task `stubborn` spawned at tests/it/attribute.rs:")]
async fn fails_when_a_task_refuses() {
    aiorun::task("stubborn").protected().spawn(forever());
}

#[aiorun::test(timeout_executor_shutdown = "500ms")]
#[should_panic(expected = "blocking job `leaked` spawned at tests/it/attribute.rs:")]
async fn fails_when_a_job_leaks() {
    let (started, has_started) = tokio::sync::oneshot::channel();
    aiorun::task("leaked").spawn_blocking(move || {
        started.send(()).unwrap();
        std::thread::park_timeout(Duration::from_secs(2));
    });
    has_started.await.unwrap();
}

#[aiorun::test]
#[should_panic(expected = "exit hook `flush`")]
async fn fails_when_a_hook_fails() {
    aiorun::on_exit("flush", async { panic!("no disk") });
}

fn no_farewell() -> Result<(), String> {
    Err("no farewell".into())
}

#[aiorun::test(shutdown_callback = no_farewell)]
#[should_panic(expected = "no farewell")]
async fn fails_when_the_callback_fails() {}

#[aiorun::test]
#[should_panic(expected = "task `vital`")]
async fn fails_when_a_critical_task_ends() {
    aiorun::task("vital").critical().spawn(async {});
    forever().await;
}

#[aiorun::test(test_timeout = "2s")]
#[should_panic(expected = "longer than 2s")]
async fn fails_when_it_takes_too_long() {
    forever().await;
}

#[aiorun::test(test_timeout = "2s")]
#[should_panic(expected = "task `the culprit`")]
async fn fails_when_it_takes_too_long_and_names_what_lives() {
    let task = aiorun::task("the culprit").spawn(forever());
    task.await.unwrap();
}

#[aiorun::test(test_timeout = "2s")]
#[should_panic(expected = "task `the hog`")]
async fn fails_when_it_is_stuck() {
    aiorun::task("the hog").spawn(async { std::thread::park_timeout(Duration::from_secs(10)) });
    give_way().await;
}

#[test]
#[allow(unnameable_test_items, reason = "it is called here")]
fn fails_with_what_it_returns() {
    #[aiorun::test]
    async fn returns() -> Result<(), &'static str> {
        Err("printed")
    }

    assert_eq!(returns(), std::process::ExitCode::FAILURE);
}

#[aiorun::test]
async fn has_the_name_that_libtest_gave_it() {
    let thread = std::thread::current();
    assert_eq!(
        thread.name(),
        Some("attribute::has_the_name_that_libtest_gave_it")
    );
}

#[aiorun::test]
async fn is_a_main() {
    let tasks = Handle::current().tasks();
    assert_eq!((tasks.len(), tasks[0].kind), (1, Kind::Main));
    assert_eq!(Handle::current().phase(), Phase::Running);
}

#[aiorun::test]
async fn a_signal_is_raised_by_a_handle() {
    let saved = aiorun::shutdown_waits_for(async { aiorun::stopping().await });
    Handle::current().raise(Signal::TERM);
    assert_eq!(saved.await.unwrap(), StopReason::Signal(Signal::TERM));
}

#[aiorun::test(repeat_signal = "exit")]
#[should_panic(expected = "task `stubborn`")]
async fn never_leaves_the_process() {
    aiorun::task("stubborn").protected().spawn(forever());
    let handle = Handle::current();
    handle.raise(Signal::INT);
    std::thread::spawn(move || {
        while handle.phase() < Phase::Draining {
            std::thread::sleep(Duration::from_millis(100));
            handle.raise(Signal::INT);
        }
    });
    forever().await;
}

/// No thread of this process is told of signals, so SIGTERM still ends it.
#[cfg(target_os = "linux")]
#[aiorun::test]
async fn has_no_signal_handlers() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    for number in [1, 2, 15] {
        assert_eq!(
            caught >> (number - 1) & 1,
            0,
            "signal {number} has a handler"
        );
    }
}

fn ignore(_: &aiorun::UnhandledError) {}

#[aiorun::test(unhandled_error_handler = ignore)]
async fn a_handler_sees_failures_instead() {
    aiorun::spawn(async { panic!("the handler's") });
    give_way().await;
}

#[aiorun::test(start_paused)]
async fn time_may_be_paused() {
    let began = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(86400)).await;
    assert!(began.elapsed() >= Duration::from_secs(86400));
}

#[rstest]
#[case(1, "one")]
#[case(2, "two")]
#[aiorun::test]
async fn takes_arguments(#[case] number: u32, #[case] word: String) {
    assert_eq!(word.len(), 3);
    passes_with(number).await;
}
