//! Tasks that are spawned by the hundred thousand while the program ends.

use std::cell::Cell;
use std::process::{ExitCode, Termination as _};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use aiorun::{Handle, Phase, catch_cancel, is_stopping, shutdown_waits_for, spawn};
use tokio::task::yield_now;

use crate::load::{count, counted};
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
/// Those who wait for their end from the beginning on.
const SUSPENDED: u64 = 20_000;
/// Who spawns waits while so many are alive, so that memory has an end.
const ALIVE: u64 = 50_000;
const BREEDERS: u64 = 32;
/// How many one of them spawns in one poll.
const AT_ONCE: u64 = 1_000;

/// Begun and suspended.
static IDLE: AtomicU64 = AtomicU64::new(0);
static COMPLETED: AtomicU64 = AtomicU64::new(0);
/// Spawned after the end of the run, and so in no count.
static LATE: AtomicU64 = AtomicU64::new(0);
/// Spawned in the moment of the end and dropped at once, and so counted or not.
static IN_BETWEEN: AtomicU64 = AtomicU64::new(0);
thread_local! {
    /// How many passengers were dropped on this thread.
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Notices that it is dropped by the call that was to spawn its task.
struct Passenger {
    _token: Token,
}

impl Drop for Passenger {
    fn drop(&mut self) {
        LEFT.set(LEFT.get() + 1);
    }
}

fn scene(scene: &Scene) -> ExitCode {
    let most = size();
    let mut threads = Vec::new();
    let exit = scene.builder().run({
        let threads = &mut threads;
        async move {
            for _ in 0..SUSPENDED {
                spawn(idles(Token::new()));
            }
            while counted(&IDLE) < SUSPENDED {
                yield_now().await;
            }
            threads.extend((0..THREADS).map(|_| {
                let handle = Handle::current();
                thread::spawn(move || spawn_until_over(&handle, most))
            }));
            for _ in 0..BREEDERS {
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
                count(&COMPLETED);
            });
            idle().await;
        }
    });
    for thread in threads {
        thread.join().expect("nobody panics");
    }
    tell(&exit);
    println!(
        "CROWD done={} late={} in_between={}",
        counted(&COMPLETED),
        counted(&LATE),
        counted(&IN_BETWEEN)
    );
    exit.report()
}

fn alive() -> u64 {
    let dropped = Token::dropped();
    Token::made() - dropped
}

/// Tasks that end by themselves, and in the end one that comes too late.
fn spawn_until_over(handle: &Handle, most: u64) {
    loop {
        if Token::made() > most {
            // The shutdown waits for a moment without tasks, and is to get one.
            thread::sleep(Duration::from_millis(2));
        }
        if alive() > ALIVE {
            thread::yield_now();
            continue;
        }
        let passenger = Passenger {
            _token: Token::new(),
        };
        let (before, left) = (handle.phase(), LEFT.get());
        handle.spawn(ends(passenger));
        let dropped = LEFT.get() > left;
        if before == Phase::Closed {
            assert!(dropped, "nobody will ever poll it");
            count(&LATE);
            return;
        }
        if dropped && handle.phase() == Phase::Closed {
            count(&IN_BETWEEN);
        }
    }
}

/// Spawns tasks that do not, many at once when the program stops, so that others are being cancelled
/// meanwhile; and when it has been told, some that do.
async fn breed() {
    while catch_cancel(yield_now()).await.is_ok() {
        if is_stopping() && alive() < 2 * ALIVE {
            for _ in 0..AT_ONCE {
                spawn(idles(Token::new()));
            }
        }
    }
    for _ in 0..AT_ONCE {
        spawn(ends(Token::new()));
    }
    count(&COMPLETED);
}

async fn idles(token: Token) {
    count(&IDLE);
    idle().await;
    drop(token);
}

async fn ends<T>(owned: T) {
    yield_now().await;
    drop(owned);
    count(&COMPLETED);
}

fn check(trial: &Trial) -> Verdict {
    let most = trial.size(1_000_000, 60_000);
    let ended = trial.each(2, |number, _| {
        let flavor = FLAVORS[usize::from(number == 1)];
        let ended = trial.program(flavor, most).run();
        adds_up(ended.exited(0));
        // Those that breed, the protected one and main have no token.
        let counted = ended.figure("spawned") - (BREEDERS + 2);
        let late = ended.figure("late");
        let uncounted = ended.figure("made").checked_sub(counted);
        let expected = late..=late + ended.figure("in_between");
        assert!(
            uncounted.is_some_and(|uncounted| expected.contains(&uncounted)),
            "some were lost, or counted twice: {ended:?}"
        );
        ended.figures([
            ("completed", ended.figure("done")),
            ("failed", 0),
            ("panicked", 0),
            ("refused", 0),
        ]);
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
