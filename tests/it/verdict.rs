//! What a failed `#[aiorun::test]` says: which task, where it was spawned, and where it waits. Under
//! paused time too.

#![allow(unnameable_test_items, reason = "they are called here")]

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::request::suspended;
use crate::trial::{forever, give_way};

static WAITS: AtomicU32 = AtomicU32::new(0);

/// Waits for somebody who does not come.
async fn wait() {
    let (_nobody, somebody) = oneshot::channel::<()>();
    WAITS.store(line!() + 1, Ordering::SeqCst);
    let _ = somebody.await;
}

async fn wait_on() {
    wait().await;
}

/// Blocks its thread for longer than any test here takes.
fn park() {
    thread::sleep(Duration::from_secs(20));
}

/// What the test says as it fails.
#[track_caller]
fn verdict<T>(test: fn() -> T) -> String {
    let Err(payload) = catch_unwind(test) else {
        panic!("the test has passed");
    };
    let formatted = payload.downcast_ref::<String>().cloned();
    formatted.unwrap_or_else(|| (*payload.downcast_ref::<&str>().expect("a text")).to_owned())
}

#[track_caller]
fn has(verdict: &str, words: &[&str]) {
    for word in words {
        assert!(verdict.contains(word), "{word:?} is missing in:\n{verdict}");
    }
}

/// The lines of the trace of a task that is in [`wait_on`].
#[track_caller]
fn tells_where_it_waits(verdict: &str) {
    has(verdict, &["it::verdict::wait_on\n", "it::verdict::wait\n"]);
    let line = WAITS.load(Ordering::SeqCst);
    has(
        verdict,
        &[
            &format!("at tests/it/verdict.rs:{line}:"),
            "awaiting tokio::sync::oneshot::Receiver",
        ],
    );
}

#[test]
fn a_test_that_takes_too_long_ends_with_a_dump() {
    #[aiorun::test(test_timeout = "1s")]
    async fn on_a_thread() {
        aiorun::task("reader").spawn(wait_on()).await.unwrap();
    }
    #[aiorun::test(test_timeout = "1s", flavor = "multi_thread")]
    async fn on_workers() {
        aiorun::task("reader").spawn(wait_on()).await.unwrap();
    }
    #[aiorun::test(test_timeout = "1s", flavor = "local", start_paused)]
    async fn in_paused_time() {
        aiorun::task("reader").spawn_local(wait_on()).await.unwrap();
    }
    for test in [on_a_thread, on_workers, in_paused_time] {
        let verdict = verdict(test);
        assert!(verdict.starts_with("the test took longer than 1s\naiorun: process"));
        has(
            &verdict,
            &["running: 2 tasks", "main spawned at tests/it/verdict.rs:"],
        );
        has(
            &verdict,
            &["task `reader` spawned at tests/it/verdict.rs:", "suspended"],
        );
        has(&verdict, &["awaiting aiorun::JoinHandle"]);
        tells_where_it_waits(&verdict);
    }
}

#[test]
fn one_that_is_stuck_names_the_thread_and_the_others() {
    #[aiorun::test(test_timeout = "2s")]
    async fn on_a_thread() {
        aiorun::task("reader").spawn(wait_on());
        give_way().await;
        aiorun::task("hog").spawn(async { park() });
        forever().await;
    }
    #[aiorun::test(test_timeout = "2s", start_paused)]
    async fn in_paused_time() {
        aiorun::task("reader").spawn(wait_on());
        give_way().await;
        aiorun::task("hog").spawn(async { park() });
        forever().await;
    }
    for test in [on_a_thread, in_paused_time] {
        let verdict = verdict(test);
        has(
            &verdict,
            &[
                "task `hog` spawned at tests/it/verdict.rs:",
                "stuck, running on verdict::",
            ],
        );
        has(
            &verdict,
            &["task `reader`", "ready, but no thread was free to poll it"],
        );
    }
}

#[test]
fn one_that_is_stuck_beside_free_workers_has_their_traces() {
    #[aiorun::test(test_timeout = "2s", flavor = "multi_thread", worker_threads = 2)]
    async fn on_workers() {
        aiorun::task("reader").spawn(wait_on());
        give_way().await;
        aiorun::task("hog").spawn(async { park() });
        forever().await;
    }
    let verdict = verdict(on_workers);
    has(&verdict, &["stuck, running on tokio-rt-worker"]);
    tells_where_it_waits(&verdict);
}

#[test]
fn a_task_that_refuses_is_named_with_its_trace() {
    #[aiorun::test(timeout_task_shutdown = "200ms")]
    async fn on_a_thread() {
        aiorun::task("stubborn").protected().spawn(wait_on());
        give_way().await;
    }
    #[aiorun::test(timeout_task_shutdown = "200ms", start_paused)]
    async fn in_paused_time() {
        aiorun::task("stubborn").protected().spawn(wait_on());
        give_way().await;
    }
    #[aiorun::test(timeout_task_shutdown = "200ms", flavor = "multi_thread")]
    async fn on_workers() {
        let task = aiorun::task("stubborn").protected().spawn(wait_on());
        suspended(task.id()).await;
    }
    for test in [on_a_thread, in_paused_time, on_workers] {
        let verdict = verdict(test);
        has(
            &verdict,
            &["the body of the test is fine, but:", "did not end:"],
        );
        has(
            &verdict,
            &[
                "task `stubborn` spawned at tests/it/verdict.rs:",
                "protected",
            ],
        );
        tells_where_it_waits(&verdict);
    }
}

#[test]
fn a_task_that_is_left_behind_is_named_with_its_thread() {
    #[aiorun::test(
        timeout_task_shutdown = "200ms",
        flavor = "multi_thread",
        worker_threads = 2
    )]
    async fn leaves_a_task() {
        let (say, said) = mpsc::channel();
        // From outside of the runtime, which wakes this test on the worker that is free; from inside it
        // would be the next task of the worker that is taken.
        let has_begun = aiorun::spawn_blocking(move || said.recv());
        aiorun::task("leaked").spawn(async move {
            say.send(()).unwrap();
            park();
        });
        has_begun.await.unwrap().unwrap();
    }
    #[aiorun::test(timeout_executor_shutdown = "200ms", start_paused)]
    async fn leaves_a_job() {
        let (started, has_started) = oneshot::channel();
        aiorun::task("leaked").spawn_blocking(|| {
            started.send(()).unwrap();
            park();
        });
        has_started.await.unwrap();
    }
    let of_task = verdict(leaves_a_task);
    has(
        &of_task,
        &[
            "did not end:",
            "task `leaked` spawned at tests/it/verdict.rs:",
        ],
    );
    has(&of_task, &["stuck, running on tokio-rt-worker"]);
    let of_job = verdict(leaves_a_job);
    has(
        &of_job,
        &[
            "did not end and was abandoned:",
            "blocking job `leaked` spawned at",
        ],
    );
    has(&of_job, &["running on tokio-rt-worker"]);
}

#[test]
fn a_hook_that_hangs_is_named_with_its_trace() {
    #[aiorun::test(shutdown_timeout = "1s", start_paused)]
    async fn in_paused_time() {
        aiorun::on_exit("flush", wait_on());
    }
    let verdict = verdict(in_paused_time);
    has(
        &verdict,
        &[
            "exit hook `flush` (registered at tests/it/verdict.rs:",
            "did not end within",
        ],
    );
    tells_where_it_waits(&verdict);
}

#[test]
fn a_panic_behind_its_back_is_told() {
    #[aiorun::test]
    async fn on_a_thread() {
        aiorun::task("detached").spawn(async { panic!("nobody sees it") });
        forever().await;
    }
    #[aiorun::test(start_paused)]
    async fn in_paused_time() {
        aiorun::task("detached").spawn(async { panic!("nobody sees it") });
        tokio::time::sleep(Duration::from_secs(86_400)).await;
    }
    #[aiorun::test(flavor = "multi_thread")]
    async fn on_workers() {
        aiorun::task("detached").spawn(async { panic!("nobody sees it") });
        forever().await;
    }
    for test in [on_a_thread, in_paused_time, on_workers] {
        let verdict = verdict(test);
        has(
            &verdict,
            &[
                "task `detached` (spawned at tests/it/verdict.rs:",
                "nobody sees it",
            ],
        );
    }
}
