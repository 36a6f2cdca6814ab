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

    fn program(sort: Sort) -> impl Strategy<Value = Program> {
        let any = u32::from(sort == Sort::Any);
        let leaf = prop_oneof![
            8 => Just(Op::Wait),
            2 => Just(Op::Listen),
            1 => Just(Op::Ask),
            1 => Just(Op::Checkpoint),
            2 * any => Just(Op::Request),
            any => Just(Op::Bind),
            any => Just(Op::Hear),
            2 * any => Just(Op::Finish),
        ];
        leaf.prop_map(Program::from)
            .prop_recursive(5, 24, 4, move |inner| {
                let wakers = match sort {
                    Sort::Any => prop_oneof![Just(Wakers::Task), Just(Wakers::Own)].boxed(),
                    Sort::WithoutOrder => Just(Wakers::Unordered).boxed(),
                };
                let boxed = inner.clone().prop_map(Box::new);
                let parts = prop::collection::vec(inner.clone(), 1..4);
                let two = prop::array::uniform2(inner).prop_map(Box::new);
                prop_oneof![
                    6 => boxed.clone().prop_map(Op::Catch),
                    4 => parts.clone().prop_map(Op::Seq),
                    4 => (wakers, parts).prop_map(|(wakers, parts)| Op::Join(wakers, parts)),
                    3 * any => boxed.clone().prop_map(Op::Shield),
                    3 * any => two.prop_map(Op::Select),
                    2 * any => boxed.prop_map(Op::Begin),
                ]
                .prop_map(Program::from)
            })
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            12 => any::<prop::sample::Index>().prop_map(|index| Event::Release(index.index(usize::MAX))),
            6 => Just(Event::Cancel),
            2 => Just(Event::Shutdown),
            1 => Just(Event::Limit),
            1 => Just(Event::Abort),
        ]
    }

    fn case(sort: Sort) -> impl Strategy<Value = Case> {
        let first = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(event(), 1..3)];
        let turns = prop::collection::vec(prop::collection::vec(event(), 1..4), 0..8);
        (
            program(sort),
            first,
            turns,
            prop::bool::weighted(0.2),
            any::<bool>(),
        )
            .prop_map(|(program, first, mut turns, cooperative, moves)| {
                let program = program.labelled();
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
            })
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
