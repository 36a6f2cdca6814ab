//! Where a task is suspended: the chain of async functions down to the await.

pub(crate) mod text;
#[expect(
    unsafe_code,
    reason = "a waker whose `clone` does something of its own cannot be made without"
)]
pub(crate) mod waker;

use std::backtrace::Backtrace;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::waker::Taken;
use crate::listing::INDENT;
use crate::thread::Helper;

/// Where a task is suspended: for each await that it waits at, the async functions that lead there.
///
/// A task that waits at several places at once, in a `join!` or a `select!`, has a [`Branch`] for
/// each. There is none where the task waits for something that never took a [`Waker`], as
/// [`std::future::pending`] never does, and so will never wake it.
///
/// File and line of a [`Frame`] are known where the program has debug information (`debug =
/// "line-tables-only"` is enough), its function where it was not stripped. What an optimised build
/// without debug information has inlined is missing.
///
/// `Display` shows it in lines, outermost function first.
///
/// [`Waker`]: std::task::Waker
///
/// ```
/// async fn ingest() {
///     std::future::pending::<()>().await;
/// }
///
/// # let exit = aiorun::run(async {
/// aiorun::task("ingest").spawn(async { tokio::join!(tokio::task::yield_now(), ingest()) });
/// let dump = aiorun::Handle::current().dump().await;
/// for trace in dump.tasks.iter().filter_map(|task| task.trace.as_ref()) {
///     for frame in trace.branches().iter().flat_map(|branch| &branch.frames) {
///         println!("{} at {:?}:{:?}", frame.function, frame.file, frame.line);
///     }
/// }
/// # aiorun::stop();
/// # });
/// # assert!(exit.is_success());
/// ```
#[derive(Clone)]
pub struct Trace(Arc<Inner>);

struct Inner {
    taken: Taken,
    /// Read when somebody first looks: that takes a thousand times as long as taking it.
    read: OnceLock<Vec<Branch>>,
}

/// One of the awaits that a task waits at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Branch {
    /// The async functions and blocks, and the `Future`s written by hand, outermost first. Those of
    /// the runtime and of combinators are left out.
    pub frames: Vec<Frame>,
    /// What the last of them awaits, where that is known.
    pub awaits: Option<String>,
    /// How many branches of the task look like this.
    pub count: usize,
}

/// One async function on the way to an await.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// The path of the function, or of the type whose `poll` it is.
    pub function: String,
    /// The source file, as the debug information has it.
    pub file: Option<String>,
    /// The line of the await, counted from 1.
    pub line: Option<u32>,
    /// Its column, counted from 1.
    pub column: Option<u32>,
}

impl Trace {
    pub(crate) fn new(taken: Taken) -> Self {
        Self(Arc::new(Inner {
            taken,
            read: OnceLock::new(),
        }))
    }

    /// The awaits that the task waits at, at most 16 of them.
    ///
    /// The first call for a trace looks up names and lines, which takes 0.1 ms to 1 ms; the first
    /// call in a process reads the debug information, which may take a second for a large program.
    /// It blocks the thread meanwhile.
    pub fn branches(&self) -> &[Branch] {
        self.0
            .read
            .get_or_init(|| text::branches(&self.0.taken.places))
    }

    /// How many awaits there were beyond those of [`branches`](Self::branches).
    pub fn more(&self) -> usize {
        self.0.taken.more
    }

    /// Adds its lines below one of a list; without looking anything up if there is no time.
    pub(crate) fn show_in_list(&self, f: &mut fmt::Formatter<'_>, looks_up: bool) -> fmt::Result {
        if !looks_up && !self.is_read() {
            return write!(f, "\n{INDENT}its trace could not be read in time");
        }
        let text = self.to_string();
        text.lines()
            .try_for_each(|line| write!(f, "\n{INDENT}{line}"))
    }

    /// Whether it can be shown without looking anything up.
    pub(crate) fn is_read(&self) -> bool {
        self.0.read.get().is_some()
    }
}

/// Looks up what is needed to show these, by a thread of its own, and then calls `then`.
pub(crate) fn read(traces: Vec<Trace>, then: impl FnOnce() + Send + 'static) -> Option<Helper> {
    let read = move || {
        for trace in traces {
            trace.branches();
        }
    };
    Helper::start_and_then("aiorun-trace", read, then).ok()
}

/// Reads the debug information of the program before a trace is to be shown, once in a process.
pub(crate) fn prepare() {
    static PREPARED: AtomicBool = AtomicBool::new(false);
    if !PREPARED.swap(true, Ordering::Relaxed) {
        let prepare = || drop(Backtrace::force_capture().to_string());
        // Where there is no thread to be had, the first trace takes longer.
        let _ = Helper::start("aiorun-trace", prepare);
    }
}

/// As [`read`], and waits for it, but not for long: a large program has a lot of debug information.
pub(crate) fn read_in_time(mut traces: Vec<Trace>) {
    const MOST: Duration = Duration::from_millis(800);
    traces.retain(|trace| !trace.is_read());
    if !traces.is_empty()
        && let Some(reader) = read(traces, || ())
    {
        reader.wait(Instant::now() + MOST);
    }
}

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.branches() == other.branches() && self.more() == other.more()
    }
}

impl Eq for Trace {}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.branches()).finish()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(f, self.branches(), self.more())
    }
}
