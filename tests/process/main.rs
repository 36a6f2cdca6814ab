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
mod python;
mod question_mark;
mod repeat;
mod scene;
mod signal;
mod start;

use std::process::ExitCode;

use crate::case::Cases;
use crate::scene::Scene;

fn main() -> ExitCode {
    let mut cases = Cases::default();
    cases.module("python", python::register);
    cases.module("exit_code", exit_code::register);
    cases.module("signal", signal::register);
    cases.module("repeat", repeat::register);
    cases.module("start", start::register);
    cases.module("limit", limit::register);
    cases.module("drain", drain::register);
    cases.module("cancellation", cancellation::register);
    cases.module("question_mark", question_mark::register);
    cases.module("bare", bare::register);
    cases.module("held_up", held_up::register);
    cases.module("failure", failure::register);
    cases.module("log", log::register);
    cases.module("accounting", accounting::register);
    cases.module("leftover", leftover::register);
    cases.module("entry", entry::register);
    cases.module("namespace", namespace::register);
    match Scene::asked_for() {
        Some((name, scene)) => cases.play(&name, &scene),
        None => cases.test(example::trials()),
    }
}
