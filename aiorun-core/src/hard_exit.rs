//! The way out when the thread that should close the runtime is stuck.
//!
//! Whatever a stuck thread may hold, this needs nothing of it: it allocates nothing, waits for no
//! lock, and writes past that of standard error.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::registry::{Glance, Registry};
use crate::signals;
use crate::stderr::Writer;
use crate::text::{Printable, Short};
use crate::thread;

/// The exit code of a program whose thread was stuck: `EX_SOFTWARE` of BSD's `sysexits.h`.
const CODE: u8 = 70;
/// How long the text may take to be written, say into a full pipe.
const WRITING: Duration = Duration::from_secs(1);
/// How many of those that are not running are named.
const MOST_OTHERS: usize = 20;

/// Names what is left on standard error, and leaves the process: no destructor runs.
pub(crate) fn leave(registry: &Registry) -> ! {
    let mut stderr = Writer::new(Instant::now() + WRITING);
    // Writing does not fail: what finds no room in time is lost.
    let _ = tell(&mut stderr, registry);
    stderr.flush();
    signals::leave(CODE)
}

fn tell(stderr: &mut Writer, registry: &Registry) -> std::fmt::Result {
    stderr.write_str(
        "aiorun: error: the thread that runs the program is stuck, leaving the process\n",
    )?;
    let (mut running, mut others) = (0_usize, 0_usize);
    // First those that may be the cause.
    let unseen = registry.glance(|task| {
        if task.thread == 0 {
            others += 1;
            return;
        }
        running += 1;
        let _ = line(stderr, &task);
    });
    if running == 0 {
        stderr.write_str(
            "  it is in no task of aiorun: in a destructor, or in a task of bare `tokio::spawn`\n",
        )?;
    }
    let mut shown = 0;
    registry.glance(|task| {
        if task.thread == 0 && shown < MOST_OTHERS {
            shown += 1;
            let _ = line(stderr, &task);
        }
    });
    match others.saturating_sub(shown) + unseen {
        0 => Ok(()),
        more => writeln!(stderr, "  and {more} more"),
    }
}

fn line(stderr: &mut Writer, task: &Glance<'_>) -> std::fmt::Result {
    let place = if task.label.bare_shield {
        "at"
    } else {
        "spawned at"
    };
    let age = Short(task.age);
    write!(
        stderr,
        "  {} {place} {}, age {age}",
        task.label, task.location
    )?;
    match task.thread {
        0 => stderr.write_str("\n"),
        thread => {
            let doing = if task.dropping {
                "in a destructor"
            } else {
                "running"
            };
            thread::with_name(thread, |name| {
                writeln!(stderr, ", {doing} on {}", Printable(name))
            })
        }
    }
}
