//! Scopes that ask: `cancelled()`, `is_cancelled()`, and tasks that are cooperative from the start.

use std::pin::pin;
use std::task::Poll;
use std::thread;

use aiorun::task::State;
use aiorun::{
    Builder, Cancellation, Flavor, Handle, JoinHandle, Phase, cancelled, catch_cancel, checkpoint,
    is_cancelled, shield,
};
use futures::future::{FusedFuture, FutureExt as _, join_all, lazy, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::request::{
    By, ROUNDS, hearing_of_it, info, knowing_itself, marked, race, requested, requested_after,
    suspended, ways,
};
use crate::trial::{
    FLAVORS, Log, SHORT, attempt, builder, error_text, forever, give_way, passes, reach, run,
};

/// Whether it has resolved.
fn resolved(listener: &mut Cancellation) -> bool {
    listener.now_or_never().is_some()
}

// --- the loop that everybody writes --------------------------------------------------------------

#[test]
fn the_loop_finishes_the_item_in_hand_and_flushes() {
    async fn serve(
        mut queue: UnboundedReceiver<u32>,
        log: Log,
        begun: oneshot::Sender<()>,
        requested: oneshot::Receiver<()>,
    ) -> usize {
        let mut in_hand = Some((begun, requested));
        let mut handle = async |item| {
            if item == 2 {
                let (begun, requested) = in_hand.take().unwrap();
                begun.send(()).unwrap();
                requested.await.unwrap();
            }
            give_way().await;
            log.say(format!("item {item}"));
        };
        loop {
            tokio::select! {
                biased;
                () = cancelled() => break,
                Some(item) = queue.recv() => handle(item).await,
            }
        }
        give_way().await;
        log.say("flushed");
        queue.len()
    }
    for (flavor, by) in ways() {
        let log = Log::default();
        let (send, queue) = unbounded_channel();
        (0..10).for_each(|item| send.send(item).unwrap());
        let (begun, has_begun) = oneshot::channel();
        let (ended, exit) = hearing_of_it(flavor, by, has_begun, |requested| {
            serve(queue, log.clone(), begun, requested)
        });
        assert_eq!(ended.unwrap(), 7);
        assert_eq!(log.lines(), ["item 0", "item 1", "item 2", "flushed"]);
        // Of the task; a canary is cancelled too.
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.caught), (2, 0));
        drop(send);
    }
}

/// Each call of `cancelled()` receives what is pending, as `is_cancelled()` does.
#[test]
fn the_loop_ends_after_the_item_in_hand_even_if_it_never_waits() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        passes(&mut builder(flavor), async {
            let id = knowing_itself(async move |own: JoinHandle<()>| {
                let mut items = (0..10).collect::<Vec<u32>>();
                loop {
                    tokio::select! {
                        biased;
                        () = cancelled() => break,
                        Some(item) = std::future::ready(items.pop()) => {
                            if item == 7 {
                                own.cancel();
                            }
                            of_task.say(format!("item {item}"));
                        }
                    }
                }
                of_task.say("flushed");
            });
            while Handle::current().tasks().iter().any(|task| task.id == id) {
                tokio::task::yield_now().await;
            }
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["item 9", "item 8", "item 7", "flushed"]);
    }
}

#[test]
fn the_loop_ends_where_it_waits_for_an_item() {
    for (flavor, by) in ways() {
        let (send, mut queue) = unbounded_channel::<u32>();
        let (ended, _) = requested(flavor, by, async move {
            loop {
                tokio::select! {
                    () = cancelled() => break,
                    Some(_) = queue.recv() => {}
                }
            }
            give_way().await;
            "flushed"
        });
        assert_eq!(ended.unwrap(), "flushed");
        drop(send);
    }
}

#[test]
fn a_listener_that_is_kept_over_the_rounds_serves_as_well() {
    for (flavor, by) in ways() {
        let (send, mut queue) = unbounded_channel();
        (0..1000).for_each(|item| send.send(item).unwrap());
        let (last, is_last) = oneshot::channel();
        let (ended, _) = requested_after(flavor, by, is_last, async move {
            let mut last = Some(last);
            let mut stop = pin!(cancelled());
            let mut sum = 0;
            loop {
                tokio::select! {
                    biased;
                    () = &mut stop => break sum,
                    Some(item) = queue.recv() => sum += item,
                }
                if queue.is_empty() {
                    last.take().unwrap().send(()).unwrap();
                }
            }
        });
        assert_eq!(ended.unwrap(), 499_500);
        drop(send);
    }
}

// --- what `cancelled()` is ------------------------------------------------------------------------

#[test]
fn it_is_unpin_fused_and_level_triggered() {
    fn properties<T: Future<Output = ()> + FusedFuture + Unpin + Send + Sync + 'static>(_: &T) {}
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let mut told = cancelled();
            properties(&told);
            assert!(!told.is_terminated());
            (&mut told).await;
            (&mut told).await;
            assert!(told.is_terminated());
            assert!(resolved(&mut told) && resolved(&mut told));
            // Made only now, it knows of what was.
            assert!(resolved(&mut cancelled()));
        });
        ended.unwrap();
    }
}

#[test]
fn both_are_true_from_the_request_on_to_the_end_of_the_scope() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            assert!(!is_cancelled());
            let mut told = cancelled();
            (&mut told).await;
            for _ in 0..3 {
                assert!(is_cancelled() && resolved(&mut told));
                give_way().await;
            }
        });
        ended.unwrap();
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (2, 0)
        );
    }
}

#[test]
fn a_thousand_listeners_are_all_told() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let joined = join_all((0..1000).map(|_| cancelled()));
            let crowd: FuturesUnordered<_> = (0..1000).map(|_| cancelled()).collect();
            let (joined, crowd) = tokio::join!(joined, crowd.count());
            joined.len() + crowd
        });
        assert_eq!(ended.unwrap(), 2000);
    }
}

// --- what asking does ----------------------------------------------------------------------------

#[test]
fn who_asked_once_is_not_dropped() {
    let asks: [fn(); 3] = [
        || assert!(!is_cancelled()),
        || drop(cancelled()),
        || assert!(!resolved(&mut cancelled())),
    ];
    for (flavor, by) in ways() {
        for ask in asks {
            let (ended, exit) = hearing_of_it(flavor, by, async {}, |requested| async move {
                ask();
                requested.await.unwrap();
                give_way().await;
                7
            });
            assert_eq!(ended.unwrap(), 7);
            assert_eq!(exit.report.tasks.completed, 2);
        }
    }
}

#[test]
fn who_asked_inside_a_catch_is_plain_behind_it() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            let asked = catch_cancel(async {
                drop(cancelled());
                is_cancelled()
            });
            assert!(!asked.await.unwrap());
            forever().await;
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn a_cooperative_catch_yields_what_its_future_returns() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            let inside = catch_cancel(async {
                cancelled().await;
                give_way().await;
                is_cancelled()
            });
            let inside = inside.await.unwrap();
            // Asked behind it, as one has to.
            (inside, is_cancelled())
        });
        assert_eq!(ended.unwrap(), (true, true));
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.caught), (2, 0, 0));
    }
}

#[test]
fn behind_a_cooperative_catch_that_was_told_the_task_goes_on() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            catch_cancel(cancelled_inside()).await.unwrap();
            give_way().await;
            "the request was received"
        });
        assert_eq!(ended.unwrap(), "the request was received");
    }
}

async fn cancelled_inside() {
    cancelled().await;
}

#[test]
fn a_plain_catch_inside_a_cooperative_scope_fires() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            let outer = catch_cancel(async {
                let mut told = cancelled();
                let inner = catch_cancel(forever()).await;
                (inner.is_err(), resolved(&mut told), is_cancelled())
            });
            outer.await.unwrap()
        });
        assert_eq!(ended.unwrap(), (true, true, true));
        assert_eq!(exit.report.tasks.caught, 1);
    }
}

#[test]
fn a_plain_catch_around_a_cooperative_scope_does_not_fire() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let outer = catch_cancel(async {
                let inner = catch_cancel(cancelled_inside()).await;
                give_way().await;
                inner.is_ok()
            });
            outer.await.unwrap()
        });
        assert!(ended.unwrap());
    }
}

#[test]
fn beside_a_cooperative_catch_a_plain_one_fires() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            tokio::join!(catch_cancel(cancelled_inside()), catch_cancel(forever()))
        });
        let (cooperative, plain) = ended.unwrap();
        assert!(cooperative.is_ok() && plain.is_err());
    }
}

#[test]
fn a_catch_in_a_task_that_asked_fires() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            assert!(!is_cancelled());
            let caught = catch_cancel(forever()).await;
            (caught.is_err(), is_cancelled())
        });
        assert_eq!(ended.unwrap(), (true, true));
    }
}

#[test]
fn a_request_resolves_the_listeners_of_every_scope() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = requested(flavor, by, async move {
            let of_root = cancelled();
            let say = |listener: Cancellation, what: &'static str| {
                let log = of_task.clone();
                listener.map(move |()| log.say(what))
            };
            let listens = |what: &'static str| {
                let say = &say;
                async move {
                    catch_cancel(async move { say(cancelled(), what).await })
                        .await
                        .unwrap();
                }
            };
            let nested = async {
                catch_cancel(async {
                    let of_outer = say(cancelled(), "outer");
                    tokio::join!(of_outer, listens("inner")).1;
                })
                .await
                .unwrap();
            };
            tokio::join!(say(of_root, "root"), listens("beside"), nested);
        });
        ended.unwrap();
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["beside", "inner", "outer", "root"]);
    }
}

#[test]
fn it_is_bound_to_the_scope_it_is_called_in_and_not_to_the_one_it_is_polled_in() {
    for (flavor, by) in ways() {
        // The argument is evaluated outside, so it is the task that has become cooperative.
        let (ended, _) = requested(flavor, by, async {
            let caught = catch_cancel(cancelled()).await;
            give_way().await;
            (caught.is_err(), is_cancelled())
        });
        assert_eq!(ended.unwrap(), (true, true));
    }
}

#[test]
fn a_second_request_is_not_needed_and_does_no_harm() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, released) = oneshot::channel::<()>();
            let task = aiorun::spawn(async {
                cancelled().await;
                released.await.unwrap();
                is_cancelled()
            });
            suspended(task.id()).await;
            for _ in 0..3 {
                task.cancel();
                give_way().await;
            }
            assert!(!task.is_finished());
            release.send(()).unwrap();
            assert!(task.await.unwrap());
            aiorun::stop();
        });
    }
}

// --- a listener on its way -----------------------------------------------------------------------

/// A task that hands out a listener of its own and waits for the given signal.
async fn handing_out(goes_on: oneshot::Receiver<()>) -> (JoinHandle<()>, Cancellation) {
    let (hand_out, handed_out) = oneshot::channel();
    let task = aiorun::spawn(async {
        hand_out.send(cancelled()).ok().unwrap();
        let _ = goes_on.await;
    });
    (task, handed_out.await.unwrap())
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a bare task is among those who poll"
)]
fn polled_elsewhere_it_is_bound_to_its_creator() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, goes_on) = oneshot::channel();
            let (creator, listener) = handing_out(goes_on).await;
            let listener = listener.shared();
            let by_task = aiorun::spawn(listener.clone());
            let by_stray = tokio::spawn(listener.clone());
            let by_thread = {
                let (runtime, listener) = (tokio::runtime::Handle::current(), listener);
                thread::spawn(move || runtime.block_on(listener))
            };
            give_way().await;
            assert!(!by_task.is_finished() && !by_stray.is_finished());
            creator.cancel();
            by_task.await.unwrap();
            by_stray.await.unwrap();
            by_thread.join().unwrap();
            assert!(!creator.is_finished(), "it asked, and so goes on");
            release.send(()).unwrap();
            creator.await.unwrap();
            aiorun::stop();
        });
    }
}

#[test]
fn the_request_of_who_polls_it_does_not_resolve_it() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, goes_on) = oneshot::channel();
            let (creator, mut listener) = handing_out(goes_on).await;
            let poller = aiorun::spawn(async move {
                let caught = catch_cancel(&mut listener).await;
                (caught.is_err(), resolved(&mut listener))
            });
            suspended(poller.id()).await;
            poller.cancel();
            assert_eq!(poller.await.unwrap(), (true, false));
            release.send(()).unwrap();
            creator.await.unwrap();
            aiorun::stop();
        });
    }
}

#[test]
fn one_that_outlives_its_scope_follows_the_task() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let kept = catch_cancel(lazy(|_| cancelled())).await.unwrap();
            let around = catch_cancel(kept).await;
            // It is the scope around it that was cancelled; its own has gone uncancelled.
            around.is_err()
        });
        assert!(ended.unwrap());
        let (ended, _) = requested(flavor, by, async {
            assert!(!is_cancelled());
            let mut kept = catch_cancel(lazy(|_| cancelled())).await.unwrap();
            (&mut kept).await;
            resolved(&mut kept)
        });
        assert!(ended.unwrap());
    }
}

#[test]
fn one_that_is_waited_for_while_its_scope_ends_follows_the_task() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            assert!(!is_cancelled());
            let (give, given) = oneshot::channel::<Cancellation>();
            let (end, ended) = oneshot::channel::<()>();
            let scope = catch_cancel(async {
                give.send(cancelled()).ok().unwrap();
                ended.await.unwrap();
            });
            let listens = async {
                let (mut end, mut listener) = (Some(end), given.await.unwrap());
                // Polled while its scope is there, and then again only when it is woken.
                poll_fn(|cx| {
                    let polled = listener.poll_unpin(cx);
                    if let Some(end) = end.take() {
                        assert!(polled.is_pending());
                        end.send(()).unwrap();
                    }
                    polled
                })
                .await;
            };
            let crowd: FuturesUnordered<futures::future::BoxFuture<'_, ()>> =
                FuturesUnordered::new();
            crowd.push(Box::pin(async { scope.await.unwrap() }));
            crowd.push(Box::pin(listens));
            crowd.count().await
        });
        assert_eq!(ended.unwrap(), 2);
    }
}

#[test]
fn one_that_outlives_its_task_resolves_when_the_tasks_are_cancelled() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let (_, goes_on) = oneshot::channel();
            let (creator, mut listener) = handing_out(goes_on).await;
            creator.await.unwrap();
            assert!(!resolved(&mut listener));
            // A later task may use its place; its request is none for the listener.
            let successor = aiorun::spawn(catch_cancel(forever()));
            suspended(successor.id()).await;
            successor.cancel();
            assert!(successor.await.unwrap().is_err());
            assert!(!resolved(&mut listener));
            aiorun::shutdown_waits_for(async move {
                (&mut listener).await;
                assert!(Handle::current().phase() >= Phase::Cancelling);
                assert!(resolved(&mut listener));
                of_main.say("told");
            });
            give_way().await;
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["told"]);
    }
}

#[test]
fn one_that_is_polled_when_its_task_ends_is_told_by_the_shutdown() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let (release, goes_on) = oneshot::channel();
            let (creator, listener) = handing_out(goes_on).await;
            let listens = aiorun::shutdown_waits_for(async move {
                listener.await;
                assert!(Handle::current().phase() >= Phase::Cancelling);
                of_main.say("told");
            });
            suspended(listens.id()).await;
            release.send(()).unwrap();
            creator.await.unwrap();
            give_way().await;
            assert!(!listens.is_finished());
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["told"]);
    }
}

#[test]
fn one_of_a_task_that_was_told_stays_resolved_behind_its_end() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, goes_on) = oneshot::channel();
            let (creator, mut listener) = handing_out(goes_on).await;
            suspended(creator.id()).await;
            creator.cancel();
            (&mut listener).await;
            release.send(()).unwrap();
            creator.await.unwrap();
            assert!(resolved(&mut listener));
            aiorun::stop();
        });
    }
}

#[test]
fn one_that_outlives_the_run_is_resolved() {
    for flavor in FLAVORS {
        let mut kept = None;
        passes(&mut builder(flavor), async {
            let (_, goes_on) = oneshot::channel();
            let (creator, listener) = handing_out(goes_on).await;
            creator.await.unwrap();
            kept = Some((listener, cancelled()));
            aiorun::stop();
        });
        let (mut of_task, mut of_main) = kept.unwrap();
        assert!(resolved(&mut of_task) && resolved(&mut of_main));
    }
}

// --- `is_cancelled()` ------------------------------------------------------------------------------

#[test]
fn a_loop_that_never_awaits_hears_of_it() {
    for (flavor, by) in ways() {
        let exit = run(&mut builder(flavor), async {
            let (give, given) = oneshot::channel::<JoinHandle<u64>>();
            let (begun, has_begun) = oneshot::channel();
            let handle = Handle::current();
            // On one thread nobody else gets a turn, so the request comes from outside.
            let outside = thread::spawn(move || {
                let task = given.blocking_recv().unwrap();
                has_begun.blocking_recv().unwrap();
                match by {
                    By::Handle => task.cancel(),
                    By::Shutdown => handle.stop(),
                }
                task
            });
            give.send(aiorun::spawn(async {
                begun.send(()).unwrap();
                let mut rounds = 0;
                while !is_cancelled() {
                    rounds += 1;
                }
                // That was the reception: this is not cut.
                give_way().await;
                assert!(is_cancelled());
                rounds
            }))
            .unwrap();
            let task = shield(tokio::task::yield_now().map(|()| outside.join().unwrap())).await;
            let rounds = shield(task).await.unwrap();
            assert!(rounds < u64::MAX);
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

#[test]
fn asked_where_a_request_is_pending_it_is_the_reception() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            let of_task = log.clone();
            let id = knowing_itself(async move |own: JoinHandle<()>| {
                let inside = catch_cancel(async {
                    own.cancel();
                    let caught = tokio::join!(catch_cancel(forever()), async { is_cancelled() });
                    (caught.0.is_err(), caught.1)
                });
                of_task.say(format!("{:?}", inside.await.unwrap()));
                give_way().await;
                of_task.say("goes on");
            });
            while Handle::current().tasks().iter().any(|task| task.id == id) {
                tokio::task::yield_now().await;
            }
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["(true, true)", "goes on"]);
    }
}

#[test]
fn asked_beside_a_catch_it_tells_the_catch() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            let of_task = log.clone();
            let id = knowing_itself(async move |own: JoinHandle<()>| {
                let asks = async {
                    tokio::task::yield_now().await;
                    own.cancel();
                    is_cancelled()
                };
                let (caught, asked) = tokio::join!(catch_cancel(forever()), asks);
                of_task.say(format!("{} {asked}", caught.is_err()));
            });
            while Handle::current().tasks().iter().any(|task| task.id == id) {
                tokio::task::yield_now().await;
            }
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["true true"]);
    }
}

#[test]
fn a_shutdown_that_is_pending_is_heard_by_asking() {
    let log = Log::default();
    let of_task = log.clone();
    passes(&mut builder(Flavor::MultiThread), async move {
        let marked = marked();
        let (begun, has_begun) = oneshot::channel();
        aiorun::spawn(async move {
            begun.send(()).unwrap();
            marked.recv().unwrap();
            drop(marked);
            assert!(is_cancelled());
            give_way().await;
            of_task.say("to its end");
        });
        has_begun.await.unwrap();
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["to its end"]);
}

// --- cooperative from the start ------------------------------------------------------------------

#[test]
fn a_cooperative_task_is_told_and_ends_by_itself() {
    for flavor in FLAVORS {
        let log = Log::default();
        let (by_handle, by_shutdown) = (log.clone(), log.clone());
        let exit = run(&mut builder(flavor), async move {
            let task = aiorun::task("pump").cooperative();
            let task = task.spawn(async move {
                cancelled().await;
                give_way().await;
                assert!(is_cancelled());
                by_handle.say("by its handle");
            });
            suspended(task.id()).await;
            task.cancel();
            task.await.unwrap();
            let task = aiorun::task("pump").cooperative();
            let task = task.spawn(async move {
                assert!(catch_cancel(forever()).await.is_err(), "its catches catch");
                give_way().await;
                assert!(is_cancelled());
                by_shutdown.say("by the shutdown");
            });
            suspended(task.id()).await;
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["by its handle", "by the shutdown"]);
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled), (3, 0));
    }
}

#[test]
fn a_cooperative_task_that_asks_only_after_the_request_is_told() {
    for flavor in FLAVORS {
        for asks in [false, true] {
            passes(&mut builder(flavor), async {
                let (release, released) = oneshot::channel::<()>();
                let task = aiorun::task("late").cooperative().spawn(async move {
                    released.await.unwrap();
                    if asks {
                        return is_cancelled();
                    }
                    cancelled().await;
                    true
                });
                suspended(task.id()).await;
                task.cancel();
                while info(task.id()).state != State::Cancelling {
                    tokio::task::yield_now().await;
                }
                // It has been polled for it.
                give_way().await;
                release.send(()).unwrap();
                assert!(task.await.unwrap());
                aiorun::stop();
            });
        }
    }
}

#[test]
fn with_the_option_everybody_is_and_main_too() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        let exit = run(builder(flavor).cooperative(true), async {
            aiorun::spawn(async move {
                reach(Phase::Cancelling).await;
                cancelled().await;
                give_way().await;
                of_task.say("task");
            });
            let caught = catch_cancel(async {
                aiorun::stop();
                forever().await;
            });
            assert!(caught.await.is_err());
            give_way().await;
            assert!(is_cancelled());
            log.say("main");
        });
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["main", "task"]);
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.caught), (2, 0, 1));
    }
}

#[test]
fn a_protected_task_hears_nothing_of_the_shutdown() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        passes(&mut builder(flavor), async move {
            aiorun::shutdown_waits_for(async move {
                let mut listener = cancelled();
                reach(Phase::Cancelling).await;
                give_way().await;
                checkpoint().await;
                of_task.say(format!("{} {}", is_cancelled(), resolved(&mut listener)));
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["false false"]);
    }
}

#[test]
fn a_protected_task_hears_of_the_request_of_its_handle() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let task = aiorun::shutdown_waits_for(async {
                cancelled().await;
                is_cancelled()
            });
            suspended(task.id()).await;
            task.cancel();
            assert!(task.await.unwrap());
            aiorun::stop();
        });
    }
}

#[test]
fn main_is_told_like_any_other() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            aiorun::spawn(async { aiorun::stop() });
            cancelled().await;
            give_way().await;
            log.say("to its end");
        });
        assert_eq!(log.lines(), ["to its end"]);
        assert_eq!(exit.report.tasks.cancelled, 0);
    }
}

#[test]
fn what_a_told_task_spawns_runs() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = requested(flavor, By::Shutdown, async move {
            cancelled().await;
            let child = aiorun::spawn(async move {
                give_way().await;
                of_task.say("child");
            });
            child.await.is_ok()
        });
        assert!(ended.unwrap());
        assert_eq!(log.lines(), ["child"]);
    }
}

// --- the price -----------------------------------------------------------------------------------

#[test]
fn who_asks_and_does_not_end_is_named_with_the_place() {
    let asks: [fn(); 2] = [|| drop(cancelled()), || assert!(!is_cancelled())];
    for flavor in FLAVORS {
        for ask in asks {
            let log = Log::default();
            let mut builder: Builder = builder(flavor);
            let exit = attempt(builder.timeout_task_shutdown(SHORT), async {
                let told = log.on_drop("dropped");
                let task = aiorun::task("asks").spawn(async move {
                    let _told = told;
                    ask();
                    forever().await;
                });
                suspended(task.id()).await;
                let asked = info(task.id()).asked.unwrap();
                assert_eq!(asked.file(), file!());
                aiorun::stop();
            });
            assert_eq!(log.lines(), ["dropped"]);
            let [refused] = &exit.report.refused[..] else {
                panic!("{}", exit.report)
            };
            assert!(refused.asked.is_some_and(|place| place.file() == file!()));
            assert!(refused.caught.is_none() && refused.shielded.is_none());
            let text = error_text(&exit);
            assert!(text.contains("asked at tests/it/cooperative.rs:"), "{text}");
        }
    }
}

#[test]
fn who_asks_inside_a_catch_is_named_while_it_lasts() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, released) = oneshot::channel::<()>();
            let task = aiorun::spawn(async {
                let asking = catch_cancel(async {
                    drop(cancelled());
                    released.await.unwrap();
                });
                asking.await.unwrap();
                forever().await;
            });
            suspended(task.id()).await;
            assert!(info(task.id()).asked.is_some());
            release.send(()).unwrap();
            while info(task.id()).asked.is_some() {
                tokio::task::yield_now().await;
            }
            aiorun::stop();
        });
    }
}

// --- races ---------------------------------------------------------------------------------------

#[test]
fn a_request_against_the_question() {
    passes(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let (go, gone) = oneshot::channel::<()>();
            let task = aiorun::spawn(async {
                gone.await.unwrap();
                cancelled().await;
                give_way().await;
                is_cancelled()
            });
            suspended(task.id()).await;
            race(round, || task.cancel(), || go.send(()).unwrap_or_default());
            // Before it has asked it is plain.
            assert!(task.await.unwrap_or(true));
        }
        aiorun::stop();
    });
}

#[test]
fn a_request_against_the_end_of_the_scope_of_a_listener() {
    passes(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let (end, ends) = oneshot::channel::<()>();
            let (hand_out, handed_out) = oneshot::channel();
            let task = aiorun::spawn(async {
                drop(cancelled());
                let scope = catch_cancel(async {
                    hand_out.send(cancelled()).ok().unwrap();
                    ends.await.unwrap();
                });
                scope.await.unwrap();
                cancelled().await;
            });
            let listens = aiorun::spawn(handed_out.await.unwrap());
            race(round, || task.cancel(), || end.send(()).unwrap());
            task.await.unwrap();
            listens.await.unwrap();
        }
        aiorun::stop();
    });
}

#[test]
fn a_poll_of_a_listener_never_misses_the_request() {
    passes(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let (release, goes_on) = oneshot::channel();
            let (creator, mut listener) = handing_out(goes_on).await;
            suspended(creator.id()).await;
            let mut polled = Poll::Pending;
            race(
                round,
                || creator.cancel(),
                || {
                    let waker = futures::task::noop_waker();
                    let mut cx = std::task::Context::from_waker(&waker);
                    polled = listener.poll_unpin(&mut cx);
                },
            );
            if polled.is_pending() {
                listener.await;
            }
            release.send(()).unwrap();
            creator.await.unwrap();
        }
        aiorun::stop();
    });
}
