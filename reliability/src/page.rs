//! Plays storms, and writes what came of them.

use std::any::Any;
use std::fmt::Write as _;
use std::fs;
use std::panic::catch_unwind;
use std::thread;
use std::time::{Duration, Instant};

use crate::storm::{Extent, Storm, Trial, Verdict};

/// What came of each.
pub(crate) struct Findings {
    rows: Vec<Row>,
    seed: u64,
}

struct Row {
    storm: &'static Storm,
    verdict: Verdict,
    took: Duration,
}

impl Findings {
    /// Plays one after the other, and says what came of each.
    pub(crate) fn gather(storms: &[&'static Storm], extent: Extent, seed: u64) -> Self {
        let rows = storms.iter().map(|storm| {
            let row = Row::play(storm, extent, seed);
            println!(
                "{}: {} ({:.1} s)",
                storm.name,
                row.said(),
                row.took.as_secs_f64()
            );
            row
        });
        Self {
            rows: rows.collect(),
            seed,
        }
    }

    /// Whether none has failed.
    pub(crate) fn hold(&self) -> bool {
        let failed = |row: &Row| matches!(row.verdict, Verdict::Failed(_));
        !self.rows.iter().any(failed)
    }

    /// The page.
    pub(crate) fn page(&self) -> String {
        let mut storms = String::from(
            "| storm | what is promised | the last run | took |\n| --- | --- | --- | --- |",
        );
        for row in &self.rows {
            let Row { storm, took, .. } = row;
            let took = took.as_secs_f64();
            let said = row.said();
            // A cell has one line.
            let said = said.lines().next().unwrap_or_default();
            let _ = write!(
                storms,
                "\n| `{}` | {} | {said} | {took:.0} s |",
                storm.name, storm.promise
            );
        }
        include_str!("page.md")
            .replace("{{machine}}", &machine(self.seed))
            .replace("{{storms}}", &storms)
    }
}

impl Row {
    fn play(storm: &'static Storm, extent: Extent, seed: u64) -> Self {
        let trial = Trial {
            storm: storm.name,
            extent,
            seed,
            under: &[],
        };
        let began = Instant::now();
        let verdict = catch_unwind(|| (storm.check)(&trial))
            .unwrap_or_else(|payload| Verdict::Failed(message(&*payload)));
        Self {
            storm,
            verdict,
            took: began.elapsed(),
        }
    }

    fn said(&self) -> String {
        match &self.verdict {
            Verdict::Held(figures) => figures.clone(),
            Verdict::NotPlayed(why) => format!("not played: {why}"),
            Verdict::Failed(what) => format!("**failed**: {what}"),
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic".to_owned())
}

fn machine(seed: u64) -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, Linux {}, seed {seed}", kernel.trim())
}
