use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::*;
use crate::registry::tests::{Alarm, Bench, alarm};
use crate::registry::{BARE_SHIELD, COOPERATIVE, Outcome, PROTECTED, Verdict};
use crate::trace::waker::Taken;

#[track_caller]
fn here() -> &'static Location<'static> {
    Location::caller()
}

fn chosen(crowds: &[usize], most: usize) -> Vec<usize> {
    #[rustfmt::skip]
    let places = [
        here(),
        here(),
        here(),
        here(),
    ];
    let crowd_of = |(crowd, size): (usize, &usize)| vec![(places[crowd], crowd); *size];
    let candidates = crowds.iter().enumerate().flat_map(crowd_of);
    let mut counts = vec![0; crowds.len()];
    for crowd in sample(candidates, most) {
        counts[crowd] += 1;
    }
    counts
}

#[test]
fn a_crowd_does_not_hide_the_others() {
    assert_eq!(chosen(&[], 10), [0; 0]);
    assert_eq!(chosen(&[3, 4], 10), [3, 4]);
    assert_eq!(chosen(&[10_000, 1, 2], 10), [7, 1, 2]);
    assert_eq!(chosen(&[1000, 1000], 10), [5, 5]);
    assert_eq!(chosen(&[1000, 1, 1000, 1], 3), [1, 1, 0, 1]);
    assert_eq!(chosen(&[5, 5, 5, 5], 2), [1, 1, 0, 0]);
}

#[test]
fn the_chosen_are_spread_over_the_crowd() {
    let place = Location::caller();
    let candidates = (0..1000).map(|number| (place, number));
    assert_eq!(sample(candidates, 5), [0, 200, 400, 600, 800]);
}

/// With time to answer.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn trace() -> Trace {
    Trace::new(Taken::default())
}

/// A task that has begun, and is suspended.
fn suspended(bench: &Bench, kind: Kind, marks: u32) -> (&'static Slot, Id, Arc<Alarm>) {
    let (slot, id) = bench.task(kind, marks);
    let (alarm, waker) = alarm();
    assert_eq!(slot.attend(&waker), Verdict::Poll);
    slot.leave();
    (slot, id, alarm)
}

/// Polls as a task does, and says whether it was traced.
fn poll(slot: &Slot, alarm: &Arc<Alarm>) -> Verdict {
    assert!(slot.needs_attention());
    slot.attend(&Arc::clone(alarm).into())
}

/// What it has answered so far.
fn found(bench: &Bench, id: Id) -> Option<Trace> {
    trace_of(&lock_std(&bench.registry.survey).found, id)
}

fn asked(bench: &Bench) -> usize {
    lock_std(&bench.registry.survey).waiting.len()
}

#[test]
fn who_is_asked_answers_in_its_next_poll() {
    let bench = Bench::new();
    let (slot, id, alarm) = suspended(&bench, Kind::Async, 0);
    bench.registry.survey_all(later());
    assert_eq!(alarm.count(), 1, "it is woken");
    assert!(!bench.registry.is_surveyed());
    assert_eq!(poll(slot, &alarm), Verdict::Trace);
    slot.answer(Some(trace()));
    assert!(bench.registry.is_surveyed());
    assert!(found(&bench, id).is_some());
    assert!(!slot.needs_attention(), "once");
    let findings = bench.registry.end_survey();
    let mut tasks = bench.registry.tasks(false);
    findings.add_to(&mut tasks);
    assert!(tasks[0].trace.is_some() && !tasks[0].unresponsive);
    assert!(found(&bench, id).is_none(), "it is over");
}

#[test]
fn who_does_not_answer_is_known_and_left_alone() {
    let bench = Bench::new();
    let (slot, _, alarm) = suspended(&bench, Kind::Async, 0);
    bench.registry.survey_all(later());
    let findings = bench.registry.end_survey();
    let mut tasks = bench.registry.tasks(false);
    findings.add_to(&mut tasks);
    assert!(tasks[0].trace.is_none() && tasks[0].unresponsive);
    assert!(bench.registry.is_surveyed());
    // It was woken and is polled as ever, and can be woken again.
    assert_eq!(poll(slot, &alarm), Verdict::Poll);
    bench.cancel_all();
    assert_eq!(alarm.count(), 2);
    assert_eq!(poll(slot, &alarm), Verdict::Drop);
}

#[test]
fn a_late_answer_is_of_no_interest() {
    let bench = Bench::new();
    let (slot, id, alarm) = suspended(&bench, Kind::Async, 0);
    bench.registry.survey_all(later());
    assert_eq!(poll(slot, &alarm), Verdict::Trace);
    drop(bench.registry.end_survey());
    slot.answer(Some(trace()));
    assert!(found(&bench, id).is_none());
    // Not in the next one either, where it is asked again.
    bench.registry.survey_all(later());
    assert!(!bench.registry.is_surveyed());
    assert_eq!(poll(slot, &alarm), Verdict::Trace);
    slot.answer(None);
    assert!(bench.registry.is_surveyed());
}

#[test]
fn who_was_not_polled_for_a_cancellation_does_not_answer() {
    let bench = Bench::new();
    let (slot, id, alarm) = suspended(&bench, Kind::Async, 0);
    bench.registry.survey_all(later());
    let (_, trace) = slot.poll_traced(&Waker::from(alarm), |_| {
        // As `attend` has it while all are being marked.
        slot.cancel(id);
        Poll::<()>::Pending
    });
    assert!(trace.is_none());
}

/// A poll that takes so many copies of the waker each time.
fn takes(counts: &[usize]) -> (usize, Option<usize>) {
    let bench = Bench::new();
    let (slot, _, alarm) = suspended(&bench, Kind::Async, 0);
    bench.registry.survey_all(later());
    let mut polls = 0;
    let (_, trace) = slot.poll_traced(&Waker::from(alarm), |cx| {
        for _ in 0..counts[polls] {
            drop(cx.waker().clone());
        }
        polls += 1;
        Poll::<()>::Pending
    });
    (
        polls,
        trace.map(|trace| trace.branches().iter().map(|it| it.count).sum()),
    )
}

#[test]
fn an_await_that_was_left_in_the_same_poll_is_not_shown() {
    assert_eq!(takes(&[0]), (1, Some(0)));
    assert_eq!(takes(&[1]), (1, Some(1)));
    // A `join!` has both times as many.
    assert_eq!(takes(&[2, 2]), (2, Some(2)));
    assert_eq!(takes(&[3, 1]), (2, Some(1)));
    assert_eq!(takes(&[3, 0]), (2, Some(3)), "it knows its waker by now");
}

#[test]
fn where_it_waits_is_noted_in_time_only() {
    let bench = Bench::new();
    let (slot, _, alarm) = suspended(&bench, Kind::Async, 0);
    let waker = Waker::from(alarm);
    let waits = || {
        let (_, trace) = slot.poll_traced(&waker, |cx| {
            drop(cx.waker().clone());
            Poll::<()>::Pending
        });
        trace
    };
    bench.registry.survey_all(later());
    assert!(waits().is_some());
    bench.registry.survey_all(Instant::now());
    assert!(waits().is_none());
    drop(bench.registry.end_survey());
    assert!(waits().is_none());
}

#[test]
fn who_can_answer_is_asked() {
    for (kind, marks, answers) in [
        (Kind::Main, 0, true),
        (Kind::Async, 0, true),
        (Kind::Async, PROTECTED, true),
        (Kind::Local, 0, true),
        (Kind::Callback, 0, true),
        (Kind::Hook, 0, true),
        (Kind::Async, BARE_SHIELD, true),
        (Kind::Blocking, 0, false),
    ] {
        let bench = Bench::new();
        let (slot, _) = bench.task(kind, marks);
        match kind {
            Kind::Blocking => assert_eq!(slot.start_job(), Verdict::Poll),
            _ => assert_eq!(slot.attend(&alarm().1), Verdict::Poll),
        }
        bench.registry.survey_all(later());
        assert_eq!(asked(&bench), usize::from(answers), "{kind:?} {marks}");
    }
}

#[test]
fn who_has_not_begun_answers_when_it_does() {
    let bench = Bench::new();
    let (slot, _) = bench.task(Kind::Async, 0);
    let (job, _) = bench.task(Kind::Callback, 0);
    bench.registry.survey_all(later());
    assert_eq!(asked(&bench), 2);
    // This one turns out to be a job, which cannot answer.
    assert_eq!(job.start_job(), Verdict::Poll);
    assert_eq!(asked(&bench), 1);
    let (alarm, waker) = alarm();
    assert_eq!(slot.attend(&waker), Verdict::Poll);
    assert_eq!(alarm.count(), 1, "it is polled again");
    assert_eq!(poll(slot, &alarm), Verdict::Trace);
    slot.answer(Some(trace()));
    assert!(bench.registry.is_surveyed());
}

/// A request that finds it not begun waits for what it begins with.
#[test]
fn who_is_asked_and_cancelled_begins_with_the_request() {
    let bench = Bench::new();
    let (slot, id) = bench.task(Kind::Async, COOPERATIVE);
    bench.registry.survey_all(later());
    slot.cancel(id);
    let (_alarm, waker) = alarm();
    assert_eq!(slot.attend(&waker), Verdict::Poll);
    assert!(
        slot.flags.load(Relaxed) & CANCEL != 0,
        "received before it could listen"
    );
}

#[test]
fn who_has_not_begun_is_not_begun_to_be_asked() {
    let bench = Bench::new();
    let (slot, _) = bench.task(Kind::Async, PROTECTED);
    bench.registry.survey_stubborn(later(), |_| true);
    assert_eq!(asked(&bench), 0);
    // Nor where a survey is under way.
    bench.registry.survey_all(later());
    bench.registry.force(|_| true);
    assert_eq!(slot.attend(&alarm().1), Verdict::Drop);
    assert!(bench.registry.is_surveyed());
}

#[test]
fn who_was_given_up_is_not_asked() {
    let bench = Bench::new();
    let (_stuck, _, _) = suspended(&bench, Kind::Async, 0);
    bench.registry.give_up(|_| true);
    bench.registry.survey_all(later());
    assert_eq!(asked(&bench), 0);
}

#[test]
fn who_ends_need_not_answer() {
    let bench = Bench::new();
    let [(one, _, _), (two, _, of_two), (three, three_id, of_three)] =
        [(); 3].map(|()| suspended(&bench, Kind::Async, 0));
    bench.registry.survey_all(later());
    // tokio drops it, say by `abort`.
    one.end(Outcome::Cancelled);
    // It ends in the traced poll.
    assert_eq!(poll(two, &of_two), Verdict::Trace);
    two.answer(None);
    two.end(Outcome::Cancelled);
    assert!(!bench.registry.is_surveyed());
    // It is cancelled before it is polled.
    three.cancel(three_id);
    assert_eq!(poll(three, &of_three), Verdict::Drop);
    assert!(bench.registry.is_surveyed());
    three.end(Outcome::Cancelled);
    assert!(bench.registry.end_survey().silent.is_empty());
}

#[test]
fn who_is_in_a_slot_next_is_not_asked_for_the_one_before() {
    let bench = Bench::new();
    let (slot, _, _) = suspended(&bench, Kind::Async, 0);
    bench.registry.survey_all(later());
    slot.end(Outcome::Cancelled);
    let (next, _, alarm) = suspended(&bench, Kind::Async, 0);
    assert!(std::ptr::eq(slot, next));
    assert!(!next.needs_attention());
    drop(bench.registry.end_survey());
    assert_eq!(alarm.count(), 0);
}

#[test]
fn who_is_about_to_refuse_is_asked_before() {
    let bench = Bench::new();
    let (stubborn, id, alarm) = suspended(&bench, Kind::Async, PROTECTED);
    let (plain, _, of_plain) = suspended(&bench, Kind::Async, 0);
    bench.cancel_all();
    // Nobody has polled the plain one since; it has not refused, and there is nothing to ask.
    bench.registry.survey_stubborn(later(), |_| true);
    assert_eq!(asked(&bench), 1);
    assert_eq!(poll(stubborn, &alarm), Verdict::Trace);
    stubborn.answer(Some(trace()));
    assert!(bench.registry.end_survey().trace_of(id).is_some());
    bench.registry.force(|_| true);
    assert_eq!(alarm.count(), 2);
    assert_eq!(poll(plain, &of_plain), Verdict::Drop);
    assert_eq!(poll(stubborn, &alarm), Verdict::Drop);
    stubborn.end(Outcome::Cancelled);
    assert_eq!(bench.registry.take_refused(), [id]);
    assert_eq!(bench.ended(Outcome::Refused), 1);
}

#[test]
fn who_was_given_up_is_unresponsive_from_then_on() {
    let bench = Bench::new();
    let (_stuck, stuck_id, _) = suspended(&bench, Kind::Async, 0);
    let (_shield, shield_id) = bench.task(Kind::Async, BARE_SHIELD);
    bench.registry.give_up(|_| true);
    let mut tasks = bench.registry.tasks(false);
    Findings::default().add_to(&mut tasks);
    let unresponsive: Vec<_> = tasks.iter().map(|it| (it.id, it.unresponsive)).collect();
    assert_eq!(unresponsive.len(), 2);
    assert!(unresponsive.contains(&(stuck_id, true)));
    assert!(
        unresponsive.contains(&(shield_id, false)),
        "that says nothing of a shield"
    );
}

#[test]
fn a_shield_keeps_nobody_from_answering() {
    let bench = Bench::new();
    let (slot, id, alarm) = suspended(&bench, Kind::Async, 0);
    let (scopes, shield) = slot.begin_shield(Location::caller());
    slot.cancel(id);
    bench.registry.survey_all(later());
    assert_eq!(poll(slot, &alarm), Verdict::Trace);
    slot.answer(Some(trace()));
    slot.end_shield(&scopes, shield);
    assert_eq!(poll(slot, &alarm), Verdict::Drop, "the request is not lost");
}

#[test]
fn a_bare_shield_is_asked_whatever_polls_it() {
    let bench = Bench::new();
    let (slot, id) = bench.task(Kind::Async, BARE_SHIELD);
    let [(first, of_first), (second, of_second)] = [(); 2].map(|()| alarm());
    slot.follow(&of_first);
    slot.follow(&of_second);
    slot.follow(&of_second);
    assert!(!slot.needs_attention());
    bench.registry.survey_all(later());
    assert_eq!((first.count(), second.count()), (0, 1));
    assert!(slot.needs_attention());
    assert_eq!(slot.is_surveyed(), Some(id));
    assert!(!slot.needs_attention());
    assert_eq!(slot.is_surveyed(), None);
    slot.answer_as(id, Some(trace()));
    assert!(found(&bench, id).is_some());
    slot.follow(&of_second);
    bench.registry.survey_all(later());
    assert_eq!(second.count(), 2);
    // It ends in the traced poll, and the next one in its slot has not answered yet.
    assert_eq!(slot.is_surveyed(), Some(id));
    slot.end(Outcome::Cancelled);
    let (next, next_id, alarm) = suspended(&bench, Kind::Async, 0);
    assert!(std::ptr::eq(slot, next));
    bench.registry.survey_all(later());
    slot.answer_as(id, None);
    assert!(!bench.registry.is_surveyed());
    assert_eq!(poll(next, &alarm), Verdict::Trace);
    next.answer(Some(trace()));
    assert!(found(&bench, next_id).is_some());
}
