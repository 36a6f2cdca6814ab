//! What every test goes through: a run that is bounded, and whose accounts are checked.

use std::process::Termination;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aiorun::task::{State, TaskInfo};
use aiorun::{Builder, Exit, Flavor, Handle, Phase, StopReason};

/// No test takes nearly as long, under whatever load.
const MOST: Duration = Duration::from_secs(120);
/// No shutdown takes nearly as long, unless a test wants it to.
pub(crate) const BUDGET: Duration = Duration::from_secs(60);
/// For limits that are meant to expire, after everything else has happened even where the machine
/// is busy.
pub(crate) const SHORT: Duration = Duration::from_millis(500);

pub(crate) const FLAVORS: [Flavor; 3] = [Flavor::MultiThread, Flavor::CurrentThread, Flavor::Local];

/// A builder for a run beside others in one process: without signals.
pub(crate) fn builder(flavor: Flavor) -> Builder {
    let mut builder = Builder::new();
    builder.flavor(flavor).signals([]).shutdown_timeout(BUDGET);
    if flavor == Flavor::MultiThread {
        builder.worker_threads(2);
    }
    builder
}

/// As [`builder`], with paused time.
pub(crate) fn paused() -> Builder {
    let mut builder = builder(Flavor::CurrentThread);
    builder.start_paused(true);
    builder
}

/// For what tasks do in the tenth of a second that they have after a limit: a busy machine may give them no
/// turn in that time, but not in five runs.
pub(crate) fn in_one_of_five(runs: impl Fn()) {
    let held = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(&runs)).is_ok();
    if !(1..5).any(|_| held()) {
        runs();
    }
}

/// A run in which nothing may go wrong. So an assertion may stand in any task.
#[track_caller]
pub(crate) fn run<F>(builder: &mut Builder, main: F) -> Exit
where
    F: Future<Output: Termination>,
{
    let exit = attempt(builder, main);
    assert!(exit.error.is_none(), "{}", exit.error.unwrap());
    assert!(exit.report.failures.is_empty(), "{}", exit.report);
    exit
}

/// As [`run`], where nothing is left to look at.
#[track_caller]
pub(crate) fn passes<F>(builder: &mut Builder, main: F)
where
    F: Future<Output: Termination>,
{
    let _exit = run(builder, main);
}

/// A run in which something may go wrong.
#[track_caller]
pub(crate) fn attempt<F>(builder: &mut Builder, main: F) -> Exit
where
    F: Future<Output: Termination>,
{
    let _watchdog = Watchdog::new();
    checked(builder.run(main))
}

/// As [`run`], in a runtime that is there.
#[track_caller]
pub(crate) fn on_a_runtime<T>(body: impl Future<Output = T>) -> T {
    let _watchdog = Watchdog::new();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(body)
}

/// Checks what is true of every run.
#[track_caller]
pub(crate) fn checked(exit: Exit) -> Exit {
    let report = &exit.report;
    let tasks = report.tasks;
    let ended = tasks.completed + tasks.failed + tasks.panicked + tasks.cancelled + tasks.refused;
    assert_eq!(tasks.spawned, ended, "{report}");
    let lost = report.refused.len() + report.abandoned.len();
    assert!(tasks.refused >= u64::try_from(lost).unwrap(), "{report}");
    assert_eq!(exit.reason, report.reason);
    if exit.reason != StopReason::NotStarted {
        check_phases(&exit);
    }
    exit
}

#[track_caller]
fn check_phases(exit: &Exit) {
    let phases = &exit.report.phases;
    let names: Vec<_> = phases.iter().map(|phase| phase.phase).collect();
    let all = [
        Phase::Running,
        Phase::Stopping,
        Phase::Cancelling,
        Phase::Draining,
        Phase::Finishing,
    ];
    assert_eq!(names, all);
    assert_eq!(phases[0].began, Duration::ZERO);
    assert!(phases.iter().all(|phase| phase.began <= phase.ended));
    assert!(phases.windows(2).all(|pair| pair[0].ended == pair[1].began));
}

/// Ends the process, with the name of the test, if it is not dropped in time: a stuck `run` cannot
/// be left in any other way.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "its drop tells")] Sender<()>);

impl Watchdog {
    pub(crate) fn new() -> Self {
        let (alive, dropped) = mpsc::channel();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if dropped.recv_timeout(MOST) == Err(RecvTimeoutError::Timeout) {
                eprintln!("the watchdog: `{test}` is stuck");
                std::process::exit(124);
            }
        });
        Self(alive)
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn say(&self, what: impl Into<String>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(what.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says it when the guard is dropped.
    pub(crate) fn on_drop(&self, what: impl Into<String>) -> impl Send + Sync + 'static {
        let (log, what) = (self.clone(), what.into());
        OnDrop::new(move || log.say(what))
    }
}

/// Calls something when it is dropped.
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub(crate) fn new(call: F) -> Self {
        Self(Some(call))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// Holds the thread until the run is in `phase` or beyond.
pub(crate) fn spin_until(handle: &Handle, phase: Phase) {
    while handle.phase() < phase {
        thread::yield_now();
    }
}

/// Waits on this thread, which is no worker, until a task has begun, though another one holds a worker.
///
/// One more may have looked for work in vain and be about to sleep when the task comes. tokio does not
/// wake it then, for the first is awake, and will look. So it is rung for.
pub(crate) fn ring_until(has_begun: &mpsc::Receiver<()>) {
    let runtime = tokio::runtime::Handle::current();
    while has_begun.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
        runtime.spawn(async {});
    }
}

/// Lets everybody else have a turn, many times.
pub(crate) async fn give_way() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Lets everybody begin: who has not is dropped by a cancellation, whatever it begins with.
pub(crate) async fn all_begin() {
    let is_new = |task: TaskInfo| task.state == State::NotStarted;
    while Handle::current().tasks().into_iter().any(is_new) {
        tokio::task::yield_now().await;
    }
    give_way().await;
}

/// Waits until the run is in `phase` or beyond.
pub(crate) async fn reach(phase: Phase) {
    let handle = Handle::current();
    while handle.phase() < phase {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn forever() {
    std::future::pending::<()>().await;
}

/// The text of an error of the run.
#[track_caller]
pub(crate) fn error_text(exit: &Exit) -> String {
    exit.error.as_ref().expect("an error").to_string()
}
