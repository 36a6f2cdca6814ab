//! What is compared: the one list of measurements, and what must hold of them.

pub(crate) const RAW: &str = "raw";
pub(crate) const AIORUN: &str = "aiorun";
pub(crate) const IDIOM: &str = "idiom";
pub(crate) const SUBSYSTEMS: &str = "tokio-graceful-shutdown";
pub(crate) const PYTHON: &str = "Python aiorun";
pub(crate) const UVLOOP: &str = "Python aiorun, uvloop";

/// Everybody, in the order of the tables.
pub(crate) const EVERYBODY: &[&str] = &[
    RAW,
    AIORUN,
    IDIOM,
    "JoinSet",
    SUBSYSTEMS,
    "tokio-graceful",
    "async-shutdown",
    PYTHON,
    UVLOOP,
];
const RUST: &[&str] = EVERYBODY.split_at(7).0;
const WITHOUT_PEERS: &[&str] = EVERYBODY.split_at(3).0;

const BOTH: &[&str] = &["ct", "mt"];
const WORKERS: &[&str] = &["mt1", "mt2", "mt4", "mt8", "mt16"];

/// Who is in another language.
pub(crate) fn is_python(who: &str) -> bool {
    who == PYTHON || who == UVLOOP
}

/// Who gets less to do, where the same would take minutes.
fn is_slow(who: &str) -> bool {
    who == SUBSYSTEMS || is_python(who)
}

/// By what it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The process says how long it took.
    Time,
    /// The process says how much more memory it has.
    Resident,
    /// How often memory was asked for.
    Allocations,
    /// What was asked for and not given back.
    Heap,
    /// From the start of the process to the first line of main.
    Start,
    /// From SIGTERM to the end of the process.
    Exit,
}

impl How {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Time => "ns",
            Self::Resident | Self::Heap => "bytes",
            Self::Allocations => "allocations",
            Self::Start | Self::Exit => "µs",
        }
    }

    /// Whether what counts is the difference to raw, and not the ratio.
    pub(crate) fn is_difference(self) -> bool {
        matches!(self, Self::Resident | Self::Allocations | Self::Heap)
    }
}

/// What must hold of aiorun.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// At most so many times what that contender takes.
    Times(&'static str, f64),
    /// At most so much more.
    Beyond(&'static str, f64),
    /// At most so many times what it takes itself in that row.
    Growth(&'static str, f64),
}

use Limit::{Beyond, Growth, Times};

/// A measurement of everybody.
#[derive(Debug)]
pub(crate) struct Row {
    /// How code refers to it.
    pub(crate) id: &'static str,
    /// How the page calls it.
    pub(crate) title: &'static str,
    /// What the unit is "per", or nothing.
    pub(crate) per: &'static str,
    pub(crate) how: How,
    pub(crate) workload: &'static str,
    pub(crate) count: usize,
    /// For those that are slow; 0 for not at all.
    pub(crate) slow: usize,
    pub(crate) who: &'static [&'static str],
    pub(crate) flavors: &'static [&'static str],
    pub(crate) limits: &'static [(&'static str, Limit)],
}

impl Row {
    /// How often the contender does it, in a run that does a fraction.
    pub(crate) fn count_of(&self, who: &str, fraction: usize) -> usize {
        let count = if is_slow(who) { self.slow } else { self.count };
        count.min((count / fraction).max(10))
    }

    /// Who takes part with that flavor. Python has one thread.
    pub(crate) fn contenders(&self, flavor: &str) -> impl Iterator<Item = &'static str> {
        let everybody = self.who.iter().copied();
        everybody.filter(move |who| {
            let peers = cfg!(feature = "peers") || WITHOUT_PEERS.contains(who) || is_python(who);
            let counts = self.count == 0 || self.count_of(who, 1) > 0;
            peers && counts && (flavor == "ct" || !is_python(who))
        })
    }
}

/// A row of the time that everybody takes; others say in what they differ.
const ROW: Row = Row {
    id: "",
    title: "",
    per: "task",
    how: How::Time,
    workload: "",
    count: 0,
    slow: 0,
    who: EVERYBODY,
    flavors: BOTH,
    limits: &[],
};

/// A row of the time that a program takes to end.
const EXIT: Row = Row {
    per: "",
    how: How::Exit,
    workload: "serve",
    ..ROW
};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "spawn",
        title: "Spawn and complete, a thousand at a time",
        workload: "spawn",
        count: 500_000,
        slow: 50_000,
        limits: &[("ct", Times(RAW, 1.20)), ("mt", Times(RAW, 1.15))],
        ..ROW
    },
    Row {
        id: "spawn allocations",
        title: "Allocations of a task that comes and goes",
        how: How::Allocations,
        workload: "spawn",
        count: 100_000,
        slow: 20_000,
        who: RUST,
        limits: &[("ct", Beyond(RAW, 0.01)), ("mt", Beyond(RAW, 0.01))],
        ..ROW
    },
    Row {
        id: "1k",
        title: "Spawn and complete, 1k at once",
        workload: "burst",
        count: 1_000,
        who: WITHOUT_PEERS,
        ..ROW
    },
    Row {
        id: "10k",
        title: "Spawn and complete, 10k at once",
        workload: "burst",
        count: 10_000,
        who: WITHOUT_PEERS,
        ..ROW
    },
    Row {
        id: "100k",
        title: "Spawn and complete, 100k at once",
        workload: "burst",
        count: 100_000,
        slow: 100_000,
        ..ROW
    },
    Row {
        id: "1M",
        title: "Spawn and complete, 1M at once",
        workload: "burst",
        count: 1_000_000,
        who: WITHOUT_PEERS,
        ..ROW
    },
    Row {
        id: "churn",
        title: "With 10k alive, the oldest ends and a new one is spawned",
        workload: "churn",
        count: 200_000,
        slow: 20_000,
        who: RUST,
        ..ROW
    },
    Row {
        id: "workers",
        title: "Spawn and complete in all workers at once",
        workload: "spawn_everywhere",
        count: 400_000,
        who: WITHOUT_PEERS,
        flavors: WORKERS,
        ..ROW
    },
    Row {
        id: "cancel 10k",
        title: "Cancel 10k idle tasks until all are gone",
        workload: "cancel",
        count: 10_000,
        slow: 10_000,
        ..ROW
    },
    Row {
        id: "cancel 100k",
        title: "Cancel 100k idle tasks until all are gone",
        workload: "cancel",
        count: 100_000,
        slow: 100_000,
        limits: &[
            ("ct", Times(RAW, 1.45)),
            ("mt", Times(RAW, 0.95)),
            ("ct", Times(IDIOM, 0.56)),
            ("mt", Times(IDIOM, 0.56)),
        ],
        ..ROW
    },
    Row {
        id: "cancel 1M",
        title: "Cancel 1M idle tasks until all are gone",
        workload: "cancel",
        count: 1_000_000,
        who: RUST,
        limits: &[
            ("ct", Times(RAW, 1.45)),
            ("mt", Times(RAW, 0.95)),
            ("ct", Times(IDIOM, 0.56)),
            ("mt", Times(IDIOM, 0.56)),
            ("ct", Growth("cancel 100k", 1.3)),
            ("mt", Growth("cancel 100k", 1.3)),
        ],
        ..ROW
    },
    Row {
        id: "cancel workers",
        title: "Cancel 100k idle tasks with so many workers",
        workload: "cancel",
        count: 100_000,
        who: WITHOUT_PEERS,
        flavors: WORKERS,
        ..ROW
    },
    Row {
        id: "caught",
        title: "Cancel 100k tasks that all catch it",
        workload: "cancel_caught",
        count: 100_000,
        who: WITHOUT_PEERS,
        limits: &[("ct", Times(IDIOM, 1.5)), ("mt", Times(IDIOM, 1.5))],
        ..ROW
    },
    Row {
        id: "resident",
        title: "Resident memory of an idle task, mean of eight sizes",
        how: How::Resident,
        workload: "idle",
        count: 200_000,
        slow: 50_000,
        limits: &[("ct", Beyond(RAW, 64.0)), ("mt", Beyond(RAW, 64.0))],
        ..ROW
    },
    Row {
        id: "idle allocations",
        title: "Allocations of an idle task",
        how: How::Allocations,
        workload: "idle",
        count: 100_000,
        slow: 20_000,
        who: RUST,
        ..ROW
    },
    Row {
        id: "heap of idle",
        title: "Heap of an idle task, mean of eight sizes",
        how: How::Heap,
        workload: "idle",
        count: 100_000,
        slow: 20_000,
        who: RUST,
        ..ROW
    },
    Row {
        id: "left of many",
        title: "Heap that is left when 1M tasks one after the other are gone",
        how: How::Heap,
        workload: "one_by_one",
        count: 1_000_000,
        who: WITHOUT_PEERS,
        flavors: &["ct"],
        limits: &[("ct", Beyond(RAW, 0.01))],
        ..ROW
    },
    Row {
        id: "left of many, workers",
        title: "Heap that is left when 200k tasks one after the other are gone",
        how: How::Heap,
        workload: "one_by_one",
        count: 200_000,
        who: WITHOUT_PEERS,
        flavors: &["mt"],
        limits: &[("mt", Beyond(RAW, 0.05))],
        ..ROW
    },
    Row {
        id: "left of a burst",
        title: "Heap that is left when 1M tasks at once are gone",
        how: How::Heap,
        workload: "burst",
        count: 1_000_000,
        who: WITHOUT_PEERS,
        limits: &[("ct", Beyond(RAW, 64.0)), ("mt", Beyond(RAW, 64.0))],
        ..ROW
    },
    Row {
        id: "ping-pong",
        title: "A message to and fro between two tasks",
        per: "round",
        workload: "ping_pong",
        count: 200_000,
        slow: 200_000,
        who: RUST,
        ..ROW
    },
    Row {
        id: "round trip",
        title: "A message to and fro between main and a task",
        per: "round",
        workload: "round_trip",
        count: 20_000,
        who: WITHOUT_PEERS,
        limits: &[("mt", Times(RAW, 0.05))],
        ..ROW
    },
    Row {
        id: "accept",
        title: "An accept loop in main",
        per: "connection",
        workload: "accept",
        count: 3_000,
        who: WITHOUT_PEERS,
        // 1.3 times the connections per second.
        limits: &[("mt", Times(RAW, 1.0 / 1.3))],
        ..ROW
    },
    Row {
        id: "echo",
        title: "Echo over TCP, 64 connections",
        per: "request",
        workload: "echo",
        count: 50_000,
        who: WITHOUT_PEERS,
        ..ROW
    },
    Row {
        id: "catch",
        title: "Suspend once in what catches a cancellation",
        per: "suspension",
        workload: "catch",
        count: 500_000,
        who: WITHOUT_PEERS,
        ..ROW
    },
    Row {
        id: "start",
        title: "From the start of the process to the first line of main",
        per: "",
        how: How::Start,
        workload: "serve",
        limits: &[("ct", Times(RAW, 1.25)), ("mt", Times(RAW, 1.25))],
        ..ROW
    },
    Row {
        id: "exit 1",
        title: "From SIGTERM to the end of the process, 1 task",
        count: 1,
        slow: 1,
        limits: &[
            ("ct", Times(IDIOM, 1.25)),
            ("mt", Times(IDIOM, 1.25)),
            ("ct", Times(PYTHON, 1.0 / 15.0)),
            ("ct", Times(UVLOOP, 1.0 / 15.0)),
        ],
        ..EXIT
    },
    Row {
        id: "exit 1k",
        title: "From SIGTERM to the end of the process, 1k tasks",
        count: 1_000,
        slow: 1_000,
        ..EXIT
    },
    Row {
        id: "exit 100k",
        title: "From SIGTERM to the end of the process, 100k tasks",
        count: 100_000,
        slow: 100_000,
        limits: &[
            ("ct", Times(IDIOM, 0.75)),
            ("mt", Times(IDIOM, 0.75)),
            ("ct", Times(PYTHON, 1.0 / 15.0)),
            ("ct", Times(UVLOOP, 1.0 / 15.0)),
        ],
        ..EXIT
    },
];
