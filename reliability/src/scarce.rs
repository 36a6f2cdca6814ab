//! What the system does not have to give.

use std::fs;
use std::process::{ExitCode, Termination as _};
use std::time::Duration;

use aiorun::{shutdown_waits_for, spawn, spawn_blocking};
use rustix::process::{Resource, Rlimit, Signal, geteuid, getrlimit, setrlimit};
use tokio::task::yield_now;

use crate::ended::Ended;
use crate::load::{section, tell_sections};
use crate::scene::{Scene, idle};
use crate::storm::Verdict::{Held, NotPlayed};
use crate::storm::{FLAVORS, Storm, Trial, Verdict, size};
use crate::tally::{Token, adds_up, tell};

pub(crate) const DESCRIPTORS: Storm = Storm {
    name: "descriptors",
    promise: "With any number of descriptors that is too small, a program is not started: it says why, and \
              exits with 1.",
    scene: few_descriptors,
    check: |trial| {
        let limits: Vec<_> = (3..=30).collect();
        sweep(trial, &limits, "descriptors", not_started)
    },
};

pub(crate) const THREADS: Storm = Storm {
    name: "threads",
    promise: "The same of threads; and where a program could be started but has no thread for its first blocking \
              job, `spawn_blocking` panics, as tokio's does, and the job is abandoned at the limit.",
    scene: few_threads,
    check: |trial| {
        if !geteuid().is_root() {
            return NotPlayed("only root can become somebody whom the limit binds");
        }
        let limits: Vec<_> = (1..=10).collect();
        sweep(trial, &limits, "threads", not_started)
    },
};

pub(crate) const MEMORY: Storm = Storm {
    name: "memory",
    promise: "The same of address space; and where an allocation fails, the standard library ends the process \
              by SIGABRT, and says so.",
    scene: little_memory,
    check: |trial| {
        let step = trial.size(1, 4);
        let limits: Vec<_> = (0..=64 / step).map(|number| number * step).collect();
        sweep(trial, &limits, "MiB", not_started_or_aborted)
    },
};

fn limit(resource: Resource, most: u64) {
    let Rlimit { maximum, .. } = getrlimit(resource);
    let limit = Rlimit {
        current: Some(most),
        maximum,
    };
    setrlimit(resource, limit).expect("a limit can be made less");
}

fn few_descriptors(scene: &Scene) -> ExitCode {
    limit(Resource::Nofile, size());
    program(scene)
}

fn few_threads(scene: &Scene) -> ExitCode {
    limit(Resource::Nproc, size());
    // A user of its own, who has nothing else running.
    let user = 700_000 + std::process::id();
    nix::unistd::setuid(user.into()).expect("root may");
    program(scene)
}

fn little_memory(scene: &Scene) -> ExitCode {
    let statm = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = statm.split(' ').next().and_then(|pages| pages.parse().ok());
    let used = pages.map(|pages: u64| pages * rustix::param::page_size() as u64);
    limit(Resource::As, used.expect("a number") + (size() << 20));
    program(scene)
}

/// Does a little of everything, and stops.
fn program(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.timeout_executor_shutdown(Duration::from_millis(300));
    let exit = builder.run(async {
        for number in 0..100 {
            let token = Token::new();
            spawn(async move {
                if number % 2 == 0 {
                    idle().await;
                }
                drop(token);
            });
        }
        shutdown_waits_for(section());
        let job = spawn(async { spawn_blocking(|| {}).await.is_ok() });
        yield_now().await;
        println!("JOB done={}", u8::from(matches!(job.await, Ok(true))));
        aiorun::stop();
    });
    if exit.report.tasks.spawned > 0 {
        tell(&exit);
        tell_sections();
    }
    exit.report()
}

/// How a program got along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ran,
    /// It said why.
    NotStarted,
    /// The standard library had no memory.
    Aborted,
}

fn sweep(trial: &Trial, limits: &[u64], unit: &str, judge: fn(&Ended) -> End) -> Verdict {
    let count = (limits.len() * FLAVORS.len()) as u64;
    let ends = trial.each(count, |number, _| {
        let number = usize::try_from(number).expect("few");
        let flavor = FLAVORS[number % 2];
        judge(&trial.program(flavor, limits[number / 2]).run())
    });
    let of = |end| ends.iter().filter(|it| **it == end).count();
    let [ran, not_started, aborted] = [End::Ran, End::NotStarted, End::Aborted].map(of);
    assert!(ran > 0, "none ran: {ends:?}");
    assert!(not_started > 0, "the limits do not bind: {ends:?}");
    Held(format!(
        "{count} programs with {} to {} {unit}: {not_started} not started, {aborted} aborted, {ran} ran",
        limits[0],
        limits[limits.len() - 1],
    ))
}

fn not_started(ended: &Ended) -> End {
    if ended.count("REPORT") == 0 {
        ended
            .exited(1)
            .says_once("Error: the program could not be started: ");
        return End::NotStarted;
    }
    adds_up(ended);
    ended.figures([("finished", ended.figure("begun"))]);
    // Who starts a job that gets no thread panics, as with tokio; the job stays queued.
    let lacking = 1 - ended.figure("done");
    ended
        .exited(i32::from(lacking > 0))
        .figures([("panicked", lacking), ("refused", lacking)]);
    End::Ran
}

fn not_started_or_aborted(ended: &Ended) -> End {
    if ended.status.code().is_none() {
        ended
            .killed_by(Signal::ABORT.as_raw())
            .says_once("memory allocation of ");
        return End::Aborted;
    }
    not_started(ended)
}
