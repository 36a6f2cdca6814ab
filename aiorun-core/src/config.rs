//! The options of a run as plain data; it knows neither tokio nor signals.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::callback::Callback;
use crate::error::UnhandledError;
use crate::handle::Handle;
use crate::signals::Signal;

/// Which tokio runtime runs the program: the option `flavor`.
///
/// ```
/// use aiorun::{Builder, Flavor};
///
/// let exit = Builder::new().flavor(Flavor::CurrentThread).run(async { aiorun::stop() });
/// assert!(exit.is_success());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flavor {
    /// Worker threads, one per core unless `worker_threads` says otherwise. The default, except
    /// in tests and without the feature `multi-thread`.
    MultiThread,
    /// Everything on the thread that calls `run`.
    CurrentThread,
    /// As [`Flavor::CurrentThread`], and [`spawn_local`](crate::spawn_local) works.
    Local,
}

/// What a repeated signal does: the option `repeat_signal`.
///
/// A signal is repeated when it arrives half a second or more after the reason to stop. In every
/// case what is being waited for is logged, except by `Exit`, which leaves at once. During
/// `shutdown_delay` a repeated signal ends the delay and nothing else.
///
/// ```
/// use aiorun::{Builder, RepeatSignal};
///
/// let mut builder = Builder::new();
/// builder.repeat_signal(RepeatSignal::Exit);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RepeatSignal {
    /// A repeated SIGINT aborts, any other is ignored: a person at a terminal is impatient, a
    /// service manager repeats itself.
    #[default]
    Auto,
    /// Ignore it.
    Ignore,
    /// Callback, tasks and jobs get no more time; where that cuts something, the exit code is 1. Exit
    /// hooks still run.
    Abort,
    /// Leave the process at once with 128 + the signal's number, from the signal handler itself.
    Exit,
}

/// What a `shutdown_handler` wants done about a signal.
///
/// ```
/// use aiorun::{Builder, Signal, SignalAction};
///
/// let mut builder = Builder::new();
/// builder.signals([Signal::TERM, Signal::HUP]).shutdown_handler(|signal, _handle| match signal {
///     Signal::HUP => SignalAction::Ignore, // reload the configuration here
///     _ => SignalAction::Stop,
/// });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalAction {
    /// The signal stops the program, or counts as a repeated one.
    Stop,
    /// As if the signal had not come.
    Ignore,
}

/// The exit code of a program that a signal stopped: the option `signal_exit_status`.
///
/// ```
/// use aiorun::{Builder, SignalExitStatus};
///
/// let mut builder = Builder::new();
/// builder.signal_exit_status(SignalExitStatus::Signal);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SignalExitStatus {
    /// 0, as the Python package does: being told to stop is no failure.
    #[default]
    Success,
    /// 128 + the signal's number, as shells report a process that a signal ended.
    Signal,
}

macro_rules! from_option_text {
    ($type:ident: $($text:literal => $variant:ident),+) => {
        impl FromStr for $type {
            type Err = ParseOptionError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(ParseOptionError {
                        given: text.to_owned(),
                        allowed: concat!($("`", $text, "` "),+),
                    }),
                }
            }
        }
    };
}

from_option_text!(Flavor: "multi_thread" => MultiThread, "current_thread" => CurrentThread, "local" => Local);
from_option_text!(RepeatSignal: "auto" => Auto, "ignore" => Ignore, "abort" => Abort, "exit" => Exit);
from_option_text!(SignalExitStatus: "success" => Success, "signal" => Signal);

/// A text that names no value of an option, say in a configuration file.
///
/// ```
/// let error = "asap".parse::<aiorun::RepeatSignal>().unwrap_err();
/// assert!(error.to_string().contains("`abort`"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseOptionError {
    given: String,
    allowed: &'static str,
}

impl fmt::Display for ParseOptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown value {:?}, allowed: {}",
            self.given,
            self.allowed.trim_end()
        )
    }
}

impl std::error::Error for ParseOptionError {}

/// A limit as the user gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Limit {
    #[default]
    Default,
    /// Given as "none".
    None,
    After(Duration),
}

impl From<Option<Duration>> for Limit {
    fn from(limit: Option<Duration>) -> Self {
        limit.map_or(Self::None, Self::After)
    }
}

/// The limits of a shutdown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) total: Limit,
    pub(crate) tasks: Limit,
    pub(crate) jobs: Limit,
    pub(crate) delay: Duration,
}

impl Limits {
    /// The time from the reason to stop to the close: `shutdown_timeout`, or else the sum of the
    /// parts that were given where that is more than `default`.
    pub(crate) fn budget(&self, default: Duration) -> Option<Duration> {
        match self.total {
            Limit::After(total) => Some(total),
            Limit::None => None,
            Limit::Default => {
                let mut sum = self.delay;
                for part in [self.tasks, self.jobs] {
                    match part {
                        Limit::Default => {}
                        Limit::None => return None,
                        Limit::After(part) => sum = sum.checked_add(part)?,
                    }
                }
                Some(sum.max(default))
            }
        }
    }
}

/// Asked about every signal, on the reporting thread.
pub(crate) type ShutdownHandler = Arc<dyn Fn(Signal, &Handle) -> SignalAction + Send + Sync>;
/// Told of every failure that nobody saw, on the reporting thread.
pub(crate) type ErrorHandler = Arc<dyn Fn(&UnhandledError) + Send + Sync>;

/// Everything that [`Builder`](crate::Builder) collects.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) flavor: Option<Flavor>,
    pub(crate) worker_threads: Option<usize>,
    pub(crate) thread_stack_size: Option<usize>,
    pub(crate) executor_workers: Option<usize>,
    pub(crate) start_paused: Option<bool>,
    pub(crate) name: Option<String>,
    pub(crate) run_forever: Option<bool>,
    pub(crate) cooperative: bool,
    pub(crate) stop_on_unhandled_errors: Option<bool>,
    pub(crate) limits: Limits,
    pub(crate) signals: Option<Vec<Signal>>,
    pub(crate) repeat_signal: RepeatSignal,
    pub(crate) signal_exit_status: SignalExitStatus,
    pub(crate) dump_signal: Option<Signal>,
    pub(crate) callback: Option<Callback>,
    pub(crate) shutdown_handler: Option<ShutdownHandler>,
    pub(crate) error_handler: Option<ErrorHandler>,
    #[cfg(feature = "tokio-util")]
    pub(crate) stop_when: Option<tokio_util::sync::CancellationToken>,
    /// The options are those of `#[aiorun::test]`: nothing may leave the process.
    pub(crate) test: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("flavor", &self.flavor)
            .field("worker_threads", &self.worker_threads)
            .field("thread_stack_size", &self.thread_stack_size)
            .field("executor_workers", &self.executor_workers)
            .field("start_paused", &self.start_paused)
            .field("name", &self.name)
            .field("run_forever", &self.run_forever)
            .field("cooperative", &self.cooperative)
            .field("stop_on_unhandled_errors", &self.stop_on_unhandled_errors)
            .field("limits", &self.limits)
            .field("signals", &self.signals)
            .field("repeat_signal", &self.repeat_signal)
            .field("signal_exit_status", &self.signal_exit_status)
            .field("dump_signal", &self.dump_signal)
            .field("shutdown_callback", &self.callback.is_some())
            .field("shutdown_handler", &self.shutdown_handler.is_some())
            .field("unhandled_error_handler", &self.error_handler.is_some())
            .finish_non_exhaustive()
    }
}

impl Options {
    pub(crate) fn flavor(&self) -> Flavor {
        self.flavor
            .unwrap_or(if self.test || !cfg!(feature = "multi-thread") {
                Flavor::CurrentThread
            } else {
                Flavor::MultiThread
            })
    }

    pub(crate) fn run_forever(&self) -> bool {
        self.run_forever.unwrap_or(!self.test)
    }

    pub(crate) fn stop_on_unhandled_errors(&self) -> bool {
        let default = self.test && self.error_handler.is_none();
        self.stop_on_unhandled_errors.unwrap_or(default)
    }

    pub(crate) fn signals(&self) -> Vec<Signal> {
        match &self.signals {
            Some(signals) => signals.clone(),
            None if self.test || !cfg!(feature = "signals") => Vec::new(),
            None => vec![Signal::INT, Signal::TERM],
        }
    }

    /// Finds contradictions.
    ///
    /// # Errors
    ///
    /// A sentence that says what contradicts what, and what to do.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let flavor = self.flavor();
        let counts = [
            ("worker_threads", self.worker_threads),
            ("executor_workers", self.executor_workers),
            ("thread_stack_size", self.thread_stack_size),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return Err(format!("`{name}` must be at least 1"));
        }
        if flavor == Flavor::MultiThread && !cfg!(feature = "multi-thread") {
            return Err("`flavor = \"multi_thread\"` needs the feature `multi-thread`".into());
        }
        if self.worker_threads.is_some() && flavor != Flavor::MultiThread {
            return Err(
                "`worker_threads` needs `flavor = \"multi_thread\"`: the other flavors have \
                        the one thread that calls `run`"
                    .into(),
            );
        }
        if self.start_paused == Some(true) {
            if !cfg!(feature = "test-util") {
                return Err("`start_paused` needs the feature `test-util`".into());
            }
            if flavor == Flavor::MultiThread {
                return Err(
                    "`start_paused` needs `flavor = \"current_thread\"` or `\"local\"`".into(),
                );
            }
        }
        if self.name.as_deref().is_some_and(|name| name.contains('\0')) {
            return Err("`name` must not contain a NUL character: threads are named by it".into());
        }
        if self.error_handler.is_some() && self.stop_on_unhandled_errors == Some(true) {
            return Err(
                "`unhandled_error_handler` and `stop_on_unhandled_errors` exclude each \
                        other: call `stop` on a `Handle` in the handler, or leave one out"
                    .into(),
            );
        }
        self.validate_signals()
    }

    fn validate_signals(&self) -> Result<(), String> {
        let signals = self.signals();
        let all = signals.iter().chain(&self.dump_signal);
        if !cfg!(feature = "signals") && all.clone().next().is_some() {
            return Err("`signals` and `dump_signal` need the feature `signals`".into());
        }
        for signal in all {
            if !signal.can_be_caught() {
                return Err(format!(
                    "{signal} cannot be handled: the system does not let a program catch it"
                ));
            }
        }
        match self.dump_signal {
            Some(dump) if signals.contains(&dump) => Err(format!(
                "{dump} cannot both stop the program (`signals`) and ask for a dump (`dump_signal`)"
            )),
            _ => Ok(()),
        }
    }

    /// Finds options that only make sense for a runtime of our own.
    ///
    /// # Errors
    ///
    /// A sentence that names the option.
    pub(crate) fn validate_for_supervise(&self) -> Result<(), String> {
        let given = [
            ("flavor", self.flavor.is_some()),
            ("worker_threads", self.worker_threads.is_some()),
            ("thread_stack_size", self.thread_stack_size.is_some()),
            ("executor_workers", self.executor_workers.is_some()),
            ("start_paused", self.start_paused.is_some()),
            ("name", self.name.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(format!(
                "`{name}` is an option of the runtime, and `supervise` uses the one that is there: \
                 set it where that runtime is built"
            )),
            None => self.validate(),
        }
    }
}
