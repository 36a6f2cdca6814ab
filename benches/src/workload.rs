//! What is measured: the same work for every contender.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

use crate::contender::{Contender, Counter, Flavor};

/// Tasks that are outstanding at once where they come and go.
const BATCH: usize = 1000;

/// Spawns so many tasks, a thousand at a time; each yields once.
pub fn spawn<C: Contender>(flavor: Flavor, tasks: usize) -> Duration {
    timed(move |say| {
        C::run(flavor, move |program: &C| {
            Box::pin(async move {
                let done = Counter::default();
                let began = Instant::now();
                let mut spawned = 0;
                while spawned < tasks {
                    let batch = BATCH.min(tasks - spawned);
                    spawned += batch;
                    for _ in 0..batch {
                        program.spawn(trivial(done.clone(), spawned));
                    }
                    done.last().await;
                }
                let _ = say.send(began.elapsed());
            })
        });
    })
}

async fn trivial(done: Counter, last: usize) {
    yield_now().await;
    done.add(last);
}

/// A ball that goes to and fro between two tasks so many times.
///
/// # Panics
///
/// When the program ends before it has gone that often.
pub fn ping_pong<C: Contender>(flavor: Flavor, times: usize) -> Duration {
    timed(move |say| {
        C::run(flavor, move |program: &C| {
            Box::pin(async move {
                let (there, mut arrived) = mpsc::channel::<()>(1);
                let (back, mut returned) = mpsc::channel::<()>(1);
                let (end, ended) = oneshot::channel();
                let began = Instant::now();
                program.spawn(async move {
                    while arrived.recv().await.is_some() {
                        if back.send(()).await.is_err() {
                            return;
                        }
                    }
                });
                program.spawn(async move {
                    for _ in 0..times {
                        if there.send(()).await.is_err() || returned.recv().await.is_none() {
                            return;
                        }
                    }
                    let _ = end.send(());
                });
                ended.await.expect("the last one");
                let _ = say.send(began.elapsed());
            })
        });
    })
}

/// Suspends so many times, each time in what catches a cancellation.
pub fn catch<C: Contender>(flavor: Flavor, times: usize) -> Duration {
    timed(move |say| {
        C::run(flavor, move |program: &C| {
            Box::pin(async move {
                let began = Instant::now();
                for _ in 0..times {
                    program.catch(yield_now()).await;
                }
                let _ = say.send(began.elapsed());
            })
        });
    })
}

/// Cancels so many tasks that wait for something that never comes.
pub fn cancel<C: Contender>(flavor: Flavor, tasks: usize) -> Duration {
    let begun = Arc::new(AtomicUsize::new(0));
    let mut senders = Vec::with_capacity(tasks);
    let mut receivers = Vec::with_capacity(tasks);
    for _ in 0..tasks {
        let (sender, receiver) = oneshot::channel::<()>();
        senders.push(sender);
        receivers.push(receiver);
    }
    let took = C::cancel(flavor, move |program: &C| {
        Box::pin(async move {
            for receiver in receivers {
                let begun = Arc::clone(&begun);
                program.spawn(async move {
                    begun.fetch_add(1, Ordering::Release);
                    let _ = receiver.await;
                });
            }
            while begun.load(Ordering::Acquire) < tasks {
                yield_now().await;
            }
        })
    });
    // What they waited for is not part of the question.
    drop(senders);
    took
}

/// Calls with a place to leave a result.
fn timed(f: impl FnOnce(std::sync::mpsc::Sender<Duration>)) -> Duration {
    let (say, said) = std::sync::mpsc::channel();
    f(say);
    said.recv().expect("the program has said it")
}
