//! What runs and tasks cost in memory, threads and descriptors. An allocator that counts is the
//! whole process's, so these tests have a process of their own, and run one at a time.

#![cfg(all(feature = "multi-thread", target_os = "linux"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use aiorun::{Builder, Flavor, cancelled, catch_cancel, checkpoint, is_cancelled, shield};

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(allocated: usize, freed: usize) {
    let bytes = |size| i64::try_from(size).unwrap_or(i64::MAX);
    LIVE_BYTES.fetch_add(bytes(allocated) - bytes(freed), Ordering::Relaxed);
    if allocated > 0 && COUNTS.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
#[expect(unsafe_code, reason = "an allocator cannot be had otherwise")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: what the caller promises is what the callee asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn builder(flavor: Flavor) -> Builder {
    let mut builder = Builder::new();
    builder.flavor(flavor).signals([]);
    if flavor == Flavor::MultiThread {
        builder.worker_threads(2);
    }
    builder
}

const TASKS: u64 = 10_000;

/// How many allocations `spawn` makes in steady state, for this many tasks that are started and
/// awaited.
async fn allocations(spawn: impl AsyncFn()) -> u64 {
    // Whatever is kept for the next ones is there after this.
    for _ in 0..TASKS {
        spawn().await;
    }
    ALLOCATIONS.store(0, Ordering::SeqCst);
    COUNTS.store(true, Ordering::SeqCst);
    for _ in 0..TASKS {
        spawn().await;
    }
    COUNTS.store(false, Ordering::SeqCst);
    ALLOCATIONS.load(Ordering::SeqCst)
}

async fn idle() {
    tokio::task::yield_now().await;
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is compared with")]
fn a_task_costs_no_allocation_of_its_own() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let mut counted = (0, 0);
        let exit = builder(flavor).run(async {
            let ours = allocations(async || aiorun::spawn(idle()).await.unwrap()).await;
            let tokios = allocations(async || tokio::spawn(idle()).await.unwrap()).await;
            counted = (ours, tokios);
            aiorun::stop();
        });
        assert!(exit.is_success());
        let (ours, tokios) = counted;
        // Somebody else in the process may allocate a little; a task that does shows 10,000.
        assert!(tokios >= TASKS, "tokio's own: {tokios}");
        assert!(
            ours <= tokios + TASKS / 100,
            "{ours} allocations, tokio {tokios}"
        );
    }
}

/// Polls it once with a waker that is not the task's, as `FuturesUnordered` does, and drops it.
fn half_way(future: impl Future) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(future).poll(&mut cx).is_pending());
}

/// The listener that a loop makes in each of its rounds.
async fn one_round() {
    tokio::select! {
        () = cancelled() => unreachable!("nobody cancels"),
        () = idle() => {}
    }
}

async fn nested() {
    let inner = async {
        let both = tokio::join!(catch_cancel(idle()), shield(catch_cancel(one_round())));
        both.0.and(both.1)
    };
    catch_cancel(shield(inner)).await.unwrap().unwrap();
}

#[test]
fn scopes_allocate_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let mut counted = Vec::new();
        let exit = builder(flavor).run(async {
            let measured = aiorun::spawn(async {
                [
                    allocations(async || catch_cancel(idle()).await.unwrap()).await,
                    allocations(async || shield(idle()).await).await,
                    allocations(async || checkpoint().await).await,
                    allocations(async || assert!(!is_cancelled())).await,
                    allocations(one_round).await,
                    allocations(nested).await,
                    allocations(async || half_way(catch_cancel(idle()))).await,
                    allocations(async || half_way(shield(idle()))).await,
                    allocations(async || half_way(cancelled())).await,
                ]
            });
            counted.extend(measured.await.unwrap());
            aiorun::stop();
        });
        assert!(exit.is_success());
        // Somebody else in the process may allocate a little; one each shows 10,000.
        assert!(
            counted.iter().all(|count| *count < TASKS / 100),
            "{counted:?}"
        );
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is compared with")]
fn a_task_with_scopes_costs_no_allocation_of_its_own() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let mut counted = (0, 0);
        let exit = builder(flavor).run(async {
            let ours = allocations(async || aiorun::spawn(nested()).await.unwrap()).await;
            let tokios = allocations(async || tokio::spawn(idle()).await.unwrap()).await;
            counted = (ours, tokios);
            aiorun::stop();
        });
        assert!(exit.is_success());
        let (ours, tokios) = counted;
        assert!(
            ours <= tokios + TASKS / 100,
            "{ours} allocations, tokio {tokios}"
        );
    }
}

#[derive(Debug)]
struct Usage {
    threads: usize,
    descriptors: usize,
    bytes: i64,
}

impl Usage {
    fn now() -> Self {
        let entries = |path| std::fs::read_dir(path).unwrap().count();
        Self {
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
            bytes: LIVE_BYTES.load(Ordering::SeqCst),
        }
    }
}

/// Catches what the shutdown requests, cleans up under a shield, and passes it on.
async fn catches() -> Result<(), aiorun::Cancelled> {
    let waits = catch_cancel(async {
        shield(idle()).await;
        std::future::pending::<()>().await;
    });
    let caught = waits.await;
    shield(idle()).await;
    caught
}

/// Listens to itself from elsewhere, and ends when it is told.
async fn listens() {
    let elsewhere = aiorun::shutdown_waits_for(cancelled());
    cancelled().await;
    elsewhere.await.unwrap();
}

fn one_run(flavor: Flavor) {
    let mut builder = builder(flavor);
    builder.shutdown_callback(async || tokio::task::yield_now().await);
    let exit = builder.run(async {
        aiorun::on_exit("hook", async {});
        let job = aiorun::spawn_blocking(|| {});
        for number in 0..20 {
            aiorun::task(format!("task {number}")).spawn(std::future::pending::<()>());
        }
        aiorun::shutdown_waits_for(aiorun::stopping());
        job.await.unwrap();
        for _ in 0..5 {
            let task = aiorun::spawn_fallible(catches());
            idle().await;
            task.cancel();
            // Whether it had begun or not.
            assert!(!matches!(task.await, Ok(Ok(()))));
            aiorun::spawn(listens());
        }
        idle().await;
        aiorun::stop();
    });
    assert!(exit.is_success());
    // Those that listen were perhaps not polled before.
    assert!(
        (25..=30).contains(&exit.report.tasks.cancelled),
        "{}",
        exit.report
    );
}

async fn one_dropped_half_way() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut builder = Builder::new();
    let run = builder.signals([]).supervise(async {
        aiorun::spawn(std::future::pending::<()>());
        tell.send(aiorun::Handle::current()).unwrap();
        std::future::pending::<()>().await;
    });
    let handle = tokio::select! {
        _ = run => unreachable!("it runs forever"),
        handle = told => handle.unwrap(),
    };
    while handle.phase() != aiorun::Phase::Closed {
        tokio::task::yield_now().await;
    }
}

/// How much the heap grows over several runs; also checks that threads and descriptors do not.
fn growth(what: &str, runs: u32, once: &impl Fn()) -> i64 {
    let before = Usage::now();
    (0..runs).for_each(|_| once());
    let mut after = Usage::now();
    // A thread that has said its last word may still be listed.
    for _ in 0..1000 {
        if after.threads <= before.threads && after.descriptors <= before.descriptors {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
        after = Usage::now();
    }
    println!("{what}: {before:?}, {runs} runs later {after:?}");
    // libtest has threads too, which come and go.
    assert!(
        after.threads <= before.threads + 2,
        "{what}: {before:?} {after:?}"
    );
    assert!(
        after.descriptors <= before.descriptors,
        "{what}: {before:?} {after:?}"
    );
    after.bytes - before.bytes
}

/// A run that leaks does so each time; what is kept for the next ones is there at some time, and
/// comes in pieces of up to 6 KiB.
fn leaves_nothing(what: &str, once: impl Fn()) {
    const RUNS: u32 = 400;
    // The first one starts what tokio has once in a process.
    once();
    let grown: Vec<_> = (0..3).map(|_| growth(what, RUNS, &once)).collect();
    let least = *grown.iter().min().unwrap();
    assert!(
        least < i64::from(RUNS) * 16,
        "{what}: {grown:?} bytes in {RUNS} runs each"
    );
}

/// A token of every sort, given away and dropped, or dropped before its source.
#[cfg(feature = "tokio-util")]
#[expect(
    clippy::disallowed_methods,
    reason = "a bare task has a token of its own sort"
)]
async fn with_tokens() {
    let task = aiorun::spawn(async {
        let token = aiorun::token();
        let inside = catch_cancel(async { aiorun::token() }).await;
        drop(token);
        inside.unwrap()
    });
    let left = task.await.unwrap();
    assert!(left.is_cancelled());
    let bare = tokio::spawn(async { aiorun::token().is_cancelled() });
    assert!(!bare.await.unwrap());
}

#[cfg(feature = "tokio-util")]
#[test]
fn tokens_leave_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let exit = builder(Flavor::CurrentThread).run(async {
        let bytes = async || {
            for _ in 0..20_000 {
                with_tokens().await;
            }
            for _ in 0..1_000 {
                let job = aiorun::spawn_blocking(|| aiorun::token().is_cancelled());
                assert!(!job.await.unwrap());
            }
            LIVE_BYTES.load(Ordering::SeqCst)
        };
        let before = bytes().await;
        let grown = bytes().await - before;
        assert!(grown < 10_000, "{grown} bytes");
        aiorun::stop();
    });
    assert!(exit.is_success());
}

#[test]
fn runs_leave_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for flavor in [Flavor::CurrentThread, Flavor::Local, Flavor::MultiThread] {
        leaves_nothing(&format!("{flavor:?}"), || one_run(flavor));
    }
    leaves_nothing("in parallel", || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| one_run(Flavor::CurrentThread));
            }
        });
    });
}

#[test]
fn supervisors_that_are_dropped_leave_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    leaves_nothing("dropped half-way", || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(one_dropped_half_way());
    });
}
