//! Tasks as their users see them: what can be asked of one, and the builder that starts one with
//! a name.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::group::Members;
use crate::join::JoinHandle;
use crate::registry::{Birth, COOPERATIVE, CRITICAL, PROTECTED};
use crate::spawn;
use crate::text::{Printable, Short};
pub use crate::trace::{Branch, Frame, Trace};

/// A task's identity: unique in the process, known from spawn on.
///
/// It is not tokio's id of the task: aiorun's is there before the task starts, and for main.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     let task = aiorun::spawn(async {});
///     println!("started task {}", task.id());
///     aiorun::stop();
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(NonZeroU64);

impl Id {
    pub(crate) fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    pub(crate) fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What sort of work a task is.
///
/// ```
/// use aiorun::task::Kind;
///
/// #[aiorun::main]
/// async fn main() {
///     let tasks = aiorun::Handle::current().tasks();
///     assert_eq!(tasks[0].kind, Kind::Main);
///     aiorun::stop();
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// What `run` was given.
    Main,
    /// A future on the runtime.
    Async,
    /// A future that stays on its thread: [`spawn_local`](crate::spawn_local).
    Local,
    /// A job on the blocking pool: [`spawn_blocking`](crate::spawn_blocking).
    Blocking,
    /// The shutdown callback.
    Callback,
    /// An exit hook.
    Hook,
}

impl Kind {
    /// In the order of the discriminants; the last two places are padding for three bits.
    pub(crate) const ALL: [Self; 8] = [
        Self::Main,
        Self::Async,
        Self::Local,
        Self::Blocking,
        Self::Callback,
        Self::Hook,
        Self::Async,
        Self::Async,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Main => "main",
            Self::Async => "task",
            Self::Local => "local task",
            Self::Blocking => "blocking job",
            Self::Callback => "shutdown callback",
            Self::Hook => "exit hook",
        })
    }
}

/// What a task is doing at the moment somebody looks.
///
/// ```
/// use aiorun::task::State;
///
/// #[aiorun::main]
/// async fn main() {
///     let tasks = aiorun::Handle::current().tasks();
///     assert!(matches!(tasks[0].state, State::Running { .. }), "main is asking right now");
///     aiorun::stop();
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Never polled so far; a job that is queued.
    NotStarted,
    /// Waiting at an await.
    Suspended,
    /// Inside a poll right now; a job that runs.
    #[non_exhaustive]
    Running {
        /// The name of the thread.
        thread: String,
        /// Whether it is being dropped before it was done, and so is in a destructor.
        dropping: bool,
    },
    /// Waiting at an await, after its cancellation was requested.
    Cancelling,
    /// It has ended, and is about to be gone.
    Finished,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("not started"),
            Self::Suspended => f.write_str("suspended"),
            Self::Running { thread, dropping } => {
                let doing = if *dropping {
                    "in a destructor"
                } else {
                    "running"
                };
                write!(f, "{doing} on {}", Printable(thread))
            }
            Self::Cancelling => f.write_str("cancelling"),
            Self::Finished => f.write_str("finished"),
        }
    }
}

/// A task as it was when somebody looked: from [`Handle::tasks`](crate::Handle::tasks) and in a
/// [`Report`](crate::Report).
///
/// `Display` shows it in one line: kind, name, place, age and state.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     aiorun::task("ingest").spawn(std::future::pending::<()>());
///     let tasks = aiorun::Handle::current().tasks();
///     let ingest = tasks.iter().find(|task| task.name() == Some("ingest")).unwrap();
///     assert!(ingest.to_string().starts_with("task `ingest`"));
///     aiorun::stop();
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its identity.
    pub id: Id,
    /// The name it was given, if any.
    pub name: Option<Cow<'static, str>>,
    /// Where it was spawned.
    pub location: &'static Location<'static>,
    /// What sort of work it is.
    pub kind: Kind,
    /// How long ago it was spawned.
    pub age: Duration,
    /// What it was doing.
    pub state: State,
    /// Whether shutdown leaves it alone and waits: `protected()`,
    /// [`shutdown_waits_for`](crate::shutdown_waits_for).
    pub protected: bool,
    /// Whether it is told of a cancellation and not dropped for it.
    pub cooperative: bool,
    /// Whether its end stops the program.
    pub critical: bool,
    /// In which phase of the shutdown it is cancelled: see
    /// [`shutdown_phase`](Builder::shutdown_phase). 0 for most, and for whatever the shutdown does not
    /// cancel.
    pub shutdown_phase: u8,
    /// Where it last caught a cancellation: the call of [`catch_cancel`](crate::catch_cancel).
    pub caught: Option<&'static Location<'static>>,
    /// Where it asked for its cancellation, which made it cooperative: the call of
    /// [`cancelled`](crate::cancelled()) or [`is_cancelled`](crate::is_cancelled).
    pub asked: Option<&'static Location<'static>>,
    /// Where it is shielded at the moment: the call of [`shield`](crate::shield).
    pub shielded: Option<&'static Location<'static>>,
    /// Where it is suspended, if it was asked: in a [`Dump`](crate::Dump), and with tasks that did
    /// not end within the limit. At most a hundred tasks are asked at a time.
    pub trace: Option<Trace>,
    /// Whether it did not react when it was woken, to answer where it is suspended or to be ended: it
    /// is stuck in a poll, or no thread was free to poll it.
    pub unresponsive: bool,
    /// Whether it is no task of this crate, but a [`shield`](crate::shield) in somebody else's.
    pub bare_shield: bool,
}

impl TaskInfo {
    /// [`TaskInfo::name`] as a text.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

#[cfg(test)]
impl TaskInfo {
    /// A task that nothing is special about but its name, its age in seconds, and the caller's place.
    #[track_caller]
    pub(crate) fn sample(name: &'static str, age: u64) -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self {
            id: Id::new(id).expect("ids begin at 1"),
            name: Some(name.into()),
            location: Location::caller(),
            kind: Kind::Async,
            age: Duration::from_secs(age),
            state: State::Suspended,
            protected: false,
            cooperative: false,
            critical: false,
            shutdown_phase: 0,
            caught: None,
            asked: None,
            shielded: None,
            trace: None,
            unresponsive: false,
            bare_shield: false,
        }
    }
}

impl TaskInfo {
    pub(crate) fn label(&self) -> Label<'_> {
        Label {
            kind: self.kind,
            id: self.id,
            name: self.name(),
            bare_shield: self.bare_shield,
        }
    }
}

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, condition) = (Spawned(self), Condition(self));
        write!(
            f,
            "{}{place}, age {}, {condition}",
            self.label(),
            Short(self.age)
        )
    }
}

/// Where a task was spawned.
pub(crate) struct Spawned<'a>(pub(crate) &'a TaskInfo);

impl fmt::Display for Spawned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begun = if self.0.bare_shield {
            "at"
        } else {
            "spawned at"
        };
        write!(f, " {begun} {}", self.0.location)
    }
}

/// What it is doing.
pub(crate) struct Condition<'a>(pub(crate) &'a TaskInfo);

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(task) = self;
        if task.bare_shield {
            return f.write_str("not done");
        }
        if task.protected {
            f.write_str("protected, ")?;
        }
        if task.cooperative {
            f.write_str("cooperative, ")?;
        }
        if task.critical {
            f.write_str("critical, ")?;
        }
        if task.shutdown_phase > 0 {
            write!(f, "shutdown phase {}, ", task.shutdown_phase)?;
        }
        match (task.kind, &task.state) {
            (Kind::Blocking, State::NotStarted) => f.write_str("queued"),
            (_, state @ State::Running { .. }) if task.unresponsive => {
                write!(f, "stuck, {state}")
            }
            (_, state) => state.fmt(f),
        }?;
        if task.unresponsive && !matches!(task.state, State::Running { .. }) {
            f.write_str(", ready, but no thread was free to poll it")?;
        }
        let places = [
            ("caught", task.caught),
            ("asked", task.asked),
            ("shielded", task.shielded),
        ];
        for (what, place) in places {
            if let Some(place) = place {
                write!(f, ", {what} at {place}")?;
            }
        }
        Ok(())
    }
}

/// How a task is called in a sentence: by its name, or its number.
pub(crate) struct Label<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: Id,
    pub(crate) name: Option<&'a str>,
    pub(crate) bare_shield: bool,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bare_shield {
            return f.write_str("a shield in a task that is not aiorun's");
        }
        match (self.kind, self.name) {
            (kind, Some(name)) => write!(f, "{kind} `{}`", Printable(name)),
            (kind @ (Kind::Main | Kind::Callback), None) => write!(f, "{kind}"),
            (kind, None) => write!(f, "{kind} {}", self.id),
        }
    }
}

/// Starts a task with a name and other properties: what [`task`](crate::task()) returns.
///
/// ```
/// use aiorun::StopReason;
///
/// let exit = aiorun::run(async {
///     // If the ingest ends for whatever reason, so does the program.
///     aiorun::task("ingest").critical().spawn(async { /* the feed has no more */ });
/// });
/// assert_eq!(exit.reason, StopReason::TaskFailed);
/// ```
#[derive(Debug)]
#[must_use = "a task is only started by `spawn` and its like"]
pub struct Builder {
    name: Arc<Cow<'static, str>>,
    marks: u32,
    phase: Option<u8>,
    members: Option<Arc<Members>>,
}

impl Builder {
    pub(crate) fn new(name: Cow<'static, str>) -> Self {
        Self {
            name: Arc::new(name),
            marks: 0,
            phase: None,
            members: None,
        }
    }

    /// A task that is to be one of those.
    pub(crate) fn member(
        members: Arc<Members>,
        name: Arc<Cow<'static, str>>,
        phase: Option<u8>,
    ) -> Self {
        Self {
            name,
            marks: 0,
            phase,
            members: Some(members),
        }
    }

    /// The task's end, in whatever way, stops the program if it comes before the shutdown, and is
    /// the run's error then: [`StopReason::TaskFailed`](crate::StopReason::TaskFailed).
    pub fn critical(mut self) -> Self {
        self.marks |= CRITICAL;
        self
    }

    /// Shutdown does not cancel the task and waits for it within `timeout_task_shutdown`, as with
    /// [`shutdown_waits_for`](crate::shutdown_waits_for). It hears of the shutdown through
    /// [`stopping`](crate::stopping).
    pub fn protected(mut self) -> Self {
        self.marks |= PROTECTED;
        self
    }

    /// A cancellation never drops the task before the limit: it is told, and has to end by itself
    /// when [`cancelled`](crate::cancelled()) resolves. For tasks that learn of the shutdown in
    /// another way; those that call `cancelled` or [`is_cancelled`](crate::is_cancelled) are
    /// cooperative from then on without this.
    pub fn cooperative(mut self) -> Self {
        self.marks |= COOPERATIVE;
        self
    }

    /// In which phase of the shutdown the task is cancelled: when all tasks of the phases before have
    /// ended, or their time is over. 0 for all that say nothing else, main too.
    ///
    /// So what others work with goes after them: a writer that workers send to, the pool that handlers
    /// borrow from. All phases share the one time of the tasks, `timeout_task_shutdown`: each may use an
    /// equal part of what is left when its turn comes, among the phases that have tasks then. One that is
    /// late is not ended for it; the next is cancelled all the same, and what has not ended when the time
    /// of all is over is ended by force.
    ///
    /// A task that waits for its turn is like any before a shutdown, only that
    /// [`is_stopping`](crate::is_stopping()) is true. What it spawns has its phase, unless it says
    /// otherwise. Whatever ends the time of all tasks ends all phases at once, such as a second Ctrl-C.
    /// A protected task is not cancelled in its phase and yet awaited in it. For a blocking job this
    /// means nothing: jobs are awaited after the last task. Exit hooks run after all of them.
    ///
    /// ```
    /// use tokio::sync::mpsc;
    ///
    /// let exit = aiorun::run(async {
    ///     let (send, mut receive) = mpsc::channel(8);
    ///     let writer = aiorun::task("writer").shutdown_phase(1).spawn(async move {
    ///         let mut written = 0;
    ///         while let Some(_line) = receive.recv().await {
    ///             written += 1;
    ///         }
    ///         assert_eq!(written, 1, "the last words of the worker");
    ///     });
    ///     # drop(writer);
    ///     aiorun::task("worker").spawn(async move {
    ///         aiorun::cancelled().await;
    ///         send.send("goodbye").await.unwrap();
    ///     });
    ///     # tokio::task::yield_now().await;
    ///     aiorun::stop();
    /// });
    /// assert!(exit.is_success());
    /// ```
    pub fn shutdown_phase(mut self, phase: u8) -> Self {
        self.phase = Some(phase);
        self
    }

    fn birth(
        self,
        kind: Kind,
        location: &'static Location<'static>,
    ) -> (Birth, Option<Arc<Members>>) {
        let birth = Birth::plain(kind, location)
            .called(Some(self.name))
            .marked(self.marks)
            .in_phase(self.phase);
        (birth, self.members)
    }

    /// As [`aiorun::spawn`](crate::spawn()).
    ///
    /// # Panics
    ///
    /// Outside a supervisor.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_from(Location::caller(), future)
    }

    /// As [`Builder::spawn`], from the place of somebody who is not the caller.
    #[track_caller]
    pub(crate) fn spawn_from<F>(
        self,
        location: &'static Location<'static>,
        future: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (birth, members) = self.birth(Kind::Async, location);
        match members {
            None => spawn::asynchronous(birth, future),
            Some(members) => spawn::member(&members, birth, future),
        }
    }

    /// As [`aiorun::spawn_fallible`](crate::spawn_fallible).
    ///
    /// # Panics
    ///
    /// Outside a supervisor.
    #[track_caller]
    pub fn spawn_fallible<F, T, E>(self, future: F) -> JoinHandle<Result<T, E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let (birth, members) = self.birth(Kind::Async, Location::caller());
        match members {
            None => spawn::fallible(birth, future),
            Some(members) => spawn::fallible_member(&members, birth, future),
        }
    }

    /// As [`aiorun::spawn_local`](crate::spawn_local).
    ///
    /// # Panics
    ///
    /// Outside a supervisor, or where tokio has no place for local tasks: choose
    /// `flavor = "local"`.
    #[track_caller]
    pub fn spawn_local<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (birth, members) = self.birth(Kind::Local, Location::caller());
        spawn::local(birth, members.as_ref(), future)
    }

    /// As [`aiorun::spawn_blocking`](crate::spawn_blocking).
    ///
    /// # Panics
    ///
    /// Outside a supervisor.
    #[track_caller]
    pub fn spawn_blocking<F, R>(self, job: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let (birth, members) = self.birth(Kind::Blocking, Location::caller());
        spawn::blocking(birth, members.as_ref(), job)
    }
}
