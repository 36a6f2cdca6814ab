//! The lines that an operator reads: `tracing` events at target `aiorun`. Where no subscriber was
//! ever set, warnings and errors go to standard error, as by Python's handler of last resort.
//!
//! Only the reporting thread emits them: a subscriber is foreign code.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use crate::dump::Dump;
use crate::error::{HookReport, UnhandledError};
use crate::exit::StopReason;
use crate::listing::Listing;
use crate::phase::Phase;
use crate::report::Report;
use crate::signals::Signal;
use crate::task::TaskInfo;
use crate::text::{Count, Printable, PrintableLines, Short};
use crate::trace::Trace;

/// One line.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "tracing"),
    expect(dead_code, reason = "only events have fields")
)]
pub(crate) enum Line {
    RunningForever {
        main_returned: bool,
    },
    Stopping {
        reason: StopReason,
        sender: Option<i64>,
    },
    EnteringShutdown {
        budget: Option<Duration>,
    },
    CancellingPending {
        tasks: usize,
    },
    CancellingTask(TaskInfo),
    /// The next phase of the tasks; `late` are those of earlier ones that did not end in their time.
    CancellingPhase {
        phase: u8,
        tasks: usize,
        late: usize,
    },
    RunningPending {
        limit: Option<Duration>,
    },
    WaitingForExecutor {
        jobs: usize,
        limit: Option<Duration>,
    },
    RunningHooks {
        hooks: usize,
    },
    ClosingLoop {
        strays: usize,
    },
    StillWaiting {
        phase: Phase,
        left: Option<Duration>,
        tasks: Vec<TaskInfo>,
        hook: Option<String>,
    },
    /// As `StillWaiting`, with where each is suspended.
    WaitingAt(Vec<TaskInfo>),
    Repeated {
        signal: Signal,
    },
    Refused(Vec<TaskInfo>),
    Abandoned(Vec<TaskInfo>),
    Hook(HookReport),
    LeftoverHook {
        name: String,
    },
    /// Why the service manager hears nothing.
    Manager(String),
    Failure(UnhandledError),
    Handler {
        which: &'static str,
        message: String,
    },
    Dump(Box<Dump>),
    Bye(Box<Report>),
}

impl Line {
    pub(crate) fn emit(&self) {
        if let Self::Dump(dump) = self {
            let _ = writeln!(std::io::stderr(), "{dump}");
            return;
        }
        #[cfg(feature = "tracing")]
        if tracing::dispatcher::has_been_set() {
            self.trace();
            return;
        }
        let Some(severity) = self.severity() else {
            return;
        };
        // A closed standard error is no reason to fail.
        let _ = writeln!(std::io::stderr(), "aiorun: {severity}: {self}");
    }

    /// Whether [`emit`](Self::emit) would do anything.
    pub(crate) fn is_wanted(&self) -> bool {
        #[cfg(feature = "tracing")]
        if tracing::dispatcher::has_been_set() {
            return true;
        }
        self.severity().is_some() || matches!(self, Self::Dump(_))
    }

    /// The traces that it shows, if they can be looked up in time.
    pub(crate) fn traces(&self) -> Vec<Trace> {
        match self {
            Self::WaitingAt(tasks) | Self::Refused(tasks) => {
                tasks.iter().filter_map(|task| task.trace.clone()).collect()
            }
            Self::Hook(hook) => hook.trace.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it tells of something that may be the run's error.
    pub(crate) fn is_error(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Abandoned(_) | Self::Failure(_) => true,
            Self::Hook(hook) => !hook.is_success(),
            _ => false,
        }
    }

    /// Whether an error will be seen: not by a subscriber that leaves its level out.
    pub(crate) fn is_visible(&self) -> bool {
        #[cfg(feature = "tracing")]
        if tracing::dispatcher::has_been_set() {
            return match self.severity() {
                Some("warning") => tracing::enabled!(target: "aiorun", tracing::Level::WARN),
                _ => tracing::enabled!(target: "aiorun", tracing::Level::ERROR),
            };
        }
        self.severity().is_some()
    }

    /// How the line is introduced on standard error; `None` for what is silent there.
    fn severity(&self) -> Option<&'static str> {
        match self {
            Self::StillWaiting { .. }
            | Self::Repeated { .. }
            | Self::Refused(_)
            | Self::Abandoned(_)
            | Self::LeftoverHook { .. }
            | Self::Manager(_) => Some("warning"),
            Self::Hook(hook) if hook.is_success() => None,
            Self::Hook(_) | Self::Failure(_) | Self::Handler { .. } => Some("error"),
            _ => None,
        }
    }

    #[cfg(feature = "tracing")]
    fn trace(&self) {
        // Lines that name tasks have no fields: those would stand behind the last of the names.
        use tracing::{debug, error, info, warn};
        match self {
            Self::RunningForever { main_returned } => {
                info!(target: "aiorun", main_returned, "{self}");
            }
            Self::RunningHooks { hooks } => info!(target: "aiorun", hooks, "{self}"),
            Self::Stopping { reason, sender } => {
                info!(target: "aiorun", %reason, sender, "{self}");
            }
            Self::EnteringShutdown { budget } => {
                info!(target: "aiorun", budget = %Limit(*budget), "{self}");
            }
            Self::CancellingPending { tasks } => info!(target: "aiorun", tasks, "{self}"),
            Self::CancellingTask(task) => {
                debug!(target: "aiorun", task = %task.id, name = task.name(), location = %task.location, "{self}");
            }
            Self::CancellingPhase { phase, tasks, late } => {
                info!(target: "aiorun", phase, tasks, late, "{self}");
            }
            Self::RunningPending { limit } => {
                info!(target: "aiorun", limit = %Limit(*limit), "{self}");
            }
            Self::WaitingForExecutor { jobs, limit } => {
                info!(target: "aiorun", jobs, limit = %Limit(*limit), "{self}");
            }
            Self::ClosingLoop { strays } => info!(target: "aiorun", strays, "{self}"),
            Self::Repeated { .. }
            | Self::StillWaiting { .. }
            | Self::Refused(_)
            | Self::Abandoned(_)
            | Self::LeftoverHook { .. }
            | Self::Manager(_) => warn!(target: "aiorun", "{self}"),
            Self::WaitingAt(_) => debug!(target: "aiorun", "{self}"),
            Self::Hook(hook) if hook.is_success() => debug!(target: "aiorun", "{self}"),
            Self::Hook(_) | Self::Handler { .. } => error!(target: "aiorun", "{self}"),
            Self::Failure(failure) => {
                error!(target: "aiorun", task = %failure.id(), name = failure.name(), location = %failure.location(), "{self}");
            }
            Self::Bye(report) => {
                let took = Short(report.shutdown_took());
                info!(target: "aiorun", reason = %report.reason, %took, tasks = %report.tasks, strays = report.strays, "{self}");
            }
            Self::Dump(_) => {}
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunningForever {
                main_returned: false,
            } => f.write_str("Running forever."),
            Self::RunningForever {
                main_returned: true,
            } => f.write_str(
                "Running forever. (Main returned; `run_forever = false` makes that the end.)",
            ),
            Self::Stopping { .. } => f.write_str("Stopping the loop"),
            Self::EnteringShutdown { .. } => f.write_str("Entering shutdown phase."),
            Self::CancellingPending { .. } => f.write_str("Cancelling pending tasks."),
            Self::CancellingTask(task) => write!(f, "Cancelling task: {}", task.label()),
            Self::CancellingPhase { phase, late: 0, .. } => {
                write!(f, "Cancelling tasks of shutdown phase {phase}.")
            }
            Self::CancellingPhase { phase, late, .. } => {
                let late = Count(*late, "task");
                write!(
                    f,
                    "Cancelling tasks of shutdown phase {phase}; {late} of earlier ones did not end in time."
                )
            }
            Self::RunningPending { .. } => f.write_str("Running pending tasks till complete"),
            Self::WaitingForExecutor { .. } => f.write_str("Waiting for executor shutdown."),
            Self::RunningHooks { hooks } => write!(f, "Running {}.", Count(*hooks, "exit hook")),
            Self::ClosingLoop { .. } => f.write_str("Closing the loop."),
            Self::StillWaiting {
                phase,
                left,
                tasks,
                hook,
            } => {
                write!(f, "Still waiting, {phase}, time left {}", Limit(*left))?;
                if let Some(hook) = hook {
                    write!(f, ", exit hook `{}`", Printable(hook))?;
                }
                if tasks.is_empty() {
                    f.write_str(", for the runtime to close")?;
                }
                Listing::some(tasks).at_once().fmt(f)
            }
            Self::WaitingAt(tasks) => {
                f.write_str("Still waiting; this is where they are:")?;
                Listing::some(tasks).at_once().fmt(f)
            }
            Self::Repeated { signal } => write!(f, "{signal} again while shutting down"),
            Self::Refused(tasks) => {
                write!(
                    f,
                    "{} did not end within the limit",
                    Count(tasks.len(), "task")
                )?;
                Listing::some(tasks).at_once().fmt(f)
            }
            Self::Abandoned(jobs) => {
                let jobs_left = Count(jobs.len(), "blocking job");
                write!(f, "{jobs_left} did not end within the limit, abandoned")?;
                Listing::some(jobs).at_once().fmt(f)
            }
            Self::Hook(hook) => hook.show(f, false),
            Self::LeftoverHook { name } => {
                let name = Printable(name);
                write!(f, "exit hook `{name}` did not run")
            }
            Self::Manager(trouble) => f.write_str(trouble),
            Self::Failure(failure) => failure.fmt(f),
            Self::Handler { which, message } => {
                write!(f, "the {which} panicked: {}", PrintableLines(message))
            }
            Self::Dump(dump) => dump.fmt(f),
            Self::Bye(_) => f.write_str("Leaving. Bye!"),
        }
    }
}

/// A limit in a field.
struct Limit(Option<Duration>);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => Short(limit).fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// Whether somebody would see a debug line; asks no foreign code.
pub(crate) fn debugs() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::level_filters::LevelFilter::current()
        >= tracing::level_filters::LevelFilter::DEBUG;
    #[cfg(not(feature = "tracing"))]
    return false;
}
