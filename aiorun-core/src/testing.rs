//! What `#[aiorun::test]` runs, and what tests use.

pub(crate) mod cancel_everywhere;

use std::fmt::{self, Write as _};
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::builder::Builder;
use crate::error::RunError;
use crate::exit::Exit;
use crate::handle::Handle;
use crate::listing::Listing;
use crate::runtime::STACK;

/// How long a test may take unless `test_timeout` says otherwise.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// What the shutdown of a test may take in all.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A builder with the defaults of a test.
pub fn test_builder() -> Builder {
    let mut builder = Builder::new();
    builder.options.test = true;
    builder.shutdown_timeout(SHUTDOWN_TIMEOUT);
    builder
}

/// Runs a test's body on a thread of its own, so that a stuck test fails alone.
///
/// # Panics
///
/// As the body does; when it takes longer than `timeout`; when a task failed and nobody saw it, did
/// not end in time, or left a blocking job behind.
#[track_caller]
pub fn test(
    mut builder: Builder,
    timeout: Option<Duration>,
    body: impl FnOnce(&mut Builder) -> Exit + Send + 'static,
) -> ExitCode {
    let name = thread::current().name().unwrap_or("aiorun-test").to_owned();
    let (done, wait) = mpsc::channel();
    let (handle, running) = mpsc::channel();
    builder.on_start = Some(Box::new(move |started| {
        let _ = handle.send(started);
    }));
    let stack = builder.options.thread_stack_size.unwrap_or(STACK);
    let thread = thread::Builder::new().name(name).stack_size(stack);
    let thread = thread.spawn(move || {
        let exit = body(&mut builder);
        let _ = done.send(());
        (exit, builder.main_panic.take())
    });
    let thread = thread.expect("a thread for the test");
    let timeout = timeout.unwrap_or(TEST_TIMEOUT);
    assert!(
        wait.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout),
        "{}",
        stuck(timeout, running.try_recv().ok().as_ref())
    );
    match thread.join() {
        Ok((_, Some(payload))) | Err(payload) => resume_unwind(payload),
        Ok((exit, None)) => judge(&exit),
    }
}

/// What there is to say about a test that takes too long.
fn stuck(timeout: Duration, handle: Option<&Handle>) -> String {
    let dump = handle.map(|handle| handle.dump_blocking().to_string());
    format!(
        "the test took longer than {timeout:?}\n{}",
        dump.unwrap_or_default()
    )
}

/// Fails the test for what happened behind its back, and lists it.
#[track_caller]
fn judge(exit: &Exit) -> ExitCode {
    let fine = match &exit.error {
        None | Some(RunError::MainFailed) => true,
        Some(_) => false,
    };
    if fine {
        return exit.code;
    }
    let report = &exit.report;
    let mut text = String::new();
    let failures = report
        .failures
        .iter()
        .map(|failure| failure as &dyn fmt::Display);
    let hooks = report.hooks.iter().filter(|hook| !hook.is_success());
    let hooks = hooks.map(|hook| hook as &dyn fmt::Display);
    for entry in failures.chain(hooks) {
        let _ = writeln!(text, "  {entry}");
    }
    for (what, left) in [
        ("did not end", &report.refused),
        ("did not end and was abandoned", &report.abandoned),
    ] {
        if !left.is_empty() {
            let _ = writeln!(text, "  {what}:{}", Listing::all(left));
        }
    }
    match &exit.error {
        Some(error) if text.is_empty() => panic!("the body of the test is fine, but {error}"),
        _ => panic!("the body of the test is fine, but:\n{text}"),
    }
}
