//! Options and the three ways to run.

use std::fmt;
use std::panic::Location;
use std::process::Termination;
use std::sync::Arc;
use std::time::Duration;

use crate::callback::ShutdownCallback;
use crate::config::{Flavor, Options, RepeatSignal, SignalAction, SignalExitStatus};
use crate::error::UnhandledError;
use crate::exit::Exit;
use crate::handle::Handle;
use crate::signals::Signal;
use crate::supervisor::{self, Payload};

/// Runs `main` until the program is told to stop: `Builder::new().run(main)`.
///
/// The function behind `#[aiorun::main]`, for programs that want their own `fn main`.
///
/// # Panics
///
/// Inside an async context of another runtime, as [`tokio::runtime::Runtime::block_on`] does: use
/// [`Builder::supervise`] there. Inside a task of aiorun it does not panic, and says so by
/// [`RunError::Config`](crate::RunError::Config). Inside `spawn_blocking` it works.
///
/// ```
/// fn main() -> aiorun::Exit {
///     aiorun::run(async {
///         aiorun::stop();
///     })
/// }
/// ```
#[track_caller]
pub fn run<F>(main: F) -> Exit
where
    F: Future,
    F::Output: Termination,
{
    Builder::new().run(main)
}

/// A run with options. The names are those of `#[aiorun::main]`.
///
/// A builder can be used again; the shutdown callback is used up by the first run.
///
/// ```
/// use std::time::Duration;
///
/// let exit = aiorun::Builder::new()
///     .worker_threads(2)
///     .shutdown_timeout(Duration::from_secs(10))
///     .run(async { aiorun::stop() });
/// assert!(exit.is_success());
/// ```
#[derive(Default)]
pub struct Builder {
    pub(crate) options: Options,
    pub(crate) callback_location: Option<&'static Location<'static>>,
    /// What main panicked with, for a test to go on with.
    pub(crate) main_panic: Option<Payload>,
    /// Gets a handle when the run has begun, for a test that watches over itself.
    pub(crate) on_start: Option<Box<dyn FnOnce(Handle) + Send>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.options).finish()
    }
}

impl Builder {
    /// A builder with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which tokio runtime to build. Default: [`Flavor::MultiThread`]; in tests, and without the
    /// feature `multi-thread`, [`Flavor::CurrentThread`].
    pub fn flavor(&mut self, flavor: Flavor) -> &mut Self {
        self.options.flavor = Some(flavor);
        self
    }

    /// How many worker threads, at least 1; [`Flavor::MultiThread`] only. Default: as many as there
    /// are cores.
    pub fn worker_threads(&mut self, threads: usize) -> &mut Self {
        self.options.worker_threads = Some(threads);
        self
    }

    /// The stack of each thread of the runtime, in bytes. Default: 8 MiB, reserved and not resident.
    pub fn thread_stack_size(&mut self, bytes: usize) -> &mut Self {
        self.options.thread_stack_size = Some(bytes);
        self
    }

    /// The most threads for blocking jobs, at least 1: tokio's
    /// [`max_blocking_threads`](tokio::runtime::Builder::max_blocking_threads) and its default.
    pub fn executor_workers(&mut self, threads: usize) -> &mut Self {
        self.options.executor_workers = Some(threads);
        self
    }

    /// Whether the program runs on when main has returned successfully. Default: `true`, as in the
    /// Python package; in tests `false`.
    pub fn run_forever(&mut self, forever: bool) -> &mut Self {
        self.options.run_forever = Some(forever);
        self
    }

    /// Whether every task is [cooperative](crate::task::Builder::cooperative), for code bases that
    /// bring their own tokens. Default: `false`.
    pub fn cooperative(&mut self, cooperative: bool) -> &mut Self {
        self.options.cooperative = cooperative;
        self
    }

    /// Whether a failure that nobody saw stops the program, with exit code 1. Default: `false`; in
    /// tests `true`.
    pub fn stop_on_unhandled_errors(&mut self, stop: bool) -> &mut Self {
        self.options.stop_on_unhandled_errors = Some(stop);
        self
    }

    /// The budget: what everything from the reason to stop to the close may take. `None` for no
    /// limit. Default: 60 seconds, or the sum of its parts where they were given and are more.
    ///
    /// The close of the runtime may take half a second on top.
    pub fn shutdown_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.options.limits.total = limit.into().into();
        self
    }

    /// What the callback, and then the tasks, get of the budget. Default: nine tenths of what is
    /// left. Zero means not to wait.
    pub fn timeout_task_shutdown(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.options.limits.tasks = limit.into().into();
        self
    }

    /// What the blocking jobs get of the budget. Default: half of what is left.
    pub fn timeout_executor_shutdown(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.options.limits.jobs = limit.into().into();
        self
    }

    /// How long everything goes on after a signal or a `stop`, before tasks are cancelled: for
    /// load balancers to notice. Ends early when no task is left or a signal repeats. Default: none.
    pub fn shutdown_delay(&mut self, delay: Duration) -> &mut Self {
        self.options.limits.delay = delay;
        self
    }

    /// Something to do when the program begins to stop, before tasks are cancelled: see
    /// [`ShutdownCallback`]. A sync one runs on the blocking pool. Default: none.
    #[track_caller]
    pub fn shutdown_callback<M>(&mut self, callback: impl ShutdownCallback<M>) -> &mut Self {
        self.options.callback = Some(callback.into_callback());
        self.callback_location = Some(Location::caller());
        self
    }

    /// Asked about every signal of the set, on the reporting thread; one that does not answer
    /// within a second, or panics, has said [`SignalAction::Stop`]. Default: stop.
    pub fn shutdown_handler<F>(&mut self, handler: F) -> &mut Self
    where
        F: Fn(Signal, &Handle) -> SignalAction + Send + Sync + 'static,
    {
        self.options.shutdown_handler = Some(Arc::new(handler));
        self
    }

    /// Told of every failure that nobody saw, on the reporting thread, one at a time. Excludes
    /// [`stop_on_unhandled_errors`](Self::stop_on_unhandled_errors). Default: an error line.
    ///
    /// A task fails when it panics or, started by [`spawn_fallible`](crate::spawn_fallible), yields
    /// an `Err`; nobody saw it when its `JoinHandle` was dropped unread, or is unread at the end.
    pub fn unhandled_error_handler<F>(&mut self, handler: F) -> &mut Self
    where
        F: Fn(&UnhandledError) + Send + Sync + 'static,
    {
        self.options.error_handler = Some(Arc::new(handler));
        self
    }

    /// Which signals stop the program; an empty set for none. Default: SIGINT and SIGTERM; in tests
    /// none.
    pub fn signals(&mut self, signals: impl IntoIterator<Item = Signal>) -> &mut Self {
        self.options.signals = Some(signals.into_iter().collect());
        self
    }

    /// What a repeated signal does. Default: [`RepeatSignal::Auto`].
    pub fn repeat_signal(&mut self, repeat: RepeatSignal) -> &mut Self {
        self.options.repeat_signal = repeat;
        self
    }

    /// The exit code after a signal. Default: [`SignalExitStatus::Success`].
    pub fn signal_exit_status(&mut self, status: SignalExitStatus) -> &mut Self {
        self.options.signal_exit_status = status;
        self
    }

    /// A signal that prints all tasks to standard error, with the lines where they are suspended: a
    /// [`Dump`](crate::Dump). Those that come while one is being printed share the next. Default: none.
    pub fn dump_signal(&mut self, signal: Signal) -> &mut Self {
        self.options.dump_signal = Some(signal);
        self
    }

    /// Whether the clock of the runtime is paused: see [`tokio::time::pause`]. Single-threaded
    /// flavours and feature `test-util` only. aiorun's own limits are real time all the same.
    pub fn start_paused(&mut self, paused: bool) -> &mut Self {
        self.options.start_paused = Some(paused);
        self
    }

    /// The name of the runtime and its threads.
    pub fn name(&mut self, name: impl Into<String>) -> &mut Self {
        self.options.name = Some(name.into());
        self
    }

    /// Runs `main` on this thread, and everything it spawns, until the program is told to stop.
    ///
    /// The signals of the set are handled from here to the return. After that, those that acted by
    /// default before any run of the process do so again, even if somebody else has installed a
    /// handler for them meanwhile: whoever wants to handle SIGTERM after a run installs the handler
    /// before it.
    ///
    /// What main returned is turned into an exit code the moment it returns, by
    /// [`Termination::report`], which prints its error.
    ///
    /// # Panics
    ///
    /// Inside an async context of another runtime, as [`tokio::runtime::Runtime::block_on`] does:
    /// use [`supervise`](Self::supervise) there. Inside a task of aiorun it does not panic, and says
    /// so by [`RunError::Config`](crate::RunError::Config). Inside `spawn_blocking` it works.
    #[track_caller]
    pub fn run<F>(&mut self, main: F) -> Exit
    where
        F: Future,
        F::Output: Termination,
    {
        supervisor::run_here(self, Location::caller(), Some(crate::entry::reported(main)))
    }

    /// Runs until the program is told to stop, without a main: Python's `run()`.
    ///
    /// Work comes from the shutdown callback, the handlers, or a [`Handle`] that they were given.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    ///
    /// ```no_run
    /// // Until Ctrl-C.
    /// let exit = aiorun::Builder::new().run_without_main();
    /// ```
    #[track_caller]
    pub fn run_without_main(&mut self) -> Exit {
        let main = None::<std::future::Ready<Option<std::process::ExitCode>>>;
        supervisor::run_here(self, Location::caller(), main)
    }

    /// Runs `main` inside a runtime that somebody else owns, and never closes it.
    ///
    /// Options of the runtime are [`RunError::Config`](crate::RunError::Config) errors. Strays are
    /// not counted, and a runtime has one supervisor at a time.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, it cancels all tasks, runs no hooks, and gives the signals back; what has
    /// not ended at the limit is dropped then.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// ```
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() {
    ///     let exit = aiorun::Builder::new().supervise(async { aiorun::stop() }).await;
    ///     assert!(exit.is_success());
    /// }
    /// ```
    #[track_caller]
    pub fn supervise<F>(&mut self, main: F) -> impl Future<Output = Exit>
    where
        F: Future,
        F::Output: Termination,
    {
        supervisor::supervise(self, Location::caller(), crate::entry::reported(main))
    }
}
