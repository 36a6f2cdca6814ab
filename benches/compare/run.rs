//! Takes the samples: each a process of its own, in an order that nobody chose.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::python::Python;
use crate::table::{How, RAW, Row, UVLOOP, is_python};

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Samples of a time.
    pub(crate) repetitions: usize,
    /// Samples of what is the same every time.
    pub(crate) of_memory: usize,
    /// Divides the counts of the table.
    pub(crate) fraction: usize,
}

impl Extent {
    pub(crate) const FULL: Self = Self {
        repetitions: 9,
        of_memory: 3,
        fraction: 1,
    };
    pub(crate) const QUICK: Self = Self {
        repetitions: 1,
        of_memory: 1,
        fraction: 1000,
    };
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            repetitions,
            of_memory,
            fraction,
        } = self;
        write!(
            f,
            "{repetitions} samples of each time, {of_memory} of memory"
        )?;
        if *fraction > 1 {
            let warning = "so the figures show only that it works";
            write!(f, ", with counts divided by {fraction}, {warning}")?;
        }
        Ok(())
    }
}

/// The samples of one contender, by the id of the row, the flavor and the contender.
pub(crate) type Samples = BTreeMap<(&'static str, &'static str, &'static str), Vec<f64>>;

/// All samples, and what was said of those that failed.
pub(crate) fn samples(
    rows: &[&'static Row],
    extent: Extent,
    python: Option<&Python>,
) -> (Samples, Vec<String>) {
    // The same order in every run, so that two runs differ in one thing less.
    let mut rng = Rng::with_seed(1);
    let (mut samples, mut failures) = (Samples::new(), Vec::new());
    for repetition in 0..extent.repetitions {
        let mut rows: Vec<_> = rows.to_vec();
        rng.shuffle(&mut rows);
        for (number, row) in rows.iter().enumerate() {
            eprint!(
                "\rrepetition {} of {}, row {} of {}  ",
                repetition + 1,
                extent.repetitions,
                number + 1,
                rows.len()
            );
            if row.how.is_difference() && repetition >= extent.of_memory {
                continue;
            }
            // Contenders of one row follow each other, so that a slow minute is everybody's.
            let mut cells = cells(row, python);
            rng.shuffle(&mut cells);
            for (flavor, who) in cells {
                let count = row.count_of(who, extent.fraction);
                match sample(row, flavor, who, count, python) {
                    Ok(value) => samples
                        .entry((row.id, flavor, who))
                        .or_default()
                        .push(value),
                    Err(error) => failures.push(format!("{}, {flavor}, {who}: {error}", row.id)),
                }
            }
        }
    }
    eprintln!();
    (samples, failures)
}

fn cells(row: &Row, python: Option<&Python>) -> Vec<(&'static str, &'static str)> {
    let flavors = row.flavors.iter().copied();
    let cells = flavors.flat_map(|flavor| row.contenders(flavor).map(move |who| (flavor, who)));
    cells
        .filter(|(_, who)| python.is_some() || !is_python(who))
        .collect()
}

fn sample(
    row: &Row,
    flavor: &str,
    who: &str,
    count: usize,
    python: Option<&Python>,
) -> io::Result<f64> {
    let (binary, gauge) = match row.how {
        How::Time | How::Start | How::Exit => ("sample", "time"),
        How::Resident => ("sample", "resident"),
        How::Allocations => ("allocations", "allocations"),
        How::Heap => ("allocations", "heap"),
    };
    let mut command = match python {
        Some(python) if is_python(who) => {
            let mut command = python.command();
            let event_loop = if who == UVLOOP { "uvloop" } else { "asyncio" };
            command.args([gauge, row.workload, event_loop]);
            command
        }
        _ => {
            let mut command = Command::new(beside(binary)?);
            command.args([gauge, row.workload, who, flavor]);
            command
        }
    };
    command.arg(count.to_string());
    match row.how {
        How::Start => start(&mut command),
        How::Exit => exit(&mut command, who),
        _ => Ok(difference(&mut command)? / float(count)),
    }
}

/// A binary of the package, which cargo builds before this one, in the folder above its own.
pub(crate) fn beside(name: &str) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2);
    Ok(folder.unwrap_or(&own).join(name))
}

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}

/// What the process says.
fn difference(command: &mut Command) -> io::Result<f64> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim().parse() {
        Ok(number) if output.status.success() => Ok(number),
        _ => Err(io::Error::other(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))),
    }
}

fn start(command: &mut Command) -> io::Result<f64> {
    let began = Instant::now();
    let mut child = ready(command)?;
    let took = began.elapsed();
    child.kill()?;
    child.wait()?;
    Ok(microseconds(took))
}

fn exit(command: &mut Command, who: &str) -> io::Result<f64> {
    let mut child = ready(command)?;
    // Raw has none, and some install theirs when main has begun.
    while who != RAW && !handles_sigterm(&child)? {
        std::thread::yield_now();
    }
    let began = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    let status: ExitStatus = child.wait()?;
    let took = began.elapsed();
    if status.success() || who == RAW {
        Ok(microseconds(took))
    } else {
        Err(io::Error::other(status.to_string()))
    }
}

/// A process that has said so.
fn ready(command: &mut Command) -> io::Result<Child> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    // Kept, as it has more to say.
    let stdout = child.stdout.as_mut().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() == "ready" {
        Ok(child)
    } else {
        child.kill()?;
        Err(io::Error::other(format!("{}: {line}", child.wait()?)))
    }
}

fn handles_sigterm(child: &Child) -> io::Result<bool> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:\t"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let bit = 1 << (Signal::TERM.as_raw() - 1);
    Ok(caught.is_some_and(|mask| mask & bit != 0))
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
