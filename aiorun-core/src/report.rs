//! What happened in a run, in figures, and how a person reads it.

use std::fmt;
use std::time::Duration;

use crate::error::{HookReport, UnhandledError};
use crate::exit::StopReason;
use crate::listing::Listing;
use crate::phase::Phase;
use crate::registry::{Outcome, Tally};
use crate::task::TaskInfo;
use crate::text::{Count, Short};

/// What happened in a run, or in a [`Group`](crate::Group::shutdown). `Display` shows it as a table.
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
        write!(f, "stopped: {}", self.reason)?;
        if let Some(last) = self.phases.last() {
            let (all, shutdown) = (Short(last.ended), Short(self.shutdown_took()));
            write!(f, ", after {all}, of which the shutdown took {shutdown}")?;
        }
        self.timeline(f)?;
        write!(f, "\n\n{}", Table(&self.tasks))?;
        for (what, tasks) in [("refused", &self.refused), ("abandoned", &self.abandoned)] {
            if !tasks.is_empty() {
                write!(f, "\n\n{what}:{}", Listing::some(tasks))?;
            }
        }
        list(f, "exit hooks", &self.hooks)?;
        list(f, "failures", &self.failures)?;
        if self.more_failures > 0 {
            write!(f, "\n  and {} more", self.more_failures)?;
        }
        if self.strays > 0 {
            let strays = Count(self.strays, "stray task");
            write!(f, "\n\n{strays} of bare `tokio::spawn`, dropped")?;
        }
        Ok(())
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, entries: &[T]) -> fmt::Result {
    if !entries.is_empty() {
        write!(f, "\n\n{what}:")?;
    }
    entries
        .iter()
        .try_for_each(|entry| write!(f, "\n  {entry}"))
}

impl Report {
    /// The phases, with a bar for each phase of the shutdown.
    fn timeline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.phases.is_empty() {
            return Ok(());
        }
        write!(f, "\n\n{:<12}{:>8}{:>8}", "phase", "from", "took")?;
        let shutdown = self.phases.iter().find(|it| it.phase != Phase::Running);
        let scale = Scale {
            begins: shutdown.map_or(Duration::ZERO, |first| first.began),
            lasts: self.shutdown_took(),
        };
        for phase in &self.phases {
            let PhaseReport { began, ended, .. } = *phase;
            let took = ended.saturating_sub(began);
            write!(
                f,
                "\n{:<12}{:>8}{:>8}",
                phase.phase,
                Short(began),
                Short(took)
            )?;
            if phase.phase != Phase::Running {
                let from = scale.column(began).min(Scale::COLUMNS - 1);
                let width = scale.column(ended).saturating_sub(from).max(1);
                write!(f, "  {:from$}{:#<width$}", "", "")?;
            }
        }
        Ok(())
    }
}

/// Where a moment of the shutdown is on the timeline.
struct Scale {
    begins: Duration,
    lasts: Duration,
}

impl Scale {
    const COLUMNS: usize = 40;

    fn column(&self, at: Duration) -> usize {
        let passed = at.saturating_sub(self.begins).min(self.lasts).as_nanos();
        let column = passed * Self::COLUMNS as u128 / self.lasts.as_nanos().max(1);
        usize::try_from(column).unwrap_or(0)
    }
}

impl TaskCounts {
    fn named(&self) -> [(u64, &'static str); 7] {
        [
            (self.spawned, "spawned"),
            (self.completed, "completed"),
            (self.failed, "failed"),
            (self.panicked, "panicked"),
            (self.cancelled, "cancelled"),
            (self.refused, "refused"),
            (self.caught, "caught"),
        ]
    }
}

/// In one line, without what there is none of.
impl fmt::Display for TaskCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (count, what)) in self.named().into_iter().enumerate() {
            match (number, count) {
                (0, _) => write!(f, "{count} {what}")?,
                (_, 0) => {}
                _ => write!(f, ", {count} {what}")?,
            }
        }
        Ok(())
    }
}

/// Two lines, with a column for each.
struct Table<'a>(&'a TaskCounts);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.named();
        write!(f, "{:<8}", "tasks")?;
        for (_, what) in columns {
            write!(f, "{what:>11}")?;
        }
        write!(f, "\n{:<8}", "")?;
        columns
            .iter()
            .try_for_each(|(count, _)| write!(f, "{count:>11}"))
    }
}

#[cfg(test)]
mod tests;
