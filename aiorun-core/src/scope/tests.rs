//! The rules of cancellation: as tables, and as a model that is compared with the real thing in
//! random programs. Whatever is run here is run through both.

mod model;
mod program;
mod real;

use self::program::{Case, Event, Op, Program, Turn, Wakers};
use self::real::Bench;

thread_local! {
    static BENCH: Bench = Bench::new();
}

fn real(case: &Case) -> Vec<Turn> {
    BENCH.with(|bench| bench.run(case))
}

mod any_program {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Sort {
        Any,
        /// Where it does not matter in which order parts of a `Join` are polled.
        WithoutOrder,
    }

    fn leaf(sort: Sort) -> impl Strategy<Value = Program> {
        let any = u32::from(sort == Sort::Any);
        prop_oneof![
            12 => Just(Op::Wait),
            2 => Just(Op::Listen),
            1 => Just(Op::Ask),
            1 => Just(Op::Checkpoint),
            2 * any => Just(Op::Request),
            any => Just(Op::Bind),
            any => Just(Op::Hear),
            3 * any => Just(Op::Finish),
        ]
        .prop_map(Program::from)
    }

    fn part(sort: Sort, depth: u32) -> BoxedStrategy<Program> {
        if depth == 0 {
            return leaf(sort).boxed();
        }
        let any = u32::from(sort == Sort::Any);
        let inner = part(sort, depth - 1);
        let boxed = inner.clone().prop_map(Box::new);
        let two = prop::array::uniform2(inner.clone()).prop_map(Box::new);
        let one = prop_oneof![
            6 => boxed.clone().prop_map(Op::Catch),
            3 * any => boxed.clone().prop_map(Op::Shield),
            3 * any => two.prop_map(Op::Select),
            2 * any => boxed.prop_map(Op::Begin),
        ];
        prop_oneof![
            1 => leaf(sort),
            2 => one.prop_map(Program::from),
            1 => several(sort, inner),
        ]
        .boxed()
    }

    fn several(sort: Sort, part: BoxedStrategy<Program>) -> impl Strategy<Value = Program> {
        let parts = prop::collection::vec(part, 1..4);
        let wakers = match sort {
            Sort::Any => prop_oneof![Just(Wakers::Task), Just(Wakers::Own)].boxed(),
            Sort::WithoutOrder => Just(Wakers::Unordered).boxed(),
        };
        let op = prop_oneof![
            parts.clone().prop_map(Op::Seq),
            (wakers, parts).prop_map(|(wakers, parts)| Op::Join(wakers, parts)),
        ];
        op.prop_map(Program::from)
    }

    fn program(sort: Sort) -> impl Strategy<Value = Program> {
        several(sort, several(sort, part(sort, 3)).boxed()).prop_map(Program::labelled)
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            24 => any::<prop::sample::Index>().prop_map(|it| Event::Release(it.index(usize::MAX))),
            12 => Just(Event::Cancel),
            4 => Just(Event::Shutdown),
            1 => Just(Event::Limit),
            1 => Just(Event::Abort),
        ]
    }

    fn case(sort: Sort) -> impl Strategy<Value = Case> {
        let events = |most| prop::collection::vec(event(), 0..=most);
        let first = prop_oneof![4 => events(0), 1 => events(2)];
        let turns = prop::collection::vec(events(3), 0..10);
        (program(sort), first, turns, any::<bool>(), any::<bool>()).prop_map(
            |(program, first, mut turns, cooperative, moves)| {
                let waits = program.waits();
                turns.insert(0, first);
                for event in turns.iter_mut().flatten() {
                    if let Event::Release(number) = event {
                        *number = waits
                            .get(*number % waits.len().max(1))
                            .copied()
                            .unwrap_or(0);
                    }
                }
                Case {
                    program,
                    cooperative,
                    moves,
                    turns,
                }
            },
        )
    }

    fn config() -> ProptestConfig {
        let default = ProptestConfig::default();
        ProptestConfig {
            cases: 4 * default.cases,
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
        fn does_so_in_an_order_that_is_not_known(case in case(Sort::WithoutOrder)) {
            let sorted = |mut turns: Vec<Turn>| {
                for turn in &mut turns {
                    turn.seen.sort_by_key(|seen| (seen.label().is_none(), seen.label()));
                }
                turns
            };
            prop_assert_eq!(sorted(real(&case)), sorted(model::run(&case)));
        }
    }
}
