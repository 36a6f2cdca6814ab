//! Many supervisors in one process.

use std::process::ExitCode;
use std::thread;

use aiorun::{
    Builder, Flavor, StopReason, catch_cancel, group, on_exit, shield, spawn, spawn_blocking,
};
use rustix::process::Signal;

use crate::gauge::Reading;
use crate::load::section;
use crate::scene::{Scene, idle, ready};
use crate::storm::Verdict::Held;
use crate::storm::{FLAVORS, Storm, Trial, Verdict, size};

pub(crate) const IN_SEQUENCE: Storm = Storm {
    name: "sequence",
    promise: "A thousand supervisors one after the other, each with tasks of four shutdown phases in a group, leave \
              no thread, no descriptor and no memory behind.",
    scene: sequence,
    check: check_sequence,
};

pub(crate) const IN_PARALLEL: Storm = Storm {
    name: "parallel",
    promise: "Sixteen threads with a supervisor each, again and again, do not know of each other; then one \
              signal stops the sixteen that run.",
    scene: parallel,
    check: check_parallel,
};

const THREADS: usize = 16;
/// How much more the heap may have after all than after the first tenth.
const HEAP: u64 = 64 << 10;

/// One program that does a little of everything.
fn one_run(flavor: Flavor) {
    let mut builder = Builder::new();
    builder.flavor(flavor);
    if flavor == Flavor::MultiThread {
        builder.worker_threads(2);
    }
    let exit = builder.run(async {
        on_exit("nothing", async {});
        let part = group("part");
        for number in 0..20 {
            match number % 5 {
                0 => drop(spawn(async {})),
                1 => drop(spawn(idle())),
                2 => drop(spawn(async {
                    let _ = catch_cancel(idle()).await;
                    shield(section()).await;
                })),
                3 => drop(part.task("later").shutdown_phase(number / 5).spawn(idle())),
                _ => drop(spawn_blocking(|| {})),
            }
        }
        tokio::task::yield_now().await;
        aiorun::stop();
    });
    let tasks = exit.report.tasks;
    let ended = tasks.completed + tasks.cancelled;
    assert_eq!(tasks.spawned, ended, "{exit:?}");
    assert!(
        exit.is_success() && exit.reason == StopReason::Stop,
        "{exit:?}"
    );
}

fn sequence(_: &Scene) -> ExitCode {
    let count = size();
    let mut before = None;
    for number in 0..count {
        one_run(FLAVORS[usize::from(number % 2 == 1)]);
        if number == count / 10 {
            before = Some(Reading::now());
        }
    }
    let (before, after) = (before.expect("more than ten"), Reading::now());
    println!(
        "BEFORE heap_before={} threads_before={} descriptors_before={}",
        before.heap, before.threads, before.descriptors
    );
    println!(
        "AFTER heap={} threads={} descriptors={}",
        after.heap, after.threads, after.descriptors
    );
    ExitCode::SUCCESS
}

fn check_sequence(trial: &Trial) -> Verdict {
    let count = trial.size(1000, 200);
    let ended = trial.program(Flavor::MultiThread, count).run();
    ended.exited(0).complains_not();
    let figures = |name: &str| [ended.figure(&format!("{name}_before")), ended.figure(name)];
    let [threads, descriptors, heap] = ["threads", "descriptors", "heap"].map(figures);
    assert_eq!(threads[0], threads[1], "threads are left: {ended:?}");
    assert_eq!(
        descriptors[0], descriptors[1],
        "descriptors are left: {ended:?}"
    );
    assert!(heap[1] <= heap[0] + HEAP, "memory is left: {ended:?}");
    Held(format!(
        "{count} runs; threads {} → {}, descriptors {} → {}, heap {} → {} bytes",
        threads[0], threads[1], descriptors[0], descriptors[1], heap[0], heap[1]
    ))
}

fn parallel(scene: &Scene) -> ExitCode {
    let each = size();
    let flavor = scene.flavor;
    let running = std::sync::Barrier::new(THREADS + 1);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..each {
                    one_run(flavor);
                }
                let mut builder = Builder::new();
                let exit = builder.flavor(Flavor::CurrentThread).run(async {
                    running.wait();
                    idle().await;
                });
                assert!(exit.is_success(), "{exit:?}");
                println!("STOPPED {}", exit.reason);
            });
        }
        running.wait();
        // That this one ends makes no difference to them.
        one_run(flavor);
        ready();
    });
    ExitCode::SUCCESS
}

fn check_parallel(trial: &Trial) -> Verdict {
    let each = trial.size(100, 10);
    for flavor in FLAVORS {
        let ended = trial.program(flavor, each).stop_by(Signal::TERM);
        ended
            .exited(0)
            .complains_not()
            .says_times(THREADS, "STOPPED signal SIGTERM");
    }
    Held(format!(
        "{} runs on {THREADS} threads, for each flavour; one signal for the last of each",
        each * THREADS as u64
    ))
}
