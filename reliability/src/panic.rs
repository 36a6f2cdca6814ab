//! Panics everywhere, and a panic hook.

use std::panic;
use std::process::{ExitCode, Termination as _};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use aiorun::{SignalAction, on_exit, spawn, spawn_blocking};
use rustix::process::Signal;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::scene::{Scene, idle, ready};
use crate::storm::Verdict::Held;
use crate::storm::{FLAVORS, Storm, Trial, Verdict, size};
use crate::tally::{Token, adds_up, tell};

pub(crate) const STORM: Storm = Storm {
    name: "panic",
    promise: "With a panic in 1 of 10 tasks (before and after an await, in a destructor as it is cancelled, in \
              a job), in the shutdown callback, in a hook and in both handlers, the program goes on and stops as \
              ever, with 1; the panic hook was called once for each, each is in the report, and each destructor \
              has run.",
    scene,
    check,
};

pub(crate) const OF_THE_HOOK: Storm = Storm {
    name: "panic-hook",
    promise: "A panic hook that panics itself is beyond anybody's help: the standard library ends the process \
              by SIGABRT, and says so.",
    scene: panicking_hook,
    check: check_panicking_hook,
};

/// How often the panic hook was called.
static NOTICED: AtomicU64 = AtomicU64::new(0);
/// How often a handler panicked, which is no task.
static HANDLERS: AtomicU64 = AtomicU64::new(0);
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// Panics as it is dropped.
struct Bomb {
    _token: Token,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

fn scene(scene: &Scene) -> ExitCode {
    panic::set_hook(Box::new(|_| {
        NOTICED.fetch_add(1, SeqCst);
    }));
    let tasks = size();
    let mut builder = scene.builder();
    builder
        .shutdown_callback(|| -> () { panic!("in the callback") })
        .shutdown_handler(|_, _| -> SignalAction {
            HANDLERS.fetch_add(1, SeqCst);
            panic!("in the handler of signals");
        })
        .unhandled_error_handler(|_| {
            if FAILURES.fetch_add(1, SeqCst).is_multiple_of(1000) {
                HANDLERS.fetch_add(1, SeqCst);
                panic!("in the handler of errors");
            }
        });
    let exit = builder.run(async move {
        on_exit("panics", async { panic!("in a hook") });
        for number in 0..tasks {
            start(number);
            if number % 100 == 0 {
                yield_now().await;
            }
        }
        // All that end by themselves have done so: 31 of 40, the jobs among them.
        while Token::dropped() < tasks / 40 * 31 {
            sleep(Duration::from_millis(1)).await;
        }
        ready();
        idle().await;
    });
    tell(&exit);
    let report = &exit.report;
    println!(
        "HOOK noticed={} handlers={} failures={} errors={}",
        NOTICED.load(SeqCst),
        HANDLERS.load(SeqCst),
        FAILURES.load(SeqCst),
        report.failures.len() as u64 + report.more_failures,
    );
    exit.report()
}

fn start(number: u64) {
    let token = Token::new();
    match number % 40 {
        0 => drop(spawn(async {
            let _token = token;
            panic!("at once");
        })),
        10 => drop(spawn(async {
            let _token = token;
            yield_now().await;
            panic!("after an await");
        })),
        20 => drop(spawn_blocking(|| {
            let _token = token;
            panic!("in a job");
        })),
        30 => drop(spawn(async {
            let _bomb = Bomb { _token: token };
            idle().await;
        })),
        it if it % 10 < 8 => drop(spawn(async {
            yield_now().await;
            drop(token);
        })),
        _ => drop(spawn(async {
            idle().await;
            drop(token);
        })),
    }
}

fn check(trial: &Trial) -> Verdict {
    let tasks = trial.size(100_000, 10_000);
    let ended = trial.each(2, |number, _| {
        let flavor = FLAVORS[usize::from(number == 1)];
        let ended = trial.program(flavor, tasks).stop_by(Signal::TERM);
        adds_up(ended.exited(1).figures([
            // And main, the callback and the hook.
            ("spawned", tasks + 3),
            ("panicked", tasks / 10 + 2),
            ("made", tasks),
            // The hook's panic is told with the hook.
            ("errors", tasks / 10 + 1),
            ("noticed", tasks / 10 + 2 + ended.figure("handlers")),
        ]));
        ended
    });
    Held(format!(
        "{} tasks in each of two programs, {} panics, all of them noticed once",
        tasks,
        ended.iter().map(|it| it.figure("noticed")).sum::<u64>()
    ))
}

fn panicking_hook(scene: &Scene) -> ExitCode {
    panic::set_hook(Box::new(|_| panic!("in the panic hook")));
    scene.run(async {
        drop(spawn(async { panic!("in a task") }));
        idle().await;
    })
}

fn check_panicking_hook(trial: &Trial) -> Verdict {
    for flavor in FLAVORS {
        let ended = trial.program(flavor, 0).run();
        ended.killed_by(Signal::ABORT.as_raw()).says("aborting");
    }
    Held("both flavours".to_owned())
}
