//! One measurement, as a process of its own.

use std::process::ExitCode;

use crate::contender::{Aiorun, Contender, Flavor, Idiom, Raw};
use crate::gauge::Gauge;
use crate::workload::{self, Workload};

/// Does what the command line says, `GAUGE WORKLOAD CONTENDER FLAVOR COUNT`, with one of these
/// gauges, and prints how much that went up.
pub fn main(gauges: &[Gauge]) -> ExitCode {
    match measure(gauges) {
        Ok(difference) => {
            println!("{difference}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(gauges: &[Gauge]) -> Result<i64, String> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let [gauge, workload, contender, flavor, count] = words[..] else {
        return Err("usage: GAUGE WORKLOAD CONTENDER FLAVOR COUNT".to_owned());
    };
    let gauge = gauges.iter().find(|it| it.name() == gauge);
    let gauge = gauge.ok_or_else(|| format!("here are {gauges:?}"))?;
    let count = count.parse().map_err(|_| "a count is a number")?;
    let workload = find(workload, contender)
        .ok_or_else(|| format!("there is no {workload} of {contender}"))?;
    Ok(workload(flavor.parse::<Flavor>()?, *gauge, count))
}

fn find(workload: &str, contender: &str) -> Option<Workload> {
    match contender {
        Raw::NAME => workload::shared::<Raw>(workload),
        Aiorun::NAME => workload::shared::<Aiorun>(workload),
        Idiom::NAME => workload::shared::<Idiom>(workload),
        _ => find_peer(workload, contender),
    }
}

#[cfg(not(feature = "peers"))]
fn find_peer(_: &str, _: &str) -> Option<Workload> {
    None
}

#[cfg(feature = "peers")]
fn find_peer(workload: &str, contender: &str) -> Option<Workload> {
    use crate::peer::{AsyncShutdown, Graceful, Set};
    use tokio_graceful_shutdown::SubsystemHandle;
    match contender {
        Set::NAME => workload::any::<Set>(workload),
        <SubsystemHandle as Contender>::NAME => workload::any::<SubsystemHandle>(workload),
        Graceful::NAME => workload::any::<Graceful>(workload),
        AsyncShutdown::NAME => workload::any::<AsyncShutdown>(workload),
        _ => None,
    }
}
