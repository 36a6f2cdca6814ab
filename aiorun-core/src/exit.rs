//! How a run ended: the reason, the error, the exit code.

use std::fmt;
use std::io::Write as _;
use std::process::{ExitCode, Termination};

use crate::error::RunError;
use crate::report::Report;
use crate::signals::Signal;
use crate::text::PrintableLines;

/// Why a program stops. The first reason wins and is kept.
///
/// ```
/// use aiorun::StopReason;
///
/// let exit = aiorun::run(async { aiorun::stop() });
/// assert_eq!(exit.reason, StopReason::Stop);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// A signal arrived.
    Signal(Signal),
    /// [`stop`](crate::stop) or [`stop_with`](crate::stop_with) was called.
    Stop,
    /// The token was cancelled that the builder was given to [stop when](crate::Builder#method.stop_when)
    /// that happens; feature `tokio-util`.
    TokenCancelled,
    /// Main returned, and `run_forever` is off.
    MainReturned,
    /// Main returned a failure or panicked.
    MainFailed,
    /// A task failed, nobody saw it, and `stop_on_unhandled_errors` is on; or a critical task
    /// ended.
    TaskFailed,
    /// The program was not started: [`RunError::Config`] or [`RunError::Start`] says why.
    NotStarted,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Stop => f.write_str("stop was called"),
            Self::TokenCancelled => f.write_str("the token was cancelled"),
            Self::MainReturned => f.write_str("main returned"),
            Self::MainFailed => f.write_str("main failed"),
            Self::TaskFailed => f.write_str("a task failed"),
            Self::NotStarted => f.write_str("not started"),
        }
    }
}

/// How a run ended.
///
/// As the return value of `fn main` it becomes the exit code of the process: main's own if main
/// failed (101 if it panicked); 1 if there is an [`error`](Exit::error); the code of
/// [`stop_with`](crate::stop_with) if that was the reason; 128 + n for a signal with
/// [`SignalExitStatus::Signal`](crate::SignalExitStatus::Signal); 0 otherwise.
///
/// ```
/// let exit = aiorun::run(async {
///     aiorun::stop_with(3);
/// });
/// assert!(!exit.is_success());
/// assert!(exit.into_result().is_ok(), "a code of one's own is no error");
/// ```
#[derive(Debug)]
#[must_use = "an `Exit` carries the exit code: return it from `main`, or look into it"]
#[non_exhaustive]
pub struct Exit {
    /// Why the program stopped.
    pub reason: StopReason,
    /// The first error, if there was one.
    pub error: Option<RunError>,
    /// What happened, in figures.
    pub report: Report,
    pub(crate) code: ExitCode,
    /// The error has been shown: by main's `Termination`, the panic hook, or a log line.
    pub(crate) shown: bool,
}

impl Exit {
    pub(crate) fn not_started(error: RunError) -> Self {
        Self {
            reason: StopReason::NotStarted,
            error: Some(error),
            report: Report::not_started(),
            code: ExitCode::FAILURE,
            shown: false,
        }
    }

    /// Whether the exit code is 0.
    pub fn is_success(&self) -> bool {
        self.code == ExitCode::SUCCESS
    }

    /// The report, or the error if there was one.
    ///
    /// # Errors
    ///
    /// [`Exit::error`].
    pub fn into_result(self) -> Result<Report, RunError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.report),
        }
    }
}

impl Termination for Exit {
    /// The exit code; prints the error unless it was shown already.
    fn report(self) -> ExitCode {
        if let Some(error) = self.error.filter(|_| !self.shown) {
            let text = error.to_string();
            // A closed standard error is no reason to fail.
            let _ = writeln!(std::io::stderr(), "Error: {}", PrintableLines(&text));
        }
        self.code
    }
}
