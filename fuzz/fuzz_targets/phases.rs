//! Signals, deadlines and whatever else happens to a run, in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| aiorun_core::fuzzing::play_phases(bytes));
