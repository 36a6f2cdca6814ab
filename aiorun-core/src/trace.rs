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
/// each. There is none where what the task waits for takes no copy of its [`Waker`] in this poll, as
/// [`std::future::pending`] never does, and as a future written by hand need not that kept one.
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
    /// The path of the function, or of the type whose `poll` it is. Where the debug information has
    /// lines only, that is not known of a function that was inlined: then the sort of function it is,
    /// as `async fn`.
    pub function: String,
    /// The package from a registry that it belongs to. `None` for the program's own.
    pub package: Option<String>,
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

    /// What to say below one of a list, which is shown like this.
    pub(crate) fn in_list(&self, looks_up: bool) -> InList<'_> {
        // Decided once: it may be read by another thread meanwhile.
        if looks_up || self.is_read() {
            InList::Read(self)
        } else {
            InList::Unread
        }
    }

    /// Whether it can be shown without looking anything up.
    fn is_read(&self) -> bool {
        self.0.read.get().is_some()
    }
}

/// A trace as part of a list.
#[derive(PartialEq)]
pub(crate) enum InList<'a> {
    Read(&'a Trace),
    /// There was no time.
    Unread,
}

impl fmt::Display for InList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread => write!(f, "\n{INDENT}its trace could not be read in time"),
            Self::Read(trace) => {
                let text = trace.to_string();
                text.lines()
                    .try_for_each(|line| write!(f, "\n{INDENT}{line}"))
            }
        }
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

/// Takes a backtrace of no interest, by a thread of its own, and then calls `then`: while that has not
/// ended, a trace would take as long.
///
/// There is one lock for all backtraces of a process. Whoever looks one up has it: that takes a second
/// where the debug information has to be read first, and for ever where a panic is being printed to a
/// standard error that nobody reads.
///
/// With `reads`, the debug information is read too, once in a process.
pub(crate) fn probe(reads: bool, then: impl FnOnce() + Send + 'static) -> Option<Helper> {
    static READ: AtomicBool = AtomicBool::new(false);
    let probe = move || {
        let here = Backtrace::force_capture();
        if reads && !READ.swap(true, Ordering::Relaxed) {
            let _ = here.to_string();
        }
    };
    Helper::start_and_then("aiorun-trace", probe, then).ok()
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
