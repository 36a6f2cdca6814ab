//! All tasks of a run, with where each is suspended, as an operator reads them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::latch::Latch;
use crate::listing::Listing;
use crate::phase::{Phase, Whose};
use crate::registry::survey::Findings;
use crate::run::Run;
use crate::stderr;
use crate::task::{Kind, TaskInfo};
use crate::text::{Count, Short};
use crate::thread::Helper;
use crate::trace::{self, Trace};

/// How long a dump may take to be written, say into a pipe that is read slowly.
const WRITING: Duration = Duration::from_secs(10);
/// How long it may take to look up names and lines: a program has gigabytes of debug information at
/// most.
const READING: Duration = Duration::from_secs(10);

/// What a program is doing: all its tasks and blocking jobs, and where each task is suspended. What
/// [`Handle::dump`](crate::Handle::dump) returns, and what the option `dump_signal` prints.
///
/// `Display` is a text for a person: the oldest first, those that are alike in one entry with their
/// number. The first time, this reads the debug information of the program: see
/// [`Trace::branches`](crate::task::Trace::branches).
///
/// ```
/// let exit = aiorun::run(async {
///     aiorun::task("ingest").spawn(std::future::pending::<()>());
///     let dump = aiorun::Handle::current().dump().await;
///     assert_eq!(dump.tasks.len(), 2, "main is a task too");
///     println!("{dump}");
///     aiorun::stop();
/// });
/// # assert!(exit.is_success());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Dump {
    /// Where the run is in its life.
    pub phase: Phase,
    /// How long ago the run began.
    pub age: Duration,
    /// What is left of the budget; `None` before the reason to stop, or without a limit.
    pub time_left: Option<Duration>,
    /// Everything that lives, oldest first: main, tasks, blocking jobs, callback and hooks.
    pub tasks: Vec<TaskInfo>,
    /// How many tasks from bare `tokio::spawn` there are; approximate, as tokio's count is. 0 for
    /// [`supervise`](crate::Builder::supervise), whose runtime has other tasks by right.
    pub strays: usize,
    /// Why there are no traces: nobody could be asked.
    out_of_reach: bool,
}

impl Dump {
    pub(crate) fn new(run: &Run, findings: &Findings) -> Self {
        let phase = run.phase();
        let mut tasks = match phase {
            Phase::Closed => Vec::new(),
            _ => run.registry.tasks(false),
        };
        findings.add_to(&mut tasks);
        Self {
            phase,
            age: run.started.elapsed(),
            time_left: run.time_left(Whose::Nobody),
            tasks,
            strays: run.strays(),
            out_of_reach: findings.out_of_reach,
        }
    }

    fn traces(&self) -> Vec<Trace> {
        let traces = self.tasks.iter().filter_map(|task| task.trace.clone());
        traces.collect()
    }
}

impl Dump {
    fn show(&self, f: &mut fmt::Formatter<'_>, looks_up: bool) -> fmt::Result {
        let count = |is: fn(&TaskInfo) -> bool| self.tasks.iter().filter(|it| is(it)).count();
        let jobs = count(|task| task.kind == Kind::Blocking);
        let tasks = count(|task| task.kind != Kind::Blocking && !task.bare_shield);
        write!(
            f,
            "aiorun: process {}, up {}, {}",
            std::process::id(),
            Short(self.age),
            self.phase
        )?;
        if let Some(left) = self.time_left {
            write!(f, " with {} left", Short(left))?;
        }
        write!(f, ": {}", Count(tasks, "task"))?;
        if jobs > 0 {
            write!(f, ", {}", Count(jobs, "blocking job"))?;
        }
        if self.strays > 0 {
            write!(f, ", about {}", Count(self.strays, "stray task"))?;
            f.write_str(" of bare `tokio::spawn`")?;
        }
        if self.out_of_reach {
            f.write_str(
                "\nwithout traces: a thread of the process, perhaps one that panics, is busy ",
            )?;
            f.write_str("with a backtrace and does not come to an end")?;
        }
        let listing = Listing::all(&self.tasks);
        if looks_up {
            write!(f, "{listing}")
        } else {
            write!(f, "{}", listing.at_once())
        }
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, true)
    }
}

/// A dump as it is when it must not take any longer.
pub(crate) struct AtOnce<'a>(pub(crate) &'a Dump);

impl fmt::Display for AtOnce<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f, false)
    }
}

/// Writes a dump to standard error, by a thread of its own: what it reads and where it writes to may
/// take any time.
#[derive(Debug)]
pub(crate) struct Printer {
    thread: Helper,
    /// Opened when it is to print what is there.
    hurry: Arc<Latch>,
}

impl Printer {
    /// # Errors
    ///
    /// The dump, where there is no thread to be had.
    pub(crate) fn start(run: &Arc<Run>, findings: &Arc<Findings>) -> Result<Self, Box<Dump>> {
        let hurry = Arc::new(Latch::default());
        let (of_run, found) = (Arc::clone(run), Arc::clone(findings));
        let (go_on, done) = (Arc::clone(&hurry), Arc::clone(&hurry));
        let print = move || {
            let dump = Dump::new(&of_run, &found);
            let reader = trace::read(dump.traces(), move || done.open());
            if reader.is_some() {
                // Until all is looked up, or somebody is in a hurry.
                go_on.wait(Instant::now() + READING);
            }
            let text = format!("{}\n", AtOnce(&dump));
            stderr::write(text.as_bytes(), Instant::now() + WRITING);
        };
        let registry = run.registry;
        // Others may wait for their turn.
        let then = || registry.changed.notify_one();
        match Helper::start_and_then("aiorun-dump", print, then) {
            Ok(thread) => Ok(Self { thread, hurry }),
            Err(_) => Err(Box::new(Dump::new(run, findings))),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.has_ended()
    }

    /// Waits for what can be printed until then.
    pub(crate) fn finish(self, until: Instant) {
        /// What is left for writing where there is no time to look anything up.
        const IN_A_HURRY: Duration = Duration::from_millis(400);
        if !self
            .thread
            .ends_by(until.checked_sub(IN_A_HURRY).unwrap_or(until))
        {
            self.hurry.open();
        }
        self.thread.wait(until);
    }
}
