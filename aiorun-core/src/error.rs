//! What can go wrong in a run, as its caller gets to see it.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::listing::Listing;
use crate::output::Origin;
use crate::task::{Id, Kind, TaskInfo};
use crate::text::{Count, Printable, PrintableLines, Short};
use crate::trace::Trace;

/// Why a run was no success: [`Exit::error`](crate::Exit::error).
///
/// Of several errors it is the first; the [`Report`](crate::Report) has them all.
///
/// ```
/// use aiorun::RunError;
///
/// let exit = aiorun::Builder::new().worker_threads(0).run(async {});
/// assert!(matches!(exit.error, Some(RunError::Config(_))));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// Options contradict each other, or the runtime has a supervisor already. The text says what
    /// to do.
    Config(String),
    /// The system had no thread, no descriptor or no signal handler to give.
    Start(io::Error),
    /// Main returned a failure, and printed it.
    MainFailed,
    /// Main panicked with this message, which the panic hook has printed.
    MainPanicked(String),
    /// A task failed, and that was to stop the program: see
    /// [`stop_on_unhandled_errors`](crate::Builder::stop_on_unhandled_errors) and
    /// [`critical`](crate::task::Builder::critical).
    TaskFailed(UnhandledError),
    /// The shutdown callback failed.
    Callback(UnhandledError),
    /// An exit hook failed or did not end in time.
    Hook(HookReport),
    /// These tasks did not end within the limit.
    Refused(Vec<TaskInfo>),
    /// These blocking jobs did not end within the limit.
    Abandoned(Vec<TaskInfo>),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(what) => write!(f, "the program was not started: {what}"),
            Self::Start(error) => write!(f, "the program could not be started: {error}"),
            Self::MainFailed => f.write_str("main returned a failure"),
            Self::MainPanicked(message) => {
                write!(f, "main panicked: {}", PrintableLines(message))
            }
            Self::TaskFailed(error) | Self::Callback(error) => error.fmt(f),
            Self::Hook(hook) => hook.fmt(f),
            Self::Refused(tasks) => list(f, "did not end within the limit", tasks),
            Self::Abandoned(jobs) => {
                list(f, "did not end within the limit and was abandoned", jobs)
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, tasks: &[TaskInfo]) -> fmt::Result {
    write!(f, "{} {what}", Count(tasks.len(), "task"))?;
    write!(f, "{}", Listing::some(tasks))
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::TaskFailed(error) | Self::Callback(error) => error.source(),
            _ => None,
        }
    }
}

/// A failure that nobody awaited, or that stopped the program: in [`RunError`], in the report, and
/// what an [`unhandled_error_handler`](crate::Builder::unhandled_error_handler) is called with.
///
/// ```
/// let mut builder = aiorun::Builder::new();
/// builder.unhandled_error_handler(|error| {
///     eprintln!("{} at {}: {}", error.name().unwrap_or("a task"), error.location(), error.message());
/// });
/// ```
#[derive(Debug, Clone)]
pub struct UnhandledError {
    pub(crate) origin: Origin,
    pub(crate) how: How,
    pub(crate) message: String,
    pub(crate) source: Option<Arc<dyn Error + Send + Sync>>,
}

/// In which way a task failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Panicked,
    Failed,
    /// A critical task just ended.
    Ended,
}

impl UnhandledError {
    /// The task's identity.
    pub fn id(&self) -> Id {
        self.origin.id
    }

    /// The name it was given, if any.
    pub fn name(&self) -> Option<&str> {
        self.origin.name()
    }

    /// Where it was spawned.
    pub fn location(&self) -> &'static Location<'static> {
        self.origin.location
    }

    /// What sort of work it was.
    pub fn kind(&self) -> Kind {
        self.origin.kind
    }

    /// What the panic or the error said.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether it was a panic.
    pub fn is_panic(&self) -> bool {
        self.how == How::Panicked
    }
}

impl fmt::Display for UnhandledError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.origin)?;
        let message = PrintableLines(&self.message);
        match self.how {
            How::Panicked => write!(f, "panicked: {message}"),
            How::Failed => write!(f, "failed: {message}"),
            How::Ended => write!(f, "is critical and {message}"),
        }
    }
}

impl Error for UnhandledError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

/// How an exit hook went.
///
/// ```
/// let exit = aiorun::run(async {
///     aiorun::on_exit("close the pool", async { /* ... */ });
///     aiorun::stop();
/// });
/// assert_eq!(exit.report.hooks[0].name(), "close the pool");
/// assert!(exit.report.hooks[0].is_success());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HookReport {
    pub(crate) name: String,
    /// Where it was registered.
    pub location: &'static Location<'static>,
    /// How long it ran, with what it started.
    pub took: Duration,
    /// Where it was suspended when its time was over.
    pub trace: Option<Trace>,
    pub(crate) end: HookEnd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HookEnd {
    Completed,
    Panicked(String),
    TimedOut,
    /// There was no runtime left to run it.
    NotRun,
}

impl HookReport {
    /// The name it was registered with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it ran to its end in time.
    pub fn is_success(&self) -> bool {
        self.end == HookEnd::Completed
    }
}

impl HookReport {
    /// `looks_up` says whether there is time to find out where it was suspended.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>, looks_up: bool) -> fmt::Result {
        let name = Printable(&self.name);
        write!(f, "exit hook `{name}` (registered at {}) ", self.location)?;
        match &self.end {
            HookEnd::Completed => write!(f, "took {}", Short(self.took)),
            HookEnd::Panicked(message) => write!(f, "panicked: {}", PrintableLines(message)),
            HookEnd::NotRun => f.write_str("did not run, for the runtime was gone"),
            HookEnd::TimedOut => write!(f, "did not end within {}", Short(self.took)),
        }?;
        match &self.trace {
            Some(trace) => write!(f, "{}", trace.in_list(looks_up)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for HookReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, true)
    }
}
