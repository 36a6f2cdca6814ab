//! The registry under every interleaving that loom finds: what a task, whoever cancels it and the
//! control thread do to one slot at the same time.
//!
//! `RUSTFLAGS="--cfg aiorun_loom" cargo test -p aiorun-core --lib --release loom`

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Wake;

use ::loom::thread;
use futures::FutureExt as _;

use super::*;

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
    registry.gate.store(epoch << 8, SeqCst);
    (registry, epoch)
}

fn reserve(
    registry: &'static Registry,
    epoch: u64,
    parent: Option<&Slot>,
    marks: u32,
) -> (&'static Slot, Id) {
    let birth = Birth {
        kind: Kind::Async,
        name: None,
        location: Location::caller(),
        marks,
    };
    let (slot, origin) = registry
        .reserve(epoch, parent, birth)
        .expect("the run is not over");
    (slot, origin.id)
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
        slot.free();
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

#[test]
fn the_last_task_ends_and_the_control_thread_looks() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (slot, _) = reserve(registry, epoch, None, 0);
        let task = thread::spawn(move || slot.free());
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
            slot.free();
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
        let birth = Birth {
            kind: Kind::Async,
            name: None,
            location: Location::caller(),
            marks: 0,
        };
        if let Ok((slot, _)) = registry.reserve(epoch, None, birth) {
            slot.free();
        }
        control.join().unwrap();
        assert_eq!(registry.census(), Census::default());
        let tally = registry.tally();
        assert_eq!(tally.alive, 0);
    });
}
