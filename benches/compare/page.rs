//! What is written about the samples.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::hello::Hello;
use crate::plot::{self, Bars, Line};
use crate::run::{Samples, float};
use crate::simulation::{Costs, slowdown};
use crate::table::{AIORUN, EVERYBODY, IDIOM, RAW, ROWS, Row, is_python};

/// Everything that a run found out.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) samples: Samples,
    pub(crate) failures: Vec<String>,
    /// How it was measured, one item each.
    pub(crate) machine: Vec<String>,
    /// A table, or why there is none.
    pub(crate) instructions: Result<String, String>,
    pub(crate) hellos: Result<Vec<Hello>, String>,
}

impl Findings {
    /// The smallest sample, and the one in the middle.
    fn figures(
        &self,
        id: &'static str,
        flavor: &'static str,
        who: &'static str,
    ) -> Option<(f64, f64)> {
        let mut samples = self.samples.get(&(id, flavor, who))?.clone();
        samples.sort_by(f64::total_cmp);
        Some((*samples.first()?, samples[samples.len() / 2]))
    }

    pub(crate) fn least(
        &self,
        id: &'static str,
        flavor: &'static str,
        who: &'static str,
    ) -> Option<f64> {
        self.figures(id, flavor, who).map(|(least, _)| least)
    }

    /// The page.
    pub(crate) fn page(&self) -> String {
        let instructions = match &self.instructions {
            Ok(table) => table.clone(),
            Err(reason) => format!("Not measured: {reason}"),
        };
        include_str!("page.md")
            .replace("{{machine}}", &list(&self.machine))
            .replace("{{goals}}", &self.verdicts())
            .replace("{{noise}}", &self.noise())
            .replace("{{hello}}", &self.hello())
            .replace("{{costs}}", &self.costs_in_words())
            .replace("{{simulation}}", &self.simulation())
            .replace("{{instructions}}", instructions.trim())
            .replace("{{tables}}", self.tables().trim())
    }

    /// How far apart the samples of raw were, whose times are nobody's fault.
    fn noise(&self) -> String {
        let raw = self.samples.keys().filter(|(id, _, who)| {
            *who == RAW && row(id).is_some_and(|row| !row.how.is_difference())
        });
        let mut spreads: Vec<_> = raw
            .filter_map(|(id, flavor, who)| {
                let (least, median) = self.figures(id, flavor, who)?;
                Some((median / least, format!("{}, {flavor}", title(id))))
            })
            .collect();
        spreads.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut text = String::new();
        if let (Some((worst, what)), Some((middle, _))) =
            (spreads.last(), spreads.get(spreads.len() / 2))
        {
            let _ = write!(
                text,
                "The median of raw was {middle:.2} times its minimum in the middle one of its {} rows, \
                 and {worst:.2} times in the worst one (“{what}”). Ratios of times that are closer to 1 \
                 than {middle:.2} show nothing here.",
                spreads.len()
            );
        }
        if self.failures.is_empty() {
            text.push_str(" No sample failed.");
        } else {
            let _ = write!(
                text,
                "\n\n**{} samples failed:**\n\n{}",
                self.failures.len(),
                list(&self.failures)
            );
        }
        text
    }

    fn hello(&self) -> String {
        let hellos = match &self.hellos {
            Ok(hellos) => hellos,
            Err(reason) => return format!("Not measured: {reason}"),
        };
        let mut table = String::from(
            "| | crates besides itself | clean dev build | clean release build | stripped executable |\n\
             | --- | --- | --- | --- | --- |\n",
        );
        for hello in hellos {
            let _ = writeln!(
                table,
                "| {} | {} | {:.1} s | {:.1} s | {:.0} kB |",
                hello.name,
                hello.crates,
                hello.dev,
                hello.release,
                kilobytes(hello.bytes)
            );
        }
        table.trim().to_owned()
    }

    /// What the registry costs a task by the samples of one worker, where both are known.
    fn costs(&self) -> Option<Costs> {
        let least = |who| self.least("workers", "mt1", who);
        let (raw, ours) = (least(RAW)?, least(AIORUN)?);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time"
        )]
        let whole = |nanoseconds: f64| nanoseconds.max(0.0) as u64;
        Some(Costs {
            outside: whole(raw),
            // Noise may take it all away.
            under: whole(ours - raw).max(40),
            transfer: 100,
        })
    }

    fn costs_in_words(&self) -> String {
        self.costs().map_or_else(String::new, |costs| {
            let Costs { outside, under, transfer } = costs;
            format!(
                "A task takes {outside} ns without the registry, which is what raw takes with one worker, \
                 and {under} ns in it, all of it under the lock, which is worse than it is; the transfer \
                 is taken to be {transfer} ns.",
            )
        })
    }

    fn simulation(&self) -> String {
        const SHARDS: [usize; 4] = [8, 16, 32, 64];
        const WORKERS: [usize; 6] = [2, 4, 8, 16, 32, 64];
        let Some(costs) = self.costs() else {
            return "Not simulated: the row with many workers was not measured.".to_owned();
        };
        let mut table = format!(
            "| workers | {} shards |",
            SHARDS.map(|it| it.to_string()).join(" shards | ")
        );
        let _ = writeln!(table, "\n| --- |{}", " --- |".repeat(SHARDS.len()));
        for workers in WORKERS {
            let cells = SHARDS.map(|shards| figure(slowdown(costs, workers, shards)));
            let _ = writeln!(table, "| {workers} | {} |", cells.join(" | "));
        }
        table.trim().to_owned()
    }

    fn tables(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            self.table(row, &mut text);
        }
        text
    }

    fn table(&self, row: &Row, text: &mut String) {
        let per = if row.per.is_empty() { "" } else { " per " };
        let _ = writeln!(text, "### {}\n", row.title);
        let _ = write!(text, "| {}{per}{} |", row.how.unit(), row.per);
        for flavor in row.flavors {
            let _ = write!(text, " {flavor} |");
        }
        let _ = writeln!(text, "\n| --- |{}", " --- |".repeat(row.flavors.len()));
        for &who in row.who {
            let cells = row.flavors.iter().map(|flavor| self.cell(row, flavor, who));
            let cells: Vec<_> = cells.collect();
            // Python has one thread; and who was not there has no line.
            if cells.iter().any(Option::is_some) {
                let cells = cells.into_iter().map(Option::unwrap_or_default);
                let cells: Vec<_> = cells.collect();
                let _ = writeln!(text, "| {who} | {} |", cells.join(" | "));
            }
        }
        text.push('\n');
    }

    fn cell(&self, row: &Row, flavor: &'static str, who: &'static str) -> Option<String> {
        let (least, median) = self.figures(row.id, flavor, who)?;
        let raw = self.least(row.id, flavor, RAW);
        let relation = raw.map_or_else(String::new, |raw| relation(row, least, raw));
        Some(format!(
            "{relation} · {} ({})",
            figure(least),
            figure(median)
        ))
    }

    /// Draws the plots into a directory.
    pub(crate) fn draw(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(directory)?;
        let bars = [
            (
                "spawn",
                "spawn.svg",
                "Spawn and complete a task, times raw, which is the line",
                [1.0, 4.0],
            ),
            (
                "cancel 100k",
                "cancel.svg",
                "Cancel 100k idle tasks, times raw, which is the line",
                [1.0, 4.0],
            ),
            (
                "resident",
                "memory.svg",
                "Bytes of an idle task beyond raw; the line is the limit",
                [64.0, 1200.0],
            ),
        ];
        for (id, file, title, scale) in bars {
            let path = directory.join(file);
            plot::bars(&path, title, &["ct", "mt"], scale, &self.bars(id))?;
        }
        let outstanding = [
            ("1k", "ct", 1e3),
            ("10k", "ct", 1e4),
            ("100k", "ct", 1e5),
            ("1M", "ct", 1e6),
        ];
        plot::lines(
            &directory.join("outstanding.svg"),
            "Spawn and complete, by the tasks at once, one thread",
            ["tasks at once", "ns per task"],
            10.0,
            &self.curves(&outstanding),
        )?;
        let workers = [
            ("workers", "mt1", 1.0),
            ("workers", "mt2", 2.0),
            ("workers", "mt4", 4.0),
            ("workers", "mt8", 8.0),
            ("workers", "mt16", 16.0),
        ];
        plot::lines(
            &directory.join("workers.svg"),
            "Spawn and complete in all workers at once, by their number",
            ["workers", "ns per task"],
            2.0,
            &self.curves(&workers),
        )
    }

    /// The smallest samples of rows and flavors, each with its place on the axis.
    fn curves(&self, cells: &[(&'static str, &'static str, f64)]) -> Vec<Line<'static>> {
        let contenders = [RAW, AIORUN, IDIOM].into_iter();
        let line = |who| {
            let points = cells
                .iter()
                .filter_map(|(id, flavor, place)| Some((*place, self.least(id, flavor, who)?)));
            (who, points.collect())
        };
        contenders.map(line).collect()
    }

    fn bars(&self, id: &'static str) -> Vec<Bars<'static>> {
        let row = row(id).expect("a row of the table");
        let everybody = EVERYBODY
            .iter()
            .filter(|who| !is_python(who) && **who != RAW);
        let bars = everybody.map(|who| {
            let value = |flavor| {
                let (least, raw) = (self.least(id, flavor, who)?, self.least(id, flavor, RAW)?);
                let value = if row.how.is_difference() {
                    least - raw
                } else {
                    least / raw
                };
                Some((value, figure(value)))
            };
            Bars {
                label: who,
                values: vec![value("ct"), value("mt")],
            }
        });
        bars.filter(|bars| bars.values.iter().any(Option::is_some))
            .collect()
    }
}

fn row(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == id)
}

pub(crate) fn title(id: &str) -> &'static str {
    row(id).map_or("", |row| row.title)
}

fn relation(row: &Row, value: f64, raw: f64) -> String {
    if row.how.is_difference() {
        let sign = if value < raw { "−" } else { "+" };
        format!("**{sign}{}**", figure((value - raw).abs()))
    } else {
        format!("**{} ×**", figure(value / raw))
    }
}

/// With three digits or so.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

pub(crate) fn kilobytes(bytes: u64) -> f64 {
    float(usize::try_from(bytes).expect("an executable that fits into memory")) / 1000.0
}

fn list(items: &[String]) -> String {
    let lines: Vec<_> = items.iter().map(|item| format!("- {item}")).collect();
    lines.join("\n")
}
