//! The supervisor from any thread, and the free functions that ask the one of the calling code.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::FusedFuture;

use crate::current;
use crate::dump::Dump;
use crate::exit::StopReason;
use crate::group::Group;
use crate::join::JoinHandle;
use crate::phase::{Phase, Whose};
use crate::run::{Caller, Command, Hook, Run};
use crate::scope::{Ear, Hearing};
use crate::signals::{Arrival, Signal};
use crate::spawn::{outside, task_on};
use crate::task::{Kind, TaskInfo};

/// A supervisor, for any thread: cheap to clone, and of no consequence when it outlives the run.
///
/// The free functions of this crate find the supervisor of the code that calls them; a handle is
/// for code outside the runtime.
///
/// ```
/// use aiorun::Handle;
///
/// #[aiorun::main]
/// async fn main() {
///     let handle = Handle::current();
///     std::thread::spawn(move || handle.stop());
/// }
/// ```
#[derive(Clone)]
pub struct Handle(Arc<Run>);

impl Handle {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Self(run)
    }

    /// The supervisor of the calling code.
    ///
    /// # Panics
    ///
    /// Outside a supervisor.
    #[track_caller]
    pub fn current() -> Self {
        Self::try_current().unwrap_or_else(|_| outside("Handle::current"))
    }

    /// The supervisor of the calling code.
    ///
    /// # Errors
    ///
    /// Outside a supervisor.
    ///
    /// ```
    /// assert!(aiorun::Handle::try_current().is_err());
    /// ```
    pub fn try_current() -> Result<Self, TryCurrentError> {
        current::run().map(Self).ok_or(TryCurrentError(()))
    }

    /// As [`aiorun::stop`](stop).
    pub fn stop(&self) {
        self.0.stop(None);
    }

    /// As [`aiorun::stop_with`](stop_with).
    pub fn stop_with(&self, code: impl Into<ExitCode>) {
        self.0.stop(Some(code.into()));
    }

    /// As [`aiorun::ready`](ready).
    pub fn ready(&self) {
        self.0.send(Command::Ready);
    }

    /// As [`aiorun::on_exit`](on_exit). After the end of the run the hook is dropped.
    #[track_caller]
    pub fn on_exit<F>(&self, name: impl Into<Cow<'static, str>>, hook: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hook = Hook {
            name: name.into(),
            location: Location::caller(),
            future: Box::pin(hook),
        };
        self.0.on_exit(hook);
    }

    /// As [`aiorun::spawn`](crate::spawn()), from any thread. After the end of the run the future
    /// is dropped and the handle says cancelled.
    ///
    /// ```
    /// #[aiorun::main]
    /// async fn main() {
    ///     let handle = aiorun::Handle::current();
    ///     let thread = std::thread::spawn(move || handle.spawn(async { "from afar" }));
    ///     assert_eq!(thread.join().unwrap().await.unwrap(), "from afar");
    ///     aiorun::stop();
    /// }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task_on(&self.0, Location::caller(), future)
    }

    /// As [`aiorun::group`](crate::group()), from any thread.
    ///
    /// ```
    /// #[aiorun::main]
    /// async fn main() {
    ///     let handle = aiorun::Handle::current();
    ///     let thread = std::thread::spawn(move || handle.group("from afar"));
    ///     thread.join().unwrap().spawn(async {}).await.unwrap();
    ///     aiorun::stop();
    /// }
    /// ```
    pub fn group(&self, name: impl Into<Cow<'static, str>>) -> Group {
        Group::new(Arc::clone(&self.0), name.into())
    }

    /// As [`aiorun::is_stopping`](is_stopping).
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }

    /// As [`aiorun::stopping`](stopping).
    pub fn stopping(&self) -> Stopping {
        Stopping::of(Some(Arc::clone(&self.0)))
    }

    /// Where the run is in its life.
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// Everything that lives, oldest first: main, tasks, blocking jobs, callback and hooks.
    ///
    /// A look at each in turn, not at one instant.
    pub fn tasks(&self) -> Vec<TaskInfo> {
        match self.phase() {
            Phase::Closed => Vec::new(),
            _ => self.0.registry.tasks(false),
        }
    }

    /// Everything that lives, and where each task is suspended: what the option `dump_signal` prints.
    ///
    /// To find out, each task is polled once more, a hundred of them at most, spread over the places
    /// where tasks are spawned. This waits a second at most for those that do not answer because they
    /// are stuck in a poll, see [`TaskInfo::unresponsive`](crate::task::TaskInfo::unresponsive), and
    /// as long for a dump that is under way. Whoever calls it is in the dump too. After the end of the
    /// run it is empty.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, only the dump is lost.
    ///
    /// ```
    /// let exit = aiorun::run(async {
    ///     let (send, received) = tokio::sync::oneshot::channel::<()>();
    ///     aiorun::task("reader").spawn(async move { received.await });
    ///     tokio::task::yield_now().await; // it starts
    ///
    ///     let dump = aiorun::Handle::current().dump().await;
    ///     let reader = dump.tasks.iter().find(|task| task.name() == Some("reader")).unwrap();
    ///     println!("{}", reader.trace.as_ref().unwrap());
    ///     drop(send);
    ///     aiorun::stop();
    /// });
    /// assert!(exit.is_success());
    /// ```
    pub async fn dump(&self) -> Dump {
        let (caller, findings) = Caller::new();
        self.0.send(Command::Survey(caller));
        let findings = findings.await.unwrap_or_default();
        Dump::new(&self.0, &findings)
    }

    /// As [`dump`](Self::dump), for a thread that may be blocked.
    pub(crate) fn dump_blocking(&self) -> Dump {
        let (caller, findings) = Caller::new();
        self.0.send(Command::Survey(caller));
        let findings = findings.blocking_recv().unwrap_or_default();
        Dump::new(&self.0, &findings)
    }

    /// Acts as if `signal` had arrived for this supervisor, whether or not it is in its set: for
    /// tests.
    ///
    /// ```
    /// use aiorun::{Handle, Signal, StopReason};
    ///
    /// let exit = aiorun::run(async { Handle::current().raise(Signal::TERM) });
    /// assert_eq!(exit.reason, StopReason::Signal(Signal::TERM));
    /// ```
    pub fn raise(&self, signal: Signal) {
        let sender = Some(i64::from(std::process::id()));
        self.0.send(Command::Signal(Arrival { signal, sender }));
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

/// The calling code runs outside a supervisor.
///
/// ```
/// let error = aiorun::Handle::try_current().unwrap_err();
/// assert!(error.to_string().contains("#[aiorun::main]"));
/// ```
#[derive(Debug, Clone)]
pub struct TryCurrentError(());

impl fmt::Display for TryCurrentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this code runs outside a supervisor: start the program with `#[aiorun::main]` or \
             `aiorun::run`",
        )
    }
}

impl Error for TryCurrentError {}

/// Stops the program: every task is cancelled and awaited, and `run` returns. Python's
/// `loop.stop()`.
///
/// Returns at once. Of several reasons to stop, the first counts.
///
/// # Panics
///
/// Outside a supervisor.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     aiorun::stop();
/// }
/// ```
#[track_caller]
pub fn stop() {
    let Ok(handle) = Handle::try_current() else {
        outside("stop")
    };
    handle.stop();
}

/// As [`stop`](stop()), with an exit code: a number or an [`ExitCode`].
///
/// # Panics
///
/// Outside a supervisor.
///
/// ```
/// let exit = aiorun::run(async { aiorun::stop_with(3) });
/// assert!(!exit.is_success());
/// ```
#[track_caller]
pub fn stop_with(code: impl Into<ExitCode>) {
    let Ok(handle) = Handle::try_current() else {
        outside("stop_with")
    };
    handle.stop_with(code);
}

/// Says that the program is ready: the start is over, and it does what it is there for.
///
/// With the feature `systemd` a service manager that waits for that is told, and from here on how far
/// the run is: see the page `docs::deployment`. Without the feature, and where nobody has started the
/// program as a service, this does nothing, so that a program may always say it. Only the first time
/// counts, and only before there is a reason to stop.
///
/// # Panics
///
/// Outside a supervisor.
///
/// ```
/// use tokio::net::TcpListener;
///
/// #[aiorun::main]
/// async fn main() -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     aiorun::ready(); // whoever asks from now on is answered
///     # drop(listener);
///     # aiorun::stop();
///     // ...
///     Ok(())
/// }
/// ```
#[track_caller]
pub fn ready() {
    let Ok(handle) = Handle::try_current() else {
        outside("ready")
    };
    handle.ready();
}

/// Registers something to do when everything else has ended: after the last task and the last
/// blocking job, before the runtime closes. Newest first.
///
/// Each hook gets half of the time that is left; one that fails or hangs is named and does not stop
/// the others. What it spawns is awaited with it.
///
/// # Panics
///
/// Outside a supervisor.
///
/// ```
/// let exit = aiorun::run(async {
///     aiorun::on_exit("close the pool", async { /* pool.close().await */ });
///     aiorun::on_exit("say goodbye", async { println!("this comes first") });
///     aiorun::stop();
/// });
/// assert_eq!(exit.report.hooks.len(), 2);
/// ```
#[track_caller]
pub fn on_exit<F>(name: impl Into<Cow<'static, str>>, hook: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(handle) = Handle::try_current() else {
        outside("on_exit")
    };
    handle.on_exit(name, hook);
}

/// Whether there is a reason to stop. `false` outside a supervisor.
///
/// ```
/// let exit = aiorun::run(async {
///     assert!(!aiorun::is_stopping());
///     aiorun::stop();
///     assert!(aiorun::is_stopping());
/// });
/// assert!(exit.is_success());
/// ```
pub fn is_stopping() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.is_stopping())
}

/// Waits until there is a reason to stop, and yields it. Never resolves outside a supervisor.
///
/// This is the first sign of a shutdown, before anything is cancelled: a readiness probe fails from
/// here on, a request handler finishes early. An ordinary task is cancelled soon after: what is to
/// go on from here belongs into [`shutdown_waits_for`](crate::shutdown_waits_for), or a protected or
/// cooperative task.
///
/// # Cancel safety
///
/// Nothing is lost when it is dropped; a new one resolves as well.
///
/// ```
/// use aiorun::StopReason;
///
/// let exit = aiorun::run(async {
///     aiorun::shutdown_waits_for(async {
///         assert_eq!(aiorun::stopping().await, StopReason::Stop);
///     });
///     aiorun::stop();
/// });
/// assert_eq!(exit.report.tasks.completed, 2);
/// ```
pub fn stopping() -> Stopping {
    Stopping::of(current::run())
}

/// How long the calling code has left: a task until the end of `Cancelling`, a blocking job until
/// that of `Draining`, the callback and a hook their own time, everything else the whole budget.
///
/// Before a step has begun this is what it would be if the step began now. `None` without a reason
/// to stop, without a limit, and outside a supervisor. Real time, also under paused time.
///
/// ```
/// let exit = aiorun::run(async {
///     assert!(aiorun::time_left().is_none());
///     aiorun::on_exit("flush", async {
///         let left = aiorun::time_left().unwrap();
///         assert!(left <= std::time::Duration::from_secs(30), "half of what is left of 60 s");
///     });
///     aiorun::stop();
/// });
/// assert!(exit.is_success());
/// ```
pub fn time_left() -> Option<Duration> {
    let whose = match current::kind() {
        Some(Kind::Main | Kind::Async | Kind::Local) => Whose::Task,
        Some(Kind::Blocking) => Whose::Job,
        Some(Kind::Callback | Kind::Hook) => Whose::Extra,
        None => Whose::Nobody,
    };
    current::run()?.time_left(whose)
}

/// Resolves when there is a reason to stop: what [`stopping`] returns.
#[must_use = "futures do nothing unless polled"]
pub struct Stopping {
    /// `None` outside a supervisor.
    run: Option<(Arc<Run>, Ear)>,
    reason: Option<StopReason>,
}

impl Stopping {
    fn of(run: Option<Arc<Run>>) -> Self {
        let run = run.map(|run| {
            let ear = Ear::new(Arc::clone(&run.stopping));
            (run, ear)
        });
        Self { run, reason: None }
    }
}

impl Future for Stopping {
    type Output = StopReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StopReason> {
        if let Some(reason) = self.reason {
            return Poll::Ready(reason);
        }
        let Some((run, ear)) = &mut self.run else {
            return Poll::Pending;
        };
        if ear.listen(cx.waker()) != Hearing::Told {
            return Poll::Pending;
        }
        self.reason = run.reason.get().copied();
        self.run = None;
        self.reason.map_or(Poll::Pending, Poll::Ready)
    }
}

impl FusedFuture for Stopping {
    fn is_terminated(&self) -> bool {
        self.reason.is_some()
    }
}

impl fmt::Debug for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopping")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}
