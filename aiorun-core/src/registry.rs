//! The registry: every task and every blocking job has a slot in it, from before it is spawned
//! until its future is gone.
//!
//! # Invariants
//!
//! 1. A slot never moves and is never freed: chunks of slots are leaked, and a whole registry goes
//!    back to a process-wide pool when its run is over and its last slot is free. So a task keeps a
//!    `&'static Slot`, eight bytes, and needs no reference count.
//! 2. A slot is filled before its task is handed to tokio, and freed by the task's wrapper as soon as
//!    the user's future is gone. A task that is never polled is counted all the same.
//! 3. An id is used once in the life of a process. Whoever holds an id and a slot (a `JoinHandle`)
//!    checks under the slot's lock that they still belong together.
//! 4. The first poll leaves the task's waker in the slot. A request takes the waker, and whatever
//!    takes it sets an attention flag under the same lock, so the poll that follows puts it back.
//!
//! # Cancellation
//!
//! A request sets `CANCEL` in the slot and wakes the task; the task looks at its flags at the
//! *start* of its next poll, when it is suspended by definition, and decides there. Nothing is ever
//! cut in the middle of a poll: tokio's `abort` cannot promise that, for it cannot be taken back
//! when the task runs meanwhile. Both orders of "first poll" and "request" are safe because the two
//! meet under the slot's lock.
//!
//! # Born while tasks are being cancelled
//!
//! The gate tells the phase. It is read under the lock of the shard that the new slot is taken from,
//! and changed before the first shard is visited. So for each slot either the marker finds it filled,
//! or its spawner finds the gate changed; then the spawner decides whether the newcomer is born
//! cancelled.
//!
//! # Phases of the shutdown
//!
//! Nearly all tasks are of phase 0, and pay nothing for there being others: a task of a later one has
//! `LATER`, and which it is is with its scopes. A shard counts those apart. The gate tells the *turn*:
//! up to which phase tasks are being cancelled, or were. It is moved on with all shards locked, so no
//! task is admitted to a phase that is passed over.
//!
//! # Deadlock safety
//!
//! Lock order: shard, then slot, then leaves that take no lock (names of threads, the list of who
//! refused). Wakers are cloned, woken and dropped, and names are dropped, with no lock held: a
//! waker's drop may drop a task, whose drop frees a slot.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::panic::{Location, RefUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use crate::group::Members;
use crate::listing::oldest_first;
use crate::output::{Origin, Problem};
use crate::phase::Phase;
use crate::run::{Command, Run};
use crate::scope::{Ear, Place, Places, Receipt, Receipts, Scopes, Wakers, wake};
#[cfg(feature = "tracing")]
use crate::span;
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, lock, lock_std, try_lock};
use crate::task::{Id, Kind, Label, State, TaskInfo};
use crate::thread;
use crate::trace;

use self::survey::Survey;

/// How many parts the registry has, so that workers rarely meet at a lock.
const SHARDS: u32 = if cfg!(aiorun_loom) { 1 } else { 8 };
/// Slots of one chunk: less than 6 KiB, so that growing is never a pause.
const CHUNK: usize = if cfg!(aiorun_loom) { 2 } else { 64 };
/// How many scopes a shard keeps for tasks to come.
const MOST_SPARE: usize = 64;
/// Ids that a shard takes from the process at once.
const ID_BLOCK: u64 = 64;
/// In the gate: not every task is marked yet, so those that are wait for the wake that follows.
/// Otherwise a task that runs could see its child cancelled before itself.
const SWEEPING: u64 = 1 << 7;
/// In the gate: the runtime is about to be closed, and no bare shield begins any more.
const SEALED: u64 = 1 << 6;
/// The phase in the gate.
const PHASE: u64 = 0xff & !(SWEEPING | SEALED);
/// In the gate: up to which phase of the shutdown tasks are cancelled.
const TURN_SHIFT: u32 = 8;
/// In the gate: the run's number.
const EPOCH_SHIFT: u32 = 16;
/// The turn when nobody is left out any more.
const LAST_TURN: u8 = u8::MAX;

/// Not polled yet: the waker is missing.
const NEW: u32 = 1;
/// A cancellation was requested and is not received yet.
const CANCEL: u32 = 1 << 1;
/// The limit has passed: the task ends at its next poll, whatever it is doing.
const FORCE: u32 = 1 << 2;
/// The waker was taken by a request that the task has received since, while it was running.
const REARM: u32 = 1 << 3;
/// The task is asked where it is suspended.
const TRACE: u32 = 1 << 4;
/// It is polled in a span, which is not entered.
const SPAN: u32 = 1 << 20;
/// A job, queued or running.
const BLOCKING: u32 = 1 << CLASS_SHIFT;
/// No task: a shield in a task that is not ours.
const BARE_SHIELD: u32 = 2 << CLASS_SHIFT;
/// What the cancellation of all tasks is meant for: main, and those that the program has spawned.
const ORDINARY: u32 = 1 << 7;
/// The flags that a poll has to look into.
const ATTENTION: u32 = NEW | CANCEL | FORCE | REARM | TRACE | SPAN;

/// Shutdown does not cancel it.
pub(crate) const PROTECTED: u32 = 1 << 8;
/// It is told of a cancellation and not dropped for it.
pub(crate) const COOPERATIVE: u32 = 1 << 9;
/// Its end stops the program.
pub(crate) const CRITICAL: u32 = 1 << 10;
/// It has received a cancellation, and lives.
const TOLD: u32 = 1 << 11;
/// Spawned during the shutdown by somebody who may still start work: it runs, and is awaited.
const LATE: u32 = 1 << 12;
/// The shutdown waits for it no longer.
const GIVEN_UP: u32 = 1 << 13;
/// A cancellation was requested at some time.
const REQUESTED: u32 = 1 << 14;
/// It is in a shield.
const SHIELDED: u32 = 1 << 15;
/// A cancellation was requested and waits for the end of the shield.
const DEFERRED: u32 = 1 << 19;
/// A job that has started.
const JOB: u32 = 1 << 21;
/// Somebody holds, or held, a cancellation that it received.
const RECEIVED: u32 = 1 << 22;
/// Its future is being dropped before it was done.
const DROPPING: u32 = 1 << 23;

const CLASS_SHIFT: u32 = 5;
const CLASS_MASK: u32 = 0b11 << CLASS_SHIFT;
const KIND_SHIFT: u32 = 16;
const KIND_MASK: u32 = 0b111 << KIND_SHIFT;
const OUTCOME_SHIFT: u32 = 24;
const OUTCOME_MASK: u32 = 0b111 << OUTCOME_SHIFT;
/// From which part of the registry the slot is, while it is used.
const SHARD_SHIFT: u32 = 27;
/// It is not of phase 0. Who is has scopes, and so an end that is not that of an ordinary task.
const LATER: u32 = 1 << 30;

/// What a slot is used for, as far as the shutdown is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Task(Kind),
    Job,
    /// A shield in a task that is not ours; `late` if it began when tasks were being cancelled.
    BareShield {
        late: bool,
    },
}

impl Sort {
    fn of(flags: u32) -> Self {
        match kind_of(flags) {
            _ if flags & BARE_SHIELD != 0 => Self::BareShield {
                late: flags & LATE != 0,
            },
            Kind::Blocking => Self::Job,
            kind => Self::Task(kind),
        }
    }
}

/// How a task ended; each has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Outcome {
    /// Dropped before it was done: what a slot says until something else is known.
    Cancelled = 0,
    Completed = 1,
    Failed = 2,
    Panicked = 3,
    Refused = 4,
}

/// How many tasks ended how, by [`Outcome`]; and how many have not, awaited or given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) ended: [u64; 5],
    /// How many of those that ended had caught a cancellation.
    pub(crate) caught: u64,
    pub(crate) alive: u64,
    pub(crate) given_up: u64,
}

impl Tally {
    pub(crate) fn spawned(&self) -> u64 {
        self.ended.iter().sum::<u64>() + self.alive + self.given_up
    }
}

/// A name that a task was given; one allocation, and none for the many without.
pub(crate) type Name = Option<Arc<Cow<'static, str>>>;

/// What is known of a task before it starts.
#[derive(Debug)]
pub(crate) struct Birth {
    flags: u32,
    /// In which phase of the shutdown it is to be cancelled, if somebody said so.
    phase: Option<u8>,
    name: Name,
    location: Place,
}

impl Birth {
    /// A task without a name or marks.
    pub(crate) fn plain(kind: Kind, location: Place) -> Self {
        Self {
            flags: NEW | kind_bits(kind),
            phase: None,
            name: None,
            location,
        }
    }

    pub(crate) fn bare_shield(location: Place) -> Self {
        Self {
            flags: BARE_SHIELD | (Kind::Async as u32) << KIND_SHIFT,
            phase: None,
            name: None,
            location,
        }
    }

    pub(crate) fn named(self, name: Cow<'static, str>) -> Self {
        Self {
            name: Some(Arc::new(name)),
            ..self
        }
    }

    /// With some of `PROTECTED`, `COOPERATIVE`, `CRITICAL`.
    pub(crate) fn marked(self, marks: u32) -> Self {
        Self {
            flags: self.flags | marks,
            ..self
        }
    }

    /// With a name that others may have too.
    pub(crate) fn called(self, name: Name) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn in_phase(self, phase: Option<u8>) -> Self {
        Self { phase, ..self }
    }

    /// In which phase it is cancelled: its own, or else that of its spawner. Only what the shutdown
    /// cancels has one that is not 0.
    #[cold]
    fn phase_under(&self, parent: Option<&Slot>) -> u8 {
        match self.phase {
            _ if self.flags & ORDINARY == 0 => 0,
            Some(phase) => phase,
            None => parent.map_or(0, Slot::phase),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        kind_of(self.flags)
    }

    pub(crate) fn is_protected(&self) -> bool {
        self.flags & PROTECTED != 0
    }

    /// Whether it is that of a task or a job which code of the program spawns.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_spawned(&self) -> bool {
        let sort = Sort::of(self.flags);
        matches!(sort, Sort::Task(Kind::Async | Kind::Local) | Sort::Job)
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| &**name)
    }

    pub(crate) fn origin(self, id: Id) -> Origin {
        Origin {
            id,
            kind: self.kind(),
            name: self.name,
            location: self.location,
        }
    }
}

/// The id of a task that never was.
#[cold]
pub(crate) fn too_late() -> Id {
    Id::new(IDS.fetch_add(1, Relaxed)).expect("ids begin at 1")
}

/// What becomes of the flags of a newcomer to a run that is not simply running; `None` if it comes
/// too late.
#[cold]
fn late_flags(gate: u64, epoch: u64, parent: Option<&Slot>, flags: u32, turn: u8) -> Option<u32> {
    let phase = phase_of(gate);
    let too_late = match kind_of(flags) {
        _ if gate >> EPOCH_SHIFT != epoch => true,
        _ if flags & BARE_SHIELD != 0 => phase == Phase::Closed || gate & SEALED != 0,
        Kind::Main => phase >= Phase::Stopping,
        _ => phase == Phase::Closed,
    };
    if too_late {
        return None;
    }
    let late = match parent {
        _ if phase < Phase::Cancelling || turn > turn_of(gate) => 0,
        Some(parent) if parent.is_untold() && flags & PROTECTED == 0 => match flags & BLOCKING {
            0 => CANCEL | REQUESTED,
            _ => 0,
        },
        _ => LATE,
    };
    Some(flags | late)
}

/// The little that can be told of a task without an allocation.
pub(crate) struct Glance<'a> {
    pub(crate) label: Label<'a>,
    pub(crate) location: Place,
    pub(crate) age: Duration,
    /// The number of the thread that polls or drops it, or 0.
    pub(crate) thread: u32,
    pub(crate) dropping: bool,
}

/// The place of one task.
pub(crate) struct Slot {
    /// Attention, marks, kind and outcome.
    flags: AtomicU32,
    /// The number of the thread that is polling the task, or 0.
    running: AtomicU32,
    registry: &'static Registry,
    body: Mutex<Body>,
}

/// No critical section panics, so none is left half done.
impl RefUnwindSafe for Slot {}

struct Body {
    /// The task's id, or 0 while the slot is free.
    id: u64,
    waker: Option<Waker>,
    name: Name,
    location: Place,
    born: Moment,
    /// Which of tokio's tasks it is: code of another one may be polled inside a poll of it.
    tokio: Option<tokio::task::Id>,
    scopes: Option<Arc<Scopes>>,
}

/// What a task does at the start of a poll that its flags drew attention to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Poll,
    /// As `Poll`, and [`Slot::answer`] where it is suspended.
    Trace,
    /// As it says when the span is entered.
    Span,
    Drop,
    /// Neither: it is about to be woken.
    Wait,
}

impl Slot {
    fn new(registry: &'static Registry) -> Self {
        Self {
            flags: AtomicU32::new(0),
            running: AtomicU32::new(0),
            registry,
            body: Mutex::new(Body {
                id: 0,
                waker: None,
                name: None,
                location: Location::caller(),
                born: Moment(0),
                tokio: None,
                scopes: None,
            }),
        }
    }

    pub(crate) fn registry(&self) -> &'static Registry {
        self.registry
    }

    pub(crate) fn kind(&self) -> Kind {
        kind_of(self.flags.load(Relaxed))
    }

    /// Whether it is a job, queued or running.
    #[inline]
    pub(crate) fn is_blocking(&self) -> bool {
        self.flags.load(Relaxed) & BLOCKING != 0
    }

    #[inline]
    fn is_later(&self) -> bool {
        self.flags.load(Relaxed) & LATER != 0
    }

    /// In which phase of the shutdown it is cancelled.
    fn phase(&self) -> u8 {
        if self.is_later() {
            self.phase_in(&lock(&self.body))
        } else {
            0
        }
    }

    fn phase_in(&self, body: &Body) -> u8 {
        let scopes = body.scopes.as_ref().filter(|_| self.is_later());
        scopes.map_or(0, |scopes| scopes.phase())
    }

    /// Makes it a member of a group, which is told of its end. For the spawner, before the task is
    /// handed to tokio.
    pub(crate) fn keep_group(&self, group: Arc<Members>) {
        self.scopes(&mut lock(&self.body)).keep_group(group);
    }

    pub(crate) fn is_critical(&self) -> bool {
        self.flags.load(Relaxed) & CRITICAL != 0
    }

    fn is_in_use(&self) -> bool {
        lock(&self.body).id != 0
    }

    /// Who uses the slot. `None` for nobody.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let body = lock(&self.body);
        Some(Origin {
            id: Id::new(body.id)?,
            name: body.name.clone(),
            location: body.location,
            kind: self.kind(),
        })
    }

    /// Whether a poll has to call [`Slot::attend`] first. The one thing that is asked on every
    /// poll.
    pub(crate) fn needs_attention(&self) -> bool {
        self.flags.load(Acquire) & ATTENTION != 0
    }

    /// Looks into the flags at the start of a poll. For the task itself only.
    #[inline(never)]
    pub(crate) fn attend(&self, waker: &Waker) -> Verdict {
        if self.flags.load(Relaxed) & ATTENTION == NEW && self.begin(waker) {
            Verdict::Poll
        } else {
            self.decide(waker)
        }
    }

    /// Every poll is to be in that span. For the spawner, before the task is handed to tokio.
    #[cfg(feature = "tracing")]
    pub(crate) fn keep_span(&self, span: tracing::Span) {
        let mut body = lock(&self.body);
        self.scopes(&mut body).keep_span(span);
        self.flags.fetch_or(SPAN, Release);
    }

    /// The span, which is about to be entered.
    #[cfg(feature = "tracing")]
    pub(crate) fn take_up_span(&self) -> Option<Arc<tracing::Span>> {
        if self.flags.load(Relaxed) & SPAN == 0 {
            return None;
        }
        let body = lock(&self.body);
        self.flags.fetch_and(!SPAN, Release);
        body.scopes.as_ref()?.span()
    }

    /// It is left, and the next poll is to enter it again.
    pub(crate) fn put_down_span(&self) {
        self.flags.fetch_or(SPAN, Release);
    }

    /// The first poll of a task that nobody wants anything of. `false` if somebody does after all.
    fn begin(&self, waker: &Waker) -> bool {
        let own = trace::waker::own(waker).clone();
        let mut body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        let is_plain = flags & ATTENTION == NEW;
        if is_plain {
            body.tokio = tokio::task::try_id();
            body.waker = Some(own);
            self.enter(thread::number());
            self.flags.store(flags & !NEW, Release);
        }
        is_plain
    }

    #[cold]
    #[inline(never)]
    fn decide(&self, waker: &Waker) -> Verdict {
        // Whatever else there is to do is done in the span.
        if self.flags.load(Relaxed) & SPAN != 0 {
            return Verdict::Span;
        }
        // Main's waker may be anybody's: it is cloned, woken and dropped with no lock held.
        let own = trace::waker::own(waker).clone();
        let mut body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        if flags & NEW != 0 {
            body.tokio = tokio::task::try_id();
        }
        let mut told = Wakers::default();
        let mut once_more = false;
        let traced = flags & TRACE != 0;
        let mut next = flags & !(NEW | REARM | TRACE);
        let verdict = if flags & FORCE != 0 {
            if !may_be_cut(&body, flags) {
                next = self.refuse(&body, next);
            }
            Verdict::Drop
        } else if flags & CANCEL == 0 {
            Verdict::Poll
        } else if self.registry.is_sweeping() {
            next |= flags & (NEW | TRACE);
            Verdict::Wait
        } else if flags & SHIELDED != 0 {
            next = next & !CANCEL | DEFERRED;
            Verdict::Poll
        } else if flags & NEW != 0 && flags & COOPERATIVE != 0 {
            // It has not begun, and what it begins with may be a catch, which would start fresh if
            // the task had received it before. So it is received where the code says, or next time.
            once_more = true;
            Verdict::Poll
        } else {
            let (catching, wakers) = receive(&body, flags);
            told = wakers;
            next = next & !CANCEL | TOLD;
            if catching || flags & COOPERATIVE != 0 {
                Verdict::Poll
            } else {
                Verdict::Drop
            }
        };
        if traced && flags & NEW != 0 && verdict == Verdict::Poll {
            // It answers in the next poll. A traced one looks at the flags twice, and between the two
            // a task that has not begun would be one that has.
            next |= TRACE;
            once_more = true;
        }
        let stale = match verdict {
            Verdict::Drop => None,
            _ => body.waker.replace(own),
        };
        if flags & NEW != 0 && verdict == Verdict::Poll {
            // Who looks from now on sees it running, and not suspended without having started.
            self.enter(thread::number());
        }
        self.flags.store(next, Release);
        let id = body.id;
        drop(body);
        drop(stale);
        told.wake();
        if once_more {
            trace::waker::own(waker).wake_by_ref();
        }
        match verdict {
            Verdict::Poll if traced && flags & NEW == 0 => return Verdict::Trace,
            Verdict::Drop if traced => self.registry.answered(id, None),
            _ => {}
        }
        verdict
    }

    /// For a job, at its start: whether it was cancelled while it was queued.
    pub(crate) fn start_job(&self) -> Verdict {
        let body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        let mut next = flags & !(NEW | TRACE);
        let verdict = if flags & FORCE != 0 {
            // Only the callback is forced. Its time is over, and it has done nothing.
            next = self.refuse(&body, next);
            Verdict::Drop
        } else if flags & CANCEL != 0 {
            Verdict::Drop
        } else {
            next |= JOB;
            Verdict::Poll
        };
        self.flags.store(next, Release);
        let id = body.id;
        drop(body);
        if flags & TRACE != 0 {
            self.registry.answered(id, None);
        }
        verdict
    }

    /// Notes that force was needed.
    fn refuse(&self, body: &Body, flags: u32) -> u32 {
        lock_std(&self.registry.refused).extend(Id::new(body.id));
        with_outcome(flags, Outcome::Refused)
    }

    /// Notes which thread is polling the task.
    pub(crate) fn enter(&self, thread: u32) {
        self.running.store(thread, Relaxed);
    }

    /// Notes that a destructor runs, and not a poll.
    pub(crate) fn drops(&self) {
        self.flags.fetch_or(DROPPING, Relaxed);
    }

    /// Notes that the poll is over.
    pub(crate) fn leave(&self) {
        self.running.store(0, Relaxed);
    }

    /// Notes how the task ended, before [`Slot::free`]. The first word counts: who had to be ended
    /// by force has refused, whatever its destructors do.
    pub(crate) fn settle(&self, outcome: Outcome) {
        let _ = self.flags.fetch_update(Release, Relaxed, |flags| {
            (flags & OUTCOME_MASK == 0).then(|| with_outcome(flags, outcome))
        });
    }

    /// Notes with which waker the task is polled now, where that may change from poll to poll.
    pub(crate) fn polled_with(&self, waker: &Waker) {
        let mut waker = trace::waker::own(waker).clone();
        let mut body = lock(&self.body);
        body.tokio = tokio::task::try_id();
        // Where there is none, the poll is about to put it there.
        if let Some(known) = &mut body.waker {
            std::mem::swap(known, &mut waker);
        }
        drop(body);
        drop(waker);
    }

    /// Notes whom to wake for a bare shield, which whoever owns it may poll as part of another task
    /// each time.
    pub(crate) fn follow(&self, waker: &Waker) {
        let waker = trace::waker::own(waker);
        if is_own(&lock(&self.body), waker) {
            return;
        }
        let waker = waker.clone();
        let stale = lock(&self.body).waker.replace(waker);
        drop(stale);
    }

    /// Requests a cancellation, unless the task is gone.
    pub(crate) fn cancel(&self, id: Id) {
        let mut body = lock(&self.body);
        if body.id != id.get() {
            return;
        }
        let flags = self.flags.fetch_or(CANCEL | REQUESTED, Release);
        // Nobody polls a job: who listens in it is told from here.
        let mut told = if flags & JOB == 0 {
            Wakers::default()
        } else {
            receive(&body, flags).1
        };
        told.add(body.waker.take());
        drop(body);
        told.wake();
    }

    /// As the shutdown does: leaves a protected task alone, and drops no job that is queued.
    pub(crate) fn shut_down(&self, id: Id) {
        let body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        if body.id != id.get() {
            return;
        }
        if flags & BLOCKING == 0 {
            drop(body);
            if flags & PROTECTED == 0 {
                self.cancel(id);
            }
            return;
        }
        self.flags.fetch_or(REQUESTED, Release);
        let told = receive(&body, flags).1;
        drop(body);
        told.wake();
    }

    /// Ends it by force at its next poll, unless it is gone. Returns what it was doing.
    pub(crate) fn force(&self, id: Id) -> Option<TaskInfo> {
        let info = self.info(id)?;
        let body = lock(&self.body);
        if body.id == id.get() {
            self.flags.fetch_or(FORCE, Release);
        }
        drop(body);
        self.wake_if_attentive();
        Some(info)
    }

    /// What is known of it now, unless it is gone.
    pub(crate) fn info(&self, id: Id) -> Option<TaskInfo> {
        let body = lock(&self.body);
        let info = self.describe(&body, Moment::now());
        info.filter(|info| info.id == id)
    }

    /// Wakes it if something was requested of it; says whether it was woken.
    pub(crate) fn wake_if_attentive(&self) -> bool {
        // The flags are read under the lock: a task that has just decided to wait for the end of the
        // sweep is seen here, or sees the end.
        let mut body = lock(&self.body);
        if self.flags.load(Relaxed) & (CANCEL | FORCE) == 0 {
            return false;
        }
        let waker = body.waker.take();
        drop(body);
        waker.map(wake).is_some()
    }

    /// Whether the task is not gone yet.
    pub(crate) fn is_live(&self, id: Id) -> bool {
        lock(&self.body).id == id.get()
    }

    /// Whether the task lives and has not been told yet of the cancellation that is under way: what
    /// it spawns then is cancelled with it.
    fn is_untold(&self) -> bool {
        // In this order: when all are marked, this one is.
        let gate = self.registry.gate.load(SeqCst);
        let sweeping = gate & SWEEPING != 0 && self.phase() == turn_of(gate);
        let flags = self.flags.load(Acquire);
        let pending = sweeping || flags & CANCEL != 0;
        pending && flags & (ORDINARY | LATE | PROTECTED | SHIELDED) == ORDINARY
    }

    fn shard(&self) -> &'static Shard {
        self.shard_of(self.flags.load(Relaxed))
    }

    fn shard_of(&self, flags: u32) -> &'static Shard {
        &self.registry.shards[(flags >> SHARD_SHIFT & (SHARDS - 1)) as usize]
    }

    /// Makes it the place of a task. Nobody polls that yet, and the last one has left nothing.
    fn fill(&self, id: Id, flags: u32, born: Moment, birth: &Birth) {
        let mut body = lock(&self.body);
        body.id = id.get();
        body.location = birth.location;
        body.born = born;
        if let Some(name) = &birth.name {
            body.name = Some(Arc::clone(name));
        }
        self.flags.store(flags, Release);
    }

    /// Takes the slot back: the task and all it owned is gone. Its end is `outcome`, unless another
    /// one is noted.
    #[inline(never)]
    pub(crate) fn end(&'static self, outcome: Outcome) {
        /// An ordinary task has none of them at its end.
        const SPECIAL: u32 = CLASS_MASK | CRITICAL | GIVEN_UP | TRACE | OUTCOME_MASK;
        let mut body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        if flags & SPECIAL != 0 || body.name.is_some() || body.scopes.is_some() {
            drop(body);
            return self.end_special(outcome);
        }
        let waker = body.waker.take();
        body.id = 0;
        self.flags.store(0, Release);
        drop(body);
        self.release(flags, outcome, false, 0);
        drop(waker);
    }

    #[cold]
    #[inline(never)]
    fn end_special(&'static self, outcome: Outcome) {
        // The first word about it counts, so this one changes nothing where it has failed.
        if self.is_critical()
            && let (Some(run), Some(origin)) = (self.registry.run(), self.origin())
        {
            run.send(Command::CriticalEnded(origin, Problem::Ended));
        }
        #[cfg(feature = "tokio-util")]
        let heir = match self.kind() {
            Kind::Main => self.registry.run(),
            _ => None,
        };
        let mut body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        let waker = body.waker.take();
        let name = body.name.take();
        let scopes = body.scopes.take();
        // Main may have returned, and the program run on.
        #[cfg(feature = "tokio-util")]
        let token = match (&scopes, heir) {
            (Some(scopes), Some(run)) => scopes.leave_token_to(&run.cancelling),
            _ => None,
        };
        let ended = scopes.as_ref().map(|scopes| scopes.end());
        #[cfg(feature = "tracing")]
        let span = scopes.as_ref().and_then(|scopes| scopes.take_span());
        let group = scopes.as_ref().and_then(|scopes| scopes.take_group());
        let phase = match &scopes {
            Some(scopes) if flags & LATER != 0 => scopes.phase(),
            _ => 0,
        };
        let id = std::mem::take(&mut body.id);
        self.flags.store(0, Release);
        drop(body);
        if flags & TRACE != 0 {
            self.registry.answered(id, None);
        }
        if let Some(scopes) = scopes {
            self.shard_of(flags).keep(scopes);
        }
        let caught = matches!(ended, Some((true, _)));
        let outcome = self.release(flags, outcome, caught, phase);
        drop((waker, name));
        if let (Some(group), Some(id)) = (group, Id::new(id)) {
            group.ended(id, outcome, caught);
        }
        #[cfg(feature = "tracing")]
        drop(span);
        #[cfg(feature = "tokio-util")]
        token.into_iter().for_each(wake);
        if let Some((_, told)) = ended {
            told.wake();
        }
    }

    /// Counts the end, and has the slot back. Says what the end was.
    #[expect(
        clippy::inline_always,
        reason = "of an ordinary task nearly all of it is known before"
    )]
    #[inline(always)]
    fn release(&'static self, flags: u32, outcome: Outcome, caught: bool, phase: u8) -> usize {
        let class = class_of(flags);
        let given_up = flags & GIVEN_UP != 0;
        let outcome = match (flags & OUTCOME_MASK) >> OUTCOME_SHIFT {
            _ if given_up => Outcome::Refused as usize,
            0 => outcome as usize,
            noted => noted as usize,
        };
        let quiet = {
            let mut shard = lock(&self.shard_of(flags).state);
            shard.free.push(self);
            // No task, and yet refused if it was cut.
            if given_up || class != AS_BARE_SHIELD {
                shard.ended[outcome] += 1;
                shard.caught += u64::from(caught);
            }
            let count = if given_up {
                &mut shard.given_up
            } else {
                shard.awaited(class, phase)
            };
            *count -= 1;
            *count == 0
        };
        self.registry.note_end(flags, quiet);
        outcome
    }

    fn glance<'a>(&self, body: &'a Body, now: Moment) -> Option<Glance<'a>> {
        let flags = self.flags.load(Acquire);
        let label = Label {
            kind: kind_of(flags),
            id: Id::new(body.id)?,
            name: body.name.as_deref().map(|name| &**name),
            bare_shield: flags & BARE_SHIELD != 0,
        };
        Some(Glance {
            label,
            location: body.location,
            age: now.since(body.born),
            thread: self.running.load(Relaxed),
            dropping: flags & DROPPING != 0,
        })
    }

    /// What is known of it as of `now`.
    fn describe(&self, body: &Body, now: Moment) -> Option<TaskInfo> {
        let id = Id::new(body.id)?;
        let flags = self.flags.load(Acquire);
        let kind = kind_of(flags);
        let state = match self.running.load(Relaxed) {
            0 if flags & OUTCOME_MASK != 0 => State::Finished,
            0 if flags & NEW != 0 => State::NotStarted,
            0 if flags & (REQUESTED | FORCE) != 0 => State::Cancelling,
            0 => State::Suspended,
            thread => State::Running {
                thread: thread::name(thread),
                dropping: flags & DROPPING != 0,
            },
        };
        let places = body.scopes.as_ref().map(|scopes| scopes.places());
        let Places {
            caught,
            asked,
            shielded,
        } = places.unwrap_or_default();
        let bare_shield = flags & BARE_SHIELD != 0;
        Some(TaskInfo {
            id,
            name: body.name.as_deref().cloned(),
            location: body.location,
            kind,
            age: now.since(body.born),
            state,
            protected: flags & PROTECTED != 0,
            cooperative: flags & COOPERATIVE != 0,
            critical: flags & CRITICAL != 0,
            shutdown_phase: self.phase_in(body),
            caught,
            asked,
            shielded: shielded.or(bare_shield.then_some(body.location)),
            trace: None,
            // A shield in a task that is not ours cannot be ended by us, so it says nothing of it.
            unresponsive: flags & GIVEN_UP != 0 && kind != Kind::Blocking && !bare_shield,
            bare_shield,
        })
    }
}

/// What a task does about its own cancellation. All of it is for the code that the task is running,
/// unless said otherwise.
impl Slot {
    /// Whether the running code is the task's own, and not that of a task that is polled inside it.
    pub(crate) fn is_polled_here(&self) -> bool {
        lock(&self.body).tokio == tokio::task::try_id()
    }

    /// Whether it is a job that has started.
    pub(crate) fn is_job(&self) -> bool {
        self.flags.load(Relaxed) & JOB != 0
    }

    /// Whether a job was cancelled, or the shutdown cancels what there is.
    pub(crate) fn is_job_cancelled(&self) -> bool {
        self.flags.load(Acquire) & REQUESTED != 0 || self.registry.gate().1 >= Phase::Cancelling
    }

    fn scopes(&self, body: &mut Body) -> Arc<Scopes> {
        let scopes = body.scopes.get_or_insert_with(|| {
            let spare = lock(&self.shard().spare).pop();
            let scopes = spare.unwrap_or_else(|| Arc::new(Scopes::new()));
            // What came before there were any.
            let flags = self.flags.load(Relaxed);
            if flags & TOLD != 0 || flags & JOB != 0 && flags & REQUESTED != 0 {
                scopes.tell_root();
            }
            scopes
        });
        Arc::clone(scopes)
    }

    /// Receives a cancellation that is pending, where the task is not shielded.
    fn receive_now(&self, body: &mut Body) -> Wakers {
        let pending = self.flags.load(Acquire) & (CANCEL | SHIELDED) == CANCEL;
        // While all are being marked, nobody acts on it yet.
        if !pending || self.registry.is_sweeping() {
            return Wakers::default();
        }
        let flags = self.flags.fetch_or(TOLD | REARM, Release);
        self.flags.fetch_and(!CANCEL, Release);
        let mut told = receive(body, flags).1;
        // What was polled in this poll before has to be polled again, and `cancel_all`, which marks
        // first and wakes later, finds nothing to wake for any more.
        told.add(body.waker.take());
        told
    }

    /// Begins a catch, and receives what is pending. Also says whether `waker` is the task's own.
    pub(crate) fn begin_catch(&self, waker: &Waker) -> (Arc<Scopes>, u32, bool) {
        let mut body = lock(&self.body);
        let scopes = self.scopes(&mut body);
        let catch = scopes.begin_catch();
        let own = is_own(&body, waker);
        let told = self.receive_now(&mut body);
        drop(body);
        told.wake();
        (scopes, catch, own)
    }

    /// Ends a catch of the task that had these scopes, from wherever.
    pub(crate) fn end_catch(&self, scopes: &Arc<Scopes>, catch: u32) {
        let (again, told) = scopes.end_catch(catch);
        if again {
            self.put_back(scopes);
        }
        told.wake();
    }

    /// Requests once more what a task has received and nobody took up.
    #[cold]
    fn put_back(&self, scopes: &Arc<Scopes>) {
        let mut body = lock(&self.body);
        let mut told = Wakers::default();
        if has_scopes(&body, scopes) {
            self.flags.fetch_or(CANCEL, Release);
            told.add(body.waker.take());
        }
        drop(body);
        told.wake();
    }

    /// Notes that a catch yields.
    pub(crate) fn note_caught(&self, scopes: &Scopes, place: Place) -> Receipt {
        self.flags.fetch_or(RECEIVED, Relaxed);
        scopes.note_caught(place)
    }

    pub(crate) fn begin_shield(&self, place: Place) -> (Arc<Scopes>, u32) {
        let mut body = lock(&self.body);
        let scopes = self.scopes(&mut body);
        let shield = scopes.begin_shield(place);
        self.flags.fetch_or(SHIELDED, Release);
        (scopes, shield)
    }

    /// Ends a shield of the task that had these scopes, from wherever.
    pub(crate) fn end_shield(&self, scopes: &Arc<Scopes>, shield: u32) {
        let mut body = lock(&self.body);
        let last = scopes.end_shield(shield);
        let mut told = Wakers::default();
        // The slot may be another task's by now.
        if last && has_scopes(&body, scopes) {
            let flags = self.flags.fetch_and(!(SHIELDED | DEFERRED), Release);
            if flags & DEFERRED != 0 {
                self.flags.fetch_or(CANCEL, Release);
                told.add(body.waker.take());
            }
        }
        drop(body);
        told.wake();
    }

    /// Whether a cancellation is pending that the task would receive if it were suspended.
    pub(crate) fn must_suspend(&self) -> bool {
        self.flags.load(Acquire) & (CANCEL | SHIELDED) == CANCEL
    }

    /// Asks whether the scope that is running was cancelled, which makes it cooperative.
    pub(crate) fn ask(&self, place: Place) -> bool {
        let mut body = lock(&self.body);
        let scopes = self.cooperate(&mut body, place);
        // True even while all are being marked: it is told before it is asked what it makes of it.
        let requested = self.must_suspend();
        let told = self.receive_now(&mut body);
        drop(body);
        told.wake();
        requested || scopes.is_told()
    }

    /// Listens for the cancellation of the scope that is running, which makes it cooperative.
    pub(crate) fn listen(&self, place: Place) -> Ear {
        Ear::new(self.listening(place))
    }

    /// The scopes, for somebody who is to hear of the cancellation of the one that is running.
    pub(crate) fn listening(&self, place: Place) -> Arc<Scopes> {
        let mut body = lock(&self.body);
        let scopes = self.cooperate(&mut body, place);
        let told = self.receive_now(&mut body);
        drop(body);
        told.wake();
        scopes
    }

    fn cooperate(&self, body: &mut Body, place: Place) -> Arc<Scopes> {
        let scopes = self.scopes(body);
        if scopes.cooperate(place) {
            self.flags.fetch_or(COOPERATIVE, Release);
        }
        scopes
    }

    /// Makes the task itself cooperative, from wherever, unless it is gone.
    pub(crate) fn cooperate_at_root(&self, id: Id, place: Place) {
        let mut body = lock(&self.body);
        if body.id == id.get() {
            self.scopes(&mut body).cooperate_at_root(place);
            self.flags.fetch_or(COOPERATIVE, Release);
        }
    }

    /// Whether `waker` is the one that the task is polled with.
    pub(crate) fn is_own(&self, waker: &Waker) -> bool {
        is_own(&lock(&self.body), waker)
    }

    /// Whether what is cancelled may be a part of the task's own cancellation.
    pub(crate) fn may_receive(&self) -> bool {
        let requested = self.flags.load(Acquire) & REQUESTED != 0;
        requested || self.registry.run().is_some_and(|run| run.is_stopping())
    }

    /// Proves that the task has received a cancellation.
    pub(crate) fn issue_receipt(&self) -> Receipt {
        self.flags.fetch_or(RECEIVED, Relaxed);
        self.scopes(&mut lock(&self.body)).issue()
    }

    /// What another task has received is this one's now.
    pub(crate) fn adopt_receipts(&self, receipts: Receipts) {
        self.flags.fetch_or(RECEIVED, Relaxed);
        self.scopes(&mut lock(&self.body)).adopt(receipts);
    }

    /// Takes the receipts, if what the task has received is still somewhere.
    #[inline]
    pub(crate) fn take_live_receipts(&self) -> Option<Receipts> {
        if self.flags.load(Relaxed) & RECEIVED == 0 {
            return None;
        }
        self.look_for_receipts()
    }

    #[cold]
    fn look_for_receipts(&self) -> Option<Receipts> {
        lock(&self.body).scopes.as_ref()?.take_live_receipts()
    }
}

/// Whether the slot still is that of the task that had these scopes.
fn has_scopes(body: &Body, scopes: &Arc<Scopes>) -> bool {
    let own = body.scopes.as_ref();
    own.is_some_and(|own| Arc::ptr_eq(own, scopes))
}

/// Whether it is the waker that the task is polled with. Not known between a request and the poll
/// that follows.
fn is_own(body: &Body, waker: &Waker) -> bool {
    let waker = trace::waker::own(waker);
    body.waker.as_ref().is_some_and(|own| own.will_wake(waker))
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("id", &lock(&self.body).id)
            .finish_non_exhaustive()
    }
}

fn kind_bits(kind: Kind) -> u32 {
    let class = match kind {
        Kind::Main | Kind::Async | Kind::Local => ORDINARY,
        Kind::Blocking => BLOCKING,
        Kind::Callback | Kind::Hook => 0,
    };
    (kind as u32) << KIND_SHIFT | class
}

/// Those that a shard counts together.
const TASK: usize = 0;
const AS_JOB: usize = 1;
const AS_BARE_SHIELD: usize = 2;

fn class_of(flags: u32) -> usize {
    ((flags & CLASS_MASK) >> CLASS_SHIFT) as usize
}

fn kind_of(flags: u32) -> Kind {
    Kind::ALL[((flags & KIND_MASK) >> KIND_SHIFT) as usize]
}

/// Whether a task that is ended by force has not refused: it is in no scope that would have let it
/// do anything about its cancellation, which it had no chance to receive.
fn may_be_cut(body: &Body, flags: u32) -> bool {
    let plain = TOLD | LATE | PROTECTED | COOPERATIVE | GIVEN_UP | SHIELDED | DEFERRED;
    let catching = || body.scopes.as_ref().is_some_and(|it| it.is_catching());
    flags & plain == 0 && flags & CANCEL != 0 && !catching()
}

/// Tells all scopes of a cancellation; says whether one may catch it.
fn receive(body: &Body, flags: u32) -> (bool, Wakers) {
    let cooperative = flags & COOPERATIVE != 0;
    let received = body.scopes.as_ref().map(|it| it.receive(cooperative));
    received.unwrap_or_default()
}

fn with_outcome(flags: u32, outcome: Outcome) -> u32 {
    flags & !OUTCOME_MASK | (outcome as u32) << OUTCOME_SHIFT
}

/// A moment by a clock that ticks every few milliseconds: to read one that is exact takes as long as
/// the rest of what a task costs. Seconds, and in the lowest bits nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Moment(u64);

impl Moment {
    const NANOSECONDS: u32 = 30;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now() -> Self {
        use nix::time::{ClockId, clock_gettime};
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) else {
            return Self(0);
        };
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0) << Self::NANOSECONDS;
        Self(seconds | u64::try_from(now.tv_nsec()).unwrap_or(0))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn now() -> Self {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
        let seconds = elapsed.as_secs() << Self::NANOSECONDS;
        Self(seconds | u64::from(elapsed.subsec_nanos()))
    }

    fn since(self, earlier: Self) -> Duration {
        self.elapsed().saturating_sub(earlier.elapsed())
    }

    fn elapsed(self) -> Duration {
        let nanoseconds = self.0 & ((1 << Self::NANOSECONDS) - 1);
        Duration::from_secs(self.0 >> Self::NANOSECONDS) + Duration::from_nanos(nanoseconds)
    }
}

/// A part of the registry with a lock of its own.
#[repr(align(128))]
struct Shard {
    state: Mutex<ShardState>,
    /// Scopes of tasks that have ended, for others. A leaf below the lock of a slot.
    spare: Mutex<Vec<Arc<Scopes>>>,
}

impl Shard {
    fn new() -> Self {
        Self {
            state: Mutex::new(ShardState::default()),
            spare: Mutex::new(Vec::new()),
        }
    }

    /// Keeps scopes for another task, unless somebody still listens to them.
    fn keep(&self, mut scopes: Arc<Scopes>) {
        if Arc::get_mut(&mut scopes).is_some_and(Scopes::reset) {
            let mut spare = lock(&self.spare);
            if spare.len() < MOST_SPARE {
                spare.push(scopes);
            }
        }
    }
}

#[derive(Default)]
struct ShardState {
    chunks: Vec<&'static [Slot]>,
    /// Slots of the last chunk that were never used.
    fresh: std::slice::Iter<'static, Slot>,
    /// Slots that were, and are not now; with room for all there are.
    free: Vec<&'static Slot>,
    next_id: u64,
    end_of_ids: u64,
    /// How many are awaited, by [`class_of`], and how many were given up. Tasks that are not of phase 0
    /// are in `later`, by their phase.
    awaited: [usize; 3],
    later: Vec<usize>,
    given_up: usize,
    /// By [`Outcome`], since the run began; and how many of all had caught a cancellation.
    ended: [u64; 5],
    caught: u64,
}

/// How much there is to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Census {
    /// Tasks, main, callback and hooks included.
    pub(crate) tasks: usize,
    /// Blocking jobs.
    pub(crate) jobs: usize,
    /// Shields in tasks that are not ours.
    pub(crate) bare_shields: usize,
    /// Those that nobody waits for any longer.
    pub(crate) given_up: usize,
}

/// The tasks of one run.
pub(crate) struct Registry {
    /// The run's number, the turn, and in the lowest byte the run's phase, `SWEEPING` and `SEALED`.
    gate: AtomicU64,
    shards: [Shard; SHARDS as usize],
    /// Marks that every task of the run is born with: `COOPERATIVE` or none.
    default_marks: AtomicU32,
    /// Who was ended by force, since somebody last asked.
    refused: std::sync::Mutex<Vec<Id>>,
    survey: std::sync::Mutex<Survey>,
    tenancy: std::sync::Mutex<Tenancy>,
    /// Told when there may be less to wait for, from the reason to stop on.
    pub(crate) changed: Notify,
}

/// As with [`Slot`].
impl RefUnwindSafe for Registry {}

/// A walk over all slots, which several tasks of the runtime may share.
pub(crate) struct Walk {
    chunks: Vec<&'static [Slot]>,
    next: AtomicUsize,
}

impl Walk {
    /// How many are worth to share it, of those that may.
    pub(crate) fn share(&self, most: usize) -> usize {
        /// As many tasks are woken faster than another thread is.
        const FEW: usize = 1024;
        most.min(self.chunks.len() * CHUNK / FEW).max(1)
    }

    /// As [`wake_attentive`](Registry::wake_attentive), by a task of the runtime: what it wakes goes to
    /// the queue of its thread, and now and then it lets them come to their turn, before that is full.
    /// Counts the turns.
    pub(crate) async fn wake_attentive(&self, turns: &AtomicUsize) {
        /// Half of the queue of one of tokio's workers.
        const AT_ONCE: usize = 128;
        let mut woken = 0;
        while let Some(chunk) = self.chunks.get(self.next.fetch_add(1, Relaxed)) {
            woken += chunk.iter().filter(|slot| slot.wake_if_attentive()).count();
            if woken > AT_ONCE - CHUNK {
                woken = 0;
                turns.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Whose registry it is at present.
#[derive(Default)]
struct Tenancy {
    run: Option<Arc<Run>>,
    /// The run is over, and so is its control thread.
    over: bool,
}

static POOL: std::sync::Mutex<Vec<&'static Registry>> = std::sync::Mutex::new(Vec::new());

/// Runs so far; a run's number is never used again.
static EPOCHS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
/// Ids given to shards so far; 0 is no id.
static IDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

impl Registry {
    fn leak() -> &'static Self {
        Box::leak(Box::new(Self {
            gate: AtomicU64::new(Phase::Closed as u64),
            shards: std::array::from_fn(|_| Shard::new()),
            default_marks: AtomicU32::new(0),
            refused: std::sync::Mutex::new(Vec::new()),
            survey: std::sync::Mutex::default(),
            tenancy: std::sync::Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// An empty registry for a new run, and the run's number.
    pub(crate) fn open(default_marks: u32) -> (&'static Self, u64) {
        let pooled = lock_std(&POOL).pop();
        let registry = pooled.unwrap_or_else(Self::leak);
        for shard in &registry.shards {
            let mut shard = lock(&shard.state);
            (shard.ended, shard.caught) = Default::default();
        }
        lock_std(&registry.refused).clear();
        registry.default_marks.store(default_marks, Relaxed);
        let epoch = EPOCHS.fetch_add(1, Relaxed);
        registry.gate.store(epoch << EPOCH_SHIFT, SeqCst);
        (registry, epoch)
    }

    /// Names the run that the registry belongs to.
    pub(crate) fn attach(&self, run: Arc<Run>) {
        *lock_std(&self.tenancy) = Tenancy {
            run: Some(run),
            over: false,
        };
    }

    /// The run that the registry belongs to; there is one while a slot is in use.
    pub(crate) fn run(&self) -> Option<Arc<Run>> {
        lock_std(&self.tenancy).run.clone()
    }

    fn gate(&self) -> (u64, Phase) {
        let gate = self.gate.load(SeqCst);
        (gate >> EPOCH_SHIFT, phase_of(gate))
    }

    pub(crate) fn phase(&self, epoch: u64) -> Phase {
        match self.gate() {
            (now, phase) if now == epoch => phase,
            _ => Phase::Closed,
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.gate.load(SeqCst) >> EPOCH_SHIFT
    }

    fn is_sweeping(&self) -> bool {
        self.gate.load(SeqCst) & SWEEPING != 0
    }

    /// From now on no bare shield begins.
    pub(crate) fn seal(&self) {
        self.gate.fetch_or(SEALED, SeqCst);
    }

    /// Makes a phase known to everybody who spawns or asks. For the run's control thread only.
    pub(crate) fn set_phase(&self, phase: Phase) {
        let (epoch, _) = self.gate();
        let (sweeping, turn) = match phase {
            Phase::Cancelling => (SWEEPING, 0),
            _ if phase > Phase::Cancelling => (0, LAST_TURN),
            _ => (0, 0),
        };
        self.gate.store(
            epoch << EPOCH_SHIFT | u64::from(turn) << TURN_SHIFT | phase as u64 | sweeping,
            SeqCst,
        );
    }

    /// Where the phases of the shutdown are.
    pub(crate) fn turns(&self) -> Turns {
        let shards = self.all_shards();
        let turn = turn_of(self.gate.load(SeqCst));
        Turns {
            turn,
            waiting: shards.iter().map(|shard| shard.up_to(turn)).sum(),
            ahead: phases_after(turn, &shards).map(|_| 1).sum(),
        }
    }

    /// Whether there are tasks that are not of phase 0.
    pub(crate) fn has_later(&self) -> bool {
        let is_later = |shard: &MutexGuard<'_, ShardState>| shard.later.iter().any(|&it| it > 0);
        self.all_shards().iter().any(is_later)
    }

    /// Moves on to the next phase that has tasks, or past them all. `request_all` is to follow.
    pub(crate) fn next_turn(&self, is_last: bool) {
        // With all of them locked, nobody is admitted to a phase that is passed over.
        let shards = self.all_shards();
        let gate = self.gate.load(SeqCst);
        let next = phases_after(turn_of(gate), &shards).next();
        let next = next.filter(|_| !is_last).unwrap_or(LAST_TURN);
        let gate = gate & !(u64::from(LAST_TURN) << TURN_SHIFT) | SWEEPING;
        self.gate
            .store(gate | u64::from(next) << TURN_SHIFT, SeqCst);
    }

    /// Gives a task a place, or none when it comes too late. In either case an id.
    #[inline(never)]
    pub(crate) fn admit(
        &'static self,
        epoch: u64,
        parent: Option<&Slot>,
        birth: &Birth,
    ) -> (Option<&'static Slot>, Id) {
        if birth.phase.is_some() || parent.is_some_and(Slot::is_later) {
            return self.admit_later(epoch, parent, birth);
        }
        self.admit_to(epoch, parent, birth, 0)
    }

    #[cold]
    #[inline(never)]
    fn admit_later(
        &'static self,
        epoch: u64,
        parent: Option<&Slot>,
        birth: &Birth,
    ) -> (Option<&'static Slot>, Id) {
        self.admit_to(epoch, parent, birth, birth.phase_under(parent))
    }

    #[expect(
        clippy::inline_always,
        reason = "nearly always the phase is known to be 0"
    )]
    #[inline(always)]
    fn admit_to(
        &'static self,
        epoch: u64,
        parent: Option<&Slot>,
        birth: &Birth,
        phase: u8,
    ) -> (Option<&'static Slot>, Id) {
        let number = thread::number() % SHARDS;
        let born = Moment::now();
        let mut shard = lock(&self.shards[number as usize].state);
        // Under the lock: who marks all tasks after a change of the gate finds this one.
        let gate = self.gate.load(SeqCst);
        let mut flags = birth.flags;
        if gate != epoch << EPOCH_SHIFT {
            match late_flags(gate, epoch, parent, flags, phase) {
                Some(late) => flags = late,
                None => return (None, too_late()),
            }
        }
        if flags & ORDINARY != 0 {
            flags |= self.default_marks.load(Relaxed);
        }
        if phase != 0 {
            flags |= LATER;
        }
        let (slot, id) = shard.take(self, class_of(flags), phase);
        slot.fill(id, flags | number << SHARD_SHIFT, born, birth);
        if phase != 0 {
            slot.scopes(&mut lock(&slot.body)).keep_phase(phase);
        }
        drop(shard);
        if phase != 0 && gate & PHASE == Phase::Cancelling as u64 {
            // There may be a turn more than was known.
            self.changed();
        }
        #[cfg(feature = "tracing")]
        if tracing::dispatcher::has_been_set() {
            return span::inherit(slot, id, birth);
        }
        (Some(slot), id)
    }

    /// Something has ended; `quiet` if nothing of its class is left in its shard.
    fn note_end(&'static self, flags: u32, quiet: bool) {
        // The gate is read after the count was changed, and its change is followed by a look at
        // the counts: one of the two sees the other.
        if self.gate.load(SeqCst) & PHASE != Phase::Running as u64 {
            self.note_late_end(flags, quiet);
        }
    }

    #[inline(never)]
    fn note_late_end(&'static self, flags: u32, quiet: bool) {
        // Those are waited for by themselves, whatever else there is.
        let alone = matches!(
            Sort::of(flags),
            Sort::BareShield { .. } | Sort::Task(Kind::Callback | Kind::Hook | Kind::Main)
        );
        if quiet || alone {
            self.changed();
        }
    }

    #[cold]
    fn changed(&'static self) {
        // Under paused time the control thread owes a step now.
        if let Some(run) = self.run() {
            run.owe_change();
        }
        self.changed.notify_one();
        self.retire();
    }

    /// Ends the tenancy: the last thing that a run does with its registry.
    pub(crate) fn vacate(&'static self) {
        lock_std(&self.tenancy).over = true;
        self.retire();
    }

    /// Puts the registry back into the pool if its run is over and nothing lives in it.
    fn retire(&'static self) {
        let mut tenancy = lock_std(&self.tenancy);
        if tenancy.over && tenancy.run.is_some() && self.census() == Census::default() {
            let ended = tenancy.run.take();
            drop(tenancy);
            lock_std(&POOL).push(self);
            drop(ended);
        }
    }

    /// Counts, exactly: with all shards locked, nothing can move between them.
    pub(crate) fn census(&self) -> Census {
        self.all_shards()
            .iter()
            .fold(Census::default(), |sum, shard| Census {
                tasks: sum.tasks + shard.tasks(),
                jobs: sum.jobs + shard.awaited[AS_JOB],
                bare_shields: sum.bare_shields + shard.awaited[AS_BARE_SHIELD],
                given_up: sum.given_up + shard.given_up,
            })
    }

    /// How the tasks ended, and how many have not: as exactly.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for shard in self.all_shards() {
            for (sum, ended) in sum.ended.iter_mut().zip(shard.ended) {
                *sum += ended;
            }
            sum.caught += shard.caught;
            sum.alive += (shard.tasks() + shard.awaited[AS_JOB]) as u64;
            sum.given_up += shard.given_up as u64;
        }
        sum
    }

    fn all_shards(&self) -> Vec<MutexGuard<'_, ShardState>> {
        self.shards.iter().map(|shard| lock(&shard.state)).collect()
    }

    /// How many tasks of ours tokio counts as alive: not a main that `block_on` polls, and no jobs.
    pub(crate) fn count_of_tokio(&self) -> usize {
        let counts = |slot: &&Slot| {
            let body = lock(&slot.body);
            let flags = slot.flags.load(Relaxed);
            let here = kind_of(flags) == Kind::Main && flags & NEW == 0 && body.tokio.is_none();
            let task = matches!(Sort::of(flags), Sort::Task(_));
            body.id != 0 && task && !here && flags & JOB == 0
        };
        self.slots().filter(counts).count()
    }

    /// Looks at everything that lives, and waits for no lock; says how many it could not look at.
    pub(crate) fn glance(&self, mut look: impl FnMut(Glance<'_>)) -> usize {
        let now = Moment::now();
        let mut unseen = 0;
        for shard in &self.shards {
            let Some(shard) = try_lock(&shard.state) else {
                unseen += 1;
                continue;
            };
            for slot in shard.chunks.iter().copied().flatten() {
                match try_lock(&slot.body) {
                    Some(body) => slot.glance(&body, now).into_iter().for_each(&mut look),
                    None => unseen += 1,
                }
            }
        }
        unseen
    }

    fn slots(&self) -> impl Iterator<Item = &'static Slot> {
        self.shards.iter().flat_map(|shard| {
            let chunks = lock(&shard.state).chunks.clone();
            chunks.into_iter().flatten()
        })
    }

    /// Requests the cancellation of every task that is not protected; all are marked before the
    /// first is woken, or acts on it. The phase must be `Cancelling` already.
    #[cfg(test)]
    pub(crate) fn cancel_all(&self) {
        self.request_all(None);
        self.wake_attentive();
    }

    /// As far as marking is concerned; [`wake_attentive`](Self::wake_attentive) is to follow. Those whose
    /// turn it is: not again those who had theirs.
    pub(crate) fn request_all(&self, had_theirs: Option<u8>) {
        let turn = turn_of(self.gate.load(SeqCst));
        for slot in self.slots() {
            let body = lock(&slot.body);
            let flags = slot.flags.load(Relaxed);
            if body.id != 0 && flags & (ORDINARY | PROTECTED | LATE) == ORDINARY {
                let phase = slot.phase_in(&body);
                if phase <= turn && had_theirs.is_none_or(|turn| turn < phase) {
                    slot.flags.fetch_or(CANCEL | REQUESTED, Release);
                }
            }
        }
        self.gate.fetch_and(!SWEEPING, SeqCst);
    }

    /// Ends, at its next poll, every task that `applies`. Returns what they were doing.
    pub(crate) fn force(&self, applies: impl Fn(Sort) -> bool) -> Vec<TaskInfo> {
        let mut forced = Vec::new();
        let now = Moment::now();
        for slot in self.slots() {
            let body = lock(&slot.body);
            let flags = slot.flags.load(Relaxed);
            if body.id != 0 && flags & GIVEN_UP == 0 && applies(Sort::of(flags)) {
                forced.extend(slot.describe(&body, now));
                slot.flags.fetch_or(FORCE, Release);
            }
        }
        self.wake_attentive();
        forced
    }

    /// Wakes those of whom something was requested.
    pub(crate) fn wake_attentive(&self) {
        for slot in self.slots() {
            slot.wake_if_attentive();
        }
    }

    /// A walk over what is there now.
    pub(crate) fn walk(&self) -> Walk {
        let chunks = self
            .shards
            .iter()
            .map(|shard| lock(&shard.state).chunks.clone());
        Walk {
            chunks: chunks.flatten().collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Waits no longer for whatever `applies` to and is there. Returns what that is.
    pub(crate) fn give_up(&self, applies: impl Fn(Sort) -> bool) -> Vec<TaskInfo> {
        let mut left = Vec::new();
        let now = Moment::now();
        for slot in self.slots().filter(|slot| slot.is_in_use()) {
            // The shard first, so that the count and the mark change together.
            let mut shard = lock(&slot.shard().state);
            let body = lock(&slot.body);
            let flags = slot.flags.load(Relaxed);
            let sort = Sort::of(flags);
            if body.id == 0 || flags & GIVEN_UP != 0 || !applies(sort) {
                continue;
            }
            slot.flags.fetch_or(GIVEN_UP, Release);
            *shard.awaited(class_of(flags), slot.phase_in(&body)) -= 1;
            shard.given_up += 1;
            left.extend(slot.describe(&body, now));
        }
        left
    }

    /// The bare shields that began before tasks were cancelled.
    pub(crate) fn early_bare_shields(&self) -> Vec<(&'static Slot, Id)> {
        if self.census().bare_shields == 0 {
            return Vec::new();
        }
        let early = self.slots().filter_map(|slot| {
            let body = lock(&slot.body);
            let sort = Sort::of(slot.flags.load(Relaxed));
            let early = sort == Sort::BareShield { late: false };
            Some((slot, Id::new(body.id).filter(|_| early)?))
        });
        early.collect()
    }

    /// Takes the list of those that were ended by force.
    pub(crate) fn take_refused(&self) -> Vec<Id> {
        std::mem::take(&mut lock_std(&self.refused))
    }

    /// Takes those off the list: it was their group that ended them, and knows. A program may go on for
    /// months, and nobody else asks before it stops.
    pub(crate) fn forget_refused(&self, ids: &HashSet<Id>) {
        lock_std(&self.refused).retain(|id| !ids.contains(id));
    }

    /// Everything that lives, oldest first. `awaited` leaves out what was given up.
    pub(crate) fn tasks(&self, awaited: bool) -> Vec<TaskInfo> {
        let awaited = |slot: &Slot| !awaited || slot.flags.load(Relaxed) & GIVEN_UP == 0;
        // One moment for all: a walk that is interrupted must not make the later ones look older.
        let now = Moment::now();
        let mut tasks: Vec<_> = self
            .slots()
            .filter(|slot| awaited(slot))
            .filter_map(|slot| slot.describe(&lock(&slot.body), now))
            .collect();
        oldest_first(&mut tasks, |task| task);
        tasks
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("gate", &self.gate())
            .finish_non_exhaustive()
    }
}

/// Where the phases of the shutdown are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turns {
    /// Up to which one tasks are cancelled.
    pub(crate) turn: u8,
    /// How many of those there are.
    pub(crate) waiting: usize,
    /// How many phases with tasks are still to come.
    pub(crate) ahead: u32,
}

/// The phases after `turn` that have tasks, in their order.
fn phases_after(turn: u8, shards: &[MutexGuard<'_, ShardState>]) -> impl Iterator<Item = u8> {
    let known = shards.iter().map(|shard| shard.later.len()).max();
    let is_used = |phase: &u8| shards.iter().any(|shard| shard.later_in(*phase) > 0);
    let known = (0..=LAST_TURN).take(known.unwrap_or(0));
    known.skip(usize::from(turn) + 1).filter(is_used)
}

impl ShardState {
    /// The count of those that are awaited, of a class and a phase.
    #[inline]
    fn awaited(&mut self, class: usize, phase: u8) -> &mut usize {
        match phase {
            0 => &mut self.awaited[class],
            phase => &mut self.later[usize::from(phase)],
        }
    }

    fn later_in(&self, phase: u8) -> usize {
        self.later.get(usize::from(phase)).copied().unwrap_or(0)
    }

    /// How many tasks are awaited.
    fn tasks(&self) -> usize {
        self.awaited[TASK] + self.later.iter().sum::<usize>()
    }

    /// Of those, how many are of a phase up to `turn`.
    fn up_to(&self, turn: u8) -> usize {
        let later = self.later.iter().take(usize::from(turn) + 1);
        self.awaited[TASK] + later.sum::<usize>()
    }

    fn take(
        &mut self,
        registry: &'static Registry,
        class: usize,
        phase: u8,
    ) -> (&'static Slot, Id) {
        if phase != 0 && self.later.len() <= usize::from(phase) {
            self.later.resize(usize::from(phase) + 1, 0);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.take_fresh(registry),
        };
        if self.next_id == self.end_of_ids {
            self.next_id = IDS.fetch_add(ID_BLOCK, Relaxed);
            self.end_of_ids = self.next_id + ID_BLOCK;
        }
        let id = Id::new(self.next_id).expect("ids begin at 1");
        self.next_id += 1;
        *self.awaited(class, phase) += 1;
        (slot, id)
    }

    /// A slot that was never used, in their order, which memory likes; of a new chunk if need be.
    #[cold]
    #[inline(never)]
    fn take_fresh(&mut self, registry: &'static Registry) -> &'static Slot {
        if let Some(slot) = self.fresh.next() {
            return slot;
        }
        let chunk: Vec<Slot> = (0..CHUNK).map(|_| Slot::new(registry)).collect();
        let chunk: &'static [Slot] = Vec::leak(chunk);
        self.chunks.push(chunk);
        // So that the end of a task never allocates.
        self.free.reserve(self.chunks.len() * CHUNK);
        let (first, rest) = chunk.split_first().expect("a chunk is not empty");
        self.fresh = rest.iter();
        first
    }
}

fn turn_of(gate: u64) -> u8 {
    let [_, turn, ..] = gate.to_le_bytes();
    turn
}

fn phase_of(gate: u64) -> Phase {
    const PHASES: [Phase; 6] = [
        Phase::Running,
        Phase::Stopping,
        Phase::Cancelling,
        Phase::Draining,
        Phase::Finishing,
        Phase::Closed,
    ];
    PHASES[(gate & PHASE) as usize]
}

pub(crate) mod survey;

#[cfg(all(test, aiorun_loom))]
mod loom;
#[cfg(all(test, not(aiorun_loom)))]
mod tests;
