//! Storms: each plays a program in child processes of this executable, with real signals and with what
//! a system can lack, bounded in time, and counts what came of it.
//!
//! ```text
//! cargo run --release -p reliability                 all, and writes `RELIABILITY.md`
//! cargo run --release -p reliability -- start        one of them, by its name
//! cargo run --release -p reliability -- --short      a little of each, for the gate
//! ```
//!
//! `--seed N` repeats the choices of another run, `--minutes N` is how long the soak lasts. The exit
//! code is that of a failure when a storm did not hold.
#![cfg(target_os = "linux")]

mod churn;
mod crowd;
mod gauge;
mod page;
mod panic;
mod plot;
mod repeat;
mod scarce;
mod several;
mod soak;
mod start;
mod stop;
mod storm;
mod surroundings;

// The children are those of the tests, which use more of them.
#[path = "../../tests/process/child.rs"]
#[allow(dead_code, reason = "what the tests need besides")]
mod child;
#[path = "../../tests/process/ended.rs"]
#[allow(dead_code, reason = "what the tests need besides")]
mod ended;
#[path = "../../tests/process/load.rs"]
#[allow(dead_code, reason = "what the tests need besides")]
mod load;
#[path = "../../tests/process/scene.rs"]
#[allow(dead_code, reason = "what the tests need besides")]
mod scene;
#[path = "../../tests/process/tally.rs"]
mod tally;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::page::Findings;
use crate::scene::Scene;
use crate::storm::{Extent, STORMS, Storm};

/// What is asked for on the command line.
struct Order {
    storms: Vec<&'static Storm>,
    extent: Extent,
    seed: u64,
    /// Everything at its full size: what the page is made of.
    whole: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if let Some((name, scene)) = Scene::asked_for() {
        let storm = storm::by_name(&name).ok_or("there is no such scene")?;
        return Ok((storm.scene)(&scene));
    }
    let order = Order::read(std::env::args().skip(1))?;
    child::begin_with_defaults();
    println!("seed {}", order.seed);
    let findings = Findings::gather(&order.storms, order.extent, order.seed);
    if order.whole {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::write(root.join("RELIABILITY.md"), findings.page())?;
        let samples = soak::TAKEN.lock().map_err(|error| error.to_string())?;
        plot::soak(&root.join("reliability/soak.svg"), &samples)?;
    }
    let code = if findings.hold() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    Ok(code)
}

impl Order {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let (mut storms, mut short, mut seed, mut minutes) = (Vec::new(), false, None, None);
        while let Some(word) = words.next() {
            let mut number = || words.next().ok_or("a number is missing");
            match word.as_str() {
                "--short" => short = true,
                "--seed" => seed = Some(number()?.parse()?),
                "--minutes" => minutes = Some(number()?.parse()?),
                name => storms.push(storm::by_name(name).ok_or_else(|| {
                    let names: Vec<_> = STORMS.iter().map(|storm| storm.name).collect();
                    format!("there is no storm {name:?}, but: {}", names.join(", "))
                })?),
            }
        }
        let whole = storms.is_empty() && !short;
        if storms.is_empty() {
            storms = STORMS.to_vec();
        }
        let soak = match (minutes, short) {
            (Some(minutes), _) => Duration::from_secs_f64(60.0 * f64::max(minutes, 0.1)),
            (None, true) => Duration::from_secs(10),
            (None, false) => Duration::from_mins(10),
        };
        Ok(Self {
            storms,
            extent: Extent { short, soak },
            seed: seed.unwrap_or_else(|| fastrand::u64(..)),
            whole,
        })
    }
}
