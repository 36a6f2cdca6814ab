//! A signal at any time of the start.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

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
