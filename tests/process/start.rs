//! A signal at any time of the start.

use std::process::{ExitCode, Termination as _};
use std::thread;
use std::time::Duration;

use aiorun::Flavor;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::case::Cases;
use crate::ended::Ended;
use crate::scene::{Farewell, Scene, idle};

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor(
        "a_signal_in_the_first_moments_never_hangs",
        plain,
        |program| {
            for delay in (0..=40).step_by(2).map(Duration::from_millis) {
                let mut child = program.start();
                thread::sleep(delay);
                child.signal(Signal::TERM);
                in_either_way(&child.finish());
            }
        },
    );
    cases.every_flavor("a_signal_is_not_lost_once_it_is_caught", plain, |program| {
        for _ in 0..50 {
            let mut child = program.start();
            child.wait_until_it_catches(Signal::TERM);
            child.signal(Signal::TERM);
            in_either_way(&child.finish());
        }
    });
    cases.on(
        &[Flavor::MultiThread],
        "no_thread_for_the_second_worker",
        one_stack,
        |program| {
            program
                .run()
                .exited(1)
                .says_once("Error: the program could not be started: ")
                .never_says("main has begun");
        },
    );
    cases.only_if(cfg!(target_os = "linux"));
}

/// With address space for the stack of one worker, and not for two.
fn one_stack(scene: &Scene) -> ExitCode {
    const STACK: usize = 8 << 30;
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    let current = Some(STACK as u64 * 3 / 2);
    setrlimit(Resource::As, Rlimit { current, maximum }).expect("a limit can be made less");
    let mut builder = scene.builder();
    let exit = builder.thread_stack_size(STACK).run(async {
        println!("main has begun");
    });
    exit.report()
}

/// Before main there is nobody to handle the signal.
fn in_either_way(ended: &Ended) {
    if ended.status.code().is_none() {
        ended.killed_by(15).never_says("main has begun");
    } else {
        let begun = ended.count("main has begun");
        ended
            .exited(0)
            .says_once("AFTER")
            .says_times(begun, "main cleaned up");
    }
}

fn plain(scene: &Scene) -> ExitCode {
    let code = scene.run(async {
        println!("main has begun");
        let _farewell = Farewell("main cleaned up");
        idle().await;
    });
    println!("AFTER");
    code
}
