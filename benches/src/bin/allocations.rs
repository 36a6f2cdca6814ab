//! One measurement of what is asked of the allocator, which is why `sample` is another binary:
//! `allocations GAUGE WORKLOAD CONTENDER FLAVOR COUNT`.

use std::alloc::System;
use std::process::ExitCode;

use benches::gauge::Gauge;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often memory was asked for.
const ALLOCATIONS: Gauge = Gauge::new("allocations", || {
    let stats = ALLOCATOR.stats();
    signed(stats.allocations + stats.reallocations)
});

/// Bytes that were asked for and not given back.
const HEAP: Gauge = Gauge::new("heap", || {
    let stats = ALLOCATOR.stats();
    signed(stats.bytes_allocated) - signed(stats.bytes_deallocated)
});

fn signed(number: usize) -> i64 {
    i64::try_from(number).expect("far from the limit")
}

fn main() -> ExitCode {
    benches::sample::main(&[ALLOCATIONS, HEAP])
}
