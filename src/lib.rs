//! The starting point of an async Rust application: one attribute runs it, stops it on a signal,
//! cancels and awaits its tasks, and says what it waits for.
//!
//! ```no_run
//! #[aiorun::main]
//! async fn main() {
//!     aiorun::spawn(async { println!("hello from a task") });
//! }
//! ```
//!
//! The attribute builds a [tokio] runtime with signal handlers in place before it, runs `main` in
//! it, and keeps the program running until something tells it to stop: a signal, [`stop`], or a
//! failure of main. A main that just returns does not end the program, because its tasks are the
//! program; `#[aiorun::main(run_forever = false)]` makes it the end.
//!
//! [tokio]: https://tokio.rs
//!
//! Begin with [`docs::quick_start`]. The [other pages](docs) tell of cancellation, tests, servers, databases and
//! deployment, of the way here from other crates and from Python, and [what people ask](docs::faq).
//!
//! # What happens on Ctrl-C
//!
//! The program goes through the [phases](Phase) of a shutdown, and one budget, `shutdown_timeout`
//! (60 seconds), bounds all of them together:
//!
//! 1. `Stopping`: [`is_stopping`] turns true and [`stopping`] resolves. The `shutdown_callback`
//!    runs, and after it `shutdown_delay` passes, in which everything still works.
//! 2. `Cancelling`: every task started through this crate is cancelled, except the protected ones,
//!    and all of them are awaited. Cancelled means that a task's future is dropped where it is
//!    suspended, so its destructors run; or that the task is told and cleans up, if it has asked
//!    for that: see [below](#cancellation). A task that does not end is named in the log.
//! 3. `Draining`: blocking jobs run to their end, queued ones too. A job that does not end is
//!    named and abandoned.
//! 4. `Finishing`: the [`on_exit`] hooks run, newest first. Then the runtime closes.
//! 5. `Closed`: [`run`] returns an [`Exit`], which becomes the exit code of the process.
//!
//! While it waits, a line every five seconds names what it waits for: tasks by their name, the
//! place where they were spawned, their age and what they are doing. A second Ctrl-C, half a second
//! or more after the first, ends the waiting; see [`RepeatSignal`].
//!
//! The sequence is driven by a thread of its own. Tasks that never yield, jobs that never return
//! and destructors that hang do not keep it from ending in time.
//!
//! # What it is waiting for
//!
//! A shutdown that hangs has a culprit, and it is named with the line where it hangs. Tasks that do
//! not end within the limit are told in a warning, each with the chain of async functions down to the
//! await where it is suspended. The option `dump_signal` makes a signal print that for all tasks, at any
//! time, and [`Handle::dump`] returns it. It works on stable Rust and costs nothing until somebody asks;
//! how to read it stands in [`docs::diagnosing`].
//!
//! # Cancellation
//!
//! A task is never cancelled in the middle of something, only at an await, and it can have a say:
//!
//! ```
//! use aiorun::{catch_cancel, shield};
//! use tokio::sync::mpsc::Receiver;
//!
//! /// Finishes the item in hand, then gives the rest back.
//! async fn work(mut queue: Receiver<u32>) {
//!     while let Ok(Some(item)) = catch_cancel(queue.recv()).await {
//!         shield(handle(item)).await;
//!     }
//!     shield(give_back(queue)).await;
//! }
//! # async fn handle(_: u32) { tokio::task::yield_now().await }
//! # async fn give_back(mut queue: Receiver<u32>) {
//! #     tokio::task::yield_now().await;
//! #     assert_eq!(queue.try_recv(), Ok(2));
//! # }
//! # #[aiorun::main(flavor = "current_thread", run_forever = false)]
//! # async fn main() {
//! #     let (send, queue) = tokio::sync::mpsc::channel(2);
//! #     let task = aiorun::spawn(work(queue));
//! #     send.send(1).await.unwrap();
//! #     send.send(2).await.unwrap();
//! #     tokio::task::yield_now().await; // it has the first
//! #     task.cancel();
//! #     task.await.unwrap();
//! # }
//! ```
//!
//! [`catch_cancel`] yields a cancellation as a value, Python's `except CancelledError`. [`shield`]
//! keeps it out of a section. [`cancelled()`] is the future to end a loop or a server by. An `Err`
//! that passes a [`Cancelled`] on with `?` is no failure. The rule in full, Python side by side with
//! Rust, and the pitfalls stand in [`docs::cancellation`].
//!
//! # Which function for what
//!
//! | to | use |
//! | --- | --- |
//! | run a program | [`#[aiorun::main]`](macro@main), or [`run`] and [`Builder`] with an `fn main` of one's own |
//! | run inside a runtime that is there | [`Builder::supervise`] |
//! | run a test | [`#[aiorun::test]`](macro@test) |
//! | find the awaits where a cancellation breaks something | [`testing::cancel_at_every_await`] |
//! | start a task | [`spawn`]; [`spawn_local`] if it is not `Send` |
//! | start a task whose `Err` must not be lost | [`spawn_fallible`] |
//! | start a task that shutdown waits for and does not cancel | [`shutdown_waits_for`] |
//! | start blocking work | [`spawn_blocking`] |
//! | name a task, or make its end the end of the program | [`task()`](fn@task), [`critical`](task::Builder::critical) |
//! | have a task end after those that need it | [`shutdown_phase`](task::Builder::shutdown_phase) |
//! | cancel, await, list or shut down a part of the program | [`group()`](fn@group), [`Group`] |
//! | await, cancel or abort a task | [`JoinHandle`] |
//! | clean up when cancelled, with awaits | [`catch_cancel`] |
//! | keep a section from being cut | [`shield`] |
//! | end a loop or a server when cancelled | [`cancelled()`]; with the feature `tokio-util`, [`token()`] |
//! | be cancelled in a computation that never waits | [`checkpoint`], [`is_cancelled`] |
//! | stop the program | [`stop`], [`stop_with`] an exit code |
//! | say that the program is ready | [`ready`] |
//! | hear that the program stops | [`stopping`], [`is_stopping`] |
//! | know how much time is left | [`time_left`] |
//! | do something at the end | [`on_exit`], [`Builder::shutdown_callback`] |
//! | do any of this from another thread, or list the tasks | [`Handle`] |
//! | see what it is waiting for, and in which line | [`Handle::dump`], the option `dump_signal` |
//! | learn how it ended | [`Exit`], its [`RunError`] and its [`Report`] |
//!
//! `spawn`, `stop`, `ready`, `on_exit` and their like find the supervisor of the code that calls them,
//! and panic outside one; [`Handle::try_current`] tells instead. The functions that only ask, and those
//! for cancellation, work everywhere: outside a supervisor `is_stopping` is false, `stopping` and
//! `cancelled` never resolve, and `catch_cancel` and `shield` just run their future. A library may use
//! them without asking that its users run on this crate.
//!
//! After `stop`, and when `stopping` resolves, the next await may be the last one, for an ordinary
//! task is about to be cancelled, main too. What has to go on belongs into a [`shield`],
//! [`shutdown_waits_for`], a [`protected`](task::Builder::protected) or
//! [`cooperative`](task::Builder::cooperative) task, or a hook.
//!
//! The options of a run are described at [`#[aiorun::main]`](macro@main#options); each is a method
//! of [`Builder`] too.
//!
//! # Failures and the exit code
//!
//! A task fails when it panics or, started by [`spawn_fallible`], yields an `Err`. Whoever awaits
//! its [`JoinHandle`] has the failure. One that nobody awaits is *unhandled*: it goes to the log,
//! or to the `unhandled_error_handler`, and with `stop_on_unhandled_errors` it stops the program.
//!
//! The exit code is the first of these that applies:
//!
//! | code | when |
//! | --- | --- |
//! | main's own | main returned a failure |
//! | 101 | main panicked |
//! | 1 | there is a [`RunError`]: an unhandled failure with `stop_on_unhandled_errors`, the end of a `critical` task, a task or a job that did not end in time, a callback or a hook that failed, or a run that could not start |
//! | the code of [`stop_with`] | that was the reason to stop |
//! | 128 + n | signal number n was the reason to stop, and `signal_exit_status = "signal"` |
//! | 0 | otherwise, and so after a signal |
//!
//! Two codes come without an orderly end: 128 + n when `repeat_signal = "exit"` leaves at once, and
//! 70 when the thread that called `run` is stuck beyond the budget.
//!
//! # Log
//!
//! With the feature `tracing`, what happens is told in events of the target `aiorun`. Where no
//! subscriber was ever set, and without the feature, warnings and errors go to standard error and
//! the rest is silent. Names and messages are shown with control characters escaped.
//!
//! A task, and a blocking job, runs in the span that its spawner was in, so what it logs is told of the request
//! that it was spawned for, say. One with a [name](fn@task) has a span of its own in that: `task{name="ingest"}`,
//! of the target `aiorun` and the level INFO. A span is open for as long as a task that was spawned in it lives.
//! Tasks that were spawned before there was any subscriber have none.
//!
//! # Metrics
//!
//! With the feature `metrics` the recorder of the crate of that name is told:
//!
//! | name | is | of |
//! | --- | --- | --- |
//! | `aiorun_tasks_alive` | a gauge | tasks and blocking jobs that have not ended; main, callback and hooks are among them |
//! | `aiorun_tasks_spawned_total` | a counter | those that were started |
//! | `aiorun_tasks_ended_total` | a counter, with the label `outcome` | those that have ended `completed`, `failed`, `panicked`, `cancelled` or `refused`: see [`TaskCounts`] |
//! | `aiorun_shutdown_seconds` | a histogram, with the label `phase` | how long `stopping`, `cancelling`, `draining` and `finishing` took |
//!
//! The tasks count nothing for it. Every second, at the end of each phase and at the end of the run the
//! figures are read from where they are kept anyway, and a thread of this crate tells the recorder, which
//! may take its time. The recorder is the global one; it may be installed after the start, in main say. It
//! hears the sums of all runs of the process. An exporter that lives on the runtime is gone before the last
//! figures are there; one with a thread of its own has them.
//!
//! # Features
//!
//! | feature | default | brings |
//! | --- | --- | --- |
//! | `macros` | yes | [`#[aiorun::main]`](macro@main) and [`#[aiorun::test]`](macro@test); needs `syn` |
//! | `signals` | yes | signals; without it the set of signals is empty |
//! | `multi-thread` | yes | the flavour `multi_thread`; without it `current_thread` is the default |
//! | `tracing` | yes | the log as `tracing` events |
//! | `test-util` | no | the option `start_paused` |
//! | `serde` | no | `serde::Serialize` for [`Dump`] and [`Report`]: durations in seconds |
//! | `hyper` | no | [`Executor`], with which the tasks of a hyper server are supervised |
//! | `systemd` | no | a service manager is told how far the run is, and that it lives: see [`docs::deployment`]; Linux only |
//! | `tokio-util` | no | [`token()`] and [`Builder::stop_when`], for code with tokens of tokio-util |
//! | `metrics` | no | what the tasks and the shutdown come to, for the recorder of the crate [`metrics`](#metrics) |
//!
//! # Limitations
//!
//! - Tasks from bare `tokio::spawn`, in libraries too, are not cancelled and not awaited: they are
//!   dropped when the runtime closes, and [`Report::strays`] counts them. They hear of the shutdown
//!   through [`stopping`] and [`cancelled()`], a [`shield`] in one is waited for, and
//!   [`catch_cancel`] catches nothing there.
//! - A cancellation is received at an await that suspends, outside any [`shield`]. A loop that has
//!   none needs a [`checkpoint`].
//! - A thread cannot be killed. A blocking job beyond its limit is abandoned, and ends with the
//!   process.
//! - A task that never yields, or whose destructor hangs, is named and left behind. Where it holds
//!   the very thread that called `run` (single-threaded flavours, a main that is not `Send`), the
//!   process is left with exit code 70.
//! - With `panic = "abort"`, and when a destructor panics while another panic unwinds, the process
//!   ends at once.
//! - SIGKILL cannot be handled. A program that is process 1 of a container ignores every signal it
//!   has no handler for: what is not in `signals` does nothing there.
//! - Outside Unix the only signal is Ctrl-C, as [`Signal::INT`].
//! - Forced exits run no destructors: `repeat_signal = "exit"`, and exit code 70.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub use aiorun_core::{
    AbortHandle, Builder, Cancellation, Cancelled, CatchCancel, Checkpoint, Dump, Exit, Flavor,
    Group, Handle, HookReport, JoinError, JoinHandle, ParseOptionError, ParseSignalError, Phase,
    PhaseReport, RepeatSignal, Report, RunError, Shield, ShutdownCallback, Signal, SignalAction,
    SignalExitStatus, StopReason, Stopping, TaskCounts, TryCurrentError, UnhandledError, cancelled,
    catch_cancel, checkpoint, group, is_cancelled, is_stopping, on_exit, ready, run, shield,
    shutdown_waits_for, spawn, spawn_blocking, spawn_fallible, spawn_local, stop, stop_with,
    stopping, task, time_left,
};

#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub use aiorun_core::Executor;

#[cfg(feature = "tokio-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio-util")))]
pub use aiorun_core::token;

#[doc(hidden)]
pub use aiorun_core::__private;

/// Runs an `async fn` as a program, until it is told to stop.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     aiorun::spawn(async { println!("hello from a task") });
///     aiorun::stop(); // without this it runs until a signal comes
/// }
/// ```
///
/// The function becomes an ordinary one that returns [`Exit`]. It builds the runtime,
/// runs the `async fn`, which stays as it was written, and goes through the shutdown described at
/// the [crate](crate#what-happens-on-ctrl-c).
///
/// # What main may be
///
/// Main may return whatever an `fn main` may: nothing, `Result<(), E>`, `ExitCode`, `!`. A failure
/// is printed at once, stops the program and makes the exit code.
///
/// ```
/// # struct Config;
/// # async fn load() -> Result<Config, std::io::Error> { Ok(Config) }
/// #[aiorun::main(run_forever = false)]
/// async fn main() -> Result<(), std::io::Error> {
///     let config = load().await?;
///     # let _ = config;
///     Ok(())
/// }
/// ```
///
/// Main need not be `Send`. If it is, and the function has neither arguments nor generics, then in
/// the flavour `multi_thread` it runs on a worker thread, beside the tasks it talks to. Otherwise it
/// runs on the thread that called it.
///
/// A function of another name may have arguments and generics, and be called several times. What it
/// returns says how the run went:
///
/// ```
/// #[aiorun::main(flavor = "current_thread", run_forever = false)]
/// async fn count(lines: &[&str]) {
///     println!("{} lines", lines.len());
/// }
///
/// let exit = count(&["one", "two"]);
/// assert!(exit.is_success());
/// ```
///
/// # Options
///
/// | option | value | default |
/// | --- | --- | --- |
/// | `flavor` | `"multi_thread"`, `"current_thread"`, `"local"`: which tokio runtime | `"multi_thread"` |
/// | `worker_threads` | integer, at least 1; `multi_thread` only | number of cores |
/// | `thread_stack_size` | bytes, for each thread of the runtime | 8 MiB, reserved and not resident |
/// | `executor_workers` | integer, at least 1: most threads for blocking jobs | tokio's |
/// | `run_forever` | bool: run on when main has returned successfully | `true` |
/// | `cooperative` | flag or bool: shutdown drops no task before the limit, they end by themselves | `false` |
/// | `stop_on_unhandled_errors` | flag or bool: a failure that nobody awaits stops the program | `false` |
/// | `shutdown_timeout` | duration or `"none"`: the budget of the whole shutdown | 60 s, or the sum of its parts where they are given and are more |
/// | `timeout_task_shutdown` | duration or `"none"`: for the callback, then for the tasks | nine tenths of what is left |
/// | `timeout_executor_shutdown` | duration or `"none"`: for the blocking jobs | half of what is left |
/// | `shutdown_delay` | duration: how long everything goes on after a signal or a [`stop`] | none |
/// | `shutdown_callback` | function or closure, async or not, with a [`Handle`] or without | none |
/// | `shutdown_handler` | `Fn(Signal, &Handle) -> SignalAction`: asked about every signal | stop |
/// | `unhandled_error_handler` | `Fn(&UnhandledError)`: told of failures that nobody awaits | an error line |
/// | `signals` | list of names, `[]` for none: what stops the program | `["SIGINT", "SIGTERM"]` |
/// | `repeat_signal` | `"auto"`, `"ignore"`, `"abort"`, `"exit"`: see [`RepeatSignal`] | `"auto"` |
/// | `signal_exit_status` | `"success"` for 0, `"signal"` for 128 + n | `"success"` |
/// | `dump_signal` | name of a signal that prints all tasks to standard error, with the lines where they wait: see [`docs::diagnosing`] | none |
/// | `start_paused` | flag or bool: paused time; single-threaded flavours, feature `test-util` | `false` |
/// | `name` | string: the runtime's name and its threads' | tokio's |
/// | `crate` | path of this crate, where it is renamed or re-exported | `aiorun` |
///
/// Each of them but `crate` is a method of [`Builder`], where it is described in
/// full. A duration is a number of seconds (`60`, `0.5`), a string with units (`"500ms"`,
/// `"1m30s"`), or an expression of the type [`Duration`](std::time::Duration). A duration of 0
/// means not to wait. A flag may be given without a value: `stop_on_unhandled_errors` is
/// `stop_on_unhandled_errors = true`.
///
/// ```
/// use aiorun::{Handle, Signal, SignalAction};
///
/// fn on_signal(signal: Signal, _handle: &Handle) -> SignalAction {
///     match signal {
///         Signal::HUP => SignalAction::Ignore, // read the configuration anew
///         _ => SignalAction::Stop,
///     }
/// }
///
/// #[aiorun::main(
///     worker_threads = 2,
///     signals = ["SIGINT", "SIGTERM", "SIGHUP"],
///     shutdown_handler = on_signal,
///     shutdown_delay = "200ms",
///     shutdown_timeout = 25,
///     shutdown_callback = |handle| println!("{} tasks to go", handle.tasks().len()),
/// )]
/// async fn main() {
///     # aiorun::stop();
///     // ...
/// }
/// ```
///
/// A wrong option is a compile error that says what is allowed:
///
/// ```compile_fail
/// #[aiorun::main(shutdown_timout = 25)]
/// async fn main() {}
/// ```
///
/// In a crate that depends on this one under another name:
///
/// ```
/// mod framework {
///     pub use aiorun as runner;
/// }
///
/// #[framework::runner::main(crate = "framework::runner", run_forever = false)]
/// async fn main() {}
/// ```
#[cfg(feature = "macros")]
#[cfg_attr(docsrs, doc(cfg(feature = "macros")))]
#[doc(inline)]
pub use aiorun_macros::main;

/// Runs an `async fn` as a test, and fails it for what went wrong behind its back.
///
/// ```
/// #[aiorun::test]
/// async fn adds_up() {
///     let sum = aiorun::spawn(async { 6 * 7 });
///     assert_eq!(sum.await.unwrap(), 42);
/// }
/// ```
///
/// The test ends when its body returns: what it left running is cancelled and awaited, as at the
/// end of a program. The test fails
///
/// - when the body panics or returns a failure,
/// - when a task failed and nobody awaited it,
/// - when a task did not end within the limit, or left a blocking job behind,
/// - when the shutdown callback or an exit hook failed,
/// - after `test_timeout`, with a list of all tasks and what they are doing.
///
/// The runtime lives on a thread of its own, so a stuck test fails alone and the others go on.
/// Tests of one binary run in parallel, each with a supervisor of its own. A test has no signal
/// handlers and never leaves the process: [`Handle::raise`] stands in for the
/// kernel.
///
/// ```
/// use aiorun::{Handle, Signal, StopReason};
///
/// #[aiorun::test]
/// async fn saves_on_sigterm() {
///     aiorun::shutdown_waits_for(async {
///         let reason = aiorun::stopping().await;
///         assert_eq!(reason, StopReason::Signal(Signal::TERM));
///     });
///     Handle::current().raise(Signal::TERM);
/// }
/// ```
///
/// A body that stops its program is a task like others, and cancelled at an await that follows: what
/// is to be checked during a shutdown is checked in a protected task, as here, or in a hook. A panic
/// there fails the test.
///
/// The body may return a `Result`. Arguments, such as those of test frameworks that wrap the
/// function, must be `Send + 'static`; generics are not allowed.
///
/// # Options
///
/// Those of [`#[aiorun::main]`](macro@crate::main#options), with other defaults:
///
/// | option | default in a test |
/// | --- | --- |
/// | `flavor` | `"current_thread"` |
/// | `run_forever` | `false` |
/// | `stop_on_unhandled_errors` | `true`, unless there is an `unhandled_error_handler` |
/// | `shutdown_timeout` | 5 s |
/// | `signals` | `[]` |
/// | `test_timeout` | 60 s; a duration, in tests only |
///
/// In a test, [`testing::cancel_at_every_await`] tries what happens when a future is cancelled.
///
/// With `start_paused` and the feature `test-util`, tokio's clock jumps to the next timer as soon as
/// everything waits. `test_timeout` and the limits of the shutdown are real time all the same.
#[cfg(feature = "macros")]
#[cfg_attr(docsrs, doc(cfg(feature = "macros")))]
#[doc(inline)]
pub use aiorun_macros::test;

/// What tests of asynchronous code want beyond [`#[aiorun::test]`](macro@test).
///
/// Every await is a place where a future may end: `select!` takes another branch, a timeout expires, a
/// connection is dropped, a shutdown begins. Code that was never run to such an end may lose a message,
/// leave a structure half updated, or give a connection back with an answer still to come.
/// [`cancel_at_every_await`](testing::cancel_at_every_await) cancels a future at each of its awaits and
/// names the one after which something is broken. How to use it, and what else a test can do, stands in
/// [`docs::testing`] and
/// [`docs::cancellation`](crate::docs::cancellation#testing-cancel-safety).
pub mod testing {
    pub use aiorun_core::{CancelAtEveryAwait, Trial, Way, cancel_at_every_await};
}

// Not part of any build: only the documentation and its examples have it.
#[cfg(any(doc, doctest))]
pub mod docs;

// So that every block of the README is compiled.
#[cfg(all(doctest, feature = "macros"))]
#[doc = include_str!("../README.md")]
mod readme {}
