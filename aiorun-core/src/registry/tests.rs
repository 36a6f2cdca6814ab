//! The registry without a runtime: slots are reserved, polled, cancelled and freed by hand.

use std::sync::atomic::AtomicUsize;
use std::task::{Context, Wake};

use super::*;
use crate::kept::keep;

/// Counts how often it was woken.
#[derive(Default)]
pub(super) struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Alarm {
    pub(super) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// A registry of a run that only exists in name.
pub(super) struct Bench {
    pub(super) registry: &'static Registry,
    epoch: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_marks(0)
    }

    fn with_marks(marks: u32) -> Self {
        let registry = *keep(Registry::leak());
        registry.default_marks.store(marks, Relaxed);
        let epoch = EPOCHS.fetch_add(1, Relaxed);
        registry.gate.store(epoch << EPOCH_SHIFT, SeqCst);
        Self { registry, epoch }
    }

    #[track_caller]
    fn birth(kind: Kind, marks: u32) -> Birth {
        match marks {
            BARE_SHIELD => Birth::bare_shield(Location::caller()),
            _ => Birth::plain(kind, Location::caller()).marked(marks),
        }
    }

    pub(super) fn task(&self, kind: Kind, marks: u32) -> (&'static Slot, Id) {
        self.child_of(None, kind, marks)
    }

    fn child_of(&self, parent: Option<&Slot>, kind: Kind, marks: u32) -> (&'static Slot, Id) {
        let birth = Self::birth(kind, marks);
        let (slot, id) = self.registry.admit(self.epoch, parent, &birth);
        (slot.expect("the run is not over"), id)
    }

    pub(super) fn cancel_all(&self) {
        self.registry.set_phase(Phase::Cancelling);
        self.registry.cancel_all();
    }

    pub(super) fn ended(&self, outcome: Outcome) -> u64 {
        self.registry.tally().ended[outcome as usize]
    }
}

pub(super) fn alarm() -> (Arc<Alarm>, Waker) {
    let alarm = Arc::<Alarm>::default();
    (Arc::clone(&alarm), alarm.into())
}

fn info_of(slot: &Slot) -> Option<TaskInfo> {
    slot.describe(&lock(&slot.body), Moment::now())
}

#[test]
fn a_slot_is_used_again_and_an_id_is_not() {
    let bench = Bench::new();
    let (slot, id) = bench.task(Kind::Async, 0);
    slot.settle(Outcome::Completed);
    slot.end(Outcome::Cancelled);
    let (again, other) = bench.task(Kind::Async, 0);
    assert!(std::ptr::eq(slot, again));
    assert_ne!(id, other);
    assert!(!slot.is_live(id));
    assert!(slot.is_live(other));
    slot.cancel(id);
    assert_eq!(
        again.attend(&alarm().1),
        Verdict::Poll,
        "a late request is for nobody"
    );
    again.end(Outcome::Cancelled);
    assert_eq!(bench.ended(Outcome::Completed), 1);
    assert_eq!(bench.ended(Outcome::Cancelled), 1);
    assert_eq!(bench.registry.census(), Census::default());
}

#[test]
fn only_the_first_poll_and_requests_draw_attention() {
    let bench = Bench::new();
    let (slot, id) = bench.task(Kind::Async, 0);
    let (alarm, waker) = alarm();
    assert!(slot.needs_attention());
    assert_eq!(slot.attend(&waker), Verdict::Poll);
    assert!(!slot.needs_attention());
    slot.cancel(id);
    slot.cancel(id);
    assert_eq!(alarm.count(), 1, "requests merge while one is pending");
    assert!(slot.needs_attention());
    assert_eq!(slot.attend(&waker), Verdict::Drop);
    slot.end(Outcome::Cancelled);
    assert_eq!(bench.ended(Outcome::Cancelled), 1);
}

#[test]
fn a_task_that_was_never_polled_is_cancelled_at_its_first_poll() {
    let bench = Bench::new();
    let (slot, _) = bench.task(Kind::Async, 0);
    bench.cancel_all();
    let (alarm, waker) = alarm();
    assert_eq!(slot.attend(&waker), Verdict::Drop);
    assert_eq!(alarm.count(), 0);
    slot.end(Outcome::Cancelled);
}

/// Who is cancelled by the shutdown, and whom force has to end.
#[test]
fn what_a_shutdown_does_to_whom() {
    for (kind, marks, at_cancel, at_force, outcome) in [
        (Kind::Main, 0, Verdict::Drop, None, Outcome::Cancelled),
        (Kind::Async, 0, Verdict::Drop, None, Outcome::Cancelled),
        (Kind::Local, 0, Verdict::Drop, None, Outcome::Cancelled),
        (
            Kind::Async,
            CRITICAL,
            Verdict::Drop,
            None,
            Outcome::Cancelled,
        ),
        (
            Kind::Async,
            COOPERATIVE,
            Verdict::Poll,
            Some(Verdict::Drop),
            Outcome::Refused,
        ),
        (
            Kind::Async,
            PROTECTED,
            Verdict::Poll,
            Some(Verdict::Drop),
            Outcome::Refused,
        ),
        (
            Kind::Callback,
            0,
            Verdict::Poll,
            Some(Verdict::Drop),
            Outcome::Refused,
        ),
        (
            Kind::Hook,
            0,
            Verdict::Poll,
            Some(Verdict::Drop),
            Outcome::Refused,
        ),
    ] {
        let bench = Bench::new();
        let (slot, id) = bench.task(kind, marks);
        let (_, waker) = alarm();
        assert_eq!(slot.attend(&waker), Verdict::Poll);
        bench.cancel_all();
        assert_eq!(slot.attend(&waker), at_cancel, "{kind:?} {marks}");
        if let Some(at_force) = at_force {
            bench.registry.force(|_| true);
            assert!(slot.needs_attention());
            assert_eq!(slot.attend(&waker), at_force, "{kind:?} {marks}");
        }
        let refused = if outcome == Outcome::Refused {
            vec![id]
        } else {
            Vec::new()
        };
        assert_eq!(bench.registry.take_refused(), refused, "{kind:?} {marks}");
        slot.end(Outcome::Cancelled);
        assert_eq!(bench.ended(outcome), 1, "{kind:?} {marks}");
    }
}

#[test]
fn a_plain_task_that_is_cut_before_it_was_told_has_not_refused() {
    let bench = Bench::new();
    let (slot, _) = bench.task(Kind::Async, 0);
    bench.cancel_all();
    bench.registry.force(|_| true);
    assert_eq!(slot.attend(&alarm().1), Verdict::Drop);
    slot.end(Outcome::Cancelled);
    assert_eq!(bench.ended(Outcome::Cancelled), 1);
}

#[test]
fn all_are_marked_before_the_first_is_woken() {
    /// Looks, when woken, whether the others are marked.
    struct Witness(Vec<&'static Slot>, AtomicUsize);
    impl Wake for Witness {
        fn wake(self: Arc<Self>) {
            let marked = self
                .0
                .iter()
                .filter(|slot| slot.flags.load(SeqCst) & CANCEL != 0);
            assert_eq!(marked.count(), self.0.len());
            self.1.fetch_add(1, SeqCst);
        }
    }
    let bench = Bench::new();
    let slots: Vec<_> = (0..3 * CHUNK)
        .map(|_| bench.task(Kind::Async, 0).0)
        .collect();
    let witness = Arc::new(Witness(slots.clone(), AtomicUsize::new(0)));
    for slot in &slots {
        assert_eq!(slot.attend(&Arc::clone(&witness).into()), Verdict::Poll);
    }
    bench.cancel_all();
    assert_eq!(witness.1.load(SeqCst), slots.len());
}

/// Those who share it are tasks of the runtime, and between two turns of one the woken are polled.
#[test]
fn a_walk_wakes_everybody_and_at_most_so_many_in_a_turn() {
    const TASKS: usize = 40 * CHUNK;
    let bench = Bench::new();
    let (alarm, waker) = alarm();
    for _ in 0..TASKS {
        let (slot, _) = bench.task(Kind::Async, 0);
        assert_eq!(slot.attend(&waker), Verdict::Poll);
    }
    bench.registry.set_phase(Phase::Cancelling);
    bench.registry.request_all(None);
    let (walk, turns) = (bench.registry.walk(), AtomicUsize::new(0));
    assert_eq!((walk.share(1), walk.share(8)), (1, 2));
    let mut walkers = vec![
        Box::pin(walk.wake_attentive(&turns)),
        Box::pin(walk.wake_attentive(&turns)),
    ];
    let mut cx = Context::from_waker(Waker::noop());
    while !walkers.is_empty() {
        walkers.retain_mut(|walker| {
            let before = alarm.count();
            let polled = walker.as_mut().poll(&mut cx);
            assert!(
                alarm.count() - before <= 128,
                "a worker's queue has room for 256"
            );
            polled.is_pending()
        });
    }
    assert_eq!(alarm.count(), TASKS);
    assert_eq!(turns.load(Relaxed), TASKS / 128);
}

/// Whose children are cancelled with it while tasks are being cancelled.
#[test]
fn what_is_born_during_the_shutdown() {
    let bench = Bench::new();
    let (_, waker) = alarm();
    let parent = |kind, marks| {
        let (slot, _) = bench.task(kind, marks);
        assert_eq!(slot.attend(&waker), Verdict::Poll);
        slot
    };
    let untold = parent(Kind::Async, 0);
    let told = parent(Kind::Async, COOPERATIVE);
    let protected = parent(Kind::Async, PROTECTED);
    let job = parent(Kind::Blocking, 0);
    bench.registry.set_phase(Phase::Cancelling);
    let early = bench.child_of(Some(untold), Kind::Async, 0).0;
    assert_eq!(early.attend(&waker), Verdict::Wait, "until all are marked");
    bench.registry.cancel_all();
    assert_eq!(told.attend(&waker), Verdict::Poll);

    assert_eq!(
        early.attend(&waker),
        Verdict::Drop,
        "before its parent is marked"
    );
    for (name, parent, kind, marks, verdict) in [
        // First, for every row requests anew.
        ("told", Some(told), Kind::Async, 0, Verdict::Poll),
        ("untold", Some(untold), Kind::Async, 0, Verdict::Drop),
        (
            "untold, a protected child",
            Some(untold),
            Kind::Async,
            PROTECTED,
            Verdict::Poll,
        ),
        ("protected", Some(protected), Kind::Async, 0, Verdict::Poll),
        ("a job", Some(job), Kind::Async, 0, Verdict::Poll),
        ("nobody of ours", None, Kind::Async, 0, Verdict::Poll),
    ] {
        let (child, _) = bench.child_of(parent, kind, marks);
        bench.registry.cancel_all();
        assert_eq!(child.attend(&waker), verdict, "spawned by: {name}");
    }
    let (job, _) = bench.child_of(Some(untold), Kind::Blocking, 0);
    assert_eq!(job.start_job(), Verdict::Poll, "jobs always run");
}

#[test]
fn nothing_starts_after_the_end_and_no_main_after_the_beginning() {
    let bench = Bench::new();
    bench.registry.set_phase(Phase::Stopping);
    let admit = |kind| {
        let birth = Bench::birth(kind, 0);
        bench.registry.admit(bench.epoch, None, &birth).0
    };
    assert!(admit(Kind::Main).is_none());
    bench.task(Kind::Async, 0).0.end(Outcome::Cancelled);
    bench.registry.set_phase(Phase::Closed);
    assert!(admit(Kind::Async).is_none());
    assert_eq!(bench.registry.tally().spawned(), 1);
    assert_eq!(bench.registry.census(), Census::default());
}

#[test]
fn another_run_s_number_opens_nothing() {
    let bench = Bench::new();
    let birth = Bench::birth(Kind::Async, 0);
    let (stale, _) = bench.registry.admit(bench.epoch - 1, None, &birth);
    assert!(stale.is_none());
    assert_eq!(bench.registry.phase(bench.epoch - 1), Phase::Closed);
    assert_eq!(bench.registry.phase(bench.epoch), Phase::Running);
}

#[test]
fn a_queued_job_can_be_cancelled_and_shutdown_lets_it_run() {
    let bench = Bench::new();
    let (cancelled, id) = bench.task(Kind::Blocking, 0);
    let (queued, _) = bench.task(Kind::Blocking, 0);
    cancelled.cancel(id);
    bench.cancel_all();
    assert_eq!(cancelled.start_job(), Verdict::Drop);
    assert_eq!(queued.start_job(), Verdict::Poll);
}

#[test]
fn a_callback_whose_time_is_over_before_it_started_has_refused() {
    let bench = Bench::new();
    let (slot, id) = bench.task(Kind::Callback, 0);
    assert_eq!(bench.registry.force(|_| true).len(), 1);
    assert_eq!(slot.start_job(), Verdict::Drop);
    slot.end(Outcome::Cancelled);
    assert_eq!(bench.registry.take_refused(), [id]);
    assert_eq!(bench.ended(Outcome::Refused), 1);
}

#[test]
fn what_is_given_up_is_refused_however_it_ends() {
    let bench = Bench::new();
    let (slot, id) = bench.task(Kind::Async, 0);
    let (job, job_id) = bench.task(Kind::Blocking, 0);
    slot.enter(thread::number());
    let left = bench.registry.give_up(|sort| sort != Sort::Job);
    assert_eq!(left.iter().map(|task| task.id).collect::<Vec<_>>(), [id]);
    assert!(matches!(left[0].state, State::Running { .. }));
    let expected = Census {
        tasks: 0,
        jobs: 1,
        given_up: 1,
        ..Census::default()
    };
    assert_eq!(bench.registry.census(), expected);
    assert_eq!(bench.registry.tasks(true).len(), 1);
    assert_eq!(bench.registry.tasks(true)[0].id, job_id);
    assert!(
        bench.registry.give_up(|sort| sort != Sort::Job).is_empty(),
        "once"
    );
    slot.settle(Outcome::Completed);
    slot.end(Outcome::Cancelled);
    job.settle(Outcome::Completed);
    job.end(Outcome::Cancelled);
    assert_eq!(bench.ended(Outcome::Refused), 1);
    assert_eq!(bench.ended(Outcome::Completed), 1);
    assert_eq!(bench.registry.census(), Census::default());
}

#[test]
fn the_option_cooperative_is_for_tasks_and_not_for_the_supervisor_s_own() {
    let bench = Bench::with_marks(COOPERATIVE);
    for (kind, cooperative) in [
        (Kind::Main, true),
        (Kind::Async, true),
        (Kind::Local, true),
        (Kind::Blocking, false),
        (Kind::Callback, false),
        (Kind::Hook, false),
    ] {
        let (slot, _) = bench.task(kind, 0);
        assert_eq!(info_of(slot).unwrap().cooperative, cooperative, "{kind:?}");
        slot.end(Outcome::Cancelled);
    }
}

#[test]
fn what_a_slot_tells() {
    let bench = Bench::new();
    let birth = Birth::plain(Kind::Async, Location::caller())
        .named("ingest\u{7}".into())
        .marked(CRITICAL);
    let (slot, id) = bench.registry.admit(bench.epoch, None, &birth);
    let slot = slot.unwrap();
    let info = || info_of(slot).unwrap();
    assert_eq!(info().id, id);
    assert_eq!(info().state, State::NotStarted);
    assert!(info().critical && !info().protected);
    assert!(
        info()
            .to_string()
            .starts_with("task `ingest\\u{7}` spawned at ")
    );
    slot.attend(&alarm().1);
    slot.leave();
    assert_eq!(info().state, State::Suspended);
    slot.enter(thread::number());
    let here = |dropping| State::Running {
        thread: thread::name(thread::number()),
        dropping,
    };
    assert_eq!(info().state, here(false));
    slot.drops();
    assert_eq!(info().state, here(true));
    slot.leave();
    slot.cancel(id);
    assert_eq!(info().state, State::Cancelling);
    slot.end(Outcome::Cancelled);
    assert!(info_of(slot).is_none());
}

#[test]
fn a_million_tasks_leave_the_slots_of_their_peak() {
    let bench = Bench::new();
    let chunks = || {
        bench
            .registry
            .shards
            .iter()
            .map(|shard| lock(&shard.state).chunks.len())
            .sum()
    };
    let slots: Vec<_> = (0..10 * CHUNK)
        .map(|_| bench.task(Kind::Async, 0).0)
        .collect();
    for slot in slots {
        slot.end(Outcome::Cancelled);
    }
    let peak: usize = chunks();
    assert_eq!(peak, 10);
    for _ in 0..100_000 {
        bench.task(Kind::Async, 0).0.end(Outcome::Cancelled);
    }
    let after: usize = chunks();
    assert_eq!(after, peak);
}

#[test]
fn who_refused_has_refused_whatever_its_destructors_do() {
    let bench = Bench::new();
    let (slot, _) = bench.task(Kind::Async, PROTECTED);
    bench.registry.force(|_| true);
    assert_eq!(slot.attend(&alarm().1), Verdict::Drop);
    slot.settle(Outcome::Panicked);
    slot.end(Outcome::Cancelled);
    assert_eq!(bench.ended(Outcome::Refused), 1);
}

#[test]
fn a_main_that_moves_to_another_task_is_woken_there() {
    let bench = Bench::new();
    let (slot, id) = bench.task(Kind::Main, 0);
    let (before, first) = alarm();
    let (after, second) = alarm();
    assert_eq!(slot.attend(&first), Verdict::Poll);
    slot.polled_with(&first);
    slot.polled_with(&second);
    slot.cancel(id);
    assert_eq!((before.count(), after.count()), (0, 1));
}

#[test]
fn a_slot_is_small() {
    assert!(size_of::<Slot>() <= 96, "{}", size_of::<Slot>());
}

/// Does something when it is woken.
struct Meanwhile(Box<dyn Fn() + Send + Sync>);

impl Wake for Meanwhile {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// `cancel_all` marks first and wakes later; what a running task receives in between, it has taken
/// from under the hands of who would have woken it.
#[test]
fn what_is_received_between_the_mark_and_the_wake_is_polled_again() {
    let bench = Bench::new();
    let (first, _) = bench.task(Kind::Async, 0);
    let (second, _) = bench.task(Kind::Async, 0);
    let (counter, waker) = alarm();
    assert_eq!(second.attend(&waker), Verdict::Poll);
    let (scopes, catch, own) = second.begin_catch(&waker);
    assert!(own, "so the task is polled when it fires");
    let beside_it = Meanwhile(Box::new(|| assert!(second.ask(Location::caller()))));
    assert_eq!(
        first.attend(&Arc::new(beside_it).into()),
        Verdict::Poll,
        "it is the first to be woken"
    );
    bench.cancel_all();
    assert!(scopes.has_fired() && scopes.fires(catch));
    assert_eq!(counter.count(), 1);
}

/// Nobody receives anything before all are marked; but whoever is marked and asks is not lied to.
#[test]
fn who_asks_while_all_are_being_marked_is_told_once_it_is_marked() {
    let bench = Bench::new();
    let (slot, id) = bench.task(Kind::Async, 0);
    assert_eq!(slot.attend(Waker::noop()), Verdict::Poll);
    bench.registry.set_phase(Phase::Cancelling);
    assert!(!slot.ask(Location::caller()), "it is not marked");
    slot.cancel(id);
    assert!(slot.ask(Location::caller()));
    assert!(slot.must_suspend(), "it is received when all are marked");
}

/// A task that says in which phase it is to be cancelled.
#[track_caller]
fn in_phase(
    bench: &Bench,
    parent: Option<&Slot>,
    phase: impl Into<Option<u8>>,
) -> (&'static Slot, Id) {
    let birth = Birth::plain(Kind::Async, Location::caller()).in_phase(phase.into());
    let (slot, id) = bench.registry.admit(bench.epoch, parent, &birth);
    (slot.expect("the run is not over"), id)
}

/// Begins the next turn, as the control thread does.
fn turn(bench: &Bench) -> Turns {
    let had_theirs = bench.registry.turns().turn;
    bench.registry.next_turn(false);
    bench.registry.request_all(Some(had_theirs));
    bench.registry.wake_attentive();
    bench.registry.turns()
}

#[test]
fn who_has_a_later_phase_waits_for_its_turn() {
    let bench = Bench::new();
    let (waker, polled) = (alarm().1, |slot: &Slot, waker: &Waker| {
        assert_eq!(slot.attend(waker), Verdict::Poll);
    });
    let plain = bench.task(Kind::Async, 0).0;
    let slots = [
        plain,
        in_phase(&bench, None, 2).0,
        in_phase(&bench, None, 7).0,
    ];
    for slot in slots {
        polled(slot, &waker);
    }
    assert_eq!(bench.registry.census().tasks, 3);
    assert_eq!(
        slots.map(|slot| info_of(slot).unwrap().shutdown_phase),
        [0, 2, 7]
    );
    let expected = |turn, waiting, ahead| Turns {
        turn,
        waiting,
        ahead,
    };
    bench.cancel_all();
    assert_eq!(bench.registry.turns(), expected(0, 1, 2));
    assert_eq!(slots.map(Slot::needs_attention), [true, false, false]);
    slots[0].end(Outcome::Cancelled);
    assert_eq!(bench.registry.turns(), expected(0, 0, 2));
    assert_eq!(turn(&bench), expected(2, 1, 1));
    assert_eq!(slots[1].attend(&waker), Verdict::Drop);
    assert!(!slots[2].needs_attention());
    // It did not end in its time, and is not asked again.
    assert_eq!(turn(&bench), expected(7, 2, 0));
    assert!(!slots[1].needs_attention());
    assert_eq!(slots[2].attend(&waker), Verdict::Drop);
    slots[1..]
        .iter()
        .for_each(|slot| slot.end(Outcome::Cancelled));
    assert_eq!(bench.registry.turns(), expected(7, 0, 0));
    assert_eq!(turn(&bench), expected(LAST_TURN, 0, 0));
    assert_eq!(bench.registry.census(), Census::default());
    assert_eq!(bench.ended(Outcome::Cancelled), 3);
}

#[test]
fn a_child_has_the_phase_of_its_spawner_unless_it_says_otherwise() {
    let bench = Bench::new();
    let parent = in_phase(&bench, None, 3).0;
    for (said, expected) in [(None, 3), (Some(0), 0), (Some(9), 9)] {
        let child = in_phase(&bench, Some(parent), said).0;
        assert_eq!(info_of(child).unwrap().shutdown_phase, expected, "{said:?}");
    }
    // The shutdown does not cancel those.
    for (kind, marks) in [
        (Kind::Blocking, 0),
        (Kind::Hook, 0),
        (Kind::Async, BARE_SHIELD),
    ] {
        let child = bench.child_of(Some(parent), kind, marks).0;
        assert_eq!(info_of(child).unwrap().shutdown_phase, 0, "{kind}");
    }
    let census = bench.registry.census();
    assert_eq!((census.tasks, census.jobs, census.bare_shields), (5, 1, 1));
}

/// Who may still start work when, and what is to become of it.
#[test]
fn born_in_a_turn() {
    let bench = Bench::new();
    let waker = alarm().1;
    let parents = [0, 1, 2].map(|phase| in_phase(&bench, None, phase).0);
    for parent in parents {
        assert_eq!(parent.attend(&waker), Verdict::Poll);
    }
    let born = |parent: Option<&Slot>, phase: Option<u8>| {
        let flags = in_phase(&bench, parent, phase).0.flags.load(Relaxed);
        (flags & CANCEL != 0, flags & LATE != 0)
    };
    let (cancelled, late, ordinary) = ((true, false), (false, true), (false, false));
    bench.cancel_all();
    assert_eq!(
        born(Some(parents[0]), None),
        cancelled,
        "it is about to be told"
    );
    assert_eq!(
        born(Some(parents[1]), None),
        ordinary,
        "its turn has not come"
    );
    assert_eq!(born(Some(parents[1]), Some(0)), late);
    assert_eq!(born(Some(parents[0]), Some(1)), ordinary);
    assert_eq!(parents[0].attend(&waker), Verdict::Drop);
    assert_eq!(born(Some(parents[0]), None), late, "it was told");
    assert_eq!(born(None, Some(2)), ordinary);
    turn(&bench);
    assert_eq!(born(Some(parents[1]), None), cancelled);
    assert_eq!(born(Some(parents[0]), Some(1)), late);
    assert_eq!(born(None, Some(2)), ordinary);
    bench.registry.next_turn(false);
    // While those of phase 2 are being marked: one is as good as told, the others were.
    assert_eq!(born(Some(parents[2]), None), cancelled);
    assert_eq!(born(Some(parents[0]), None), late);
    bench.registry.set_phase(Phase::Draining);
    assert_eq!(born(None, Some(200)), late);
}

#[test]
fn a_task_of_a_later_phase_that_is_given_up_is_counted_once() {
    let bench = Bench::new();
    let slot = in_phase(&bench, None, 1).0;
    let plain = bench.task(Kind::Async, 0).0;
    assert_eq!(bench.registry.give_up(|_| true).len(), 2);
    assert_eq!(bench.registry.census().given_up, 2);
    assert_eq!(bench.registry.turns().ahead, 0);
    slot.end(Outcome::Completed);
    plain.end(Outcome::Completed);
    assert_eq!(bench.registry.census(), Census::default());
    assert_eq!(bench.ended(Outcome::Refused), 2);
}
