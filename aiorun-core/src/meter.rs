//! What a run comes to, for the recorder of the crate `metrics`.
//!
//! No task counts anything for it: the registry has the figures. The control thread reads them every second,
//! at the end of each phase and at the end of the run, and the reporting thread tells the recorder, which is
//! foreign code. A recorder knows no runs, so it is told the sums of all runs of the process; and it may be
//! installed at any time, so it is told what they are, and not what has changed.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::phase::Phase;
use crate::registry::Tally;
use crate::report::{PhaseReport, TaskCounts};

/// How often it is read.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

const ALIVE: &str = "aiorun_tasks_alive";
const SPAWNED: &str = "aiorun_tasks_spawned_total";
const ENDED: &str = "aiorun_tasks_ended_total";
const SHUTDOWN: &str = "aiorun_shutdown_seconds";

/// The labels of the outcomes, in the order of [`Figures::ended`].
const OUTCOMES: [&str; 5] = ["cancelled", "completed", "failed", "panicked", "refused"];

/// The figures of one run at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    alive: u64,
    spawned: u64,
    ended: [u64; 5],
}

/// Something that the recorder is to be told.
#[derive(Debug)]
pub(crate) struct Reading {
    figures: Figures,
    /// A phase of the shutdown that is over.
    phase: Option<(Phase, Duration)>,
}

impl Reading {
    pub(crate) fn now(tally: Tally) -> Self {
        // What was given up is waited for by nobody, and is there.
        let alive = tally.alive + tally.given_up;
        let figures = Figures {
            alive,
            spawned: tally.spawned(),
            ended: tally.ended,
        };
        Self {
            figures,
            phase: None,
        }
    }

    /// With the end of a phase.
    pub(crate) fn after(self, phase: &PhaseReport) -> Self {
        let took = phase.ended.saturating_sub(phase.began);
        let is_shutdown = phase.phase > Phase::Running;
        Self {
            phase: is_shutdown.then_some((phase.phase, took)),
            ..self
        }
    }

    /// The last one of a run: as the report has it.
    pub(crate) fn last(counts: &TaskCounts) -> Self {
        let figures = Figures {
            alive: 0,
            spawned: counts.spawned,
            ended: [
                counts.cancelled,
                counts.completed,
                counts.failed,
                counts.panicked,
                counts.refused,
            ],
        };
        Self {
            figures,
            phase: None,
        }
    }
}

/// The part of one run in the sums of the process.
#[derive(Debug, Default)]
pub(crate) struct Meter(Cell<Figures>);

/// Of all runs so far.
struct Sums {
    alive: AtomicU64,
    spawned: AtomicU64,
    ended: [AtomicU64; 5],
}

static SUMS: Sums = Sums {
    alive: AtomicU64::new(0),
    spawned: AtomicU64::new(0),
    ended: [const { AtomicU64::new(0) }; 5],
};

impl Meter {
    /// Calls the recorder, so for the reporting thread only.
    pub(crate) fn show(&self, reading: &Reading) {
        let (old, new) = (self.0.replace(reading.figures), reading.figures);
        move_by(&SUMS.alive, old.alive, new.alive);
        move_by(&SUMS.spawned, old.spawned, new.spawned);
        let ended = old.ended.iter().zip(new.ended);
        for (sum, (old, new)) in SUMS.ended.iter().zip(ended) {
            move_by(sum, *old, new);
        }
        describe();
        show_alive();
        counter!(SPAWNED).absolute(SUMS.spawned.load(SeqCst));
        for (outcome, sum) in OUTCOMES.iter().zip(&SUMS.ended) {
            counter!(ENDED, "outcome" => *outcome).absolute(sum.load(SeqCst));
        }
        if let Some((phase, took)) = reading.phase {
            histogram!(SHUTDOWN, "phase" => phase.to_string()).record(took);
        }
    }
}

fn move_by(sum: &AtomicU64, old: u64, new: u64) {
    sum.fetch_add(new.wrapping_sub(old), SeqCst);
}

/// The word of another run's thread may come between ours, so the last one has to be right.
fn show_alive() {
    loop {
        let alive = SUMS.alive.load(SeqCst);
        gauge!(ALIVE).set(u32::try_from(alive).unwrap_or(u32::MAX));
        if SUMS.alive.load(SeqCst) == alive {
            return;
        }
    }
}

/// Each time, for the recorder may be a new one.
fn describe() {
    describe_gauge!(
        ALIVE,
        Unit::Count,
        "tasks and blocking jobs that have not ended"
    );
    describe_counter!(
        SPAWNED,
        Unit::Count,
        "tasks and blocking jobs that were started"
    );
    describe_counter!(
        ENDED,
        Unit::Count,
        "tasks and blocking jobs that have ended, by how"
    );
    describe_histogram!(
        SHUTDOWN,
        Unit::Seconds,
        "how long the phases of a shutdown took"
    );
}

/// The labels are in the order in which the registry counts.
const _: () = {
    use crate::registry::Outcome;
    assert!(Outcome::Cancelled as usize == 0 && Outcome::Completed as usize == 1);
    assert!(Outcome::Failed as usize == 2 && Outcome::Panicked as usize == 3);
    assert!(Outcome::Refused as usize == 4);
};
