//! The same programs as futures, in a task that is polled by hand.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures::StreamExt as _;
use futures::future::{join_all, poll_fn, select};
use futures::stream::FuturesUnordered;

use super::program::{Case, Event, Look, Op, Program, Seen, Turn, Wakers};
use crate::cancellation::{Cancellation, cancelled, checkpoint, is_cancelled};
use crate::catch::catch_cancel;
use crate::phase::Phase;
use crate::registry::{Birth, COOPERATIVE, Outcome, Registry, Slot, Tally};
use crate::scope::Scopes;
use crate::shield::shield;
use crate::supervised::{Place, Plain, Supervised};
use crate::sync::lock;
use crate::task::{Id, Kind};

/// A task that has not come to rest after so many polls never will.
const MOST_POLLS: usize = 1_000;

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// A registry of a run that only exists in name.
pub(super) struct Bench {
    registry: &'static Registry,
    epoch: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        let (registry, epoch) = Registry::open(0);
        Self { registry, epoch }
    }

    fn reserve(&self, marks: u32) -> (&'static Slot, Id) {
        let birth = Birth {
            kind: Kind::Async,
            name: None,
            location: Location::caller(),
            marks,
        };
        let placed = self.registry.reserve(self.epoch, None, birth);
        let (slot, origin) = placed.expect("the run is not over");
        (slot, origin.id)
    }

    /// The scopes that the next task will get, which must be as new.
    fn spare_scopes(&self) -> *const Scopes {
        let (slot, _) = self.reserve(0);
        let (scopes, shield) = slot.begin_shield(Location::caller());
        slot.end_shield(&scopes, shield);
        let tree = lock(&scopes.tree);
        assert!(tree.nodes.is_empty());
        assert!(!tree.root.told && !tree.root.cooperative && !tree.unclaimed);
        assert!(tree.root.asked.is_none() && tree.caught.is_none());
        assert!(!tree.receipts.is_live());
        drop(tree);
        assert!(!scopes.has_fired() && !scopes.has_ended());
        let address = Arc::as_ptr(&scopes);
        drop(scopes);
        slot.free();
        address
    }

    /// What is seen, turn by turn.
    pub(super) fn run(&self, case: &Case) -> Vec<Turn> {
        let spare = self.spare_scopes();
        let before = self.registry.tally();
        let (slot, id) = self.reserve(if case.cooperative { COOPERATIVE } else { 0 });
        let world = Rc::new(World::new(slot, id));
        let mut task = Some(Task::new(&case.program, &world, case.moves));
        let mut turns = Vec::new();
        let last = [vec![Event::Abort]];
        for events in case.turns.iter().chain(&last) {
            for event in events {
                match event {
                    Event::Release(label) => world.release(*label),
                    Event::Cancel => slot.cancel(id),
                    Event::Shutdown => {
                        self.registry.set_phase(Phase::Cancelling);
                        self.registry.cancel_all();
                        self.registry.set_phase(Phase::Running);
                    }
                    Event::Limit => drop(self.registry.force(|_| true)),
                    Event::Abort => task = None,
                }
            }
            if task.as_mut().is_some_and(Task::settle) {
                task = None;
            }
            if task.is_none() {
                let (outcome, caught) = self.ended_since(&before);
                let refused = self.registry.take_refused();
                assert_eq!(refused.contains(&id), outcome == Outcome::Refused);
                world.see(Seen::Ended { outcome, caught });
            }
            turns.push(Turn {
                seen: world.log.take(),
                look: task.as_ref().map(|_| self.look(id)),
            });
            if task.is_none() {
                break;
            }
        }
        assert_eq!(self.registry.census().tasks, 0, "the slot is free");
        assert_eq!(self.spare_scopes(), spare, "the scopes are used again");
        turns
    }

    /// How the one task ended that did.
    fn ended_since(&self, before: &Tally) -> (Outcome, bool) {
        let after = self.registry.tally();
        let outcomes = [
            Outcome::Cancelled,
            Outcome::Completed,
            Outcome::Failed,
            Outcome::Panicked,
            Outcome::Refused,
        ];
        let more =
            |outcome: &Outcome| after.ended[*outcome as usize] - before.ended[*outcome as usize];
        assert_eq!(
            outcomes.iter().map(more).sum::<u64>(),
            1,
            "it is counted once"
        );
        let outcome = outcomes.into_iter().find(|outcome| more(outcome) == 1);
        let caught = after.caught - before.caught;
        (outcome.expect("one of these"), caught == 1)
    }

    fn look(&self, id: Id) -> Look {
        let tasks = self.registry.tasks(false);
        let info = tasks.iter().find(|task| task.id == id);
        let info = info.expect("it lives");
        Look {
            cooperative: info.cooperative,
            asked: info.asked.is_some(),
            shielded: info.shielded.is_some(),
            caught: info.caught.is_some(),
        }
    }
}

/// A task, and whether it was woken.
struct Task {
    future: Pin<Box<Supervised<Work, Plain>>>,
    alarm: Arc<Alarm>,
    moves: bool,
}

#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Task {
    fn new(program: &Program, world: &Rc<World>, moves: bool) -> Self {
        let work = world.work(program);
        let pocket = Emptied(Rc::clone(world));
        let main: Work = Box::pin(async move {
            let _pocket = pocket;
            work.await;
        });
        Self {
            future: Box::pin(Supervised::new(main, Place::new(world.slot))),
            alarm: Arc::new(Alarm(AtomicBool::new(true))),
            moves,
        }
    }

    /// Polls for as long as it is woken; says whether it has ended.
    fn settle(&mut self) -> bool {
        for _ in 0..MOST_POLLS {
            if !self.alarm.0.swap(false, SeqCst) {
                return false;
            }
            if self.moves {
                self.alarm = Arc::default();
            }
            let waker = Waker::from(Arc::clone(&self.alarm));
            if self.moves {
                self.future.as_mut().polled_with(&waker);
            }
            if self
                .future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                return true;
            }
        }
        panic!("it never comes to rest");
    }
}

/// Empties the pocket when the task is dropped, for what is in there refers to the world.
struct Emptied(Rc<World>);

impl Drop for Emptied {
    fn drop(&mut self) {
        drop(self.0.begun.take());
        drop(self.0.bound.take());
    }
}

/// What the parts of a program share.
struct World {
    slot: &'static Slot,
    id: Id,
    released: RefCell<Vec<usize>>,
    /// Who waits to be released.
    waiting: RefCell<Vec<(usize, Waker)>>,
    bound: Cell<Option<Cancellation>>,
    begun: Cell<Option<Work>>,
    log: RefCell<Vec<Seen>>,
}

/// Notes that it was dropped, unless it was done before.
struct Guard {
    world: Rc<World>,
    label: usize,
    done: bool,
}

impl Guard {
    fn done(mut self, seen: Seen) {
        self.done = true;
        self.world.see(seen);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            self.world.see(Seen::Dropped(self.label));
        }
    }
}

impl World {
    fn new(slot: &'static Slot, id: Id) -> Self {
        Self {
            slot,
            id,
            released: RefCell::default(),
            waiting: RefCell::default(),
            bound: Cell::default(),
            begun: Cell::default(),
            log: RefCell::default(),
        }
    }

    fn see(&self, seen: Seen) {
        self.log.borrow_mut().push(seen);
    }

    fn begin(self: &Rc<Self>, label: usize) -> Guard {
        self.see(Seen::Begun(label));
        Guard {
            world: Rc::clone(self),
            label,
            done: false,
        }
    }

    fn release(&self, label: usize) {
        self.released.borrow_mut().push(label);
        self.waiting.borrow_mut().retain(|(waiting, waker)| {
            if *waiting == label {
                waker.wake_by_ref();
            }
            *waiting != label
        });
    }

    fn poll_released(&self, label: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.released.borrow().contains(&label) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|(other, _)| *other != label);
        waiting.push((label, cx.waker().clone()));
        Poll::Pending
    }

    fn work(self: &Rc<Self>, program: &Program) -> Work {
        let world = Rc::clone(self);
        let Program { label, op } = program.clone();
        Box::pin(async move { world.play(label, op).await })
    }

    async fn play(self: Rc<Self>, label: usize, op: Op) {
        let done = Seen::Done(label);
        match op {
            Op::Wait => {
                let guard = self.begin(label);
                poll_fn(|cx| self.poll_released(label, cx)).await;
                guard.done(done);
            }
            Op::Request => self.slot.cancel(self.id),
            Op::Ask => self.see(Seen::Answer(label, is_cancelled())),
            Op::Listen => {
                let guard = self.begin(label);
                cancelled().await;
                guard.done(done);
            }
            Op::Bind => self.bound.set(Some(cancelled())),
            Op::Hear => {
                if let Some(bound) = self.bound.take() {
                    let guard = self.begin(label);
                    bound.await;
                    guard.done(done);
                }
            }
            Op::Checkpoint => {
                let guard = self.begin(label);
                checkpoint().await;
                guard.done(done);
            }
            Op::Catch(inner) => {
                let guard = self.begin(label);
                match catch_cancel(self.work(&inner)).await {
                    Ok(()) => guard.done(done),
                    Err(_) => guard.done(Seen::Caught(label)),
                }
            }
            Op::Shield(inner) => {
                let guard = self.begin(label);
                shield(self.work(&inner)).await;
                guard.done(done);
            }
            Op::Seq(parts) => {
                for part in parts {
                    self.work(&part).await;
                }
            }
            Op::Join(wakers, parts) => {
                let parts = parts.iter().map(|part| self.work(part));
                match wakers {
                    Wakers::Task => drop(join_all(parts).await),
                    Wakers::Own => join_woken(parts.collect()).await,
                    Wakers::Unordered => parts.collect::<FuturesUnordered<_>>().collect().await,
                }
            }
            Op::Select(parts) => {
                let [one, other] = parts.each_ref().map(|part| self.work(part));
                drop(select(one, other).await);
            }
            Op::Begin(inner) => {
                let mut work = self.work(&inner);
                let polled = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
                if polled.is_pending() {
                    drop(self.begun.replace(Some(work)));
                }
            }
            Op::Finish => {
                if let Some(work) = self.begun.take() {
                    work.await;
                }
            }
        }
    }
}

/// A part of a `Join` that has a waker of its own.
#[derive(Default)]
struct Bell {
    is_rung: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.is_rung.store(true, SeqCst);
        if let Some(outer) = &*lock(&self.outer) {
            outer.wake_by_ref();
        }
    }
}

/// Polls those parts only that were woken.
async fn join_woken(parts: Vec<Work>) {
    let mut parts: Vec<_> = parts
        .into_iter()
        .map(|work| (Some(work), Arc::<Bell>::default()))
        .collect();
    for (_, bell) in &parts {
        bell.is_rung.store(true, SeqCst);
    }
    poll_fn(|cx| {
        for (_, bell) in &parts {
            *lock(&bell.outer) = Some(cx.waker().clone());
        }
        for (part, bell) in &mut parts {
            let Some(work) = part else { continue };
            if bell.is_rung.swap(false, SeqCst) {
                let waker = Waker::from(Arc::clone(bell));
                if work
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready()
                {
                    *part = None;
                }
            }
        }
        if parts.iter().all(|(part, _)| part.is_none()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
