//! The registry: every task and every blocking job has a slot in it, from before it is spawned
//! until its future is gone.
//!
//! # Invariants
//!
//! 1. A slot never moves and is never freed: chunks of slots are leaked, and a whole registry goes
//!    back to a process-wide pool when its run is over and its last slot is free. So a task keeps a
//!    `&'static Slot`, eight bytes, and needs no reference count.
//! 2. A slot is reserved before its task is handed to tokio, and freed by the drop of the task's
//!    wrapper, after the user's future. A task that is never polled is counted all the same.
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
//! The gate tells the phase. It is read under the lock of the new slot, and changed before the
//! first slot is marked. So for each slot either the marker finds it filled, or its spawner finds
//! the gate changed; then the spawner decides whether the newcomer is born cancelled.
//!
//! # Deadlock safety
//!
//! Lock order: shard, then slot, then leaves that take no lock (names of threads, the list of who
//! refused). Wakers are cloned, woken and dropped, and names are dropped, with no lock held: a
//! waker's drop may drop a task, whose drop frees a slot.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::output::Origin;
use crate::phase::Phase;
use crate::run::Run;
use crate::sync::{AtomicU32, AtomicU64, Mutex, lock, lock_std};
use crate::task::{Id, Kind, State, TaskInfo};
use crate::thread;

/// How many parts the registry has, so that workers rarely meet at a lock.
const SHARDS: usize = if cfg!(aiorun_loom) { 1 } else { 8 };
/// Slots of one chunk: 6 KiB, so that growing is never a pause.
const CHUNK: usize = if cfg!(aiorun_loom) { 2 } else { 64 };
/// Ids that a shard takes from the process at once.
const ID_BLOCK: u64 = 64;
/// In the gate: not every task is marked yet, so those that are wait for the wake that follows.
/// Otherwise a task that runs could see its child cancelled before itself.
const SWEEPING: u64 = 1 << 7;
/// The end of a free list.
const NOTHING: u32 = u32::MAX;

/// Not polled yet: the waker is missing.
const NEW: u32 = 1;
/// A cancellation was requested and is not received yet.
const CANCEL: u32 = 1 << 1;
/// The limit has passed: the task ends at its next poll, whatever it is doing.
const FORCE: u32 = 1 << 2;
/// The flags that a poll has to look into.
const ATTENTION: u32 = NEW | CANCEL | FORCE;

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

const KIND_SHIFT: u32 = 16;
const KIND_MASK: u32 = 0b111 << KIND_SHIFT;
const OUTCOME_SHIFT: u32 = 24;
const OUTCOME_MASK: u32 = 0b111 << OUTCOME_SHIFT;

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
    pub(crate) kind: Kind,
    pub(crate) name: Name,
    pub(crate) location: &'static Location<'static>,
    /// `PROTECTED`, `COOPERATIVE`, `CRITICAL`.
    pub(crate) marks: u32,
}

impl Birth {
    /// A task without a name or marks.
    pub(crate) fn plain(kind: Kind, location: &'static Location<'static>) -> Self {
        Self {
            kind,
            name: None,
            location,
            marks: 0,
        }
    }

    fn too_late(self) -> Origin {
        let id = Id::new(IDS.fetch_add(1, Relaxed)).expect("ids begin at 1");
        Origin {
            id,
            name: self.name,
            location: self.location,
            kind: self.kind,
        }
    }
}

/// The place of one task.
pub(crate) struct Slot {
    /// Attention, marks, kind and outcome.
    flags: AtomicU32,
    /// While in use: the number of the thread that is polling the task, or 0. While free: the index
    /// of the next free slot of the shard.
    running: AtomicU32,
    registry: &'static Registry,
    index: u32,
    shard: u8,
    body: Mutex<Body>,
}

struct Body {
    /// The task's id, or 0 while the slot is free.
    id: u64,
    waker: Option<Waker>,
    name: Name,
    location: &'static Location<'static>,
    /// In microseconds of [`clock`].
    born: u64,
}

/// What a task does at the start of a poll that its flags drew attention to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Poll,
    Drop,
    /// Neither: it is about to be woken.
    Wait,
}

impl Slot {
    fn new(registry: &'static Registry, shard: u8, index: u32) -> Self {
        Self {
            flags: AtomicU32::new(0),
            running: AtomicU32::new(NOTHING),
            registry,
            index,
            shard,
            body: Mutex::new(Body {
                id: 0,
                waker: None,
                name: None,
                location: Location::caller(),
                born: 0,
            }),
        }
    }

    pub(crate) fn registry(&self) -> &'static Registry {
        self.registry
    }

    pub(crate) fn kind(&self) -> Kind {
        kind_of(self.flags.load(Relaxed))
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
    #[cold]
    #[inline(never)]
    pub(crate) fn attend(&self, waker: &Waker) -> Verdict {
        // Main's waker may be anybody's: it is cloned and dropped with no lock held.
        let waker = waker.clone();
        let mut body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        let mut stale = None;
        let mut next = flags & !NEW;
        let verdict = if flags & FORCE != 0 {
            // A plain task that was cut before it could receive its cancellation did not refuse.
            let plain = flags & (TOLD | LATE | PROTECTED | COOPERATIVE | GIVEN_UP) == 0;
            if !(plain && flags & CANCEL != 0) {
                next = self.refuse(&body, next);
            }
            Verdict::Drop
        } else if flags & CANCEL == 0 {
            stale = body.waker.replace(waker);
            Verdict::Poll
        } else if self.registry.gate.load(SeqCst) & SWEEPING != 0 {
            stale = body.waker.replace(waker);
            Verdict::Wait
        } else if flags & COOPERATIVE == 0 {
            next &= !CANCEL;
            Verdict::Drop
        } else {
            next = next & !CANCEL | TOLD;
            stale = body.waker.replace(waker);
            Verdict::Poll
        };
        self.flags.store(next, Release);
        drop(body);
        drop(stale);
        verdict
    }

    /// For a job, at its start: whether it was cancelled while it was queued.
    pub(crate) fn start_job(&self) -> Verdict {
        let body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        let mut next = flags & !NEW;
        let verdict = if flags & FORCE != 0 {
            // Only the callback is forced. Its time is over, and it has done nothing.
            next = self.refuse(&body, next);
            Verdict::Drop
        } else if flags & CANCEL != 0 {
            Verdict::Drop
        } else {
            Verdict::Poll
        };
        self.flags.store(next, Release);
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
        let waker = waker.clone();
        let mut body = lock(&self.body);
        // Where there is none, the poll is about to put it there.
        let known = body.waker.as_mut();
        let stale = known.map(|known| std::mem::replace(known, waker));
        drop(body);
        drop(stale);
    }

    /// Requests a cancellation, unless the task is gone.
    pub(crate) fn cancel(&self, id: Id) {
        let mut body = lock(&self.body);
        if body.id != id.get() {
            return;
        }
        self.flags.fetch_or(CANCEL | REQUESTED, Release);
        let waker = body.waker.take();
        drop(body);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the task is not gone yet.
    pub(crate) fn is_live(&self, id: Id) -> bool {
        lock(&self.body).id == id.get()
    }

    /// Whether the task lives and has not been told yet of the cancellation that is under way: what
    /// it spawns then is cancelled with it.
    fn is_untold(&self) -> bool {
        let flags = self.flags.load(Acquire);
        let plain = matches!(kind_of(flags), Kind::Main | Kind::Async | Kind::Local);
        plain && flags & (TOLD | LATE | PROTECTED) == 0
    }

    fn fill(&'static self, id: Id, birth: Birth, parent: Option<&Slot>, epoch: u64) -> bool {
        let born = clock();
        let mut body = lock(&self.body);
        let (now, phase) = self.registry.gate();
        let too_late = if birth.kind == Kind::Main {
            Phase::Stopping
        } else {
            Phase::Closed
        };
        if now != epoch || phase >= too_late {
            return false;
        }
        let mut marks = birth.marks;
        if matches!(birth.kind, Kind::Main | Kind::Async | Kind::Local) {
            marks |= self.registry.default_marks.load(Relaxed);
        }
        let mut flags = NEW | marks | (birth.kind as u32) << KIND_SHIFT;
        if phase >= Phase::Cancelling {
            flags |= match parent {
                Some(parent) if parent.is_untold() && birth.marks & PROTECTED == 0 => {
                    CANCEL | REQUESTED
                }
                _ => LATE,
            };
            if birth.kind == Kind::Blocking {
                flags &= !(CANCEL | REQUESTED);
            }
        }
        *body = Body {
            id: id.get(),
            waker: None,
            name: birth.name,
            location: birth.location,
            born,
        };
        self.running.store(0, Relaxed);
        self.flags.store(flags, Release);
        true
    }

    /// Takes the slot back: the task and all it owned is gone.
    pub(crate) fn free(&'static self) {
        let mut body = lock(&self.body);
        let flags = self.flags.load(Relaxed);
        let waker = body.waker.take();
        let name = body.name.take();
        body.id = 0;
        self.flags.store(0, Release);
        drop(body);
        self.registry.release(self, flags);
        drop((waker, name));
    }

    /// A look at the task from outside.
    fn info(&self) -> Option<TaskInfo> {
        self.describe(&lock(&self.body), clock())
    }

    /// What is known of it as of `now`, a time of [`clock`].
    fn describe(&self, body: &Body, now: u64) -> Option<TaskInfo> {
        let id = Id::new(body.id)?;
        let flags = self.flags.load(Acquire);
        let kind = kind_of(flags);
        let state = match self.running.load(Relaxed) {
            0 if flags & NEW != 0 => State::NotStarted,
            0 if flags & (REQUESTED | FORCE) != 0 => State::Cancelling,
            0 => State::Suspended,
            thread => State::Running {
                thread: thread::name(thread),
            },
        };
        Some(TaskInfo {
            id,
            name: body.name.as_deref().cloned(),
            location: body.location,
            kind,
            age: Duration::from_micros(now.saturating_sub(body.born)),
            state,
            protected: flags & PROTECTED != 0,
            cooperative: flags & COOPERATIVE != 0,
            critical: flags & CRITICAL != 0,
        })
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

fn kind_of(flags: u32) -> Kind {
    Kind::ALL[((flags & KIND_MASK) >> KIND_SHIFT) as usize]
}

fn with_outcome(flags: u32, outcome: Outcome) -> u32 {
    flags & !OUTCOME_MASK | (outcome as u32) << OUTCOME_SHIFT
}

/// Microseconds since the first call; one word where `Instant` has two.
fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros())
}

/// A part of the registry with a lock of its own.
#[repr(align(128))]
struct Shard(Mutex<ShardState>);

#[derive(Default)]
struct ShardState {
    chunks: Vec<&'static [Slot]>,
    /// The head of the free list, through `Slot::running`; `None` when a chunk is needed.
    free: Option<u32>,
    next_id: u64,
    end_of_ids: u64,
    /// Tasks and jobs that are awaited, and those that were given up.
    tasks: usize,
    jobs: usize,
    given_up: usize,
    /// By [`Outcome`], since the run began.
    ended: [u64; 5],
}

/// How much there is to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Census {
    /// Tasks, main, callback and hooks included.
    pub(crate) tasks: usize,
    /// Blocking jobs.
    pub(crate) jobs: usize,
    /// Those that nobody waits for any longer.
    pub(crate) given_up: usize,
}

/// The tasks of one run.
pub(crate) struct Registry {
    /// The run's number, and in the lowest byte its phase and `SWEEPING`.
    gate: AtomicU64,
    shards: Box<[Shard]>,
    /// Marks that every task of the run is born with: `COOPERATIVE` or none.
    default_marks: AtomicU32,
    /// Who was ended by force, since somebody last asked.
    refused: std::sync::Mutex<Vec<Id>>,
    tenancy: std::sync::Mutex<Tenancy>,
    /// Told when there may be less to wait for, from the reason to stop on.
    pub(crate) changed: Notify,
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
        let shards = (0..SHARDS)
            .map(|_| Shard(Mutex::new(ShardState::default())))
            .collect();
        Box::leak(Box::new(Self {
            gate: AtomicU64::new(Phase::Closed as u64),
            shards,
            default_marks: AtomicU32::new(0),
            refused: std::sync::Mutex::new(Vec::new()),
            tenancy: std::sync::Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// An empty registry for a new run, and the run's number.
    pub(crate) fn open(default_marks: u32) -> (&'static Self, u64) {
        let pooled = lock_std(&POOL).pop();
        let registry = pooled.unwrap_or_else(Self::leak);
        for shard in &registry.shards {
            lock(&shard.0).ended = Default::default();
        }
        lock_std(&registry.refused).clear();
        registry.default_marks.store(default_marks, Relaxed);
        let epoch = EPOCHS.fetch_add(1, Relaxed);
        registry.gate.store(epoch << 8, SeqCst);
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
        (gate >> 8, phase_of(gate))
    }

    pub(crate) fn phase(&self, epoch: u64) -> Phase {
        match self.gate() {
            (now, phase) if now == epoch => phase,
            _ => Phase::Closed,
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.gate().0
    }

    /// Makes a phase known to everybody who spawns or asks. For the run's control thread only.
    pub(crate) fn set_phase(&self, phase: Phase) {
        let (epoch, _) = self.gate();
        let sweeping = if phase == Phase::Cancelling {
            SWEEPING
        } else {
            0
        };
        self.gate
            .store(epoch << 8 | phase as u64 | sweeping, SeqCst);
    }

    /// Gives a task a place.
    ///
    /// # Errors
    ///
    /// When the run is over.
    pub(crate) fn reserve(
        &'static self,
        epoch: u64,
        parent: Option<&Slot>,
        birth: Birth,
    ) -> Result<(&'static Slot, Origin), Origin> {
        if self.phase(epoch) == Phase::Closed {
            // A late caller must not touch the counts of a run that is not its own.
            return Err(birth.too_late());
        }
        let number = thread::number() as usize % self.shards.len();
        let job = birth.kind == Kind::Blocking;
        let shard = &self.shards[number].0;
        let (slot, id) = lock(shard).take(self, u8::try_from(number).unwrap_or(0), job);
        let origin = Origin {
            id,
            name: birth.name.clone(),
            location: birth.location,
            kind: birth.kind,
        };
        if slot.fill(id, birth, parent, epoch) {
            return Ok((slot, origin));
        }
        lock(shard).put_back(slot, job);
        // Somebody may have counted it meanwhile.
        if self.gate().1 != Phase::Running {
            self.changed();
        }
        Err(origin)
    }

    fn release(&'static self, slot: &'static Slot, flags: u32) {
        let kind = kind_of(flags);
        let given_up = flags & GIVEN_UP != 0;
        let outcome = if given_up {
            Outcome::Refused as u32
        } else {
            (flags & OUTCOME_MASK) >> OUTCOME_SHIFT
        };
        let quiet = {
            let mut shard = lock(&self.shards[usize::from(slot.shard)].0);
            shard.push_free(slot);
            shard.ended[outcome as usize] += 1;
            let count = match kind {
                _ if given_up => &mut shard.given_up,
                Kind::Blocking => &mut shard.jobs,
                _ => &mut shard.tasks,
            };
            *count -= 1;
            *count == 0
        };
        // The gate is read after the count was changed, and its change is followed by a look at
        // the counts: one of the two sees the other.
        let phase = self.gate().1;
        if phase == Phase::Running {
            return;
        }
        if quiet || matches!(kind, Kind::Callback | Kind::Hook | Kind::Main) {
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
        let shards: Vec<_> = self.shards.iter().map(|shard| lock(&shard.0)).collect();
        shards.iter().fold(Census::default(), |sum, shard| Census {
            tasks: sum.tasks + shard.tasks,
            jobs: sum.jobs + shard.jobs,
            given_up: sum.given_up + shard.given_up,
        })
    }

    /// How the tasks ended, and how many have not.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for shard in &self.shards {
            for (sum, ended) in sum.ended.iter_mut().zip(lock(&shard.0).ended) {
                *sum += ended;
            }
        }
        // Not the shards' counts: those have a newcomer before it is let in.
        for slot in self.slots().filter(|slot| slot.is_in_use()) {
            if slot.flags.load(Relaxed) & GIVEN_UP == 0 {
                sum.alive += 1;
            } else {
                sum.given_up += 1;
            }
        }
        sum
    }

    fn slots(&self) -> impl Iterator<Item = &'static Slot> {
        self.shards.iter().flat_map(|shard| {
            let chunks = lock(&shard.0).chunks.clone();
            chunks.into_iter().flatten()
        })
    }

    /// Requests the cancellation of every task that is not protected; all are marked before the
    /// first is woken, or acts on it. The phase must be `Cancelling` already.
    pub(crate) fn cancel_all(&self) {
        for slot in self.slots() {
            let body = lock(&slot.body);
            let flags = slot.flags.load(Relaxed);
            let spared = flags & (PROTECTED | LATE) != 0
                || matches!(kind_of(flags), Kind::Blocking | Kind::Callback | Kind::Hook);
            if body.id != 0 && !spared {
                slot.flags.fetch_or(CANCEL | REQUESTED, Release);
            }
        }
        self.gate.fetch_and(!SWEEPING, SeqCst);
        self.wake_attentive();
    }

    /// Ends, at its next poll, every task that `applies`. Returns what they were doing.
    pub(crate) fn force(&self, applies: impl Fn(Kind) -> bool) -> Vec<TaskInfo> {
        let mut forced = Vec::new();
        let now = clock();
        for slot in self.slots() {
            let body = lock(&slot.body);
            let flags = slot.flags.load(Relaxed);
            if body.id != 0 && flags & GIVEN_UP == 0 && applies(kind_of(flags)) {
                forced.extend(slot.describe(&body, now));
                slot.flags.fetch_or(FORCE, Release);
            }
        }
        self.wake_attentive();
        forced
    }

    fn wake_attentive(&self) {
        for slot in self.slots() {
            // The flags are read under the lock: a task that has just decided to wait for the end
            // of the sweep is seen here, or sees the end.
            let mut body = lock(&slot.body);
            if slot.flags.load(Relaxed) & (CANCEL | FORCE) == 0 {
                continue;
            }
            let waker = body.waker.take();
            drop(body);
            if let Some(waker) = waker {
                // tokio's do not panic, but main may be polled by anybody.
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }

    /// Waits no longer for whatever `applies` to and is there. Returns what that is.
    pub(crate) fn give_up(&self, applies: impl Fn(Kind) -> bool) -> Vec<TaskInfo> {
        let mut left = Vec::new();
        for slot in self.slots() {
            let Some(info) = slot.info().filter(|info| applies(info.kind)) else {
                continue;
            };
            // The shard first, so that the count and the mark change together.
            let mut shard = lock(&self.shards[usize::from(slot.shard)].0);
            let body = lock(&slot.body);
            if body.id != info.id.get() || slot.flags.load(Relaxed) & GIVEN_UP != 0 {
                continue;
            }
            slot.flags.fetch_or(GIVEN_UP, Release);
            if info.kind == Kind::Blocking {
                shard.jobs -= 1;
            } else {
                shard.tasks -= 1;
            }
            shard.given_up += 1;
            drop((body, shard));
            left.push(info);
        }
        left
    }

    /// Takes the list of those that were ended by force.
    pub(crate) fn take_refused(&self) -> Vec<Id> {
        std::mem::take(&mut lock_std(&self.refused))
    }

    /// Everything that lives, oldest first. `awaited` leaves out what was given up.
    pub(crate) fn tasks(&self, awaited: bool) -> Vec<TaskInfo> {
        let awaited = |slot: &Slot| !awaited || slot.flags.load(Relaxed) & GIVEN_UP == 0;
        // One moment for all: a walk that is interrupted must not make the later ones look older.
        let now = clock();
        let mut tasks: Vec<_> = self
            .slots()
            .filter(|slot| awaited(slot))
            .filter_map(|slot| slot.describe(&lock(&slot.body), now))
            .collect();
        tasks.sort_by_key(|task| (std::cmp::Reverse(task.age), task.id));
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

impl ShardState {
    fn take(&mut self, registry: &'static Registry, shard: u8, job: bool) -> (&'static Slot, Id) {
        let index = self.free.unwrap_or_else(|| self.grow(registry, shard));
        let slot = self.slot(index);
        self.free = Some(slot.running.load(Relaxed)).filter(|next| *next != NOTHING);
        if self.next_id == self.end_of_ids {
            self.next_id = IDS.fetch_add(ID_BLOCK, Relaxed);
            self.end_of_ids = self.next_id + ID_BLOCK;
        }
        let id = Id::new(self.next_id).expect("ids begin at 1");
        self.next_id += 1;
        *(if job { &mut self.jobs } else { &mut self.tasks }) += 1;
        (slot, id)
    }

    /// Undoes [`ShardState::take`] for a task that came too late.
    fn put_back(&mut self, slot: &'static Slot, job: bool) {
        self.push_free(slot);
        *(if job { &mut self.jobs } else { &mut self.tasks }) -= 1;
    }

    fn slot(&self, index: u32) -> &'static Slot {
        let index = index as usize;
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    fn push_free(&mut self, slot: &'static Slot) {
        slot.running.store(self.free.unwrap_or(NOTHING), Relaxed);
        self.free = Some(slot.index);
    }

    /// Adds a chunk; returns its first slot, with the others behind it in the free list.
    fn grow(&mut self, registry: &'static Registry, shard: u8) -> u32 {
        let first = u32::try_from(self.chunks.len() * CHUNK).expect("fewer than 2^32 tasks");
        let last = first + u32::try_from(CHUNK).expect("a chunk is small") - 1;
        let chunk: Vec<Slot> = (first..=last)
            .map(|index| Slot::new(registry, shard, index))
            .collect();
        for slot in &chunk[..CHUNK - 1] {
            slot.running.store(slot.index + 1, Relaxed);
        }
        self.chunks.push(Vec::leak(chunk));
        first
    }
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
    PHASES[(gate & 0xff & !SWEEPING) as usize]
}

#[cfg(all(test, aiorun_loom))]
mod loom;
#[cfg(all(test, not(aiorun_loom)))]
mod tests;
