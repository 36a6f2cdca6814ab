//! What can be read before and after a piece of work.

use std::fs;
use std::sync::LazyLock;
use std::time::Instant;

/// A quantity of this process that can be read at any moment.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    name: &'static str,
    read: fn() -> i64,
}

impl Gauge {
    /// Nanoseconds.
    pub const TIME: Self = Self::new("time", nanoseconds);
    /// Bytes of this process that are in memory.
    pub const RESIDENT: Self = Self::new("resident", resident);

    /// A gauge of one's own.
    pub const fn new(name: &'static str, read: fn() -> i64) -> Self {
        Self { name, read }
    }

    /// How it is called on a command line.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its value at this moment.
    pub fn read(self) -> i64 {
        (self.read)()
    }

    /// How much it goes up in `f`.
    pub fn during(self, f: impl FnOnce()) -> i64 {
        let before = self.read();
        f();
        self.read() - before
    }
}

fn nanoseconds() -> i64 {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(FIRST.elapsed().as_nanos()).expect("less than a century")
}

/// By the second number of `/proc/self/statm`, which counts pages.
fn resident() -> i64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.map_or(0, |pages: i64| pages * page_size())
}

fn page_size() -> i64 {
    i64::try_from(rustix::param::page_size()).expect("a small number")
}
