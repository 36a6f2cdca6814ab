//! The life of a run as a pure state machine: events and the time go in, actions come out.
//!
//! It knows no runtime, no thread and no clock. Time is the duration since the run began, handed
//! in by the driver (`control.rs`), which also performs the actions. What the steps have in common
//! is their shape: *wait* for something to end, at the limit end it by *force*, after a moment of
//! grace *give it up*, and go on. A later step is never prevented by an earlier one.

use std::fmt;
use std::time::Duration;

use crate::config::{Limit, Limits, RepeatSignal};
use crate::exit::StopReason;
use crate::signals::Signal;

/// The budget of a shutdown unless options say otherwise.
const DEFAULT_BUDGET: Duration = Duration::from_secs(60);
/// A signal that comes sooner after the reason to stop is part of the same burst: wrappers forward
/// the terminal's SIGINT a second time.
pub(crate) const BURST: Duration = Duration::from_millis(500);
/// What the close of the runtime may take beyond the budget.
pub(crate) const CLOSE: Duration = Duration::from_millis(500);
/// The part of [`CLOSE`] that is not for waiting: the run still has to return.
const RETURN: Duration = Duration::from_millis(50);
/// How much later than promised the close may be before its thread counts as stuck.
const STUCK: Duration = Duration::from_millis(500);
/// How long what was ended by force may take to be gone.
pub(crate) const GRACE: Duration = Duration::from_millis(100);
/// The part of [`GRACE`] that is granted even when the budget is used up.
const LEAST_GRACE: Duration = Duration::from_millis(20);

/// Where a run is in its life: what [`Handle::phase`](crate::Handle::phase) returns.
///
/// Phases only ever move forward, in the order of this list.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     assert_eq!(aiorun::Handle::current().phase(), aiorun::Phase::Running);
///     aiorun::stop();
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing has asked the program to stop.
    Running,
    /// There is a reason to stop; the shutdown callback and the shutdown delay run.
    Stopping,
    /// Tasks were cancelled and are awaited.
    Cancelling,
    /// Blocking jobs are awaited.
    Draining,
    /// Exit hooks run, then the runtime closes.
    Finishing,
    /// The run is over.
    Closed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Cancelling => "cancelling",
            Self::Draining => "draining",
            Self::Finishing => "finishing",
            Self::Closed => "closed",
        })
    }
}

/// What the machine is waiting for; finer than [`Phase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// For a reason to stop.
    Run,
    /// For the shutdown callback.
    Callback,
    /// For the shutdown delay.
    Delay,
    /// For the tasks.
    Cancel,
    /// For the blocking jobs, and tasks that they start.
    Drain,
    /// For one exit hook and what it started.
    Hook,
    /// For what came up since: shields in tasks that are not ours.
    Seal,
    /// For the runtime to be closed.
    Close,
    /// For nothing: the run is over.
    End,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A reason to stop; the first one counts, a signal after it may be a repeated one.
    Stop(StopReason),
    /// Whoever supervised has gone away: no callback, no delay, no hooks.
    Abandon,
    /// What the step waits for has ended.
    Quiet,
    /// The tasks whose turn it was have ended; others have a later one.
    TurnOver,
    /// This many turns of tasks are still to come.
    Ahead(u32),
    /// There was no hook left to start.
    NoHook,
    /// There is one again.
    LateHook,
    /// The thread that closes the runtime is at it.
    Closing,
    /// The time of [`Machine::deadline`] has come.
    Deadline,
}

/// Something the driver has to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the phase known. `Stopping` comes first and tells the reason.
    Enter(Phase),
    /// Start the shutdown callback.
    StartCallback,
    /// End the delay after this long by the user's clock too, which may run faster.
    StartDelay(Duration),
    /// Request the cancellation of every task that is not protected and has no later turn.
    CancelAll,
    /// As `CancelAll`, of those that are next.
    CancelNext,
    /// Take the newest exit hook and start it, or answer [`Event::NoHook`].
    StartHook,
    /// From now on no shield begins in a task that is not ours.
    Seal,
    /// End what that step waits for.
    Force(Step),
    /// Wait no longer for what is left of it, and say so.
    GiveUp(Step),
    /// Say what is being waited for, because a signal came again.
    SayWaiting(Signal),
    /// From now on a repeated signal leaves the process from its handler.
    ArmExit,
    /// Not during the delay.
    DisarmExit,
    /// A repeated signal did not leave from its handler: leave now.
    Exit(Signal),
    /// Close the runtime, waiting for its threads this long at most.
    Close(Duration),
    /// The thread that should close the runtime is stuck: leave the process.
    Leave,
}

/// Whose limit [`Machine::limit`] is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Task,
    Job,
    /// The shutdown callback or a hook.
    Extra,
    Nobody,
}

#[derive(Debug)]
pub(crate) struct Machine {
    limits: Limits,
    repeat: RepeatSignal,
    has_callback: bool,
    step: Step,
    /// Whether the step's limit has passed and force was used.
    forced: bool,
    /// When the step's current wait ends.
    deadline: Option<Duration>,
    /// When those were cancelled whose turn it is.
    turn_began: Duration,
    /// How many turns are still to come.
    ahead: u32,
    reason: Option<StopReason>,
    /// What comes soon after this moment is part of a burst: of the reason to stop, or of the signal
    /// that ended the delay.
    burst_began: Duration,
    /// When the budget ends.
    end: Option<Duration>,
    /// A repeated signal took all time from callback, tasks and jobs.
    aborted: bool,
    abandoned: bool,
    armed: bool,
}

impl Machine {
    pub(crate) fn new(limits: Limits, repeat: RepeatSignal, has_callback: bool) -> Self {
        Self {
            limits,
            repeat,
            has_callback,
            step: Step::Run,
            forced: false,
            deadline: None,
            turn_began: Duration::ZERO,
            ahead: 0,
            reason: None,
            burst_began: Duration::ZERO,
            end: None,
            aborted: false,
            abandoned: false,
            armed: false,
        }
    }

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// How many turns of tasks are still to come.
    pub(crate) fn ahead(&self) -> u32 {
        self.ahead
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.reason
    }

    /// Whether force was used in this step.
    pub(crate) fn forced(&self) -> bool {
        self.forced
    }

    /// When the step's wait ends.
    pub(crate) fn step_ends(&self) -> Option<Duration> {
        self.deadline
    }

    /// When force is going to be used, if nothing changes.
    pub(crate) fn force_at(&self) -> Option<Duration> {
        let waits = matches!(
            self.step,
            Step::Callback | Step::Cancel | Step::Drain | Step::Hook | Step::Seal
        );
        self.deadline.filter(|_| waits && !self.forced)
    }

    /// When the driver has to come back with [`Event::Deadline`].
    pub(crate) fn deadline(&self) -> Option<Duration> {
        [self.deadline, self.arm_at(), self.turn_ends()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the next ones are cancelled, whether or not those have ended whose turn it is: each turn
    /// has an equal share of what was left when it began.
    fn turn_ends(&self) -> Option<Duration> {
        let is_waiting = self.step == Step::Cancel && !self.forced && self.ahead > 0;
        let end = self.deadline.filter(|_| is_waiting)?;
        Some(self.turn_began + end.saturating_sub(self.turn_began) / (self.ahead + 1))
    }

    /// Feeds one event that happened at `now`; returns what has to be done.
    pub(crate) fn on(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Stop(reason) if self.step == Step::Run => {
                self.stop(now, reason);
                actions.push(Action::Enter(Phase::Stopping));
                self.enter(Step::Callback, now, &mut actions);
            }
            Event::Stop(StopReason::Signal(signal)) => self.repeated(now, signal, &mut actions),
            Event::Stop(_) => {}
            Event::Abandon => self.abandon(now, &mut actions),
            Event::Quiet => self.quiet(now, &mut actions),
            Event::TurnOver => self.next_turn(now, &mut actions),
            Event::Ahead(turns) => self.ahead = turns,
            Event::NoHook => self.enter(Step::Seal, now, &mut actions),
            Event::LateHook => self.late_hook(now, &mut actions),
            Event::Closing => self.closing(now),
            Event::Deadline => self.expired(now, &mut actions),
        }
        actions
    }

    /// The thread was not stuck, however late it comes on a busy machine.
    fn closing(&mut self, now: Duration) {
        if self.step == Step::Close && self.deadline.is_some() {
            self.deadline = self.deadline.max(Some(now.saturating_add(CLOSE)));
            self.forced = false;
        }
    }

    fn stop(&mut self, now: Duration, reason: StopReason) {
        self.reason = Some(reason);
        self.burst_began = now;
        self.end = self
            .limits
            .budget(DEFAULT_BUDGET)
            .and_then(|budget| now.checked_add(budget));
    }

    fn quiet(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.step {
            Step::Run | Step::End => {}
            Step::Hook => self.next_hook(now, actions),
            step => self.enter(step.next(), now, actions),
        }
    }

    fn next_turn(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.step == Step::Cancel && !self.forced && self.ahead > 0 {
            (self.turn_began, self.ahead) = (now, self.ahead - 1);
            actions.push(Action::CancelNext);
        }
    }

    fn expired(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.arm_at().is_some_and(|at| at <= now) {
            self.armed = true;
            actions.push(Action::ArmExit);
        }
        if self.turn_ends().is_some_and(|at| at <= now) && self.deadline > Some(now) {
            self.next_turn(now, actions);
            return;
        }
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        match self.step {
            Step::Run | Step::End => {}
            Step::Delay => self.enter(Step::Cancel, now, actions),
            // The thread gets the rest from now on, however late it is: a process that was stopped for a while
            // comes back with all its deadlines behind it, and nobody has had a turn.
            Step::Close if !self.forced => {
                self.forced = true;
                self.deadline = Some(now.saturating_add(STUCK));
            }
            Step::Close => {
                self.deadline = None;
                actions.push(Action::Leave);
            }
            _ if !self.forced => {
                self.forced = true;
                self.deadline = Some(now.saturating_add(self.grace(now)));
                actions.push(Action::Force(self.step));
            }
            step => {
                actions.push(Action::GiveUp(step));
                if step == Step::Hook {
                    self.next_hook(now, actions);
                } else {
                    self.enter(step.next(), now, actions);
                }
            }
        }
    }

    /// A signal that is not the reason to stop.
    fn repeated(&mut self, now: Duration, signal: Signal, actions: &mut Vec<Action>) {
        if now < self.burst_began.saturating_add(BURST) || self.step == Step::End {
            return;
        }
        actions.push(Action::SayWaiting(signal));
        if self.step == Step::Delay {
            self.burst_began = now;
            self.enter(Step::Cancel, now, actions);
            return;
        }
        match self.repeat {
            RepeatSignal::Auto if signal == Signal::INT => self.abort(now),
            RepeatSignal::Abort => self.abort(now),
            // The handler has left already, where there is one and the signal was a real one.
            RepeatSignal::Exit => actions.push(Action::Exit(signal)),
            RepeatSignal::Auto | RepeatSignal::Ignore => {}
        }
    }

    fn abort(&mut self, now: Duration) {
        if std::mem::replace(&mut self.aborted, true) {
            return;
        }
        match self.step {
            Step::Callback | Step::Cancel | Step::Drain | Step::Seal if !self.forced => {
                self.deadline = Some(now);
            }
            Step::Close => {
                self.deadline = [self.deadline, self.stuck_at(now)]
                    .into_iter()
                    .flatten()
                    .min();
            }
            _ => {}
        }
    }

    fn abandon(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.abandoned = true;
        if self.step == Step::Run {
            self.stop(now, StopReason::Stop);
            actions.push(Action::Enter(Phase::Stopping));
        }
        match self.step {
            Step::Run | Step::Delay => self.enter(Step::Cancel, now, actions),
            Step::Callback | Step::Hook if !self.forced => self.deadline = Some(now),
            _ => {}
        }
    }

    fn next_hook(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.abandoned {
            self.enter(Step::Seal, now, actions);
        } else {
            self.wait_for_hook(now, actions);
        }
    }

    fn wait_for_hook(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.forced = false;
        self.deadline = self.share(now, 1, 2);
        actions.push(Action::StartHook);
    }

    fn late_hook(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.abandoned {
            self.quiet(now, actions);
        } else if self.step == Step::Seal {
            self.step = Step::Hook;
            self.wait_for_hook(now, actions);
        }
    }

    /// Goes to `step`, or past it where there is nothing for it to do.
    fn enter(&mut self, step: Step, now: Duration, actions: &mut Vec<Action>) {
        self.step = step;
        self.forced = false;
        match step {
            Step::Run => unreachable!("a run starts once"),
            Step::Callback if self.has_callback && !self.abandoned => {
                self.deadline = self.task_limit(now);
                actions.push(Action::StartCallback);
            }
            Step::Delay if self.delays() => {
                self.deadline = self.delay_limit(now);
                if std::mem::take(&mut self.armed) {
                    actions.push(Action::DisarmExit);
                }
                actions.push(Action::StartDelay(self.limits.delay));
            }
            Step::Callback | Step::Delay => self.enter(step.next(), now, actions),
            Step::Cancel => {
                self.deadline = if self.aborted {
                    Some(now)
                } else {
                    self.task_limit(now)
                };
                (self.turn_began, self.ahead) = (now, 0);
                actions.extend([Action::Enter(Phase::Cancelling), Action::CancelAll]);
            }
            Step::Drain => {
                self.deadline = if self.aborted {
                    Some(now)
                } else {
                    self.job_limit(now)
                };
                actions.push(Action::Enter(Phase::Draining));
            }
            Step::Hook => {
                actions.push(Action::Enter(Phase::Finishing));
                self.next_hook(now, actions);
            }
            Step::Seal => {
                self.deadline = if self.aborted {
                    Some(now)
                } else {
                    self.share(now, 1, 2)
                };
                actions.push(Action::Seal);
            }
            Step::Close => {
                self.deadline = self.stuck_at(now);
                let left = self
                    .end
                    .map_or(CLOSE, |end| end.saturating_add(CLOSE).saturating_sub(now));
                actions.push(Action::Close(left.min(CLOSE).saturating_sub(RETURN)));
            }
            Step::End => {
                self.deadline = None;
                actions.push(Action::Enter(Phase::Closed));
            }
        }
    }

    /// A lame-duck delay serves those who still send work; a program that failed has nothing to
    /// serve them with.
    fn delays(&self) -> bool {
        let asked = matches!(
            self.reason,
            Some(StopReason::Signal(_) | StopReason::Stop | StopReason::TokenCancelled)
        );
        asked && !self.limits.delay.is_zero() && !self.aborted && !self.abandoned
    }

    /// When a repeated signal is to be armed, if it is not yet and ever will be.
    fn arm_at(&self) -> Option<Duration> {
        let ahead = !self.armed && self.repeat == RepeatSignal::Exit;
        let counts = !matches!(self.step, Step::Run | Step::Delay | Step::End);
        (ahead && counts).then(|| self.burst_began.saturating_add(BURST))
    }

    /// Little more than nothing when the budget is used up, and nothing when that is used up too,
    /// say by many hooks.
    fn grace(&self, now: Duration) -> Duration {
        let Some(end) = self.end else { return GRACE };
        let beyond = end.saturating_add(GRACE).saturating_sub(now);
        (end.saturating_sub(now) / 2)
            .clamp(LEAST_GRACE, GRACE)
            .min(beyond)
    }

    /// The moment when `part` of `whole` of what is left of the budget will have passed.
    fn share(&self, now: Duration, part: u32, whole: u32) -> Option<Duration> {
        self.end
            .map(|end| now + end.saturating_sub(now) / whole * part)
    }

    fn within(&self, now: Duration, limit: Limit, part: u32, whole: u32) -> Option<Duration> {
        match limit {
            Limit::Default => self.share(now, part, whole),
            Limit::None => self.end,
            Limit::After(limit) => [now.checked_add(limit), self.end]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    fn task_limit(&self, now: Duration) -> Option<Duration> {
        self.within(now, self.limits.tasks, 9, 10)
    }

    fn job_limit(&self, now: Duration) -> Option<Duration> {
        self.within(now, self.limits.jobs, 1, 2)
    }

    fn delay_limit(&self, now: Duration) -> Option<Duration> {
        self.within(now, Limit::After(self.limits.delay), 1, 1)
    }

    /// When the thread that closes the runtime begins to count as stuck: never right away, for a busy machine
    /// may be late and the whole process may have been stopped for a while. Who has asked twice is
    /// not made to wait for the rest of the budget when there is nothing left to wait for.
    fn stuck_at(&self, now: Duration) -> Option<Duration> {
        let end = if self.aborted { now } else { self.end? };
        end.max(now).checked_add(CLOSE)
    }

    /// When the time of `whose` ends: exact in its own step, before it what it would be if that
    /// step began as early as it can. `None` without a reason to stop or without a limit.
    pub(crate) fn limit(&self, now: Duration, whose: Whose) -> Option<Duration> {
        self.reason?;
        let waiting = if self.forced {
            Some(now)
        } else {
            self.deadline
        };
        match (whose, self.step) {
            (Whose::Task, Step::Callback) => self.task_limit(now),
            (Whose::Task, Step::Delay) => self.task_limit(self.deadline.unwrap_or(now)),
            (Whose::Job, Step::Callback | Step::Delay | Step::Cancel) => self.job_limit(now),
            (Whose::Task, Step::Cancel | Step::Drain | Step::Hook | Step::Seal)
            | (Whose::Job, Step::Drain | Step::Hook | Step::Seal)
            | (Whose::Extra, Step::Callback | Step::Hook) => waiting,
            _ => self.end,
        }
    }
}

impl Step {
    fn next(self) -> Self {
        match self {
            Self::Run => Self::Callback,
            Self::Callback => Self::Delay,
            Self::Delay => Self::Cancel,
            Self::Cancel => Self::Drain,
            Self::Drain => Self::Hook,
            Self::Hook => Self::Seal,
            Self::Seal => Self::Close,
            Self::Close | Self::End => Self::End,
        }
    }
}

/// Plays the history that these bytes stand for.
#[cfg(fuzzing)]
pub fn play(bytes: &[u8]) {
    any_events::History::of(bytes).check();
}

#[cfg(any(test, fuzzing))]
mod any_events;
#[cfg(test)]
mod tests;
