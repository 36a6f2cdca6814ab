//! Many runs in one process leave nothing behind.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::case::Cases;
use crate::scene::{Scene, idle};

const RUNS: usize = 100;

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("no_thread_and_no_descriptor", many_runs, |program| {
        program
            .run()
            .exited(0)
            .says_once("nothing left behind")
            .complains_not();
    });
}

/// Threads and descriptors of this process.
fn owned() -> (usize, usize) {
    let count = |path| std::fs::read_dir(path).map_or(0, Iterator::count);
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// As [`owned`], when this is the only thread: one that has been joined is listed for a moment longer.
fn settled() -> (usize, usize) {
    let until = Instant::now() + Duration::from_secs(10);
    while owned().0 != 1 && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    owned()
}

fn one_run(scene: &Scene) {
    let exit = scene.builder().run(async {
        aiorun::spawn(idle());
        aiorun::shutdown_waits_for(aiorun::stopping());
        aiorun::on_exit("nothing", async {});
        aiorun::spawn_blocking(|| {}).await.unwrap();
        aiorun::stop();
    });
    assert!(exit.is_success(), "{exit:?}");
}

fn many_runs(scene: &Scene) -> ExitCode {
    // What the first runs take for good, such as the pipe of a signal driver.
    (0..3).for_each(|_| one_run(scene));
    let before = settled();
    (0..RUNS).for_each(|_| one_run(scene));
    let after = settled();
    if after == before && after.0 == 1 {
        println!("nothing left behind");
    } else {
        println!("before: {before:?}, after: {after:?}");
    }
    ExitCode::SUCCESS
}
