//! The comparison: measures everybody, prints the page `BENCHMARKS.md`, writes it and its plots.
//!
//!     cargo bench --profile measured -p benches --features peers --bench compare
//!
//! takes a quarter of an hour or less, and wants a machine with nothing else to do. Words after `--`
//! choose rows, by a part of their names; then nothing is written. As a test (`cargo test -p benches`)
//! it measures a little of everything that is in the table, and fails where that cannot be measured.

mod hello;
mod page;
mod plot;
mod python;
mod run;
mod simulation;
mod table;
mod verdict;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use self::page::Findings;
use self::python::{Python, output};
use self::run::Extent;
use self::table::{ROWS, Row};

/// Cargo says this to what `cargo bench` runs, and not to what `cargo test` does.
const IS_BENCH: &str = "--bench";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut words, mut full) = (Vec::new(), false);
    for argument in std::env::args().skip(1) {
        if argument == IS_BENCH {
            full = true;
        } else if !argument.starts_with('-') {
            words.push(argument);
        }
    }
    let chosen = |row: &&Row| words.is_empty() || words.iter().any(|word| row.id.contains(word));
    let rows: Vec<_> = ROWS.iter().filter(chosen).collect();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let extent = if full { Extent::FULL } else { Extent::QUICK };
    let findings = measure(rows, extent, full && words.is_empty(), directory);
    let page = findings.page();
    print!("{page}");
    if words.is_empty() {
        let root = if full {
            PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        } else {
            directory.to_owned()
        };
        fs::write(root.join("BENCHMARKS.md"), page)?;
        findings.draw(&root.join("benches/plots"))?;
    }
    let code = if findings.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    Ok(code)
}

/// `all` means also what is not in the table of rows, and who has to be fetched.
fn measure(rows: Vec<&'static Row>, extent: Extent, all: bool, directory: &Path) -> Findings {
    let left_out = || "left out of this run".to_owned();
    let python = if all {
        Python::install(directory)
    } else {
        Err(left_out())
    };
    let mut machine = machine(extent);
    machine.push(match &python {
        Ok(python) => python.versions.clone(),
        Err(reason) => format!("Python not measured: {reason}"),
    });
    let before = load();
    let (samples, failures) = run::samples(&rows, extent, python.as_ref().ok());
    machine.push(format!(
        "load of the machine, by `/proc/loadavg`: {before} before, {} after",
        load()
    ));
    Findings {
        rows,
        samples,
        failures,
        machine,
        instructions: if all { instructions() } else { Err(left_out()) },
        hellos: if all {
            hello::measure(directory)
        } else {
            Err(left_out())
        },
    }
}

fn machine(extent: Extent) -> Vec<String> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let processor = processor.map_or("a processor", |name| {
        name.trim_start_matches([' ', '\t', ':'])
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let compiler = output(Command::new("rustc").arg("--version")).unwrap_or_default();
    vec![
        format!("{cores} cores of {processor}"),
        compiler.trim().to_owned(),
        extent.to_string(),
    ]
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// The table of the gate, which says by itself what must hold.
fn instructions() -> Result<String, String> {
    output(Command::new("valgrind").arg("--version"))?;
    eprintln!("counting instructions");
    let gate = run::beside("instructions").and_then(|gate| Command::new(gate).output());
    let gate = gate.map_err(|error| error.to_string())?;
    // It fails where something does not hold, which its table says too.
    let (table, errors) = (gate.stdout, gate.stderr);
    Ok([table, errors]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .join("\n"))
}
