//! Scopes under wakers that are not their task's: in crowds, streams, `select!`, boxes, timeouts, on
//! another worker.

use std::pin::Pin;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use aiorun::{Cancelled, Flavor, catch_cancel};
use futures::future::join_all;
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::request::{By, caught, requested, requested_after, suspended, ways};
use crate::trial::{FLAVORS, Log, builder, forever, passes, paused, run};

#[test]
fn in_futures_unordered_each_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let all: FuturesUnordered<_> = (0..100).map(|_| caught()).collect();
            all.filter(|caught| std::future::ready(*caught))
                .count()
                .await
        });
        assert_eq!(ended.unwrap(), 100);
    }
}

#[test]
fn of_a_thousand_joined_each_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let all = join_all((0..1000).map(|_| caught())).await;
            all.into_iter().filter(|caught| *caught).count()
        });
        assert_eq!(ended.unwrap(), 1000);
    }
}

#[test]
fn around_a_crowd_of_catches_none_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let crowd = catch_cancel(join_all((0..100).map(|_| caught())));
            crowd.await.map(|all| all.into_iter().all(|caught| caught))
        });
        assert!(ended.unwrap().unwrap());
    }
}

#[test]
fn around_a_crowd_of_plain_ones_it_catches() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = requested(flavor, by, async move {
            let crowd: FuturesUnordered<_> = (0..100)
                .map(|_| {
                    let told = of_task.on_drop("dropped");
                    async {
                        let _told = told;
                        forever().await;
                    }
                })
                .collect();
            catch_cancel(crowd.count()).await.is_err()
        });
        assert!(ended.unwrap());
        assert_eq!(log.lines(), ["dropped"; 100]);
    }
}

#[test]
fn in_a_stream_each_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let stream = stream::iter(0..100).map(|_| caught()).buffer_unordered(30);
            // A scope that is entered later starts fresh, and nobody requests again.
            stream
                .take(30)
                .filter(|caught| std::future::ready(*caught))
                .count()
                .await
        });
        assert_eq!(ended.unwrap(), 30);
    }
}

#[test]
fn around_the_next_item_of_a_stream_it_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let mut items = stream::iter([1, 2, 3]).chain(stream::pending());
            let mut sum = 0;
            loop {
                match catch_cancel(items.next()).await {
                    Ok(item) => sum += item.unwrap(),
                    Err(_) => break sum,
                }
            }
        });
        assert_eq!(ended.unwrap(), 6);
    }
}

#[test]
fn around_a_join_set_it_catches_and_the_set_is_still_there() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = requested(flavor, by, async move {
            let mut set = tokio::task::JoinSet::new();
            for _ in 0..3 {
                let told = of_task.on_drop("dropped");
                set.spawn(async {
                    let _told = told;
                    forever().await;
                });
            }
            assert!(catch_cancel(set.join_next()).await.is_err());
            let left = set.len();
            set.shutdown().await;
            left
        });
        assert_eq!(ended.unwrap(), 3);
        assert_eq!(log.lines(), ["dropped"; 3]);
    }
}

#[test]
fn around_the_handles_of_other_tasks_it_catches_and_they_go_on() {
    for flavor in FLAVORS {
        let (ended, exit) = requested(flavor, By::Handle, async {
            let (release, _) = tokio::sync::broadcast::channel(1);
            let tasks = (0..5).map(|number| {
                let mut released = release.subscribe();
                aiorun::spawn(async move { released.recv().await.map(|()| number) })
            });
            let mut tasks: FuturesUnordered<_> = tasks.collect();
            assert!(catch_cancel(tasks.next()).await.is_err());
            release.send(()).unwrap();
            let numbers = tasks.map(|number| number.unwrap().unwrap());
            numbers.fold(0, async |sum, number| sum + number).await
        });
        assert_eq!(ended.unwrap(), 10);
        assert_eq!(exit.report.tasks.cancelled, 0);
    }
}

#[test]
fn under_a_timeout_and_around_one_it_catches() {
    const LONG: Duration = Duration::from_secs(10_000);
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            tokio::join!(
                timeout(LONG, catch_cancel(forever())),
                catch_cancel(timeout(LONG, forever())),
            )
        });
        let (under, around) = ended.unwrap();
        assert!(under.unwrap().is_err());
        assert!(around.is_err());
    }
}

#[test]
fn a_scope_that_a_timeout_cut_is_gone() {
    let exit = run(&mut paused(), async {
        let (passed, has_passed) = oneshot::channel();
        let task = aiorun::spawn(async {
            let cut = timeout(Duration::from_secs(1), catch_cancel(forever())).await;
            passed.send(cut.is_err()).unwrap();
            forever().await;
        });
        assert!(has_passed.await.unwrap());
        suspended(task.id()).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.caught, 0);
}

#[test]
fn boxed_it_catches() {
    type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let inner: Boxed<()> = Box::pin(forever());
            let outer: Boxed<Result<(), Cancelled>> = Box::pin(catch_cancel(inner));
            let all: Vec<Boxed<bool>> =
                vec![Box::pin(async { outer.await.is_err() }), Box::pin(caught())];
            join_all(all).await
        });
        assert_eq!(ended.unwrap(), [true, true]);
    }
}

#[test]
fn in_a_disabled_branch_of_a_select_it_catches_nothing() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            let enabled = false;
            tokio::select! {
                caught = catch_cancel(forever()), if enabled => caught.is_err(),
                () = forever() => false,
            }
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn beside_a_disabled_branch_of_a_select_it_catches() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let enabled = false;
            tokio::select! {
                _ = catch_cancel(forever()), if enabled => false,
                caught = catch_cancel(forever()) => caught.is_err(),
            }
        });
        assert!(ended.unwrap());
    }
}

#[test]
fn made_afresh_in_each_round_of_a_select_it_catches() {
    const TICKS: usize = 1000;
    for (flavor, by) in ways() {
        let (ticks, mut tick) = unbounded_channel();
        (0..TICKS).for_each(|_| ticks.send(()).unwrap());
        let (last, is_last) = oneshot::channel();
        let (ended, _) = requested_after(flavor, by, is_last, async move {
            let mut last = Some(last);
            let mut rounds = 0;
            loop {
                tokio::select! {
                    biased;
                    caught = catch_cancel(forever()) => break (caught.is_err(), rounds),
                    Some(()) = tick.recv() => rounds += 1,
                }
                if rounds == TICKS {
                    last.take().unwrap().send(()).unwrap();
                }
            }
        });
        assert_eq!(ended.unwrap(), (true, TICKS));
        drop(ticks);
    }
}

/// Waits at the gate, and says on which threads that was.
async fn two_threads(gate: oneshot::Receiver<()>, first: mpsc::Sender<thread::ThreadId>) -> bool {
    let one = thread::current().id();
    first.send(one).unwrap();
    gate.await.unwrap();
    thread::current().id() != one
}

#[test]
fn moved_to_another_worker_it_catches() {
    let (tell, told) = mpsc::channel();
    let (moved, was_moved) = mpsc::channel();
    let (open, gate) = oneshot::channel();
    passes(&mut builder(Flavor::MultiThread), async move {
        let task = aiorun::spawn(async move {
            let caught = catch_cancel(async {
                moved.send(two_threads(gate, tell).await).unwrap();
                forever().await;
            });
            caught.await.is_err()
        });
        let home = told.recv().unwrap();
        suspended(task.id()).await;
        // Both workers are held, and whoever is on the other one wakes the task there.
        let both = Arc::new(Barrier::new(2));
        let open = Arc::new(std::sync::Mutex::new(Some(open)));
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        for _ in 0..2 {
            let (both, open, released) = (both.clone(), open.clone(), released.clone());
            aiorun::spawn(async move {
                both.wait();
                if thread::current().id() == home {
                    let _ = released.lock().unwrap().recv();
                } else {
                    open.lock().unwrap().take().unwrap().send(()).unwrap();
                }
            });
        }
        assert!(was_moved.recv().unwrap(), "to another worker");
        drop(release);
        suspended(task.id()).await;
        task.cancel();
        assert!(task.await.unwrap());
        aiorun::stop();
    });
}
