//! What the threads of one run share.

use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::current::Claim;
use crate::error::UnhandledError;
use crate::exit::StopReason;
use crate::output::{Origin, Problem};
use crate::pause::Pause;
use crate::phase::{Machine, Phase, Whose};
use crate::registry::survey::Findings;
use crate::registry::{Registry, Slot};
use crate::reporter::Message;
use crate::scope::{Place, Scopes};
use crate::signals::Arrival;
use crate::sync::lock_std as lock;
use crate::task::Id;

/// Something that the control thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// The runtime is there, and main about to start; answered where a signal came meanwhile.
    Started(oneshot::Sender<bool>),
    MainEnded(MainEnd),
    /// The program has said that it is ready.
    Ready,
    Stop(Option<ExitCode>),
    #[cfg(feature = "tokio-util")]
    TokenCancelled,
    /// A failure nobody saw, and that stops the program.
    TaskFailed(Origin, Problem),
    CriticalEnded(Origin, Problem),
    /// The shutdown delay is over by the user's clock.
    DelayOver,
    CallbackFailed(Problem),
    /// With the message of its panic.
    HookEnded(Id, Option<String>),
    Signal(Arrival),
    /// Somebody wants to know where the tasks are suspended.
    Survey(Caller),
    /// Whoever supervised has been dropped.
    Abandon,
    /// The runtime is about to be closed, with this many tasks that are not ours.
    Closing(usize),
    /// The end: the runtime is closed, or left to its owner.
    Closed,
}

/// Somebody who waits for what comes of a survey.
#[derive(Debug)]
pub(crate) struct Caller {
    answer: Option<oneshot::Sender<Arc<Findings>>>,
    /// Who is asked, if not everybody, and until when there is time for it.
    pub(crate) of: Option<(HashSet<Id>, Instant)>,
}

impl Caller {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Arc<Findings>>) {
        Self::asking(None)
    }

    pub(crate) fn of(ids: HashSet<Id>, until: Instant) -> (Self, oneshot::Receiver<Arc<Findings>>) {
        Self::asking(Some((ids, until)))
    }

    fn asking(of: Option<(HashSet<Id>, Instant)>) -> (Self, oneshot::Receiver<Arc<Findings>>) {
        let (answer, findings) = oneshot::channel();
        let answer = Some(answer);
        (Self { answer, of }, findings)
    }

    pub(crate) fn answer(mut self, findings: &Arc<Findings>) {
        self.send(findings);
    }

    /// The waker that this wakes may be anybody's, and panic.
    fn send(&mut self, findings: &Arc<Findings>) {
        if let Some(answer) = self.answer.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| answer.send(Arc::clone(findings))));
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.send(&Arc::default());
    }
}

/// How main ended.
#[derive(Debug)]
pub(crate) enum MainEnd {
    Returned,
    Failed(ExitCode),
    Panicked(Box<dyn Any + Send>),
}

/// An exit hook that waits for its turn.
pub(crate) struct Hook {
    pub(crate) name: Cow<'static, str>,
    pub(crate) location: &'static Location<'static>,
    pub(crate) future: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// How many failures a report has in full: a program may fail for months.
const MOST_FAILURES: usize = 1_000;

/// Failures that nobody saw.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(crate) kept: Vec<UnhandledError>,
    pub(crate) more: u64,
    /// The critical task whose end was shown.
    pub(crate) critical: Option<Id>,
}

pub(crate) struct Run {
    pub(crate) registry: &'static Registry,
    /// The run's number.
    pub(crate) epoch: u64,
    pub(crate) started: Instant,
    pub(crate) machine: Mutex<Machine>,
    pub(crate) reporter: UnboundedSender<Message>,
    /// Told when there is a reason to stop.
    pub(crate) stopping: Arc<Scopes>,
    /// Told when the tasks have been cancelled.
    pub(crate) cancelling: Arc<Scopes>,
    pub(crate) reason: OnceLock<StopReason>,
    /// Whether the end of the run is the end of its runtime.
    pub(crate) owns_runtime: bool,
    pub(crate) hooks: Mutex<Vec<Hook>>,
    /// Whether an unhandled failure stops the program.
    pub(crate) stop_on_unhandled_errors: bool,
    commands: UnboundedSender<Command>,
    runtime: OnceLock<runtime::Handle>,
    claim: Mutex<Option<Claim>>,
    main: OnceLock<(&'static Slot, Id)>,
    /// `stop` was called, which the control thread may not have heard yet.
    stop_asked: AtomicBool,
    /// How many tasks that are in no registry wake those that were cancelled.
    walkers: AtomicUsize,
    /// How far they have come.
    turns: AtomicUsize,
    /// A signal came before main was started, or a token was cancelled: main is to ask whether it may start.
    early_stop: AtomicBool,
    /// An error came up that nobody was shown: the subscriber leaves out its level.
    unshown: AtomicBool,
    /// The recorder has not been told what was read last.
    #[cfg(feature = "metrics")]
    has_reading: AtomicBool,
    /// Holds the clock of the runtime, where it may be paused.
    pause: Option<Arc<Pause>>,
    /// Failures in the hands of somebody who has not looked yet.
    unread: Mutex<BTreeMap<Id, (Origin, Problem)>>,
    failures: Mutex<Failures>,
}

/// What a run is made of.
pub(crate) struct Parts {
    pub(crate) default_marks: u32,
    pub(crate) machine: Machine,
    pub(crate) reporter: UnboundedSender<Message>,
    pub(crate) owns_runtime: bool,
    pub(crate) commands: UnboundedSender<Command>,
    pub(crate) stop_on_unhandled_errors: bool,
    pub(crate) may_pause: bool,
}

impl Run {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let (registry, epoch) = Registry::open(parts.default_marks);
        let run = Arc::new(Self {
            registry,
            epoch,
            started: Instant::now(),
            machine: Mutex::new(parts.machine),
            reporter: parts.reporter,
            stopping: Arc::new(Scopes::new()),
            cancelling: Arc::new(Scopes::new()),
            reason: OnceLock::new(),
            owns_runtime: parts.owns_runtime,
            hooks: Mutex::new(Vec::new()),
            stop_on_unhandled_errors: parts.stop_on_unhandled_errors,
            commands: parts.commands,
            runtime: OnceLock::new(),
            claim: Mutex::default(),
            main: OnceLock::new(),
            stop_asked: AtomicBool::new(false),
            walkers: AtomicUsize::new(0),
            turns: AtomicUsize::new(0),
            early_stop: AtomicBool::new(false),
            unshown: AtomicBool::new(false),
            #[cfg(feature = "metrics")]
            has_reading: AtomicBool::new(false),
            pause: parts.may_pause.then(Arc::default),
            unread: Mutex::default(),
            failures: Mutex::default(),
        });
        registry.attach(Arc::clone(&run));
        run
    }

    /// Names the runtime that the run lives on.
    pub(crate) fn settle_on(&self, runtime: runtime::Handle, claim: Claim) {
        let _ = self.runtime.set(runtime);
        *lock(&self.claim) = Some(claim);
    }

    /// Some of the runtime's threads are left to themselves.
    pub(crate) fn keep_claim(&self) {
        if let Some(claim) = lock(&self.claim).take() {
            claim.keep();
        }
    }

    /// The end: the runtime may have another supervisor, the registry another run.
    pub(crate) fn abolish(&self) {
        self.registry.set_phase(Phase::Closed);
        let claim = lock(&self.claim).take();
        drop(claim);
        for hook in std::mem::take(&mut *lock(&self.hooks)) {
            self.say(Message::Drop(Box::new(hook)));
        }
        self.say(Message::Stop);
        if let Some(pause) = self.pause() {
            pause.close();
        }
        self.registry.vacate();
    }

    pub(crate) fn note_main(&self, slot: &'static Slot, id: Id) {
        let _ = self.main.set((slot, id));
    }

    /// Somebody in a task that is not ours waits for the cancellation, on behalf of main.
    pub(crate) fn make_main_cooperative(&self, place: Place) {
        if let Some((slot, id)) = self.main.get() {
            slot.cooperate_at_root(*id, place);
        }
    }

    pub(crate) fn note_early_stop(&self) {
        self.early_stop.store(true, Ordering::SeqCst);
    }

    pub(crate) fn note_unshown(&self) {
        self.unshown.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_unshown(&self) -> bool {
        self.unshown.load(Ordering::SeqCst)
    }

    /// Whether the recorder is ready for another reading: one that is stuck is not sent more and more.
    #[cfg(feature = "metrics")]
    pub(crate) fn note_reading(&self) -> bool {
        !self.has_reading.swap(true, Ordering::SeqCst)
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn take_reading(&self) {
        self.has_reading.store(false, Ordering::SeqCst);
    }

    pub(crate) fn has_early_stop(&self) -> bool {
        self.early_stop.load(Ordering::SeqCst)
    }

    pub(crate) fn runtime(&self) -> Option<runtime::Handle> {
        self.runtime.get().cloned()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.registry.phase(self.epoch)
    }

    /// Requests the cancellation of all tasks that are not protected and whose turn it is, but of those
    /// who had theirs. The phase must be `Cancelling` already.
    pub(crate) fn cancel_all(self: &Arc<Self>, had_theirs: Option<u8>) {
        self.registry.request_all(had_theirs);
        // Whoever drives `supervise` may do so on a thread of their own.
        if let Some((main, _)) = self.main.get() {
            main.wake_if_attentive();
        }
        let Some(runtime) = self.runtime.get() else {
            self.registry.wake_attentive();
            return;
        };
        // By the threads of the runtime, which have queues of their own for those they wake: each wake
        // from outside takes a lock and a system call.
        let walk = Arc::new(self.registry.walk());
        let walkers = walk.share(runtime.metrics().num_workers());
        // Those of an earlier turn may not be done.
        self.walkers.fetch_add(walkers, Ordering::SeqCst);
        for _ in 0..walkers {
            let (run, walk) = (Arc::clone(self), Arc::clone(&walk));
            runtime.spawn(async move {
                walk.wake_attentive(&run.turns).await;
                run.walkers.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    /// How far those that were cancelled have been woken, if not all of them have.
    pub(crate) fn waking(&self) -> Option<usize> {
        let is_waking = self.walkers.load(Ordering::SeqCst) > 0;
        is_waking.then(|| self.turns.load(Ordering::Relaxed))
    }

    /// How many tasks tokio has and we have not, in a runtime of our own.
    pub(crate) fn strays(&self) -> usize {
        let runtime = self.runtime.get().filter(|_| self.owns_runtime);
        runtime.map_or(0, |runtime| {
            let ours = self.registry.count_of_tokio();
            let ours = ours + self.walkers.load(Ordering::SeqCst);
            runtime.metrics().num_alive_tasks().saturating_sub(ours)
        })
    }

    /// Tells the control thread, which owes a step from now on.
    pub(crate) fn send(&self, command: Command) {
        self.owe();
        if self.commands.send(command).is_err() {
            self.pay();
        }
    }

    /// Asks for the end.
    pub(crate) fn stop(&self, code: Option<ExitCode>) {
        self.stop_asked.store(true, Ordering::SeqCst);
        self.send(Command::Stop(code));
    }

    /// As [`Run::stop`].
    #[cfg(feature = "tokio-util")]
    pub(crate) fn stop_by_token(&self) {
        // Where main has not started it waits for the answer, which is that it is not to.
        self.note_early_stop();
        self.stop_asked.store(true, Ordering::SeqCst);
        self.send(Command::TokenCancelled);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.phase() > Phase::Running || self.stop_asked.load(Ordering::SeqCst)
    }

    /// Whether the clock of the runtime may be paused.
    pub(crate) fn may_pause(&self) -> bool {
        self.pause().is_some()
    }

    /// Known to be nothing when a program without such a clock is compiled.
    fn pause(&self) -> Option<&Arc<Pause>> {
        self.pause.as_ref().filter(|_| cfg!(feature = "test-util"))
    }

    /// Keeps an exit hook for its turn; after the end it is dropped.
    pub(crate) fn on_exit(&self, hook: Hook) {
        let mut hooks = lock(&self.hooks);
        if self.phase() != Phase::Closed {
            hooks.push(hook);
        }
    }

    #[inline(never)]
    pub(crate) fn say(&self, message: Message) {
        if let Err(unsent) = self.reporter.send(message) {
            // Something of the user's may be in it.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(unsent)));
        }
    }

    fn owe(&self) {
        if let (Some(pause), Some(runtime)) = (self.pause(), self.runtime.get()) {
            pause.owe(runtime);
        }
    }

    /// The control thread has done a step that it owed.
    pub(crate) fn pay(&self) {
        if let Some(pause) = self.pause() {
            pause.pay();
        }
    }

    /// Something has ended that the control thread may be waiting for.
    pub(crate) fn owe_change(&self) {
        if let (Some(pause), Some(runtime)) = (self.pause(), self.runtime.get()) {
            pause.owe_change(runtime);
        }
    }

    /// The control thread has looked at the registry since this was last called.
    pub(crate) fn change_seen(&self) -> bool {
        self.pause().is_some_and(|pause| pause.change_seen())
    }

    /// A task has failed; somebody may look at it yet.
    pub(crate) fn failed(&self, origin: &Origin, problem: Problem) {
        lock(&self.unread).insert(origin.id, (origin.clone(), problem));
    }

    /// Somebody has looked.
    pub(crate) fn seen(&self, id: Id) {
        lock(&self.unread).remove(&id);
    }

    /// Nobody will ever look.
    pub(crate) fn unhandled(&self, origin: Origin, problem: Problem) {
        let unread = lock(&self.unread).remove(&origin.id);
        if unread.is_some() {
            self.report(origin, problem);
        }
    }

    fn report(&self, origin: Origin, problem: Problem) {
        if self.stop_on_unhandled_errors {
            let unformatted = match &problem {
                Problem::Panicked(message) => Problem::Panicked(message.clone()),
                _ => Problem::Unread,
            };
            self.send(Command::TaskFailed(origin.clone(), unformatted));
        }
        self.say(Message::Unhandled(origin, problem));
    }

    /// At the end, what nobody has looked at counts as unhandled.
    pub(crate) fn sweep_unread(&self) {
        let unread = std::mem::take(&mut *lock(&self.unread));
        for (origin, problem) in unread.into_values() {
            self.report(origin, problem);
        }
    }

    /// Keeps a failure for the report.
    pub(crate) fn record(&self, failure: UnhandledError) {
        let mut failures = lock(&self.failures);
        if failures.kept.len() < MOST_FAILURES {
            failures.kept.push(failure);
        } else {
            failures.more += 1;
        }
    }

    pub(crate) fn take_failures(&self) -> Failures {
        std::mem::take(&mut lock(&self.failures))
    }

    /// Notes that the end of a critical task is shown; says whether its failure was not before.
    pub(crate) fn show_critical(&self, id: Id) -> bool {
        let mut failures = lock(&self.failures);
        failures.critical = Some(id);
        !failures.kept.iter().any(|failure| failure.id() == id)
    }

    pub(crate) fn has_shown_critical(&self, id: Id) -> bool {
        lock(&self.failures).critical == Some(id)
    }

    /// How long `whose` has left.
    pub(crate) fn time_left(&self, whose: Whose) -> Option<Duration> {
        let now = self.started.elapsed();
        let limit = lock(&self.machine).limit(now, whose)?;
        Some(limit.saturating_sub(now))
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
