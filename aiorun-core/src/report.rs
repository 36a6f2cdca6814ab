//! What happened in a run, in figures, and how a person reads it.

use std::fmt;
use std::time::Duration;

use crate::error::{HookReport, UnhandledError};
use crate::exit::StopReason;
use crate::phase::Phase;
use crate::registry::{Outcome, Tally};
use crate::task::TaskInfo;
use crate::text::Short;

/// What happened in a run. `Display` shows it as a table.
///
/// ```
/// let exit = aiorun::run(async {
///     aiorun::spawn(async {}).await.unwrap();
///     aiorun::stop();
/// });
/// assert_eq!(exit.report.tasks.spawned, 2, "main is a task too");
/// println!("{}", exit.report);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Why the program stopped.
    pub reason: StopReason,
    /// When each phase began and ended, in order.
    pub phases: Vec<PhaseReport>,
    /// How many tasks ended how.
    pub tasks: TaskCounts,
    /// Tasks that did not end within the limit.
    pub refused: Vec<TaskInfo>,
    /// Blocking jobs that did not end within the limit.
    pub abandoned: Vec<TaskInfo>,
    /// Tasks from bare `tokio::spawn` that were dropped with the runtime; approximate, as tokio's
    /// count is. 0 for [`supervise`](crate::Builder::supervise), which never closes the runtime.
    pub strays: usize,
    /// Exit hooks in the order in which they ran.
    pub hooks: Vec<HookReport>,
    /// Failures that nobody awaited, and that of the shutdown callback: the first thousand.
    pub failures: Vec<UnhandledError>,
    /// How many there were beyond those.
    pub more_failures: u64,
}

/// The time of one phase, counted from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhaseReport {
    /// Which phase.
    pub phase: Phase,
    /// When it began.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
}

/// How many tasks ended how: main, callback, hooks and blocking jobs included.
///
/// The outcomes add up to `spawned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TaskCounts {
    /// All that were started.
    pub spawned: u64,
    /// Returned.
    pub completed: u64,
    /// Started by `spawn_fallible` and returned an `Err`; or main, or the callback, did.
    pub failed: u64,
    /// Panicked.
    pub panicked: u64,
    /// Were cancelled or aborted.
    pub cancelled: u64,
    /// Did not end within the limit, abandoned jobs included.
    pub refused: u64,
    /// How many of them had caught a cancellation, by [`catch_cancel`](crate::catch_cancel): no
    /// outcome of its own.
    pub caught: u64,
}

impl TaskCounts {
    /// What was given up has refused. What else is there came in the last moment and is dropped with
    /// the runtime.
    pub(crate) fn at_close(tally: Tally) -> Self {
        let ended = |outcome: Outcome| tally.ended[outcome as usize];
        Self {
            spawned: tally.spawned(),
            completed: ended(Outcome::Completed),
            failed: ended(Outcome::Failed),
            panicked: ended(Outcome::Panicked),
            cancelled: ended(Outcome::Cancelled) + tally.alive,
            refused: ended(Outcome::Refused) + tally.given_up,
            caught: tally.caught,
        }
    }
}

impl Report {
    pub(crate) fn not_started() -> Self {
        Self {
            reason: StopReason::NotStarted,
            phases: Vec::new(),
            tasks: TaskCounts::default(),
            refused: Vec::new(),
            abandoned: Vec::new(),
            strays: 0,
            hooks: Vec::new(),
            failures: Vec::new(),
            more_failures: 0,
        }
    }

    /// How long the shutdown took, from the reason to stop to the close.
    pub fn shutdown_took(&self) -> Duration {
        let mut shutdown = self
            .phases
            .iter()
            .filter(|phase| phase.phase != Phase::Running);
        let Some(first) = shutdown.next() else {
            return Duration::ZERO;
        };
        shutdown
            .next_back()
            .unwrap_or(first)
            .ended
            .saturating_sub(first.began)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12}{}", "stopped", self.reason)?;
        for PhaseReport {
            phase,
            began,
            ended,
        } in &self.phases
        {
            let took = Short(ended.saturating_sub(*began));
            writeln!(f, "{phase:<12}{took:>8}  from {} on", Short(*began))?;
        }
        writeln!(f, "{:<12}{}", "tasks", self.tasks)?;
        let mut list = |what: &str, entries: &[&dyn fmt::Display]| -> fmt::Result {
            entries
                .iter()
                .try_for_each(|entry| writeln!(f, "{what:<12}{entry}"))
        };
        list(
            "refused",
            &self
                .refused
                .iter()
                .map(|task| task as _)
                .collect::<Vec<_>>(),
        )?;
        list(
            "abandoned",
            &self
                .abandoned
                .iter()
                .map(|job| job as _)
                .collect::<Vec<_>>(),
        )?;
        list(
            "hook",
            &self.hooks.iter().map(|hook| hook as _).collect::<Vec<_>>(),
        )?;
        list(
            "failure",
            &self
                .failures
                .iter()
                .map(|error| error as _)
                .collect::<Vec<_>>(),
        )?;
        if self.more_failures > 0 {
            writeln!(f, "{:<12}and {} more", "", self.more_failures)?;
        }
        if self.strays > 0 {
            writeln!(
                f,
                "{:<12}{} (bare `tokio::spawn`), dropped",
                "strays", self.strays
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for TaskCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spawned", self.spawned)?;
        let counts = [
            (self.completed, "completed"),
            (self.failed, "failed"),
            (self.panicked, "panicked"),
            (self.cancelled, "cancelled"),
            (self.refused, "refused"),
            (self.caught, "caught their cancellation"),
        ];
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        Ok(())
    }
}
