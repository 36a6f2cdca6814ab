//! The same programs as futures, in a task that is polled by hand.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures::StreamExt as _;
use futures::future::{join_all, poll_fn, select_all};
use futures::stream::FuturesUnordered;

use super::program::{
    BEGUN, CAUGHT, Case, DONE, DROPPED, Event, FALSE, Op, Program, Seen, TRUE, Then, Turn, Wakers,
};
use crate::cancellation::{Cancellation, cancelled, checkpoint, is_cancelled};
use crate::catch::catch_cancel;
use crate::kept::keep;
use crate::phase::Phase;
use crate::registry::{Birth, COOPERATIVE, Outcome, Registry, Slot, Tally};
use crate::scope::Scopes;
use crate::shield::shield;
use crate::supervised::{Place, Plain, Supervised};
use crate::sync::{lock, lock_std};
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
        let registry = *keep(registry);
        Self { registry, epoch }
    }

    fn reserve(&self, marks: u32) -> (&'static Slot, Id) {
        let birth = Birth::plain(Kind::Async, Location::caller()).marked(marks);
        let (slot, id) = self.registry.admit(self.epoch, None, &birth);
        (slot.expect("the run is not over"), id)
    }

    /// The scopes that the next task will get, which must be as new.
    fn spare_scopes(&self) -> *const Scopes {
        let (slot, _) = self.reserve(0);
        let (scopes, shield) = slot.begin_shield(Location::caller());
        slot.end_shield(&scopes, shield);
        let tree = lock(&scopes.tree);
        assert!(tree.nodes.is_empty() && !tree.receipts.is_live());
        assert!(!tree.root.told && !tree.root.cooperative && tree.root.asked.is_none());
        assert!(!tree.unclaimed && tree.caught.is_none());
        drop(tree);
        assert!(!scopes.has_fired() && !scopes.has_ended());
        let address = Arc::as_ptr(&scopes);
        drop(scopes);
        slot.end(Outcome::Cancelled);
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
        for events in case.turns.iter().chain([&vec![Event::Abort]]) {
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
            task = task.and_then(Task::settle);
            turns.push(Turn {
                seen: world.log.take(),
                then: match task {
                    Some(_) => self.look(id),
                    None => self.account(id, &before),
                },
            });
            if task.is_none() {
                break;
            }
        }
        assert_eq!(self.registry.census().tasks, 0, "the slot is free");
        assert_eq!(self.spare_scopes(), spare, "the scopes are used again");
        turns
    }

    /// What is known from outside of a task that lives.
    fn look(&self, id: Id) -> Then {
        let mut tasks = self.registry.tasks(false).into_iter();
        let info = tasks.find(|task| task.id == id).expect("it lives");
        Then::Lives {
            cooperative: info.cooperative,
            asked: info.asked.is_some(),
            shielded: info.shielded.is_some(),
            caught: info.caught.is_some(),
        }
    }

    /// How the one task that has ended since then is counted.
    fn account(&self, id: Id, before: &Tally) -> Then {
        let after = self.registry.tally();
        assert_eq!(after.spawned(), before.spawned() + 1);
        let outcomes = [
            Outcome::Cancelled,
            Outcome::Completed,
            Outcome::Failed,
            Outcome::Panicked,
            Outcome::Refused,
        ];
        let more = |it: &Outcome| after.ended[*it as usize] > before.ended[*it as usize];
        let outcome = outcomes.into_iter().find(more).expect("it is counted");
        let refused = self.registry.take_refused();
        assert_eq!(refused.contains(&id), outcome == Outcome::Refused);
        let caught = after.caught > before.caught;
        Then::Ended { outcome, caught }
    }
}

/// A task, and whether it was woken.
struct Task {
    future: Pin<Box<Supervised<Work, Plain>>>,
    alarm: Arc<Bell>,
    moves: bool,
}

impl Task {
    fn new(program: &Program, world: &Rc<World>, moves: bool) -> Self {
        let work = world.work(program.clone());
        let pocket = Emptied(Rc::clone(world));
        let main: Work = Box::pin(async move {
            let _pocket = pocket;
            work.await;
        });
        Self {
            future: Box::pin(Supervised::new(main, Place::new(world.slot))),
            alarm: Arc::new(Bell::rung()),
            moves,
        }
    }

    /// Polls for as long as it is woken. `None` when it has ended.
    fn settle(mut self) -> Option<Self> {
        for _ in 0..MOST_POLLS {
            if !self.alarm.is_rung.swap(false, SeqCst) {
                return Some(self);
            }
            if self.moves {
                self.alarm = Arc::default();
            }
            let waker = Waker::from(Arc::clone(&self.alarm));
            if self.moves {
                self.future.as_mut().polled_with(&waker);
            }
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                return None;
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
    /// The pocket.
    bound: Cell<Option<Cancellation>>,
    begun: Cell<Option<Work>>,
    log: RefCell<Vec<Seen>>,
}

/// Sees that a part was dropped, unless it was done before.
struct Guard {
    world: Rc<World>,
    label: usize,
    asks: bool,
    done: bool,
}

impl Guard {
    fn done(mut self, how: &'static str) {
        self.done = true;
        self.world.see(self.label, how);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            self.world.see(self.label, DROPPED);
            if self.asks {
                self.world.ask(self.label);
            }
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

    fn see(&self, label: usize, what: &'static str) {
        self.log.borrow_mut().push((label, what));
    }

    fn ask(&self, label: usize) {
        self.see(label, if is_cancelled() { TRUE } else { FALSE });
    }

    fn release(&self, label: usize) {
        self.released.borrow_mut().push(label);
        let is_it = |(waiting, _): &mut (usize, Waker)| *waiting == label;
        let woken: Vec<_> = self.waiting.borrow_mut().extract_if(.., is_it).collect();
        for (_, waker) in woken {
            waker.wake();
        }
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

    fn work(self: &Rc<Self>, program: Program) -> Work {
        Box::pin(Rc::clone(self).play(program))
    }

    async fn play(self: Rc<Self>, program: Program) {
        let Program { label, op, parts } = program;
        let begin = || {
            self.see(label, BEGUN);
            Guard {
                world: Rc::clone(&self),
                label,
                asks: op == Op::Leave,
                done: false,
            }
        };
        let each = |parts: Vec<Program>| parts.into_iter().map(|part| self.work(part));
        let in_sequence = |parts: Vec<Program>| self.work(Op::Seq.of(parts));
        match op {
            Op::Wait | Op::Leave => {
                let guard = begin();
                poll_fn(|cx| self.poll_released(label, cx)).await;
                guard.done(DONE);
            }
            Op::Request => self.slot.cancel(self.id),
            Op::Ask => self.ask(label),
            Op::Listen => {
                let guard = begin();
                cancelled().await;
                guard.done(DONE);
            }
            Op::Bind => self.bound.set(Some(cancelled())),
            Op::Hear => {
                if let Some(bound) = self.bound.take() {
                    let guard = begin();
                    bound.await;
                    guard.done(DONE);
                }
            }
            Op::Checkpoint => {
                let guard = begin();
                checkpoint().await;
                guard.done(DONE);
            }
            Op::Catch => {
                let guard = begin();
                let caught = catch_cancel(in_sequence(parts)).await;
                guard.done(if caught.is_ok() { DONE } else { CAUGHT });
            }
            Op::Shield => {
                let guard = begin();
                shield(in_sequence(parts)).await;
                guard.done(DONE);
            }
            Op::Seq => {
                for work in each(parts) {
                    work.await;
                }
            }
            Op::Join(Wakers::Task) => drop(join_all(each(parts)).await),
            Op::Join(Wakers::Own) => join_woken(each(parts).collect()).await,
            Op::Join(Wakers::Unordered) => {
                let parts: FuturesUnordered<_> = each(parts).collect();
                parts.collect::<()>().await;
            }
            Op::Select => drop(select_all(each(parts)).await),
            Op::Begin => {
                let mut work = in_sequence(parts);
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

/// A waker that notes when it is woken, for a task or a part of one.
#[derive(Default)]
struct Bell {
    is_rung: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Bell {
    fn rung() -> Self {
        Self {
            is_rung: AtomicBool::new(true),
            outer: Mutex::default(),
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.is_rung.store(true, SeqCst);
        if let Some(outer) = &*lock_std(&self.outer) {
            outer.wake_by_ref();
        }
    }
}

/// Polls those parts only that were woken.
async fn join_woken(works: Vec<Work>) {
    let parts = works
        .into_iter()
        .map(|work| (Some(work), Arc::new(Bell::rung())));
    let mut parts: Vec<_> = parts.collect();
    poll_fn(|cx| {
        for (_, bell) in &parts {
            *lock_std(&bell.outer) = Some(cx.waker().clone());
        }
        for (part, bell) in &mut parts {
            if let Some(work) = part
                && bell.is_rung.swap(false, SeqCst)
            {
                let waker = Waker::from(Arc::clone(bell));
                let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
                if polled.is_ready() {
                    *part = None;
                }
            }
        }
        let done = parts.iter().all(|(part, _)| part.is_none());
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
