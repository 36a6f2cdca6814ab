//! The rules of cancellation: as tables, and as a model that is compared with the real thing in
//! random programs. The tables are run through both.

mod model;
mod program;
mod real;

use std::iter::Peekable;

use self::program::{Case, Event, Op, Program, Seen, Then, Turn, Wakers};
use self::real::Bench;

thread_local! {
    static BENCH: Bench = Bench::new();
}

fn real(case: &Case) -> Vec<Turn> {
    BENCH.with(|bench| bench.run(case))
}

/// Reads a table, and plays its rows in all sorts of tasks, where the parts of a `join` have wakers
/// of their own too.
///
/// A row is a name and a program, whose parts are called `a`, `b`, `c`, in the order of the text;
/// and indented what is seen of it, turn by turn. A turn begins with what happens to the task: it
/// is asked to end by `cancel`, `shutdown`, `limit` or `abort`, or the part of that name is
/// released. After a colon follows what that brings: `+a`, a part begins; `a=ok` or `a=err`, it
/// ends; `-a`, it is dropped before. `leave` waits, and asks where it is dropped; `race` is short
/// for `select(wait, catch(wait))`.
#[track_caller]
fn play(table: &str) {
    play_in(false, table);
}

#[track_caller]
fn play_in(cooperative: bool, table: &str) {
    let mut rows: Vec<(&str, String)> = Vec::new();
    for line in table.lines() {
        match (line.strip_prefix("            "), rows.last_mut()) {
            (Some(more), Some((_, script))) => *script += more,
            _ if line.trim().is_empty() => {}
            _ => rows.push((line, String::new())),
        }
    }
    for (head, script) in rows {
        let (name, program) = head.split_once(": ").expect("a name and a program");
        let mut words = program.replace("race", "select(wait, catch(wait))");
        for sign in [",", "(", ")"] {
            words = words.replace(sign, &format!(" {sign} "));
        }
        let mut program = Op::Seq.of(sequence(&mut words.split_whitespace().peekable()));
        program.label();
        let (happens, expected): (Vec<_>, Vec<_>) = script.split(';').map(turn).unzip();
        for (wakers, moves) in [
            (Wakers::Task, false),
            (Wakers::Task, true),
            (Wakers::Own, false),
            (Wakers::Own, true),
        ] {
            let case = Case {
                program: program.clone().joined_by(wakers),
                cooperative,
                moves,
                turns: happens.clone(),
            };
            let said = |turns: Vec<Turn>| turns.iter().map(say).collect::<Vec<_>>();
            assert_eq!(said(model::run(&case)), expected, "the model: {name}");
            assert_eq!(said(real(&case)), expected, "{name}: {wakers:?}, {moves}");
        }
    }
}

/// Reads the parts of a program that follow one another.
fn sequence<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Vec<Program> {
    let mut parts = Vec::new();
    while let Some(word) = words.next_if(|word| !matches!(*word, "," | ")")) {
        let mut inner = Vec::new();
        if words.next_if_eq(&"(").is_some() {
            inner.push(Op::Seq.of(sequence(words)));
            while words.next() == Some(",") {
                inner.push(Op::Seq.of(sequence(words)));
            }
        }
        let op = match word {
            "wait" => Op::Wait,
            "leave" => Op::Leave,
            "request" => Op::Request,
            "ask" => Op::Ask,
            "listen" => Op::Listen,
            "bind" => Op::Bind,
            "hear" => Op::Hear,
            "checkpoint" => Op::Checkpoint,
            "catch" => Op::Catch,
            "shield" => Op::Shield,
            "join" => Op::Join(Wakers::Task),
            "select" => Op::Select,
            "begin" => Op::Begin,
            "finish" => Op::Finish,
            _ => panic!("no program has a {word:?}"),
        };
        parts.push(op.of(inner));
    }
    parts
}

/// Reads a turn of a script.
fn turn(text: &str) -> (Vec<Event>, String) {
    let (happens, seen) = text.split_once(':').unwrap_or(("", text));
    let event = |word: &str| match word {
        "cancel" => Event::Cancel,
        "shutdown" => Event::Shutdown,
        "limit" => Event::Limit,
        "abort" => Event::Abort,
        _ => Event::Release(usize::from(word.as_bytes()[0] - b'a')),
    };
    let happens = happens.split_whitespace().map(event).collect();
    (happens, seen.trim().to_owned())
}

/// What a turn brought, as a script has it.
fn say(turn: &Turn) -> String {
    let word = |&(label, what): &Seen| {
        let name = char::from(b'a' + u8::try_from(label).expect("few parts"));
        match what {
            program::BEGUN | program::DROPPED => format!("{what}{name}"),
            _ => format!("{name}{what}"),
        }
    };
    let mut words: Vec<_> = turn.seen.iter().map(word).collect();
    if let Then::Ended { outcome, caught } = turn.then {
        words.push(format!("{outcome:?}").to_lowercase());
        words.extend(caught.then(|| "(caught)".to_owned()));
    }
    words.join(" ")
}

#[test]
fn a_plain_task_is_dropped_where_it_is_suspended() {
    play(
        "
        suspended: wait
            +a; cancel: -a cancelled
        by the shutdown: wait
            +a; shutdown: -a cancelled
        by its owner: wait
            +a; abort: -a cancelled
        not started: wait
            cancel: cancelled
        about to go on: wait
            +a; a cancel: -a cancelled
        running, to its next await: request wait
            +a -a cancelled
        running, to its end: wait request
            +a; a: a=ok completed
        two parts: join(wait, wait)
            +a +b; cancel: -a -b cancelled
    ",
    );
}

#[test]
fn the_innermost_catches_and_of_concurrent_ones_each() {
    play(
        "
        one, and cleanup: catch(wait) wait
            +a +b; cancel: -b a=err +c; c: c=ok completed (caught)
        nested: catch(catch(wait))
            +a +b +c; cancel: -c b=err a=ok completed (caught)
        the inner one is over: catch(catch(wait) wait)
            +a +b +c; c: c=ok b=ok +d; cancel: -d a=err completed (caught)
        concurrent: join(catch(wait), catch(wait))
            +a +b +c +d; cancel: -b a=err -d c=err completed (caught)
        concurrent in one that is around them: catch(join(catch(wait), catch(wait), wait))
            +a +b +c +d +e +f; cancel: -c b=err -e d=err; f: f=ok a=ok completed (caught)
        beside plain code, which goes on: join(catch(wait), wait)
            +a +b +c; cancel: -b a=err; c: c=ok completed (caught)
        what is produced in the poll of the request: catch(wait request)
            +a +b; b: b=ok a=ok completed
    ",
    );
}

#[test]
fn a_catch_that_is_entered_when_a_request_is_pending_yields_at_once() {
    play(
        "
        nothing of it is polled: wait request catch(wait)
            +a; a: a=ok +b b=err completed (caught)
        all others are told: join(catch(wait), wait request catch(wait))
            +a +b +c; c: c=ok +d d=err -b a=err completed (caught)
        the one around it does not fire: catch(request catch(wait) wait)
            +a +b b=err +d; d: d=ok a=ok completed (caught)
        the one that is entered next starts fresh: request join(catch(wait), catch(wait ask))
            +a a=err +c +d; d: d=ok e=false c=ok completed (caught)
    ",
    );
}

#[test]
fn a_second_request_is_received_again() {
    play(
        "
        in cleanup: catch(wait) wait
            +a +b; cancel: -b a=err +c; cancel: -c cancelled (caught)
        in another catch: catch(wait) catch(wait)
            +a +b; cancel: -b a=err +c +d; cancel: -d c=err completed (caught)
        two are one while they are pending: catch(wait) wait
            +a +b; cancel cancel: -b a=err +c; c: c=ok completed (caught)
        by who is cooperative: listen wait
            +a; cancel: a=ok +b; cancel:; b: b=ok completed
    ",
    );
}

#[test]
fn who_asks_is_told_and_not_interrupted() {
    play(
        "
        listens: listen wait
            +a; cancel: a=ok +b; b: b=ok completed
        asks once: ask wait
            a=false +b; cancel:; b: b=ok completed
        asks in the poll of the request: ask request ask ask
            a=false b=true c=true completed
        and what is entered then is fresh: ask request ask catch(wait)
            a=false b=true +c +d; d: d=ok c=ok completed
        also after a call of cancelled(): join(request listen, catch(wait))
            +a a=ok +b +c; c: c=ok b=ok completed
        a catch yields its value: catch(listen wait ask)
            +a +b; cancel: b=ok +c; c: c=ok d=true a=ok completed
        in a catch, which is over: catch(ask) wait
            +a b=false a=ok +c; cancel: -c cancelled
        around a catch, after it: catch(catch(wait) ask wait)
            +a +b +c; c: c=ok b=ok d=false +e; cancel:; e: e=ok a=ok completed
        around a catch: catch(ask catch(wait) wait)
            +a b=false +c +d; cancel: -d c=err +e; e: e=ok a=ok completed (caught)
        in a catch within another, which does not fire: catch(catch(listen wait))
            +a +b +c; cancel: c=ok +d; d: d=ok b=ok a=ok completed
        beside plain code, which goes on: join(catch(listen), wait)
            +a +b +c; cancel: b=ok a=ok; c: c=ok completed
    ",
    );
    play_in(
        true,
        "
        never asks: wait
            +a; cancel:; a: a=ok completed
        asks after it was told: wait ask listen
            +a; cancel:; a: a=ok b=true +c c=ok completed
        catches: catch(wait)
            +a +b; cancel: -b a=err completed (caught)
        is told before it begins, with a catch: catch(wait) ask
            cancel: +a a=err c=true completed (caught)
        is told before it begins, with a shield: join(shield(begin(catch(wait))), finish)
            cancel: +a +b +c a=ok -c b=err completed (caught)
        is told before it begins, with something else: wait catch(wait)
            cancel: +a; a: a=ok +b +c; abort: -c -b cancelled
    ",
    );
}

#[test]
fn to_listen_is_bound_to_the_scope_that_called() {
    play(
        "
        outside, awaited in a catch: bind catch(hear) wait
            +a +b; cancel: -b a=err +c; c: c=ok completed (caught)
        in a catch, awaited outside: join(catch(bind wait), hear)
            +a +b +c; cancel: c=ok; b: b=ok a=ok completed
        in a catch, which is over, to the task: ask catch(bind) hear
            a=false +b b=ok +c; cancel: c=ok completed
        in a catch, which is over, not to the next: ask catch(wait) catch(bind) catch(hear)
            a=false +b +c; cancel: -c b=err +d d=ok +e +f f=ok e=ok completed (caught)
        in a fresh catch, then to the task, as told: ask catch(wait) join(catch(bind wait), hear)
            a=false +b +c; cancel: -c b=err +d +e +f; e: e=ok d=ok f=ok completed (caught)
    ",
    );
}

#[test]
fn a_shield_keeps_it_from_the_whole_task() {
    play(
        "
        then the task is dropped: shield(wait) wait
            +a +b; cancel:; b: b=ok a=ok +c -c cancelled
        then a catch is entered: shield(wait) catch(wait)
            +a +b; cancel:; b: b=ok a=ok +c c=err completed (caught)
        then it is received, once: shield(wait) catch(wait) shield(wait) wait
            +a +b; cancel:; b: b=ok a=ok +c c=err +e +f; f: f=ok e=ok +g; g: g=ok completed (caught)
        then the catch around it yields: catch(shield(wait) wait)
            +a +b +c; cancel:; c: c=ok b=ok +d -d a=err completed (caught)
        a catch inside is not told: shield(catch(wait) catch(wait))
            +a +b +c; cancel:; c: c=ok b=ok +d +e; e: e=ok d=ok a=ok completed
        nor one beside: join(shield(wait), catch(wait))
            +a +b +c +d; cancel:; b: b=ok a=ok -d c=err completed (caught)
        who asks inside hears nothing of it: shield(wait ask) ask
            +a +b; cancel:; b: b=ok c=false a=ok d=true completed
        unless it was received before: listen shield(ask listen)
            +a; cancel: a=ok +b c=true +d d=ok b=ok completed
        who listens beside hears when it is over: join(listen, shield(wait))
            +a +b +c; cancel:; c: c=ok b=ok a=ok completed
        nested, the last counts: shield(shield(wait) wait)
            +a +b +c; cancel:; c: c=ok b=ok +d; d: d=ok a=ok completed
        concurrent, the last counts: join(shield(wait), shield(wait)) wait
            +a +b +c +d; cancel:; b: b=ok a=ok; d: d=ok c=ok +e -e cancelled
    ",
    );
}

/// The shield is begun in the poll that receives the cancellation, before the catch is polled.
#[test]
fn a_catch_that_is_to_yield_does_not_wait_for_a_shield_beside_it() {
    play(
        "
        that has just begun: join(wait shield(wait), catch(wait))
            +a +d +e; a cancel: a=ok +b +c -e d=err; c: c=ok b=ok completed (caught)
        also where a later one is last: join(wait shield(wait), catch(wait), wait shield(wait))
            +a +d +e +f; a f cancel: a=ok +b +c -e d=err f=ok +g +h; c: c=ok b=ok;
            h: h=ok g=ok completed (caught)
        in which another cleans up: join(catch(wait) shield(wait), catch(wait) shield(wait))
            +a +b +e +f; cancel: -b a=err +c +d -f e=err +g +h; d: d=ok c=ok;
            h: h=ok g=ok completed (caught)
    ",
    );
}

#[test]
fn a_catch_that_is_dropped_before_it_yields_hands_back() {
    play(
        "
        to the task: race wait
            +a +b +c; a cancel: a=ok -c -b +d -d cancelled
        to the next catch: race catch(wait)
            +a +b +c; a cancel: a=ok -c -b +d d=err completed (caught)
        to the one around it: catch(race wait)
            +a +b +c +d; b cancel: b=ok -d -c +e -e a=err completed (caught)
        to nobody, where who is cooperative knows: ask race catch(wait)
            a=false +b +c +d; b cancel: b=ok -d -c +e +f; f: f=ok e=ok completed
        to nobody, where a catch that is cooperative knows: join(catch(ask wait), race catch(wait))
            +a b=false +c +d +e +f; d cancel: d=ok -f -e +g +h;
            c h: c=ok a=ok h=ok g=ok completed
        to nobody, where another has yielded: join(catch(wait), race) wait
            +a +b +c +d +e; c cancel: -b a=err c=ok -e -d +f; f: f=ok completed (caught)
        to nobody, where another will yield: join(race, catch(wait)) wait
            +a +b +c +d +e; a cancel: a=ok -c -b -e d=err +f; f: f=ok completed (caught)
        once, where two were to yield: join(race, race) catch(wait) wait
            +a +b +c +d +e +f; a d cancel: a=ok -c -b d=ok -f -e +g g=err +i;
            i: i=ok completed (caught)
        also when another was caught before: catch(wait) race wait
            +a +b; cancel: -b a=err +c +d +e; c cancel: c=ok -e -d +f -f cancelled (caught)
        also when another was told twice before: begin(catch(wait)) wait finish race wait
            +a +b +c; cancel:; cancel:; c: c=ok -b a=err +d +e +f;
            d cancel: d=ok -f -e +g -g cancelled (caught)
    ",
    );
}

#[test]
fn a_catch_may_be_moved_out_of_the_one_around_it() {
    play(
        "
        which is over, and it yields elsewhere: catch(begin(catch(wait)) wait) finish
            +a +b +c +d; d: d=ok a=ok; cancel: -c b=err completed (caught)
        it is now inside the next one: catch(catch(begin(catch(wait)) wait) wait finish wait)
            +a +b +c +d +e; e: e=ok b=ok +f; cancel:; f: f=ok -d c=err +g;
            cancel: -g a=err completed (caught)
        it asks where it yields, which fires the one around: join(listen, begin(catch(leave))) join(catch(join(wait, request finish)))
            +a +b +c; cancel: a=ok +d +e -c c=true b=err -e d=err completed (caught)
        it is dropped elsewhere: catch(begin(catch(wait)) begin(wait) wait)
            +a +b +c +d -c -b +e; cancel: -e a=err -d completed (caught)
    ",
    );
}

#[test]
fn destructors_belong_to_the_scope_that_they_are_in() {
    play(
        "
        of a catch that yields: catch(leave) wait
            +a +b; cancel: -b b=true a=err +c; cancel: -c cancelled (caught)
        of a catch that is dropped: select(wait, catch(leave)) wait
            +a +b +c; a: a=ok -c c=false -b +d; cancel: -d cancelled
        of the task, which becomes cooperative: select(wait, leave) wait
            +a +b; a: a=ok -b b=false +c; cancel:; c: c=ok completed
        of the task, at its end: leave
            +a; cancel: -a a=true cancelled
        of nobody, where the owner drops it: leave
            +a; cancel abort: -a a=false cancelled
    ",
    );
}

#[test]
fn at_a_checkpoint_a_task_is_suspended_for_what_is_pending() {
    play(
        "
        nothing: checkpoint
            +a a=ok completed
        a plain task: request checkpoint ask
            +a -a cancelled
        in a catch: catch(request checkpoint ask)
            +a +b -b a=err completed (caught)
        who is cooperative goes on: join(ask request checkpoint ask)
            a=false +b b=ok c=true completed
        behind a shield there is nothing: shield(request checkpoint wait)
            +a +b b=ok +c; c: c=ok a=ok completed
    ",
    );
}

#[test]
fn at_the_limit_it_ends_whatever_it_is_doing() {
    play(
        "
        it had no chance to obey: wait
            +a; cancel limit: -a cancelled
        it was not asked to: wait
            +a; limit: -a refused
        it catches: catch(wait)
            +a +b; cancel limit: -b -a refused
        it is shielded: shield(wait)
            +a +b; cancel limit: -b -a refused
        it has long been: shield(wait)
            +a +b; cancel:; limit: -b -a refused
        it was told: listen wait
            +a; cancel: a=ok +b; limit: -b refused
        it cleans up: catch(wait) wait
            +a +b; cancel: -b a=err +c; cancel limit: -c refused (caught)
        also where it entered a catch too late: request catch(wait) wait
            +a a=err +c; cancel limit: -c refused (caught)
    ",
    );
}

mod any_program {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// Of which programs.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Sort {
        Any,
        /// Where it does not matter in which order the parts of a `Join` are polled.
        WithoutOrder,
    }

    fn leaf(sort: Sort) -> impl Strategy<Value = Program> {
        let any = u32::from(sort == Sort::Any);
        prop_oneof![
            12 => Just(Op::Wait),
            2 * any => Just(Op::Leave),
            2 => Just(Op::Listen),
            1 => Just(Op::Ask),
            1 => Just(Op::Checkpoint),
            2 * any => Just(Op::Request),
            any => Just(Op::Bind),
            any => Just(Op::Hear),
            4 * any => Just(Op::Finish),
        ]
        .prop_map(|op| op.of([]))
    }

    fn part(sort: Sort, depth: u32) -> BoxedStrategy<Program> {
        if depth == 0 {
            return leaf(sort).boxed();
        }
        let any = u32::from(sort == Sort::Any);
        let inner = part(sort, depth - 1);
        let around = |op: Op| inner.clone().prop_map(move |inner| op.of([inner]));
        // What loops do.
        let race =
            (leaf(sort), around(Op::Catch)).prop_map(|(leaf, catch)| Op::Select.of([leaf, catch]));
        prop_oneof![
            8 => leaf(sort),
            7 => around(Op::Catch),
            3 * any => around(Op::Shield),
            3 * any => around(Op::Begin),
            3 * any => race,
            2 * any => prop::array::uniform2(inner.clone()).prop_map(|two| Op::Select.of(two)),
            8 => several(sort, inner.clone()),
        ]
        .boxed()
    }

    fn several(sort: Sort, part: BoxedStrategy<Program>) -> impl Strategy<Value = Program> {
        let op = match sort {
            Sort::Any => vec![
                Op::Seq,
                Op::Seq,
                Op::Join(Wakers::Task),
                Op::Join(Wakers::Own),
            ],
            Sort::WithoutOrder => vec![Op::Seq, Op::Join(Wakers::Unordered)],
        };
        let parts = prop::collection::vec(part, 1..4);
        (prop::sample::select(op), parts).prop_map(|(op, parts)| op.of(parts))
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            24 => any::<Index>().prop_map(|index| Event::Release(index.index(usize::MAX))),
            12 => Just(Event::Cancel),
            4 => Just(Event::Shutdown),
            1 => Just(Event::Limit),
            1 => Just(Event::Abort),
        ]
    }

    prop_compose! {
        fn case(sort: Sort)(
            mut program in several(sort, several(sort, part(sort, 3)).boxed()),
            mut turns in prop::collection::vec(prop::collection::vec(event(), 0..4), 0..10),
            from_the_start in prop::bool::weighted(0.2),
            cooperative in prop::bool::weighted(0.2),
            moves in any::<bool>(),
        ) -> Case {
            let waits = program.label();
            for event in turns.iter_mut().flatten() {
                if let Event::Release(number) = event {
                    *number = waits.get(*number % waits.len().max(1)).copied().unwrap_or(0);
                }
            }
            // In the first poll of a cooperative task a request is pending, and order matters.
            if !from_the_start || sort == Sort::WithoutOrder {
                turns.insert(0, Vec::new());
            }
            Case { program, cooperative, moves, turns }
        }
    }

    fn config() -> ProptestConfig {
        let default = ProptestConfig::default();
        ProptestConfig {
            cases: 6 * default.cases,
            ..default
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn does_what_the_model_says(case in case(Sort::Any)) {
            prop_assert_eq!(real(&case), model::run(&case));
        }

        /// `FuturesUnordered` polls its parts in an order of its own.
        #[test]
        fn does_so_in_whatever_order_it_is_polled(case in case(Sort::WithoutOrder)) {
            let sorted = |mut turns: Vec<Turn>| {
                for turn in &mut turns {
                    turn.seen.sort_by_key(|(label, _)| *label);
                }
                turns
            };
            prop_assert_eq!(sorted(real(&case)), sorted(model::run(&case)));
        }
    }
}
