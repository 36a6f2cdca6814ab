//! A program as the first process of a container: there the kernel does nothing about a signal that
//! nobody handles.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::case::Cases;
use crate::scene::{Farewell, Scene, idle};

const AS_ROOT: [&str; 4] = ["unshare", "--pid", "--fork", "--kill-child"];
const AS_USER: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--pid",
    "--fork",
    "--kill-child",
];

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("process_number_1_ends_by_a_signal", first, |program| {
        let words = unshare().expect("the case is ignored without it");
        for signal in [Signal::INT, Signal::TERM] {
            let mut child = program.started_by(words).start();
            child.wait_for("I am 1");
            let inner = only_child(child.pid());
            child.signal_to(inner, signal);
            child
                .finish()
                .exited(0)
                .says_once("main cleaned up")
                .within(Duration::from_secs(10));
        }
    });
    cases.only_if(unshare().is_some());
}

/// How to start a program in a process namespace, if this machine lets us.
pub(crate) fn unshare() -> Option<&'static [&'static str]> {
    let works = |words: &&&[&str]| {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg("true")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    [&AS_ROOT as &[&str], &AS_USER].iter().find(works).copied()
}

/// The process inside, by its number outside.
pub(crate) fn only_child(parent: Pid) -> Pid {
    let parent = parent.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let child = children
        .ok()
        .and_then(|list| list.trim().parse().ok())
        .and_then(Pid::from_raw);
    child.expect("unshare has one child")
}

fn first(scene: &Scene) -> ExitCode {
    scene.run(async {
        let _farewell = Farewell("main cleaned up");
        println!("I am {}", std::process::id());
        idle().await;
    })
}
