//! How many instructions a thing takes, as a ratio to what it takes without aiorun: fails where that
//! is more than it was once brought down to. Needs valgrind.
//!
//!     cargo build --profile measured -p benches && target/measured/instructions
//!
//! An instruction count does not depend on what else a machine does. Each is the difference of two
//! runs of `sample`, divided by the difference of their counts, so that the start and the end of a
//! program cancel out.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The smaller and the larger number of times that a thing is done.
const COUNTS: [u64; 2] = [10_000, 30_000];

/// What must hold: `(aiorun - floor) <= most * (reference - floor)`, where the floor is 0 for a plain
/// ratio and `raw` for what is added to it.
struct Goal {
    workload: &'static str,
    /// Who, at which work.
    reference: (&'static str, &'static str),
    beyond_raw: bool,
    /// What it is to be.
    wanted: f64,
    /// What it may be: the goal, or where that is not reached what is, and a hundredth for the heap's
    /// moods.
    most: f64,
}

const GOALS: [Goal; 7] = [
    Goal {
        workload: "spawn",
        reference: ("raw", "spawn"),
        beyond_raw: false,
        wanted: 1.18,
        most: 1.25,
    },
    Goal {
        workload: "ping_pong",
        reference: ("raw", "ping_pong"),
        beyond_raw: false,
        wanted: 1.02,
        most: 1.035,
    },
    Goal {
        workload: "cancel",
        reference: ("raw", "cancel"),
        beyond_raw: false,
        wanted: 1.45,
        most: 1.45,
    },
    Goal {
        workload: "catch",
        reference: ("idiom", "catch"),
        beyond_raw: true,
        wanted: 2.0,
        most: 2.0,
    },
    Goal {
        workload: "listen",
        reference: ("idiom", "listen"),
        beyond_raw: true,
        wanted: 2.0,
        most: 2.0,
    },
    // By hand there is nothing like it, and so nothing to pay; what is nearest is what catches.
    Goal {
        workload: "shield",
        reference: ("idiom", "catch"),
        beyond_raw: true,
        wanted: 2.0,
        most: 2.0,
    },
    Goal {
        workload: "cancel_caught",
        reference: ("idiom", "cancel_caught"),
        beyond_raw: false,
        wanted: 1.5,
        most: 1.62,
    },
];

fn main() -> ExitCode {
    let mut failed = false;
    println!("| work | raw | reference | aiorun | ratio | goal | gate |");
    println!("|---|---|---|---|---|---|---|");
    for goal in GOALS {
        match goal.measure() {
            Ok(holds) => failed |= !holds,
            Err(error) => {
                eprintln!("{}: {error}", goal.workload);
                failed = true;
            }
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

impl Goal {
    /// Prints a row; says whether the goal is met.
    fn measure(&self) -> io::Result<bool> {
        let raw = instructions(self.workload, "raw")?;
        let ours = instructions(self.workload, "aiorun")?;
        let (contender, workload) = self.reference;
        let reference = match contender {
            "raw" => raw,
            other => instructions(workload, other)?,
        };
        let floor = if self.beyond_raw { raw } else { 0.0 };
        let ratio = (ours - floor) / (reference - floor);
        let holds = ratio <= self.most;
        println!(
            "| {}{} | {raw:.0} | {contender}, {workload} {reference:.0} | {ours:.0} | {ratio:.3}{} | {} | {} |",
            self.workload,
            if self.beyond_raw { ", beyond raw" } else { "" },
            if holds { "" } else { " **breach**" },
            self.wanted,
            self.most,
        );
        Ok(holds)
    }
}

/// The instructions that doing it once more takes, in a runtime with one thread.
fn instructions(workload: &str, contender: &str) -> io::Result<f64> {
    let [less, more] = COUNTS.map(|count| count_of(workload, contender, count));
    let (less, more) = (less?, more?);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let quotient = (more.saturating_sub(less)) as f64 / (COUNTS[1] - COUNTS[0]) as f64;
    if quotient == 0.0 {
        return Err(io::Error::other(format!("{contender} took nothing")));
    }
    Ok(quotient)
}

fn count_of(workload: &str, contender: &str, count: u64) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(sample()?)
        .args(["time", workload, contender, "ct", &count.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(io::Error::other(format!("{}: {text}", output.status)));
    }
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let number = collected.and_then(|(_, number)| number.trim().parse().ok());
    number.ok_or_else(|| io::Error::other(format!("valgrind did not say how many: {text}")))
}

/// The other binary, which is beside this one.
fn sample() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("sample"))
}
