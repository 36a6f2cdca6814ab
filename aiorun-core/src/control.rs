//! The control thread: the driver of the state machine in `phase.rs`.
//!
//! It has a small tokio runtime of its own and calls nothing foreign, so that neither a stuck
//! worker nor a stuck subscriber can starve it: it hears signals and keeps every limit.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::callback::{Callback, Form};
use crate::config::SignalAction;
use crate::dump::Printer;
use crate::error::{HookEnd, HookReport, RunError, UnhandledError};
use crate::exit::StopReason;
use crate::handle::Handle;
use crate::hard_exit;
use crate::listing::oldest_first;
use crate::log::{self, Line};
use crate::manager::Manager;
#[cfg(feature = "metrics")]
use crate::meter::{self, Reading};
use crate::output::{Origin, Problem, message};
use crate::phase::{Action, Event, Phase, Step, Whose};
use crate::registry::survey::Findings;
use crate::registry::{Birth, Slot, Sort, Turns};
use crate::report::{PhaseReport, Report, TaskCounts};
use crate::reporter::{self, Message};
use crate::run::{Command, Hook, MainEnd, Run};
use crate::signals::{Arrival, HeldBack, RepeatedExit, Signal, Signals};
use crate::spawn;
use crate::supervised;
use crate::sync::lock_std as lock;
use crate::task::{Id, Kind, TaskInfo};
use crate::text::Count;

use self::survey::{Client, Surveys};

/// How often it is said what is being waited for.
const LINE_EVERY: Duration = Duration::from_secs(5);

mod survey;

/// What the control thread needs to know.
pub(crate) struct Setup {
    pub(crate) run: Arc<Run>,
    pub(crate) commands: UnboundedReceiver<Command>,
    pub(crate) close: oneshot::Sender<Duration>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) dump_signal: Option<Signal>,
    /// The signals that leave from their handler when repeated.
    pub(crate) exit_on: Option<Vec<Signal>>,
    pub(crate) callback: Option<(Callback, &'static Location<'static>)>,
    pub(crate) manager: Option<Manager>,
    pub(crate) asks_handler: bool,
    pub(crate) run_forever: bool,
    pub(crate) has_main: bool,
    /// Whether it is ours to leave the process when the runtime's thread is stuck.
    pub(crate) may_leave: bool,
}

/// What the control thread knows at the end.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) reason: StopReason,
    pub(crate) error: Option<Blame>,
    pub(crate) stop_code: Option<ExitCode>,
    pub(crate) main: Option<MainEnd>,
    pub(crate) report: Report,
    /// Prints a dump.
    pub(crate) printer: Option<Printer>,
}

/// The run's first error, as far as the control thread can tell.
#[derive(Debug)]
pub(crate) enum Blame {
    Main,
    /// The reporting thread may know more.
    Task(UnhandledError),
    Callback(UnhandledError),
    Hook(HookReport),
    Refused,
    Abandoned,
}

struct Control {
    run: Arc<Run>,
    commands: UnboundedReceiver<Command>,
    signals: Option<Signals>,
    exit_on_repeat: Option<RepeatedExit>,
    close: Option<oneshot::Sender<Duration>>,
    callback: Option<(Callback, &'static Location<'static>)>,
    callback_task: Option<(&'static Slot, Id, &'static Location<'static>)>,
    hook: Option<RunningHook>,
    delay_timer: Option<tokio::task::AbortHandle>,
    manager: Option<Manager>,
    asking: Option<Asking>,
    surveys: Surveys,
    /// Signals that wait for the runtime, or for the answer to an earlier one.
    waiting: VecDeque<Received>,
    started: bool,
    /// Main waits to hear whether it is to start.
    go: Option<oneshot::Sender<bool>>,
    dump_signal: Option<Signal>,
    asks_handler: bool,
    run_forever: bool,
    has_main: bool,
    may_leave: bool,
    runtime_closed: bool,
    next_line: Option<Instant>,
    /// When the recorder of `metrics` is told the next time. `None` without the feature.
    next_reading: Option<Instant>,
    /// Who sent the signal that stops the program.
    sender: Option<i64>,
    /// When to look again how far those that were cancelled have been woken, and how far that was.
    waking: Option<(Instant, usize)>,
    /// Bare shields that had begun when the tasks were cancelled.
    shields: Vec<(&'static Slot, Id)>,
    forced: Forced,
    record: Record,
}

/// What force was used on in this step.
#[derive(Default)]
struct Forced {
    /// As they were then.
    tasks: Vec<TaskInfo>,
    at: Option<Instant>,
    /// Where they were.
    findings: Findings,
}

struct RunningHook {
    name: String,
    location: &'static Location<'static>,
    /// `None` if it could not be started.
    id: Option<Id>,
    began: Instant,
    end: Option<HookEnd>,
}

/// A signal, and whether it is owed to somebody who raised it.
struct Received {
    arrival: Arrival,
    owed: bool,
}

/// A signal that waits for the answer of the `shutdown_handler`.
struct Asking {
    received: Received,
    answer: oneshot::Receiver<SignalAction>,
    until: Instant,
}

#[derive(Default)]
struct Record {
    phases: Vec<PhaseReport>,
    main: Option<MainEnd>,
    stop_code: Option<ExitCode>,
    error: Option<Blame>,
    refused: Vec<TaskInfo>,
    abandoned: Vec<TaskInfo>,
    hooks: Vec<HookReport>,
    strays: usize,
}

/// What ended a wait.
enum Wake {
    Command(Command),
    Signal(Option<Arrival>),
    Answer(SignalAction),
    Changed,
    Time,
}

/// The control thread, from the side of who waits for it.
#[derive(Debug)]
pub(crate) struct ControlThread(JoinHandle<Ending>);

impl ControlThread {
    /// Installs the signal handlers and starts the thread.
    ///
    /// # Errors
    ///
    /// When there is no thread, no descriptor or no handler to be had.
    pub(crate) fn start(setup: Setup) -> io::Result<Self> {
        let signals = setup.signals.iter().copied().chain(setup.dump_signal);
        let started = {
            let _held_back = HeldBack::new(signals);
            // Here, so that the caller need not wait for the thread. tokio says some of what can be
            // missing by panics.
            catch_unwind(AssertUnwindSafe(|| Control::start(setup)))
        };
        let (runtime, control) =
            started.unwrap_or_else(|payload| Err(io::Error::other(message(&*payload))))?;
        let thread = thread::Builder::new()
            .name("aiorun-control".into())
            .spawn(move || {
                let _abolish = Abolish(Arc::clone(&control.run));
                runtime.drive(control)
            })?;
        Ok(Self(thread))
    }

    /// Waits for the thread to end, whatever becomes of it.
    pub(crate) fn wait(self) {
        let _ = self.0.join();
    }

    /// Waits for the end of the run, which must be under way.
    pub(crate) fn join(self) -> Ending {
        match self.0.join() {
            Ok(ending) => ending,
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// Cleans up behind a run, whatever happened to its control thread.
struct Abolish(Arc<Run>);

impl Drop for Abolish {
    fn drop(&mut self) {
        self.0.abolish();
    }
}

/// The runtime of the thread. Where that does not come to be it is dropped by whoever wanted to start
/// it, perhaps inside of another runtime, which tokio's own drop does not allow.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn drive(&self, control: Control) -> Ending {
        let Some(runtime) = &self.0 else {
            unreachable!("it is there until the drop")
        };
        runtime.block_on(control.drive())
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Control {
    /// With the runtime of the thread.
    fn start(setup: Setup) -> io::Result<(OwnRuntime, Self)> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let runtime = OwnRuntime(Some(runtime));
        let _entered = handle.enter();
        let control = Self::new(setup)?;
        Ok((runtime, control))
    }

    /// Installs the signal handlers, so to be called inside the thread's runtime.
    fn new(setup: Setup) -> io::Result<Self> {
        let mut listen_to = setup.signals;
        listen_to.extend(setup.dump_signal);
        Signals::prepare(&listen_to)?;
        // Before those who tell us, so that a signal does not leave that we could make a difference
        // to: actions of one signal come in this order.
        let exit_on_repeat = setup.exit_on.as_deref().map(RepeatedExit::install);
        let exit_on_repeat = exit_on_repeat.transpose()?;
        Ok(Self {
            signals: Signals::install(&listen_to)?,
            exit_on_repeat,
            run: setup.run,
            commands: setup.commands,
            close: Some(setup.close),
            callback: setup.callback,
            callback_task: None,
            hook: None,
            delay_timer: None,
            manager: setup.manager,
            asking: None,
            surveys: Surveys::default(),
            waiting: VecDeque::new(),
            started: false,
            go: None,
            dump_signal: setup.dump_signal,
            asks_handler: setup.asks_handler,
            run_forever: setup.run_forever,
            has_main: setup.has_main,
            may_leave: setup.may_leave,
            runtime_closed: false,
            next_line: None,
            #[cfg(feature = "metrics")]
            next_reading: Some(Instant::now() + meter::EVERY),
            #[cfg(not(feature = "metrics"))]
            next_reading: None,
            sender: None,
            waking: None,
            shields: Vec::new(),
            forced: Forced::default(),
            record: Record {
                phases: vec![PhaseReport {
                    phase: Phase::Running,
                    began: Duration::ZERO,
                    ended: Duration::ZERO,
                }],
                ..Record::default()
            },
        })
    }

    async fn drive(mut self) -> Ending {
        while self.step() != Step::End {
            match self.wait().await {
                Wake::Command(command) => self.command(command),
                Wake::Signal(Some(arrival)) => self.signal(Received {
                    arrival,
                    owed: false,
                }),
                Wake::Signal(None) => self.signals = None,
                Wake::Answer(action) => self.answered(action),
                Wake::Changed | Wake::Time => {}
            }
            self.catch_up();
            self.check_time();
            self.look();
            self.check_survey();
            self.foresee();
        }
        self.finish()
    }

    async fn wait(&mut self) -> Wake {
        let mut timer = pin!(
            self.next_time()
                .map(|at| tokio::time::sleep_until(at.into()))
        );
        let mut changed = pin!(self.run.registry.changed.notified());
        let (commands, signals) = (&mut self.commands, &mut self.signals);
        let asking = &mut self.asking;
        poll_fn(|cx| {
            if let Poll::Ready(Some(command)) = commands.poll_recv(cx) {
                return Poll::Ready(Wake::Command(command));
            }
            // One question at a time: a signal that comes meanwhile waits in the stream.
            match (asking.as_mut(), signals.as_mut()) {
                (Some(asking), _) => {
                    if let Poll::Ready(answer) = Pin::new(&mut asking.answer).poll(cx) {
                        return Poll::Ready(Wake::Answer(answer.unwrap_or(SignalAction::Stop)));
                    }
                }
                (None, Some(signals)) => {
                    if let Poll::Ready(arrival) = signals.poll_next(cx) {
                        return Poll::Ready(Wake::Signal(arrival));
                    }
                }
                (None, None) => {}
            }
            if changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Wake::Changed);
            }
            match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Wake::Time),
                _ => Poll::Pending,
            }
        })
        .await
    }

    fn next_time(&self) -> Option<Instant> {
        let deadline = lock(&self.run.machine).deadline();
        let deadline = deadline.and_then(|at| self.run.started.checked_add(at));
        let deadline = deadline.map(|at| at.max(self.surveys.respite.unwrap_or(at)));
        let asking = self.asking.as_ref().map(|asking| asking.until);
        let waking = self.waking.map(|(at, _)| at);
        let surveys = self.surveys.next_time();
        let manager = self.manager.as_ref().and_then(Manager::next_time);
        let times = [
            deadline,
            asking,
            waking,
            surveys,
            manager,
            self.next_line,
            self.next_reading,
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is due.
    fn check_time(&mut self) {
        let now = Instant::now();
        #[cfg(feature = "metrics")]
        self.read_if_due(now);
        if self
            .asking
            .as_ref()
            .is_some_and(|asking| asking.until <= now)
        {
            self.answered(SignalAction::Stop);
        }
        if let Some((_, turns)) = self.waking.filter(|(at, _)| *at <= now) {
            self.watch_waking(Some(turns));
        }
        if self.next_line.is_some_and(|at| at <= now) {
            self.next_line = Some(now + LINE_EVERY);
            self.say_waiting();
            if log::debugs() {
                self.survey_for(Client::Log);
            }
        }
        if let Some(manager) = &mut self.manager {
            if manager.check_time(now) {
                self.notify();
            } else {
                self.say_trouble();
            }
        }
        let deadline = lock(&self.run.machine).deadline();
        if deadline.is_some_and(|at| at <= self.run.started.elapsed()) && self.has_had_time() {
            self.feed(Event::Deadline);
        }
    }

    /// Goes on for as long as there is nothing to wait for.
    fn look(&mut self) {
        loop {
            let changed = self.run.change_seen();
            self.count_turns();
            let quiet = self.is_quiet();
            // Whatever a task had to say it said before it was gone.
            let mut heard = false;
            while let Ok(command) = self.commands.try_recv() {
                heard = true;
                self.command(command);
            }
            if heard {
                self.catch_up();
            } else if quiet && self.step() == Step::Seal && !lock(&self.run.hooks).is_empty() {
                self.feed(Event::LateHook);
            } else if quiet && self.step() == Step::Cancel && self.ahead() > 0 {
                self.feed(Event::TurnOver);
            } else if quiet {
                self.feed(Event::Quiet);
            }
            if changed {
                self.run.pay();
            }
            if !(quiet || heard) {
                return;
            }
        }
    }

    /// Whether what the step waits for has ended.
    fn is_quiet(&mut self) -> bool {
        let registry = self.run.registry;
        let census = || registry.census();
        match self.step() {
            Step::Run | Step::End => false,
            Step::Callback => self
                .callback_task
                .is_none_or(|(slot, id, _)| !slot.is_live(id)),
            Step::Delay => census().tasks == 0,
            // Those that begin from now on are waited for when no more can begin.
            Step::Cancel => {
                while let Some((slot, id)) = self.shields.last()
                    && !slot.is_live(*id)
                {
                    self.shields.pop();
                }
                let Turns { waiting, ahead, .. } = registry.turns();
                // Where there is a turn more than the machine knows of, that comes first.
                self.shields.is_empty() && waiting == 0 && ahead == self.ahead()
            }
            Step::Drain | Step::Hook => {
                let census = census();
                census.tasks == 0 && census.jobs == 0
            }
            Step::Seal => {
                let census = census();
                let shields = census.bare_shields > 0 && self.run.owns_runtime;
                census.tasks == 0 && census.jobs == 0 && !shields
            }
            Step::Close => self.runtime_closed,
        }
    }

    fn step(&self) -> Step {
        lock(&self.run.machine).step()
    }

    /// How many phases of tasks are still to be cancelled, as far as the machine knows.
    fn ahead(&self) -> u32 {
        lock(&self.run.machine).ahead()
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Started(go) => self.started(go),
            Command::MainEnded(end) => self.main_ended(end),
            Command::Ready => self.ready(),
            Command::Stop(code) => {
                if self.step() == Step::Run {
                    self.record.stop_code = code;
                }
                self.feed(Event::Stop(StopReason::Stop));
            }
            #[cfg(feature = "tokio-util")]
            Command::TokenCancelled => self.feed(Event::Stop(StopReason::TokenCancelled)),
            Command::TaskFailed(origin, problem) => {
                self.blame(Blame::Task(UnhandledError::unformatted(origin, &problem)));
                self.feed(Event::Stop(StopReason::TaskFailed));
            }
            Command::CriticalEnded(origin, problem) => self.critical_ended(origin, &problem),
            Command::DelayOver => {
                if self.step() == Step::Delay {
                    self.feed(Event::Quiet);
                }
            }
            Command::CallbackFailed(problem) => self.callback_failed(problem),
            Command::HookEnded(id, panic) => {
                if let Some(hook) = self.hook.as_mut().filter(|hook| hook.id == Some(id)) {
                    hook.end = Some(panic.map_or(HookEnd::Completed, HookEnd::Panicked));
                }
            }
            Command::Signal(arrival) => {
                // Paid when it is dealt with, which may take an answer.
                self.signal(Received {
                    arrival,
                    owed: true,
                });
                return;
            }
            Command::Survey(caller) => {
                // Paid when it is answered.
                self.survey_for(Client::Caller(caller));
                return;
            }
            Command::Abandon => {
                (self.signals, self.exit_on_repeat) = (None, None);
                // Nobody is left to say that the runtime is closed.
                self.runtime_closed = true;
                self.feed(Event::Abandon);
            }
            Command::Closing(strays) => self.closing(strays),
            Command::Closed => self.runtime_closed = true,
        }
        self.run.pay();
    }
}

/// What happened.
impl Control {
    fn main_ended(&mut self, end: MainEnd) {
        let event = match &end {
            MainEnd::Returned if self.run_forever => None,
            MainEnd::Returned => Some(Event::Stop(StopReason::MainReturned)),
            MainEnd::Failed(_) | MainEnd::Panicked(_) => {
                self.blame(Blame::Main);
                Some(Event::Stop(StopReason::MainFailed))
            }
        };
        self.record.main = Some(end);
        match event {
            Some(event) => self.feed(event),
            None if self.step() == Step::Run => {
                self.say(Line::RunningForever {
                    main_returned: true,
                });
            }
            None => {}
        }
    }

    /// Reads what the recorder of `metrics` is told.
    #[cfg(feature = "metrics")]
    fn read_if_due(&mut self, now: Instant) {
        if self.next_reading.is_some_and(|at| at <= now) {
            self.next_reading = Some(now + meter::EVERY);
            if self.run.note_reading() {
                let reading = Reading::now(self.run.registry.tally());
                self.run.say(Message::Reading(reading));
            }
        }
    }

    /// Who stops is no longer ready.
    fn ready(&mut self) {
        if self.step() == Step::Run
            && let Some(manager) = &mut self.manager
            && manager.ready()
        {
            self.notify();
        }
    }

    /// A critical task may well end once the program stops.
    fn critical_ended(&mut self, origin: Origin, problem: &Problem) {
        if self.step() != Step::Run {
            return;
        }
        let failure = UnhandledError::unformatted(origin, problem);
        // Whoever takes its error, or the error's drop, has more to say than we.
        if !matches!(problem, Problem::Unread) {
            self.run.say(Message::Critical(failure.clone()));
        }
        self.blame(Blame::Task(failure));
        self.feed(Event::Stop(StopReason::TaskFailed));
    }

    fn callback_failed(&mut self, problem: Problem) {
        let Some((_, id, location)) = self.callback_task else {
            return;
        };
        let origin = Origin {
            id,
            name: None,
            location,
            kind: Kind::Callback,
        };
        let unformatted = UnhandledError::unformatted(origin.clone(), &problem);
        self.blame(Blame::Callback(unformatted));
        self.run.say(Message::Callback(origin, problem));
    }

    fn started(&mut self, go: oneshot::Sender<bool>) {
        self.started = true;
        if !self.has_main {
            self.say(Line::RunningForever {
                main_returned: false,
            });
        }
        if self.run.has_early_stop() {
            self.go = Some(go);
        }
    }

    /// Takes up the signals that had to wait, one question at a time, and then main may go.
    fn catch_up(&mut self) {
        while self.started && self.asking.is_none() {
            let Some(received) = self.waiting.pop_front() else {
                break;
            };
            self.signal(received);
        }
        if self.started
            && self.asking.is_none()
            && let Some(go) = self.go.take()
        {
            let _ = go.send(self.step() == Step::Run);
        }
    }

    fn signal(&mut self, received: Received) {
        if !self.started {
            self.run.note_early_stop();
        }
        if !self.started || self.asking.is_some() {
            self.waiting.push_back(received);
            return;
        }
        if self.dump_signal == Some(received.arrival.signal) {
            let owed = received.owed;
            self.survey_for(Client::Signal { owed });
        } else if self.asks_handler {
            let (answer, asked) = oneshot::channel();
            self.run.say(Message::Ask(received.arrival.signal, answer));
            let until = Instant::now() + reporter::PATIENCE;
            self.asking = Some(Asking {
                received,
                answer: asked,
                until,
            });
        } else {
            self.stop_by(&received);
        }
    }

    fn answered(&mut self, action: SignalAction) {
        let Some(asking) = self.asking.take() else {
            return;
        };
        if action == SignalAction::Stop {
            self.stop_by(&asking.received);
        } else {
            self.settle(&asking.received);
        }
    }

    fn stop_by(&mut self, received: &Received) {
        let arrival = received.arrival;
        if self.step() == Step::Run {
            self.sender = arrival.sender;
        }
        self.feed(Event::Stop(StopReason::Signal(arrival.signal)));
        self.settle(received);
    }

    fn settle(&self, received: &Received) {
        if received.owed {
            self.run.pay();
        }
    }

    /// The first error is the run's.
    fn blame(&mut self, blame: Blame) {
        self.record.error.get_or_insert(blame);
    }
}

/// What is to be done.
impl Control {
    fn feed(&mut self, event: Event) {
        // Between a step that ends by itself after force was used and the next one.
        let (step, forced) = {
            let machine = lock(&self.run.machine);
            (machine.step(), machine.forced())
        };
        if event == Event::Quiet && step == Step::Hook {
            self.close_hook(forced);
        }
        if matches!(event, Event::Quiet | Event::LateHook) && forced {
            self.settle_force(Vec::new());
        }
        let now = self.run.started.elapsed();
        let actions = lock(&self.run.machine).on(now, event);
        for action in actions {
            self.perform(action);
        }
        if self.step() != Step::Delay
            && let Some(timer) = self.delay_timer.take()
        {
            timer.abort();
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Enter(phase) => self.enter(phase),
            Action::StartCallback => self.start_callback(),
            Action::StartDelay(delay) => self.start_delay(delay),
            Action::CancelAll => self.cancel_all(),
            Action::CancelNext => self.cancel_next(),
            Action::StartHook => self.start_hook(),
            // A runtime that goes on without us is not closed under anybody's feet.
            Action::Seal if !self.run.owns_runtime => {}
            Action::Seal => self.run.registry.seal(),
            Action::Force(step) => {
                // Who had no turn yet is not to have refused what it never heard of.
                if step == Step::Cancel && self.run.registry.turns().ahead > 0 {
                    self.take_turn(true);
                }
                self.survey_limit(step);
            }
            Action::GiveUp(step) => {
                let left = self.run.registry.give_up(self.scope(step));
                if step == Step::Hook {
                    self.close_hook(true);
                }
                self.settle_force(left);
            }
            Action::SayWaiting(signal) => {
                self.say(Line::Repeated { signal });
                self.say_waiting();
            }
            Action::ArmExit => {
                if let Some(exit) = &self.exit_on_repeat {
                    exit.arm(true);
                }
            }
            Action::DisarmExit => {
                if let Some(exit) = &self.exit_on_repeat {
                    exit.arm(false);
                }
            }
            Action::Exit(signal) => crate::signals::leave(signal.exit_code()),
            Action::Close(most) => self.close(most),
            Action::Leave => self.leave(),
        }
    }

    fn enter(&mut self, phase: Phase) {
        let now = self.run.started.elapsed();
        if let Some(last) = self.record.phases.last_mut() {
            last.ended = now;
            #[cfg(feature = "metrics")]
            {
                let reading = Reading::now(self.run.registry.tally()).after(last);
                self.run.say(Message::Reading(reading));
            }
        }
        let registry = self.run.registry;
        let had_theirs = registry.turns().turn;
        registry.set_phase(phase);
        if phase == Phase::Draining && registry.has_later() {
            // They came when nobody was looking any more. From now on all come too late for a turn.
            self.run.cancel_all(Some(had_theirs));
        }
        if phase != Phase::Closed {
            self.record.phases.push(PhaseReport {
                phase,
                began: now,
                ended: now,
            });
        }
        match phase {
            Phase::Running => {}
            Phase::Stopping => self.announce(),
            Phase::Cancelling => {
                let tasks = self.run.registry.census().tasks;
                self.say(Line::CancellingPending { tasks });
            }
            Phase::Draining => {
                let jobs = self.run.registry.census().jobs;
                let limit = self.run.time_left(Whose::Job);
                self.say(Line::WaitingForExecutor { jobs, limit });
            }
            Phase::Finishing => {
                let hooks = lock(&self.run.hooks).len();
                if hooks > 0 {
                    self.say(Line::RunningHooks { hooks });
                }
            }
            Phase::Closed => {
                self.next_line = None;
                self.run.sweep_unread();
                for hook in std::mem::take(&mut *lock(&self.run.hooks)) {
                    let name = hook.name.to_string();
                    self.say(Line::LeftoverHook { name });
                    self.run.say(Message::Drop(Box::new(hook)));
                }
            }
        }
        self.notify();
    }

    /// Tells the service manager how far the run is.
    fn notify(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        let census = self.run.registry.census();
        let phase = self.run.phase();
        let status = match (phase, self.run.reason.get()) {
            (Phase::Stopping, Some(reason)) => format!("{phase}: {reason}"),
            (Phase::Cancelling, _) => format!("{phase}: {}", Count(census.tasks, "task")),
            (Phase::Draining, _) => format!("{phase}: {}", Count(census.jobs, "job")),
            _ => phase.to_string(),
        };
        let left = (phase > Phase::Running).then(|| {
            // Without a budget it may take any time.
            self.run.time_left(Whose::Nobody).unwrap_or(Duration::MAX)
        });
        manager.tell(&status, left);
        self.say_trouble();
    }

    /// Says, once, that the service manager cannot be told anything.
    fn say_trouble(&mut self) {
        if let Some(trouble) = self.manager.as_mut().and_then(Manager::trouble) {
            self.say(Line::Manager(trouble));
        }
    }

    fn announce(&mut self) {
        let reason = lock(&self.run.machine).reason().unwrap_or(StopReason::Stop);
        self.next_line = Some(Instant::now() + LINE_EVERY);
        self.say(Line::Stopping {
            reason,
            sender: self.sender,
        });
        self.say(Line::EnteringShutdown {
            budget: self.run.time_left(Whose::Nobody),
        });
        if let Some(manager) = &mut self.manager {
            manager.stopping(matches!(reason, StopReason::Signal(_)));
        }
        let _ = self.run.reason.set(reason);
        self.run.stopping.announce();
    }

    fn start_callback(&mut self) {
        let Some((callback, location)) = self.callback.take() else {
            return;
        };
        let birth = Birth::plain(Kind::Callback, location);
        let handle = Handle::new(Arc::clone(&self.run));
        let started = match callback.0 {
            // The closure is the user's: it is called by the task, not here.
            Form::Async(call) => {
                let future = async move { call(handle).await };
                spawn::internal::<_, supervised::Callback>(&self.run, &birth, future)
            }
            Form::Sync(call) => {
                let job = move || call(handle);
                spawn::internal_blocking::<_, _, supervised::Callback>(&self.run, &birth, job)
            }
        };
        self.callback_task = started.map(|(slot, id)| (slot, id, location));
    }

    /// The user's clock can only be ahead of ours where it may be paused.
    fn start_delay(&mut self, delay: Duration) {
        let run = Arc::clone(&self.run);
        if let Some(runtime) = self.run.runtime().filter(|_| run.may_pause()) {
            let timer = runtime.spawn(async move {
                tokio::time::sleep(delay).await;
                run.send(Command::DelayOver);
            });
            self.delay_timer = Some(timer.abort_handle());
        }
    }

    fn cancel_all(&mut self) {
        self.say_cancelling(0..=0);
        self.shields = self.run.registry.early_bare_shields();
        self.run.cancel_all(None);
        self.watch_waking(None);
        self.count_turns();
        self.run.cancelling.announce();
        let limit = self.run.time_left(Whose::Task);
        self.say(Line::RunningPending { limit });
    }

    fn say_cancelling(&self, phases: RangeInclusive<u8>) {
        if log::debugs() {
            for task in self.run.registry.tasks(true) {
                let is_next = phases.contains(&task.shutdown_phase);
                if is_next && !task.protected && task.kind != Kind::Blocking {
                    self.say(Line::CancellingTask(task));
                }
            }
        }
    }

    /// Tells the machine how many phases of tasks are still to be cancelled, where that has changed.
    fn count_turns(&mut self) {
        if self.step() != Step::Cancel {
            return;
        }
        let ahead = self.run.registry.turns().ahead;
        if ahead != self.ahead() {
            self.feed(Event::Ahead(ahead));
        }
    }

    fn cancel_next(&mut self) {
        let Turns {
            waiting: late,
            ahead,
            ..
        } = self.run.registry.turns();
        // They may have ended by themselves a moment ago.
        if ahead > 0 {
            self.take_turn(false);
            let Turns { turn, waiting, .. } = self.run.registry.turns();
            self.say(Line::CancellingPhase {
                phase: turn,
                tasks: waiting.saturating_sub(late),
                late,
            });
        }
        self.count_turns();
    }

    /// Cancels the tasks of the next phase that has any, or of all of them.
    fn take_turn(&mut self, is_last: bool) {
        let registry = self.run.registry;
        let had_theirs = registry.turns().turn;
        registry.next_turn(is_last);
        self.say_cancelling(had_theirs.saturating_add(1)..=registry.turns().turn);
        self.run.cancel_all(Some(had_theirs));
        self.watch_waking(None);
    }

    /// The runtime wakes those that were cancelled. Where it comes to nothing, for its threads are stuck,
    /// they are woken from here: some may be polled elsewhere, in a `LocalSet` say.
    fn watch_waking(&mut self, last: Option<usize>) {
        /// How long a turn may take.
        const TURN: Duration = Duration::from_millis(50);
        self.waking = match self.run.waking() {
            None => None,
            Some(turns) if last == Some(turns) => {
                self.run.registry.wake_attentive();
                None
            }
            Some(turns) => Some((Instant::now() + TURN, turns)),
        };
    }

    fn start_hook(&mut self) {
        let hook = lock(&self.run.hooks).pop();
        let Some(Hook {
            name,
            location,
            future,
        }) = hook
        else {
            self.feed(Event::NoHook);
            return;
        };
        let title = name.to_string();
        let birth = Birth::plain(Kind::Hook, location).named(name);
        let began = Instant::now();
        let started = spawn::internal::<_, supervised::Hook>(&self.run, &birth, future);
        self.hook = Some(RunningHook {
            name: title,
            location,
            id: started.map(|(_, id)| id),
            began,
            end: None,
        });
    }

    fn close_hook(&mut self, forced: bool) {
        let Some(hook) = self.hook.take() else { return };
        let end = match (hook.end, forced) {
            (Some(end), _) => end,
            (None, true) => HookEnd::TimedOut,
            _ if hook.id.is_none() => HookEnd::NotRun,
            // It ended and said nothing.
            (None, false) => HookEnd::Panicked("a destructor panicked".into()),
        };
        let mut report = HookReport {
            name: hook.name,
            location: hook.location,
            took: hook.began.elapsed(),
            trace: None,
            end,
        };
        // It may have been asked, and then have ended.
        if report.end == HookEnd::TimedOut
            && let Some(id) = hook.id
        {
            report.trace = self.forced.findings.trace_of(id);
        }
        if !report.is_success() {
            self.blame(Blame::Hook(report.clone()));
        }
        self.say(Line::Hook(report.clone()));
        self.record.hooks.push(report);
    }

    /// After force: names those that it ended, and those that it did not.
    fn settle_force(&mut self, left: Vec<TaskInfo>) {
        // Sets, for there may be a million of them.
        let ended: HashSet<Id> = self.run.registry.take_refused().into_iter().collect();
        let still_there: HashSet<Id> = left.iter().map(|task| task.id).collect();
        self.drop_limit_survey();
        let Forced {
            tasks: mut refused,
            at,
            findings,
        } = std::mem::take(&mut self.forced);
        refused.retain(|task| ended.contains(&task.id) && !still_there.contains(&task.id));
        // As old as the others in the list.
        let since = at.map_or(Duration::ZERO, |at| at.elapsed());
        for task in &mut refused {
            task.age += since;
        }
        let (mut jobs, mut tasks): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|task| task.kind == Kind::Blocking);
        refused.append(&mut tasks);
        findings.add_to(&mut refused);
        // A hook is reported as one.
        refused.retain(|task| task.kind != Kind::Hook);
        for list in [&mut refused, &mut jobs] {
            oldest_first(list, |task| task);
        }
        if !refused.is_empty() {
            self.blame(Blame::Refused);
            self.say(Line::Refused(refused.clone()));
            self.record.refused.extend(refused);
        }
        if !jobs.is_empty() {
            self.blame(Blame::Abandoned);
            self.say(Line::Abandoned(jobs.clone()));
            self.record.abandoned.extend(jobs);
        }
    }

    fn use_force(&mut self, step: Step, findings: Findings) {
        let applies = self.scope(step);
        let registry = self.run.registry;
        self.forced = Forced {
            tasks: registry.force(|sort| applies(sort) && sort != Sort::Job),
            at: Some(Instant::now()),
            findings,
        };
    }

    fn close(&mut self, most: Duration) {
        let Some(close) = self.close.take() else {
            return;
        };
        // Whoever is to close may be gone: the future of `supervise` was dropped.
        if close.send(most).is_err() {
            self.runtime_closed = true;
        }
    }

    fn closing(&mut self, strays: usize) {
        self.feed(Event::Closing);
        self.record.strays = strays;
        self.say(Line::ClosingLoop { strays });
    }

    /// What a step waits for.
    fn scope(&self, step: Step) -> fn(Sort) -> bool {
        match step {
            Step::Callback => |sort| sort == Sort::Task(Kind::Callback),
            Step::Cancel => |sort| !matches!(sort, Sort::Job | Sort::BareShield { late: true }),
            Step::Seal if self.run.owns_runtime => |_| true,
            _ => |sort| !matches!(sort, Sort::BareShield { .. }),
        }
    }

    /// The thread that called `run` is stuck. Where the process is ours, it ends here.
    fn leave(&mut self) {
        if self.may_leave {
            hard_exit::leave(self.run.registry);
        }
        self.runtime_closed = true;
    }

    fn say_waiting(&self) {
        let tasks = self.run.registry.tasks(true);
        if tasks.is_empty() && self.step() != Step::Close {
            return;
        }
        let left = {
            let machine = lock(&self.run.machine);
            machine
                .step_ends()
                .map(|at| at.saturating_sub(self.run.started.elapsed()))
        };
        let hook = self.hook.as_ref().map(|hook| hook.name.clone());
        self.say(Line::StillWaiting {
            phase: self.run.phase(),
            left,
            tasks,
            hook,
        });
    }

    /// What nobody would see is not worth waking the reporting thread for.
    fn say(&self, line: Line) {
        if line.is_wanted() {
            self.run.say(Message::Line(line));
        }
    }

    fn finish(mut self) -> Ending {
        // What came up at the very end.
        while let Ok(command) = self.commands.try_recv() {
            self.command(command);
        }
        self.end_surveys();
        // The signals act by default again before `run` returns.
        (self.signals, self.exit_on_repeat) = (None, None);
        if let Some((callback, _)) = self.callback.take() {
            self.run.say(Message::Drop(Box::new(callback)));
        }
        let record = std::mem::take(&mut self.record);
        let reason = lock(&self.run.machine).reason().unwrap_or(StopReason::Stop);
        let report = Report {
            reason,
            phases: record.phases,
            tasks: TaskCounts::at_close(self.run.registry.tally()),
            refused: record.refused,
            abandoned: record.abandoned,
            strays: record.strays,
            hooks: record.hooks,
            failures: Vec::new(),
            more_failures: 0,
        };
        #[cfg(feature = "metrics")]
        self.run.say(Message::Reading(Reading::last(&report.tasks)));
        self.say(Line::Bye(Box::new(report.clone())));
        Ending {
            reason,
            error: record.error,
            stop_code: record.stop_code,
            main: record.main,
            report,
            printer: self.surveys.into_printer(),
        }
    }
}

impl Blame {
    /// The error as the caller of `run` gets it.
    pub(crate) fn into_error(self, main: Option<&MainEnd>, report: &Report) -> RunError {
        let formatted = |bare: UnhandledError| {
            let known = report
                .failures
                .iter()
                .find(|failure| failure.id() == bare.id());
            known.cloned().unwrap_or(bare)
        };
        match self {
            Self::Main => match main {
                Some(MainEnd::Panicked(payload)) => RunError::MainPanicked(message(&**payload)),
                _ => RunError::MainFailed,
            },
            Self::Task(bare) => RunError::TaskFailed(formatted(bare)),
            Self::Callback(bare) => RunError::Callback(formatted(bare)),
            Self::Hook(hook) => RunError::Hook(hook),
            Self::Refused => RunError::Refused(report.refused.clone()),
            Self::Abandoned => RunError::Abandoned(report.abandoned.clone()),
        }
    }
}
