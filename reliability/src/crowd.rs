//! Tasks that are spawned by the hundred thousand while the program ends.

use std::cell::Cell;
use std::process::{ExitCode, Termination as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use aiorun::{Handle, shutdown_waits_for, spawn};
use tokio::task::yield_now;

use crate::scene::{Scene, idle};
use crate::storm::Verdict::Held;
use crate::storm::{FLAVORS, Storm, Trial, Verdict, size};
use crate::tally::{Token, adds_up, tell};

pub(crate) const STORM: Storm = Storm {
    name: "crowd",
    promise: "A million tasks, spawned by tasks while all are cancelled, and by 64 threads from before the stop \
              until after the runtime is gone: each is counted with one outcome or, too late, dropped at once; \
              every destructor runs once; nobody panics or hangs.",
    scene,
    check,
};

const THREADS: u64 = 64;
/// Who spawns waits while so many are alive, so that memory has an end.
const ALIVE: u64 = 50_000;

static LATE: AtomicU64 = AtomicU64::new(0);
thread_local! {
    /// This thread is inside of a call of `spawn`.
    static SPAWNING: Cell<bool> = const { Cell::new(false) };
}

/// Notices that it is dropped by the call that was to spawn its task.
struct Passenger {
    _token: Token,
}

impl Drop for Passenger {
    fn drop(&mut self) {
        if SPAWNING.get() {
            LATE.fetch_add(1, SeqCst);
        }
    }
}

fn scene(scene: &Scene) -> ExitCode {
    let most = size();
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let exit = scene.builder().run({
        let (over, threads) = (Arc::clone(&over), &mut threads);
        async move {
            threads.extend((0..THREADS).map(|_| {
                let (handle, over) = (Handle::current(), Arc::clone(&over));
                thread::spawn(move || spawn_until_over(&handle, most, &over))
            }));
            for _ in 0..8 {
                spawn(breed());
            }
            // The shutdown takes until all of them are there.
            shutdown_waits_for(async move {
                while Token::made() < most / 2 {
                    yield_now().await;
                }
                aiorun::stop();
                while Token::made() < most {
                    yield_now().await;
                }
            });
            idle().await;
        }
    });
    let closed = Token::made();
    // They have to meet the end.
    while Token::made() < closed + THREADS {
        thread::yield_now();
    }
    over.store(true, SeqCst);
    for thread in threads {
        thread.join().expect("nobody panics");
    }
    tell(&exit);
    println!("LATE late={}", LATE.load(SeqCst));
    exit.report()
}

/// Tasks that end by themselves.
fn spawn_until_over(handle: &Handle, most: u64, over: &AtomicBool) {
    while !over.load(SeqCst) {
        if Token::made() > most {
            // The shutdown waits for a moment without tasks, and is to get one.
            thread::sleep(Duration::from_millis(2));
        }
        if Token::made() - Token::dropped() > ALIVE {
            thread::yield_now();
            continue;
        }
        let passenger = Passenger {
            _token: Token::new(),
        };
        SPAWNING.set(true);
        handle.spawn(async move {
            yield_now().await;
            drop(passenger);
        });
        SPAWNING.set(false);
    }
}

/// Tasks that do not, from one that is cancelled. They leave room for the others.
async fn breed() {
    loop {
        if Token::made() - Token::dropped() < ALIVE / 2 {
            let token = Token::new();
            spawn(async move {
                idle().await;
                drop(token);
            });
        }
        yield_now().await;
    }
}

fn check(trial: &Trial) -> Verdict {
    let most = trial.size(1_000_000, 60_000);
    let ended = trial.each(2, |number, _| {
        let flavor = FLAVORS[usize::from(number == 1)];
        let ended = trial.program(flavor, most).run();
        adds_up(ended.exited(0));
        // Beside main, the protected one, and those that breed.
        let counted = ended.figure("spawned") - 10;
        let uncounted = ended.figure("made") - counted;
        assert!(
            uncounted <= ended.figure("late"),
            "some were lost: {ended:?}"
        );
        ended.figures([("refused", 0), ("panicked", 0)]);
        ended
    });
    let sum = |name| ended.iter().map(|ended| ended.figure(name)).sum::<u64>();
    Held(format!(
        "{} spawned, {} of them completed and {} cancelled; {} came too late",
        sum("spawned"),
        sum("completed"),
        sum("cancelled"),
        sum("late")
    ))
}
