//! Real children and real signals: what a user of the program, or a service manager, sees of it.
//!
//! Started without `AIORUN_SCENARIO`, this executable is a test suite. Each test starts the same
//! executable again as a child that plays one scenario on its real main thread, and watches it from
//! outside. So a scenario stands next to its test.
#![cfg(unix)]

mod accounting;
mod bare;
mod cancellation;
mod case;
mod child;
mod drain;
mod dump;
mod ended;
mod entry;
mod example;
mod exit_code;
mod failure;
mod held_up;
mod leftover;
mod limit;
mod load;
mod log;
mod namespace;
mod phase;
mod python;
mod question_mark;
mod repeat;
mod scene;
mod signal;
mod start;
mod stuck;
#[cfg(target_os = "linux")]
mod systemd;
mod tally;
mod transcript;
mod turn;

use std::process::ExitCode;

use crate::case::Cases;
use crate::scene::Scene;

fn main() -> ExitCode {
    let mut cases = Cases::default();
    cases.module("python", python::register);
    cases.module("exit_code", exit_code::register);
    cases.module("signal", signal::register);
    cases.module("repeat", repeat::register);
    cases.module("phase", phase::register);
    cases.module("turn", turn::register);
    cases.module("start", start::register);
    cases.module("limit", limit::register);
    cases.module("drain", drain::register);
    cases.module("cancellation", cancellation::register);
    cases.module("question_mark", question_mark::register);
    cases.module("bare", bare::register);
    cases.module("held_up", held_up::register);
    cases.module("dump", dump::register);
    cases.module("failure", failure::register);
    cases.module("log", log::register);
    cases.module("accounting", accounting::register);
    cases.module("leftover", leftover::register);
    cases.module("entry", entry::register);
    cases.module("namespace", namespace::register);
    #[cfg(target_os = "linux")]
    cases.module("systemd", systemd::register);
    if let Some((name, scene)) = Scene::asked_for() {
        return cases.play(&name, &scene);
    }
    child::begin_with_defaults();
    let mut others = example::trials();
    others.extend(stuck::trials());
    others.extend(transcript::trials());
    cases.test(others)
}
