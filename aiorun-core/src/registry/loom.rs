//! The registry under every interleaving that loom finds: what a task, whoever cancels it and the
//! control thread do to one slot at the same time.
//!
//! `RUSTFLAGS="--cfg aiorun_loom" cargo test -p aiorun-core --lib --release loom`

use std::task::Wake;

use ::loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use ::loom::thread;
use futures::FutureExt as _;

use super::*;
use crate::scope::Hearing;

mod survey;

/// Counts the wakes, by an atomic of loom's: so a poll may come before or after a wake.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A task as tokio sees it: polled once more for every wake.
struct Task {
    slot: &'static Slot,
    alarm: Arc<Alarm>,
}

impl Task {
    fn new(slot: &'static Slot) -> Self {
        Self {
            slot,
            alarm: Arc::default(),
        }
    }

    fn poll(&self) -> Verdict {
        if self.slot.needs_attention() {
            self.slot.attend(&Arc::clone(&self.alarm).into())
        } else {
            Verdict::Poll
        }
    }

    /// Polls for as long as there are wakes; says whether the task was dropped.
    fn settle(&self) -> bool {
        while self.alarm.0.swap(0, SeqCst) > 0 {
            if self.poll() == Verdict::Drop {
                return true;
            }
        }
        false
    }
}

fn registry() -> (&'static Registry, u64) {
    let registry = Registry::leak();
    let epoch = EPOCHS.fetch_add(1, Relaxed);
    registry.gate.store(epoch << EPOCH_SHIFT, SeqCst);
    (registry, epoch)
}

fn reserve(
    registry: &'static Registry,
    epoch: u64,
    parent: Option<&Slot>,
    marks: u32,
) -> (&'static Slot, Id) {
    let birth = match marks {
        BARE_SHIELD => Birth::bare_shield(here()),
        _ => Birth::plain(Kind::Async, here()).marked(marks),
    };
    let (slot, id) = registry.admit(epoch, parent, &birth);
    (slot.expect("the run is not over"), id)
}

fn quiet(registry: &'static Registry) -> bool {
    registry.census().tasks == 0
}

fn was_told(registry: &'static Registry) -> bool {
    registry.changed.notified().now_or_never().is_some()
}

#[test]
fn a_request_and_the_first_poll() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (slot, id) = reserve(registry, epoch, None, 0);
        let canceller = thread::spawn(move || slot.cancel(id));
        let task = Task::new(slot);
        let dropped = task.poll() == Verdict::Drop;
        canceller.join().unwrap();
        assert!(dropped || task.settle(), "the request was lost");
    });
}

#[test]
fn two_requests_and_a_poll() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (slot, id) = reserve(registry, epoch, None, 0);
        let task = Task::new(slot);
        assert_eq!(task.poll(), Verdict::Poll);
        let cancellers = [
            thread::spawn(move || slot.cancel(id)),
            thread::spawn(move || drop(registry.force(|_| true))),
        ];
        let mut dropped = task.settle();
        for canceller in cancellers {
            canceller.join().unwrap();
        }
        dropped = dropped || task.settle();
        assert!(dropped, "both requests were lost");
    });
}

#[test]
fn a_late_request_and_the_next_task_in_the_slot() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (slot, id) = reserve(registry, epoch, None, 0);
        let canceller = thread::spawn(move || slot.cancel(id));
        slot.end(Outcome::Cancelled);
        let (next, _) = reserve(registry, epoch, None, 0);
        assert!(std::ptr::eq(slot, next));
        let task = Task::new(next);
        assert_eq!(task.poll(), Verdict::Poll);
        canceller.join().unwrap();
        assert!(!task.settle(), "it was meant for somebody else");
    });
}

#[test]
fn a_child_born_while_all_are_cancelled() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (parent, _) = reserve(registry, epoch, None, 0);
        assert_eq!(Task::new(parent).poll(), Verdict::Poll);
        let control = thread::spawn(move || {
            registry.set_phase(Phase::Cancelling);
            registry.cancel_all();
        });
        let (child, _) = reserve(registry, epoch, Some(parent), 0);
        let child = Task::new(child);
        let dropped = child.poll() == Verdict::Drop;
        control.join().unwrap();
        assert!(dropped || child.settle(), "the child was forgotten");
    });
}

#[test]
fn no_child_ends_before_its_parent_is_marked() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (parent, _) = reserve(registry, epoch, None, 0);
        assert_eq!(Task::new(parent).poll(), Verdict::Poll);
        let control = thread::spawn(move || {
            registry.set_phase(Phase::Cancelling);
            registry.cancel_all();
        });
        let (child, _) = reserve(registry, epoch, Some(parent), 0);
        let child = Task::new(child);
        let born_cancelled = child.slot.flags.load(SeqCst) & CANCEL != 0;
        let verdict = child.poll();
        assert!(!born_cancelled || verdict != Verdict::Poll, "it was polled");
        if verdict == Verdict::Drop {
            assert!(parent.needs_attention(), "the parent would see it");
        }
        control.join().unwrap();
    });
}

fn reserve_in_phase(
    registry: &'static Registry,
    epoch: u64,
    parent: Option<&Slot>,
    phase: Option<u8>,
) -> &'static Slot {
    let birth = Birth::plain(Kind::Async, here()).in_phase(phase);
    registry.admit(epoch, parent, &birth).0.expect("not over")
}

#[test]
fn a_child_born_while_the_turn_moves_on() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let parent = reserve_in_phase(registry, epoch, None, Some(1));
        assert_eq!(Task::new(parent).poll(), Verdict::Poll);
        registry.set_phase(Phase::Cancelling);
        registry.cancel_all();
        let control = thread::spawn(move || {
            registry.next_turn(false);
            registry.request_all(Some(0));
            registry.wake_attentive();
        });
        let child = Task::new(reserve_in_phase(registry, epoch, Some(parent), None));
        let dropped = child.poll() == Verdict::Drop;
        control.join().unwrap();
        assert!(dropped || child.settle(), "the child was forgotten");
    });
}

#[test]
fn who_comes_for_a_turn_when_there_are_no_more() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        registry.set_phase(Phase::Cancelling);
        registry.cancel_all();
        let spawner = thread::spawn(move || reserve_in_phase(registry, epoch, None, Some(1)));
        let had_theirs = registry.turns().turn;
        registry.set_phase(Phase::Draining);
        if registry.has_later() {
            registry.request_all(Some(had_theirs));
        }
        let flags = spawner.join().unwrap().flags.load(SeqCst);
        assert!(flags & (CANCEL | LATE) != 0, "nobody ever cancels it");
    });
}

#[test]
fn a_task_of_a_phase_that_nobody_knew_and_the_last_one_before_it() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (last, _) = reserve(registry, epoch, None, 0);
        registry.set_phase(Phase::Cancelling);
        registry.cancel_all();
        let task = thread::spawn(move || {
            reserve_in_phase(registry, epoch, None, Some(2));
            last.end(Outcome::Cancelled);
        });
        let turns = registry.turns();
        let seen = (turns.waiting, turns.ahead) == (0, 1);
        task.join().unwrap();
        assert!(
            seen || was_told(registry),
            "the control thread would wait for nobody"
        );
        let turns = registry.turns();
        assert_eq!((turns.waiting, turns.ahead), (0, 1));
    });
}

#[test]
fn the_last_task_ends_and_the_control_thread_looks() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (slot, _) = reserve(registry, epoch, None, 0);
        let task = thread::spawn(move || slot.end(Outcome::Cancelled));
        registry.set_phase(Phase::Cancelling);
        let seen = quiet(registry);
        task.join().unwrap();
        assert!(
            seen || was_told(registry),
            "the control thread would wait for nobody"
        );
        assert!(quiet(registry));
    });
}

#[test]
fn giving_up_a_task_that_ends() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (slot, _) = reserve(registry, epoch, None, PROTECTED);
        let task = thread::spawn(move || {
            slot.settle(Outcome::Completed);
            slot.end(Outcome::Cancelled);
        });
        let given_up = registry.give_up(|_| true).len();
        task.join().unwrap();
        assert_eq!(registry.census(), Census::default());
        let tally = registry.tally();
        assert_eq!(tally.ended.iter().sum::<u64>(), 1);
        assert_eq!(tally.ended[Outcome::Refused as usize], given_up as u64);
    });
}

#[test]
fn a_task_reserved_while_the_run_closes() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let control = thread::spawn(move || registry.set_phase(Phase::Closed));
        let birth = Birth::plain(Kind::Async, here());
        if let (Some(slot), _) = registry.admit(epoch, None, &birth) {
            slot.end(Outcome::Cancelled);
        }
        control.join().unwrap();
        assert_eq!(registry.census(), Census::default());
        let tally = registry.tally();
        assert_eq!(tally.alive, 0);
    });
}

// --- scopes -------------------------------------------------------------------------------------

fn here() -> Place {
    Location::caller()
}

impl Task {
    /// One that was polled once.
    fn started() -> Self {
        let (registry, epoch) = registry();
        let (slot, _) = reserve(registry, epoch, None, 0);
        let task = Self::new(slot);
        assert_eq!(task.poll(), Verdict::Poll);
        task
    }

    fn id(&self) -> Id {
        self.slot.origin().expect("it lives").id
    }

    fn waker(&self) -> Waker {
        Arc::clone(&self.alarm).into()
    }

    /// Begins a catch in a poll that is under way, as its first poll does.
    fn begin_catch(&self) -> HeldCatch {
        let (scopes, index, own) = self.slot.begin_catch(&self.waker());
        if !own {
            drop(scopes.follow(index, Some(self.waker())));
        }
        HeldCatch {
            slot: self.slot,
            scopes,
            index,
        }
    }

    /// Polls the task, and the catch in it, for as long as there are wakes.
    fn run_with(&self, catch: &HeldCatch) -> End {
        if catch.fires() {
            return End::Caught;
        }
        while self.alarm.0.swap(0, SeqCst) > 0 {
            match self.poll() {
                Verdict::Drop => return End::Dropped,
                Verdict::Poll if catch.fires() => return End::Caught,
                Verdict::Poll | Verdict::Wait => {}
                Verdict::Trace | Verdict::Span => unreachable!("nobody asks"),
            }
        }
        End::Suspended
    }
}

#[derive(Debug, PartialEq)]
enum End {
    Caught,
    Dropped,
    Suspended,
}

struct HeldCatch {
    slot: &'static Slot,
    scopes: Arc<Scopes>,
    index: u32,
}

impl HeldCatch {
    fn fires(&self) -> bool {
        let fires = self.scopes.has_fired() && self.scopes.fires(self.index);
        if fires {
            drop(self.slot.note_caught(&self.scopes, here()));
        }
        fires
    }
}

impl Drop for HeldCatch {
    fn drop(&mut self) {
        self.slot.end_catch(&self.scopes, self.index);
    }
}

#[test]
fn a_request_and_the_beginning_of_a_catch() {
    ::loom::model(|| {
        let task = Task::started();
        let (slot, id) = (task.slot, task.id());
        let canceller = thread::spawn(move || slot.cancel(id));
        let catch = task.begin_catch();
        let mut end = task.run_with(&catch);
        canceller.join().unwrap();
        if end == End::Suspended {
            end = task.run_with(&catch);
        }
        assert_eq!(end, End::Caught);
        drop(catch);
        assert!(!task.settle(), "it was caught, and is not received again");
        slot.cancel(id);
        assert!(task.settle(), "a later one is");
    });
}

#[test]
fn a_request_and_the_end_of_a_catch() {
    ::loom::model(|| {
        let task = Task::started();
        let (slot, id) = (task.slot, task.id());
        let catch = task.begin_catch();
        let canceller = thread::spawn(move || slot.cancel(id));
        let end = task.run_with(&catch);
        // Where it has not fired, its future is ready in the poll that is under way.
        drop(catch);
        canceller.join().unwrap();
        let dropped = task.settle();
        assert_eq!(dropped, end == End::Suspended, "{end:?}");
        slot.end(Outcome::Cancelled);
    });
}

#[test]
fn two_requests_and_a_catch() {
    ::loom::model(|| {
        let task = Task::started();
        let (slot, id) = (task.slot, task.id());
        let catch = task.begin_catch();
        let cancellers = [(); 2].map(|()| thread::spawn(move || slot.cancel(id)));
        let mut end = task.run_with(&catch);
        for canceller in cancellers {
            canceller.join().unwrap();
        }
        if end == End::Suspended {
            end = task.run_with(&catch);
        }
        assert_eq!(
            end,
            End::Caught,
            "the first is, and the second may be the same"
        );
        drop(catch);
        task.settle();
    });
}

/// `select!` drops it in the very poll in which it fired; or it is dropped elsewhere.
#[test]
fn a_request_and_a_catch_that_is_dropped_on_another_thread() {
    ::loom::model(|| {
        let task = Task::started();
        let (slot, id) = (task.slot, task.id());
        let catch = task.begin_catch();
        let owner = thread::spawn(move || drop(catch));
        let canceller = thread::spawn(move || slot.cancel(id));
        let mut dropped = task.settle();
        owner.join().unwrap();
        canceller.join().unwrap();
        dropped = dropped || task.settle();
        assert!(dropped, "nobody caught it, and it was lost");
    });
}

#[test]
fn a_request_and_the_end_of_the_last_shield() {
    ::loom::model(|| {
        let task = Task::started();
        let (slot, id) = (task.slot, task.id());
        let (scopes, shield) = slot.begin_shield(here());
        let canceller = thread::spawn(move || slot.cancel(id));
        assert!(!task.settle(), "it was cut");
        slot.end_shield(&scopes, shield);
        let mut dropped = task.settle();
        canceller.join().unwrap();
        dropped = dropped || task.settle();
        assert!(dropped, "the request was lost");
    });
}

#[test]
fn a_request_and_a_shield_that_is_dropped_on_another_thread() {
    ::loom::model(|| {
        let task = Task::started();
        let (slot, id) = (task.slot, task.id());
        let (scopes, shield) = slot.begin_shield(here());
        let owner = thread::spawn(move || slot.end_shield(&scopes, shield));
        let canceller = thread::spawn(move || slot.cancel(id));
        let mut dropped = task.settle();
        owner.join().unwrap();
        canceller.join().unwrap();
        dropped = dropped || task.settle();
        assert!(dropped, "the request was lost");
    });
}

#[test]
fn a_cancellation_and_who_listens_on_another_thread() {
    ::loom::model(|| {
        let task = Task::started();
        let (slot, id) = (task.slot, task.id());
        let mut ear = slot.listen(here());
        slot.cancel(id);
        let listener = thread::spawn(move || {
            let alarm = Arc::<Alarm>::default();
            let heard = ear.listen(&Arc::clone(&alarm).into());
            (ear, alarm, heard)
        });
        assert!(!task.settle(), "it is cooperative");
        let (mut ear, alarm, heard) = listener.join().unwrap();
        let woken = alarm.0.load(SeqCst) > 0;
        assert!(heard == Hearing::Told || woken, "it waits for ever");
        assert_eq!(ear.hear(), Hearing::Told);
    });
}

#[test]
fn the_end_of_a_task_and_who_listens_on_another_thread() {
    ::loom::model(|| {
        let task = Task::started();
        let slot = task.slot;
        let mut ear = slot.listen(here());
        let listener = thread::spawn(move || {
            let alarm = Arc::<Alarm>::default();
            let heard = ear.listen(&Arc::clone(&alarm).into());
            (ear, alarm, heard)
        });
        slot.end(Outcome::Cancelled);
        let (mut ear, alarm, heard) = listener.join().unwrap();
        let woken = alarm.0.load(SeqCst) > 0;
        assert!(heard == Hearing::Ended || woken, "it waits for ever");
        assert_eq!(ear.hear(), Hearing::Ended);
    });
}

#[test]
fn what_is_left_of_a_task_and_the_next_one_in_its_slot() {
    ::loom::model(|| {
        let task = Task::started();
        let (slot, id) = (task.slot, task.id());
        let registry = slot.registry();
        let catch = task.begin_catch();
        slot.cancel(id);
        assert_eq!(task.poll(), Verdict::Poll, "it has fired and not noticed");
        let (scopes, shield) = slot.begin_shield(here());
        let leftover = thread::spawn(move || {
            slot.end_shield(&scopes, shield);
            drop(catch);
        });
        slot.end(Outcome::Cancelled);
        let (next, _) = reserve(registry, registry.epoch(), None, 0);
        assert!(std::ptr::eq(slot, next));
        let task = Task::new(next);
        assert_eq!(task.poll(), Verdict::Poll);
        let catch = task.begin_catch();
        leftover.join().unwrap();
        assert_eq!(task.run_with(&catch), End::Suspended, "it was another's");
    });
}

#[test]
fn a_catch_that_begins_while_all_are_cancelled() {
    ::loom::model(|| {
        let task = Task::started();
        let slot = task.slot;
        let registry = slot.registry();
        let control = thread::spawn(move || {
            registry.set_phase(Phase::Cancelling);
            registry.cancel_all();
        });
        let catch = task.begin_catch();
        let mut end = task.run_with(&catch);
        control.join().unwrap();
        if end == End::Suspended {
            end = task.run_with(&catch);
        }
        assert_eq!(end, End::Caught);
    });
}

/// Of two in one `join!` the second is entered when the request is out: it receives it for both, and
/// the first is polled only if somebody wakes the task.
#[test]
fn a_catch_beside_one_that_begins_while_all_are_cancelled() {
    ::loom::model(|| {
        let task = Task::started();
        let slot = task.slot;
        let registry = slot.registry();
        let first = task.begin_catch();
        let control = thread::spawn(move || {
            registry.set_phase(Phase::Cancelling);
            registry.cancel_all();
        });
        let second = task.begin_catch();
        if second.fires() {
            drop(second);
        }
        control.join().unwrap();
        let mut noticed = false;
        while task.alarm.0.swap(0, SeqCst) > 0 {
            assert_ne!(task.poll(), Verdict::Drop);
            noticed = noticed || first.fires();
        }
        assert!(noticed, "nobody polls it");
    });
}

#[test]
fn a_bare_shield_and_the_closing_of_the_runtime() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        registry.set_phase(Phase::Finishing);
        let control = thread::spawn(move || {
            registry.seal();
            registry.census().bare_shields == 0
        });
        let birth = Birth::bare_shield(here());
        let begun = registry.admit(epoch, None, &birth).0.is_some();
        let closes = control.join().unwrap();
        assert!(!(begun && closes), "the runtime closes under a shield");
    });
}
