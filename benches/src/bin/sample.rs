//! One measurement of time, or of memory: `sample GAUGE WORKLOAD CONTENDER FLAVOR COUNT`.

use std::process::ExitCode;

use benches::gauge::Gauge;

fn main() -> ExitCode {
    benches::sample::main(&[Gauge::TIME, Gauge::RESIDENT])
}
