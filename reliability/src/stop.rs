//! Everybody stops the program at once.

use std::process::{ExitCode, Termination as _};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier};
use std::thread;

use aiorun::{Handle, on_exit, spawn};

use crate::scene::{Scene, idle};
use crate::storm::Verdict::Held;
use crate::storm::{FLAVORS, Storm, Trial, Verdict, size};
use crate::tally::{Token, adds_up, tell};

pub(crate) const STORM: Storm = Storm {
    name: "stop",
    promise: "A stop from 1,000 threads at once is one stop: one of their exit codes, the callback once, the \
              hook once, every task cancelled once.",
    scene,
    check,
};

const TASKS: u64 = 1000;

static CALLED: AtomicU64 = AtomicU64::new(0);
static HOOKED: AtomicU64 = AtomicU64::new(0);

fn scene(scene: &Scene) -> ExitCode {
    let count = usize::try_from(size()).expect("a number of threads");
    let mut threads = Vec::new();
    let mut builder = scene.builder();
    builder.shutdown_callback(|| {
        CALLED.fetch_add(1, SeqCst);
    });
    let exit = builder.run({
        let threads = &mut threads;
        async move {
            on_exit("count", async {
                HOOKED.fetch_add(1, SeqCst);
            });
            for _ in 0..TASKS {
                let token = Token::new();
                spawn(async {
                    idle().await;
                    drop(token);
                });
            }
            let barrier = Arc::new(Barrier::new(count));
            threads.extend((0..count).map(|number| {
                let (handle, barrier) = (Handle::current(), Arc::clone(&barrier));
                thread::Builder::new()
                    .stack_size(64 << 10)
                    .spawn(move || {
                        barrier.wait();
                        // None of the codes that mean something else.
                        handle.stop_with(u8::try_from(10 + number % 50).expect("small"));
                    })
                    .expect("a thread")
            }));
            idle().await;
        }
    });
    for thread in threads {
        thread.join().expect("nobody panics");
    }
    tell(&exit);
    println!(
        "ONCE reason={} called={} hooked={}",
        u8::from(exit.reason == aiorun::StopReason::Stop),
        CALLED.load(SeqCst),
        HOOKED.load(SeqCst)
    );
    exit.report()
}

fn check(trial: &Trial) -> Verdict {
    const THREADS: u64 = 1000;
    let programs = trial.size(100, 6);
    trial.each(programs, |number, _| {
        let flavor = FLAVORS[usize::from(number % 2 == 1)];
        let ended = trial.program(flavor, THREADS).run();
        let code = ended.status.code().expect("it ends by itself");
        assert!((10..60).contains(&code), "{ended:?}");
        ended.figures([
            ("reason", 1),
            ("called", 1),
            ("hooked", 1),
            // And main.
            ("cancelled", TASKS + 1),
            ("refused", 0),
            ("panicked", 0),
        ]);
        adds_up(&ended);
    });
    Held(format!("{programs} programs, {THREADS} threads each"))
}
