//! What a survey does beside everything else that happens to a task.

use std::time::Instant;

use super::*;
use crate::trace::Trace;
use crate::trace::waker::Taken;

/// With time to answer.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn trace() -> Option<Trace> {
    Some(Trace::new(Taken::default()))
}

/// A task that has begun, and is suspended.
fn suspended(marks: u32) -> (&'static Registry, Task, Id) {
    let (registry, epoch) = registry();
    let (slot, id) = reserve(registry, epoch, None, marks);
    let task = Task::new(slot);
    assert_eq!(task.poll(), Verdict::Poll);
    slot.leave();
    (registry, task, id)
}

/// Polls for as long as there are wakes, and answers; says how it ended, if it did.
fn settle(task: &Task) -> Option<Verdict> {
    while task.alarm.0.swap(0, SeqCst) > 0 {
        match task.poll() {
            Verdict::Trace => task.slot.answer(trace()),
            Verdict::Drop => return Some(Verdict::Drop),
            Verdict::Poll | Verdict::Wait | Verdict::Span => {}
        }
    }
    None
}

#[test]
fn a_survey_and_a_poll() {
    ::loom::model(|| {
        let (registry, task, id) = suspended(0);
        let control = thread::spawn(move || registry.survey_all(later()));
        // Something else has woken it.
        if task.poll() == Verdict::Trace {
            task.slot.answer(trace());
        }
        control.join().unwrap();
        assert_eq!(settle(&task), None);
        assert!(registry.is_surveyed() && registry.end_survey().trace_of(id).is_some());
        task.slot.cancel(id);
        assert_eq!(
            settle(&task),
            Some(Verdict::Drop),
            "it cannot be woken any more"
        );
    });
}

#[test]
fn a_survey_and_a_request() {
    ::loom::model(|| {
        let (registry, task, id) = suspended(0);
        let slot = task.slot;
        let control = thread::spawn(move || registry.survey_all(later()));
        let canceller = thread::spawn(move || slot.cancel(id));
        let mut end = settle(&task);
        control.join().unwrap();
        canceller.join().unwrap();
        end = end.or_else(|| settle(&task));
        assert_eq!(end, Some(Verdict::Drop), "the request was lost");
        slot.end(Outcome::Cancelled);
        assert!(registry.is_surveyed(), "it is gone, and is waited for");
    });
}

#[test]
fn the_end_of_a_survey_and_an_answer() {
    ::loom::model(|| {
        let (registry, task, id) = suspended(0);
        registry.survey_all(later());
        let control = thread::spawn(move || {
            drop(registry.end_survey());
            registry.survey_all(later());
        });
        settle(&task);
        control.join().unwrap();
        settle(&task);
        assert!(registry.is_surveyed(), "the second was not answered");
        task.slot.cancel(id);
        assert_eq!(
            settle(&task),
            Some(Verdict::Drop),
            "it cannot be woken any more"
        );
    });
}

#[test]
fn a_survey_and_the_next_task_in_the_slot() {
    ::loom::model(|| {
        let (registry, task, _) = suspended(0);
        let control = thread::spawn(move || {
            registry.survey_all(later());
            registry.is_surveyed()
        });
        task.slot.end(Outcome::Cancelled);
        let (next, _) = reserve(registry, registry.epoch(), None, 0);
        let next = Task::new(next);
        // It may be asked for itself, and never for the one before.
        if next.poll() == Verdict::Trace {
            next.slot.answer(trace());
        }
        control.join().unwrap();
        settle(&next);
        assert!(registry.is_surveyed(), "nobody is there to answer");
    });
}

#[test]
fn a_survey_at_the_limit_and_a_poll() {
    ::loom::model(|| {
        let (registry, task, id) = suspended(PROTECTED);
        let control = thread::spawn(move || {
            registry.survey_stubborn(later(), |_| true);
            // It need not have answered: the time is over.
            drop(registry.end_survey());
            drop(registry.force(|_| true));
        });
        if task.poll() == Verdict::Trace {
            task.slot.answer(trace());
        }
        let mut end = settle(&task);
        control.join().unwrap();
        end = end.or_else(|| settle(&task));
        assert_eq!(end, Some(Verdict::Drop), "it was not ended");
        task.slot.end(Outcome::Cancelled);
        assert_eq!(registry.take_refused(), [id]);
        assert!(registry.is_surveyed());
    });
}

#[test]
fn a_survey_and_a_bare_shield() {
    ::loom::model(|| {
        let (registry, epoch) = registry();
        let (slot, id) = reserve(registry, epoch, None, BARE_SHIELD);
        let alarm = Arc::<Alarm>::default();
        let waker: Waker = Arc::clone(&alarm).into();
        let poll = || {
            slot.follow(&waker);
            if slot.needs_attention()
                && let Some(id) = slot.is_surveyed()
            {
                slot.answer_as(id, trace());
            }
        };
        let control = thread::spawn(move || registry.survey_all(later()));
        poll();
        control.join().unwrap();
        while alarm.0.swap(0, SeqCst) > 0 {
            poll();
        }
        assert!(registry.is_surveyed() && registry.end_survey().trace_of(id).is_some());
    });
}
