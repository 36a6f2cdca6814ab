//! One measurement: `sample WORKLOAD CONTENDER FLAVOR COUNT` prints how many nanoseconds it took.

use std::process::ExitCode;
use std::time::Duration;

use benches::contender::{Aiorun, Contender, Flavor, Idiom, Raw};
use benches::workload;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let [workload, contender, flavor, count] = words[..] else {
        eprintln!("usage: sample WORKLOAD CONTENDER FLAVOR COUNT");
        return ExitCode::FAILURE;
    };
    let flavor = Flavor::ALL.into_iter().find(|it| it.name() == flavor);
    let (Some(flavor), Ok(count)) = (flavor, count.parse()) else {
        eprintln!("a flavor is ct or mt, a count is a number");
        return ExitCode::FAILURE;
    };
    let took = match contender {
        Raw::NAME => measure::<Raw>(workload, flavor, count),
        Aiorun::NAME => measure::<Aiorun>(workload, flavor, count),
        Idiom::NAME => measure::<Idiom>(workload, flavor, count),
        _ => measure_peer(contender, workload, flavor, count),
    };
    let Some(took) = took else {
        eprintln!("there is no {workload} of {contender}");
        return ExitCode::FAILURE;
    };
    println!("{}", took.as_nanos());
    ExitCode::SUCCESS
}

#[cfg(not(feature = "peers"))]
fn measure_peer(_: &str, _: &str, _: Flavor, _: usize) -> Option<Duration> {
    None
}

#[cfg(feature = "peers")]
fn measure_peer(contender: &str, workload: &str, flavor: Flavor, count: usize) -> Option<Duration> {
    use benches::peer::{AsyncShutdown, Graceful, Set};
    use tokio_graceful_shutdown::SubsystemHandle;
    match contender {
        Set::NAME => measure::<Set>(workload, flavor, count),
        <SubsystemHandle as Contender>::NAME => measure::<SubsystemHandle>(workload, flavor, count),
        Graceful::NAME => measure::<Graceful>(workload, flavor, count),
        AsyncShutdown::NAME => measure::<AsyncShutdown>(workload, flavor, count),
        _ => None,
    }
}

fn measure<C: Contender>(workload: &str, flavor: Flavor, count: usize) -> Option<Duration> {
    Some(match workload {
        "spawn" => workload::spawn::<C>(flavor, count),
        "ping_pong" => workload::ping_pong::<C>(flavor, count),
        "catch" => workload::catch::<C>(flavor, count),
        "cancel" => workload::cancel::<C>(flavor, count),
        _ => return None,
    })
}
