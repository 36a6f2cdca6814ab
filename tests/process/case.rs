//! The list of cases: each a scenario and the test that starts it as a child.

use std::process::ExitCode;

use aiorun::Flavor;
use libtest_mimic::{Arguments, Trial};

use crate::child::Program;
use crate::scene::{ALL_FLAVORS, Scene, flavor_name};

/// What a child does, on its real main thread.
pub(crate) type Scenario = fn(&Scene) -> ExitCode;
/// What the parent checks.
pub(crate) type Test = fn(&Program);

/// Most of a test is waiting for its child: more of them at a time than there are cores.
const TEST_THREADS: usize = 8;

struct Case {
    name: String,
    flavors: &'static [Flavor],
    scenario: Scenario,
    test: Test,
    ignored: bool,
}

/// All cases, in the order of their modules.
#[derive(Default)]
pub(crate) struct Cases {
    module: &'static str,
    all: Vec<Case>,
}

impl Cases {
    /// The cases of one file.
    pub(crate) fn module(&mut self, name: &'static str, register: fn(&mut Self)) {
        self.module = name;
        register(self);
    }

    /// A case for each flavour.
    pub(crate) fn every_flavor(&mut self, name: &str, scenario: Scenario, test: Test) {
        self.on(&ALL_FLAVORS, name, scenario, test);
    }

    /// A case whose flavour does not matter.
    pub(crate) fn once(&mut self, name: &str, scenario: Scenario, test: Test) {
        self.on(&[Flavor::MultiThread], name, scenario, test);
    }

    /// A case for these flavours.
    pub(crate) fn on(
        &mut self,
        flavors: &'static [Flavor],
        name: &str,
        scenario: Scenario,
        test: Test,
    ) {
        let name = format!("{}::{name}", self.module);
        assert!(
            self.all.iter().all(|case| case.name != name),
            "{name} is there twice"
        );
        self.all.push(Case {
            name,
            flavors,
            scenario,
            test,
            ignored: false,
        });
    }

    /// The newest case cannot be tried on this machine unless `possible`: it is shown as ignored.
    pub(crate) fn only_if(&mut self, possible: bool) {
        if let Some(case) = self.all.last_mut() {
            case.ignored = !possible;
        }
    }

    /// Plays a scenario: this process is a child.
    pub(crate) fn play(&self, name: &str, scene: &Scene) -> ExitCode {
        let case = self.all.iter().find(|case| case.name == name);
        let case = case.unwrap_or_else(|| panic!("there is no scenario {name}"));
        (case.scenario)(scene)
    }

    /// Runs the tests: this process is the parent.
    pub(crate) fn test(self, others: Vec<Trial>) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(TEST_THREADS);
        let mut trials: Vec<Trial> = self.all.into_iter().flat_map(Case::trials).collect();
        trials.extend(others);
        libtest_mimic::run(&arguments, trials).exit_code()
    }
}

impl Case {
    fn trials(self) -> impl Iterator<Item = Trial> {
        let Self {
            name,
            flavors,
            test,
            ignored,
            ..
        } = self;
        flavors.iter().map(move |flavor| {
            let title = match flavors {
                [_] => name.clone(),
                _ => format!("{name}::{}", flavor_name(*flavor)),
            };
            let program = Program::scenario(&name, *flavor);
            let run = move || {
                test(&program);
                Ok(())
            };
            Trial::test(title, run).with_ignored_flag(ignored)
        })
    }
}
