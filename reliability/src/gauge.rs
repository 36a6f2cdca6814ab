//! What this process has of memory, threads and descriptors.

use std::alloc::System;
use std::fs;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One reading of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Bytes that were asked of the allocator and not given back.
    pub(crate) heap: u64,
    /// Bytes in memory.
    pub(crate) resident: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: u64,
}

impl Reading {
    pub(crate) fn now() -> Self {
        let asked = ALLOCATOR.stats();
        let heap = asked.bytes_allocated.wrapping_sub(asked.bytes_deallocated);
        let statm = fs::read_to_string("/proc/self/statm").expect("procfs");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        let page: u64 = rustix::param::page_size() as u64;
        Self {
            heap: heap as u64,
            resident: pages.map_or(0, |pages: u64| pages * page),
            threads: entries("/proc/self/task"),
            // One of them is the directory itself.
            descriptors: entries("/proc/self/fd") - 1,
        }
    }
}

fn entries(directory: &str) -> u64 {
    fs::read_dir(directory).expect("procfs").count() as u64
}
