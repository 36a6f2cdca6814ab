//! The machine as tables: what goes in, when, and what has to come out.

use super::Action::{
    ArmExit, CancelAll, CancelNext, Close, DisarmExit, Enter, Exit, Force, GiveUp, Leave,
    SayWaiting, Seal, StartCallback, StartDelay, StartHook,
};
use super::Event::{Abandon, Ahead, Closing, Deadline, NoHook, Quiet, Stop, TurnOver};
use super::Phase::{Cancelling, Closed, Draining, Finishing, Stopping};
use super::*;

const INT: Event = Stop(StopReason::Signal(Signal::INT));
const TERM: Event = Stop(StopReason::Signal(Signal::TERM));
const STOP: Event = Stop(StopReason::Stop);
/// What the runtime's threads get where the budget allows it.
const FULL: Duration = Duration::from_millis(450);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[derive(Default)]
struct Given {
    limits: Limits,
    repeat: RepeatSignal,
    callback: bool,
}

impl Given {
    fn machine(self) -> Machine {
        Machine::new(self.limits, self.repeat, self.callback)
    }
}

/// Feeds each event at its time and compares what comes out.
#[track_caller]
fn play(mut machine: Machine, rows: &[(Duration, Event, &[Action])]) -> Machine {
    for (number, (now, event, expected)) in rows.iter().enumerate() {
        let actions = machine.on(*now, *event);
        assert_eq!(&actions, expected, "row {number}: {event:?} at {now:?}");
    }
    machine
}

#[test]
fn everything_ends_by_itself() {
    let machine = play(
        Given {
            callback: true,
            ..Given::default()
        }
        .machine(),
        &[
            (secs(1), TERM, &[Enter(Stopping), StartCallback]),
            (secs(2), Quiet, &[Enter(Cancelling), CancelAll]),
            (secs(3), Quiet, &[Enter(Draining)]),
            (secs(4), Quiet, &[Enter(Finishing), StartHook]),
            (secs(5), Quiet, &[StartHook]),
            (secs(6), NoHook, &[Seal]),
            (secs(6), Quiet, &[Close(FULL)]),
            (secs(7), Quiet, &[Enter(Closed)]),
        ],
    );
    assert_eq!(machine.reason(), Some(StopReason::Signal(Signal::TERM)));
    assert_eq!(machine.step(), Step::End);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn nothing_ends_by_itself_and_yet_the_run_does() {
    let machine = play(
        Given {
            callback: true,
            ..Given::default()
        }
        .machine(),
        &[
            (secs(0), TERM, &[Enter(Stopping), StartCallback]),
            (secs(54), Deadline, &[Force(Step::Callback)]),
            (
                ms(54_100),
                Deadline,
                &[GiveUp(Step::Callback), Enter(Cancelling), CancelAll],
            ),
            (ms(59_410), Deadline, &[Force(Step::Cancel)]),
            (
                ms(59_510),
                Deadline,
                &[GiveUp(Step::Cancel), Enter(Draining)],
            ),
            (ms(59_755), Deadline, &[Force(Step::Drain)]),
            (
                ms(59_855),
                Deadline,
                &[GiveUp(Step::Drain), Enter(Finishing), StartHook],
            ),
            (ms(59_928), Deadline, &[Force(Step::Hook)]),
            (secs(60), Deadline, &[GiveUp(Step::Hook), StartHook]),
            (secs(60), NoHook, &[Seal]),
            (secs(60), Deadline, &[Force(Step::Seal)]),
            (ms(60_020), Deadline, &[GiveUp(Step::Seal), Close(ms(430))]),
            (ms(60_520), Deadline, &[]),
            (ms(61_019), Deadline, &[]),
            (ms(61_020), Deadline, &[Leave]),
        ],
    );
    assert_eq!(machine.deadline(), None, "it leaves once");
}

/// For every step, an early deadline changes nothing.
#[test]
fn a_deadline_before_its_time_is_none() {
    let mut machine = Given::default().machine();
    assert_eq!(machine.on(secs(1), Deadline), []);
    machine.on(secs(1), STOP);
    assert_eq!(machine.on(secs(2), Deadline), []);
    assert_eq!(machine.deadline(), Some(secs(55)));
}

#[test]
fn the_first_reason_wins() {
    let machine = play(
        Given::default().machine(),
        &[
            (
                secs(0),
                Stop(StopReason::TaskFailed),
                &[Enter(Stopping), Enter(Cancelling), CancelAll],
            ),
            (secs(1), STOP, &[]),
            (secs(1), Stop(StopReason::MainFailed), &[]),
        ],
    );
    assert_eq!(machine.reason(), Some(StopReason::TaskFailed));
}

#[test]
fn the_delay_is_for_signals_and_stop_only() {
    let delayed = || Limits {
        delay: secs(10),
        ..Limits::default()
    };
    for (reason, expected) in [
        (StopReason::Signal(Signal::TERM), Step::Delay),
        (StopReason::Stop, Step::Delay),
        (StopReason::MainReturned, Step::Cancel),
        (StopReason::MainFailed, Step::Cancel),
        (StopReason::TaskFailed, Step::Cancel),
    ] {
        let mut machine = Given {
            limits: delayed(),
            ..Given::default()
        }
        .machine();
        machine.on(secs(1), Stop(reason));
        assert_eq!(machine.step(), expected, "{reason:?}");
    }
}

#[test]
fn the_delay_ends_by_time_by_quiet_and_by_a_repeated_signal() {
    let started = || {
        let limits = Limits {
            delay: secs(10),
            ..Limits::default()
        };
        play(
            Given {
                limits,
                repeat: RepeatSignal::Abort,
                callback: false,
            }
            .machine(),
            &[(secs(0), TERM, &[Enter(Stopping), StartDelay(secs(10))])],
        )
    };
    assert_eq!(started().deadline(), Some(secs(10)));
    let cancels: &[Action] = &[Enter(Cancelling), CancelAll];
    play(started(), &[(secs(10), Deadline, cancels)]);
    play(started(), &[(secs(1), Quiet, cancels)]);
    let machine = play(
        started(),
        &[
            (ms(499), TERM, &[]),
            (
                ms(500),
                INT,
                &[SayWaiting(Signal::INT), Enter(Cancelling), CancelAll],
            ),
            // A wrapper has forwarded it as well.
            (ms(999), INT, &[]),
        ],
    );
    assert_eq!(
        machine.deadline(),
        Some(ms(500) + ms(59_500) / 10 * 9),
        "and ends nothing else"
    );
    let machine = play(machine, &[(ms(1_000), INT, &[SayWaiting(Signal::INT)])]);
    assert_eq!(machine.deadline(), Some(ms(1_000)), "this one aborts");
}

#[test]
fn a_delay_longer_than_the_budget_ends_with_it() {
    let limits = Limits {
        delay: secs(100),
        total: Limit::After(secs(5)),
        ..Limits::default()
    };
    let mut machine = Given {
        limits,
        ..Given::default()
    }
    .machine();
    machine.on(secs(1), TERM);
    assert_eq!(machine.deadline(), Some(secs(6)));
}

#[test]
fn repeated_signals() {
    let nothing: &[Action] = &[];
    // How the repeated signal is taken, which, when; what is done, and whether time is up.
    for (repeat, event, now, expected, aborts) in [
        (RepeatSignal::Auto, INT, 499, nothing, false),
        (
            RepeatSignal::Auto,
            INT,
            500,
            &[SayWaiting(Signal::INT)],
            true,
        ),
        (
            RepeatSignal::Auto,
            TERM,
            500,
            &[SayWaiting(Signal::TERM)],
            false,
        ),
        (
            RepeatSignal::Ignore,
            INT,
            500,
            &[SayWaiting(Signal::INT)],
            false,
        ),
        (
            RepeatSignal::Abort,
            TERM,
            500,
            &[SayWaiting(Signal::TERM)],
            true,
        ),
        (RepeatSignal::Abort, TERM, 499, nothing, false),
        (
            RepeatSignal::Exit,
            TERM,
            500,
            &[SayWaiting(Signal::TERM), Exit(Signal::TERM)],
            false,
        ),
    ] {
        let mut machine = Given {
            repeat,
            ..Given::default()
        }
        .machine();
        machine.on(secs(0), TERM);
        assert_eq!(
            machine.on(ms(now), event),
            expected,
            "{repeat:?}, {event:?} at {now}"
        );
        assert_eq!(
            machine.step_ends() == Some(ms(now)),
            aborts,
            "{repeat:?}, {event:?} at {now}"
        );
    }
}

#[test]
fn an_abort_takes_the_time_of_callback_tasks_and_jobs_and_hooks_still_run() {
    let given = Given {
        callback: true,
        ..Given::default()
    };
    play(
        given.machine(),
        &[
            (secs(0), TERM, &[Enter(Stopping), StartCallback]),
            (secs(1), INT, &[SayWaiting(Signal::INT)]),
            (secs(1), Deadline, &[Force(Step::Callback)]),
            (
                ms(1_100),
                Deadline,
                &[GiveUp(Step::Callback), Enter(Cancelling), CancelAll],
            ),
            (ms(1_100), Deadline, &[Force(Step::Cancel)]),
            (ms(1_110), Quiet, &[Enter(Draining)]),
            (ms(1_110), Deadline, &[Force(Step::Drain)]),
            (
                ms(1_210),
                Deadline,
                &[GiveUp(Step::Drain), Enter(Finishing), StartHook],
            ),
            (secs(20), Deadline, &[]),
            (secs(21), Quiet, &[StartHook]),
            (secs(21), NoHook, &[Seal]),
            (secs(21), Quiet, &[Close(FULL)]),
            (ms(21_500), Deadline, &[]),
            (ms(21_999), Deadline, &[]),
            (secs(22), Deadline, &[Leave]),
        ],
    );
}

#[test]
fn a_repeated_signal_leaves_from_its_handler_except_during_the_delay() {
    let limits = Limits {
        delay: secs(10),
        ..Limits::default()
    };
    let machine = Given {
        limits,
        repeat: RepeatSignal::Exit,
        callback: false,
    }
    .machine();
    let machine = play(
        machine,
        &[
            (secs(0), TERM, &[Enter(Stopping), StartDelay(secs(10))]),
            (secs(10), Deadline, &[Enter(Cancelling), CancelAll]),
            (secs(10), Deadline, &[ArmExit]),
            (secs(11), Deadline, &[]),
        ],
    );
    assert_eq!(machine.deadline(), Some(secs(55)), "armed once");

    let mut machine = Given {
        repeat: RepeatSignal::Exit,
        ..Given::default()
    }
    .machine();
    machine.on(secs(1), TERM);
    assert_eq!(machine.deadline(), Some(ms(1_500)), "not within the burst");

    let given = Given {
        limits,
        repeat: RepeatSignal::Exit,
        callback: true,
    };
    play(
        given.machine(),
        &[
            (secs(0), TERM, &[Enter(Stopping), StartCallback]),
            (ms(500), Deadline, &[ArmExit]),
            (secs(1), Quiet, &[DisarmExit, StartDelay(secs(10))]),
            (secs(2), Deadline, &[]),
            (secs(11), Deadline, &[Enter(Cancelling), CancelAll]),
            (secs(11), Deadline, &[ArmExit]),
        ],
    );

    // The handler of the signal that ends the delay may still be at work when the exit is armed.
    let given = Given {
        limits,
        repeat: RepeatSignal::Exit,
        callback: false,
    };
    let ends = &[SayWaiting(Signal::TERM), Enter(Cancelling), CancelAll];
    play(
        given.machine(),
        &[
            (secs(0), TERM, &[Enter(Stopping), StartDelay(secs(10))]),
            (secs(1), TERM, ends),
            (ms(1_499), Deadline, &[]),
            (ms(1_500), Deadline, &[ArmExit]),
        ],
    );
}

#[test]
fn whoever_is_dropped_half_way_gets_no_callback_no_delay_and_no_hooks() {
    let given = || Given {
        limits: Limits {
            delay: secs(10),
            ..Limits::default()
        },
        callback: true,
        ..Given::default()
    };
    play(
        given().machine(),
        &[
            (
                secs(0),
                Abandon,
                &[Enter(Stopping), Enter(Cancelling), CancelAll],
            ),
            (secs(1), Quiet, &[Enter(Draining)]),
            (secs(1), Quiet, &[Enter(Finishing), Seal]),
            (secs(1), Quiet, &[Close(FULL)]),
        ],
    );
    play(
        given().machine(),
        &[
            (secs(0), TERM, &[Enter(Stopping), StartCallback]),
            (secs(1), Abandon, &[]),
            (secs(1), Deadline, &[Force(Step::Callback)]),
            (secs(1), Quiet, &[Enter(Cancelling), CancelAll]),
        ],
    );
}

#[test]
fn one_budget() {
    let after = |given: u64| Limit::After(secs(given));
    let limits = |total, tasks, jobs, delay| Limits {
        total,
        tasks,
        jobs,
        delay: secs(delay),
    };
    for (given, expected) in [
        (
            limits(Limit::Default, Limit::Default, Limit::Default, 0),
            Some(60),
        ),
        (
            limits(Limit::Default, after(50), Limit::Default, 0),
            Some(60),
        ),
        (limits(Limit::Default, after(50), after(30), 5), Some(85)),
        (limits(after(10), after(50), after(30), 5), Some(10)),
        (limits(after(0), Limit::Default, Limit::Default, 0), Some(0)),
        (limits(Limit::None, after(50), Limit::Default, 0), None),
        (limits(Limit::Default, Limit::None, Limit::Default, 0), None),
        (limits(Limit::Default, after(u64::MAX), after(1), 0), None),
    ] {
        assert_eq!(
            given.budget(DEFAULT_BUDGET),
            expected.map(secs),
            "{given:?}"
        );
    }
}

#[test]
fn without_a_budget_nothing_is_cut() {
    let limits = Limits {
        total: Limit::None,
        ..Limits::default()
    };
    let machine = play(
        Given {
            limits,
            ..Given::default()
        }
        .machine(),
        &[(
            secs(0),
            TERM,
            &[Enter(Stopping), Enter(Cancelling), CancelAll],
        )],
    );
    assert_eq!(machine.deadline(), None);
    assert_eq!(machine.limit(secs(1), Whose::Task), None);
}

#[test]
fn a_limit_beyond_the_clock_is_none() {
    let limits = Limits {
        total: Limit::After(Duration::MAX),
        ..Limits::default()
    };
    let mut machine = Given {
        limits,
        ..Given::default()
    }
    .machine();
    machine.on(secs(1), TERM);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn zero_means_not_to_wait() {
    let limits = Limits {
        total: Limit::After(Duration::ZERO),
        ..Limits::default()
    };
    play(
        Given {
            limits,
            ..Given::default()
        }
        .machine(),
        &[
            (
                secs(1),
                TERM,
                &[Enter(Stopping), Enter(Cancelling), CancelAll],
            ),
            (secs(1), Deadline, &[Force(Step::Cancel)]),
            (
                ms(1_020),
                Deadline,
                &[GiveUp(Step::Cancel), Enter(Draining)],
            ),
        ],
    );
}

#[test]
fn time_left_is_that_of_the_one_who_asks() {
    let limits = Limits {
        delay: secs(10),
        ..Limits::default()
    };
    let mut machine = Given {
        limits,
        callback: true,
        ..Given::default()
    }
    .machine();
    let at = |machine: &Machine, whose| machine.limit(secs(0), whose).map(|at| at.as_secs());
    assert_eq!(
        at(&machine, Whose::Task),
        None,
        "nobody has asked for an end"
    );
    machine.on(secs(0), TERM);
    assert_eq!(at(&machine, Whose::Extra), Some(54), "the callback's own");
    assert_eq!(
        at(&machine, Whose::Task),
        Some(54),
        "as if it were cancelled now"
    );
    assert_eq!(at(&machine, Whose::Job), Some(30));
    assert_eq!(at(&machine, Whose::Nobody), Some(60));
    machine.on(secs(0), Quiet);
    assert_eq!(
        at(&machine, Whose::Task),
        Some(55),
        "nine tenths of what is left after the delay"
    );
    machine.on(secs(10), Deadline);
    machine.on(secs(20), Quiet);
    assert_eq!(at(&machine, Whose::Job), Some(40), "half of what is left");
    machine.on(secs(30), Quiet);
    assert_eq!(at(&machine, Whose::Extra), Some(45), "a hook's own");
}

#[test]
fn each_turn_has_an_equal_share_of_what_is_left() {
    let limits = Limits {
        tasks: Limit::After(secs(30)),
        ..Limits::default()
    };
    let stopped = || {
        let given = Given {
            limits,
            ..Given::default()
        };
        play(
            given.machine(),
            &[
                (
                    secs(0),
                    STOP,
                    &[Enter(Stopping), Enter(Cancelling), CancelAll],
                ),
                (secs(0), Ahead(2), &[]),
            ],
        )
    };
    // Nobody ends: thirds of it all, and one force at the end.
    let machine = stopped();
    assert_eq!(machine.deadline(), Some(secs(10)));
    assert_eq!(
        machine.step_ends(),
        Some(secs(30)),
        "the limit is everybody's"
    );
    let machine = play(
        machine,
        &[
            (secs(9), Deadline, &[]),
            (secs(10), Deadline, &[CancelNext]),
            (secs(20), Deadline, &[CancelNext]),
            (secs(29), Deadline, &[]),
            (secs(30), Deadline, &[Force(Step::Cancel)]),
        ],
    );
    assert_eq!(machine.step(), Step::Cancel);
    // Who ends sooner leaves the rest to the others.
    let mut machine = play(stopped(), &[(secs(2), TurnOver, &[CancelNext])]);
    assert_eq!(machine.deadline(), Some(secs(16)));
    // They have ended by themselves; there are more than were known.
    for (ahead, ends) in [(0, 30), (3, 9), (1, 16)] {
        machine.on(secs(3), Ahead(ahead));
        assert_eq!(machine.deadline(), Some(secs(ends)), "{ahead} ahead");
    }
    play(
        machine,
        &[
            (secs(5), TurnOver, &[CancelNext]),
            (secs(6), TurnOver, &[]),
            (secs(6), Quiet, &[Enter(Draining)]),
            (secs(6), Ahead(1), &[]),
            (secs(7), TurnOver, &[]),
        ],
    );
}

#[test]
fn whatever_ends_the_time_ends_it_for_all_turns() {
    // A second Ctrl-C.
    let machine = play(
        Given::default().machine(),
        &[
            (
                secs(0),
                INT,
                &[Enter(Stopping), Enter(Cancelling), CancelAll],
            ),
            (secs(0), Ahead(5), &[]),
            (secs(1), INT, &[SayWaiting(Signal::INT)]),
            (secs(1), Deadline, &[Force(Step::Cancel)]),
            (secs(1), Ahead(1), &[]),
            (secs(1), TurnOver, &[]),
        ],
    );
    assert_eq!(machine.deadline(), Some(ms(1_100)));
    // No time at all.
    let limits = Limits {
        tasks: Limit::After(secs(0)),
        ..Limits::default()
    };
    let given = Given {
        limits,
        ..Given::default()
    };
    play(
        given.machine(),
        &[
            (
                secs(0),
                STOP,
                &[Enter(Stopping), Enter(Cancelling), CancelAll],
            ),
            (secs(0), Ahead(5), &[]),
            (secs(0), Deadline, &[Force(Step::Cancel)]),
        ],
    );
}

#[test]
fn without_a_limit_a_turn_takes_its_time() {
    let limits = Limits {
        total: Limit::None,
        tasks: Limit::None,
        ..Limits::default()
    };
    let given = Given {
        limits,
        ..Given::default()
    };
    let machine = play(
        given.machine(),
        &[
            (
                secs(0),
                STOP,
                &[Enter(Stopping), Enter(Cancelling), CancelAll],
            ),
            (secs(0), Ahead(1), &[]),
        ],
    );
    assert_eq!(machine.deadline(), None);
    play(machine, &[(secs(1_000), TurnOver, &[CancelNext])]);
}

mod properties {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::phase::any_events::History;

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(INT),
            Just(TERM),
            Just(STOP),
            Just(Stop(StopReason::MainFailed)),
            Just(Quiet),
            Just(Deadline),
            Just(Abandon),
            Just(TurnOver),
            (0_u32..300).prop_map(Ahead),
        ]
    }

    fn limit() -> impl Strategy<Value = Limit> {
        prop_oneof![
            Just(Limit::Default),
            (0_u64..100_000).prop_map(|millis| Limit::After(ms(millis))),
        ]
    }

    proptest! {
        #[test]
        fn the_run_ends_in_time(
            (total, tasks, jobs) in (limit(), limit(), limit()),
            delay in 0_u64..100_000,
            callback in any::<bool>(),
            repeat in prop_oneof![
                Just(RepeatSignal::Auto), Just(RepeatSignal::Ignore), Just(RepeatSignal::Abort),
            ],
            events in prop::collection::vec((0_u64..30_000, event()), 0..20),
            hooks in 0_u32..50,
        ) {
            let limits = Limits { total, tasks, jobs, delay: ms(delay) };
            History { limits, callback, repeat, events, hooks }.check();
        }
    }

    #[test]
    fn whatever_the_fuzzer_has_found_ends_in_time() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/phase/corpus");
        let histories = fs::read_dir(corpus).expect("the corpus is kept");
        let played = histories.map(|history| {
            let history = history.expect("a readable folder").path();
            History::of(&fs::read(history).expect("a readable file")).check();
        });
        assert!(played.count() > 0);
    }
}

#[test]
fn asking_again_and_again_delays_nothing() {
    let mut machine = Given {
        repeat: RepeatSignal::Abort,
        ..Given::default()
    }
    .machine();
    for event in [TERM, Quiet, Quiet, NoHook, Quiet] {
        machine.on(secs(0), event);
    }
    assert_eq!(machine.step(), Step::Close);
    machine.on(secs(1), TERM);
    machine.on(ms(1_500), TERM);
    assert_eq!(machine.deadline(), Some(ms(1_500)));
}

#[test]
fn a_thread_that_closes_the_runtime_is_not_stuck_for_being_late() {
    let limits = Limits {
        total: Limit::After(secs(10)),
        ..Limits::default()
    };
    let given = Given {
        limits,
        ..Given::default()
    };
    let mut machine = given.machine();
    for event in [TERM, Quiet, Quiet, NoHook, Quiet] {
        machine.on(secs(10), event);
    }
    machine.on(secs(0), TERM);
    assert_eq!(machine.step(), Step::Close);
    assert_eq!(machine.deadline(), Some(ms(20_500)));
    machine.on(ms(20_500), Deadline);
    assert_eq!(machine.deadline(), Some(secs(21)));
    machine.on(ms(20_900), Closing);
    assert_eq!(machine.deadline(), Some(ms(21_400)));
    assert_eq!(machine.on(ms(21_400), Deadline), []);
    assert_eq!(machine.on(ms(21_900), Deadline), [Leave]);
}

#[test]
fn a_process_that_was_stopped_while_it_closed_is_not_stuck() {
    let mut machine = Given::default().machine();
    for event in [TERM, Quiet, Quiet, NoHook, Quiet] {
        machine.on(secs(0), event);
    }
    assert_eq!(machine.step(), Step::Close);
    let late = machine.deadline().expect("one for the thread") + secs(30);
    assert_eq!(machine.on(late, Deadline), []);
    assert_eq!(machine.deadline(), Some(late + STUCK));
    assert_eq!(machine.on(late + STUCK, Deadline), [Leave]);
}
