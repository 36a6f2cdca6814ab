//! `shield`: what is not cut, what is seen from inside, and for how long.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aiorun::{
    Builder, Flavor, Handle, JoinHandle, Phase, RunError, cancelled, catch_cancel, checkpoint,
    is_cancelled, shield,
};
use futures::future::{FutureExt as _, join_all};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::request::{
    By, ELSEWHERE, ROUNDS, begun, hearing_of_it, info, knowing_itself, race, requested,
    requested_after, suspended, ways,
};
use crate::section::Sections;
use crate::trial::{
    FLAVORS, Log, SHORT, attempt, builder, checked, error_text, forever, give_way, on_a_runtime,
    passes, paused, reach, run,
};

type Requested = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Requests the cancellation of a task that waits for that, and for a good while longer. Says what
/// it returned, or nothing where it was dropped.
#[track_caller]
fn shielded<T, F>(
    flavor: Flavor,
    by: By,
    body: impl FnOnce(Requested) -> F,
) -> (Option<T>, aiorun::Exit)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let (ended, exit) = hearing_of_it(flavor, by, async {}, |requested| {
        body(Box::pin(async {
            requested.await.unwrap();
            give_way().await;
        }))
    });
    if let Err(error) = &ended {
        assert!(error.is_cancelled(), "{error}");
    }
    (ended.ok(), exit)
}

/// How many tasks were cancelled beside the one that hears of the shutdown.
fn cancelled_of(exit: &aiorun::Exit, by: By) -> u64 {
    exit.report.tasks.cancelled - u64::from(by == By::Shutdown)
}

#[test]
fn what_is_shielded_comes_to_its_end_and_then_the_task_is_dropped() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, exit) = shielded(flavor, by, async move |requested| {
            let _told = of_task.on_drop("dropped");
            shield(requested).await;
            of_task.say("saved");
            // To the next suspension.
            of_task.say("and so on");
            forever().await;
        });
        assert_eq!(ended, None);
        assert_eq!(log.lines(), ["saved", "and so on", "dropped"]);
        assert_eq!(cancelled_of(&exit, by), 1);
    }
}

#[test]
fn it_yields_what_its_future_returns() {
    for (flavor, by) in ways() {
        let (ended, exit) = shielded(flavor, by, async |requested| {
            shield(async {
                requested.await;
                7
            })
            .await
        });
        assert_eq!(ended, Some(7), "the task ends in the same poll");
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

#[test]
fn inside_nothing_is_seen_of_the_request() {
    for (flavor, by) in ways() {
        let (ended, exit) = shielded(flavor, by, async |requested| {
            // In a scope of their own, which the questions make cooperative.
            let inside = catch_cancel(async {
                let mut listener = cancelled();
                let seen = shield(async {
                    let inner = catch_cancel(requested).await;
                    checkpoint().await;
                    let inner_again = catch_cancel(give_way()).await;
                    assert!(inner.is_ok() && inner_again.is_ok());
                    (is_cancelled(), (&mut listener).now_or_never().is_some())
                });
                let seen = seen.await;
                // And then it is.
                listener.await;
                (seen, is_cancelled())
            });
            inside.await.unwrap()
        });
        assert_eq!(ended, Some(((false, false), true)));
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn a_catch_around_it_catches_afterwards() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = shielded(flavor, by, async move |requested| {
            let caught = catch_cancel(async {
                shield(requested).await;
                of_task.say("saved");
                forever().await;
            });
            caught.await.is_err()
        });
        assert_eq!(ended, Some(true));
        assert_eq!(log.lines(), ["saved"]);
    }
}

#[test]
fn a_cooperative_scope_around_it_is_told_afterwards() {
    for (flavor, by) in ways() {
        let (ended, exit) = shielded(flavor, by, async |requested| {
            let told = cancelled();
            shield(requested).await;
            told.await;
            give_way().await;
            is_cancelled()
        });
        assert_eq!(ended, Some(true));
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

#[test]
fn while_it_holds_nobody_else_in_the_task_is_told() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = shielded(flavor, by, async move |requested| {
            let holds = async {
                shield(requested).await;
                of_task.say("saved");
            };
            let catches = async {
                assert!(catch_cancel(forever()).await.is_err());
                of_task.say("caught");
            };
            let listens = catch_cancel(async {
                cancelled().await;
                of_task.say("told");
            });
            tokio::join!(listens, catches, holds)
        });
        assert!(ended.is_some_and(|(listened, ..)| listened.is_ok()));
        let mut lines = log.lines();
        assert_eq!(lines.remove(0), "saved");
        lines.sort();
        assert_eq!(lines, ["caught", "told"]);
    }
}

#[test]
fn of_several_the_last_one_counts() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = shielded(flavor, by, async move |requested| {
            let nested = shield(async {
                shield(requested).await;
                of_task.say("inner");
                give_way().await;
                of_task.say("outer");
            });
            let crowd: FuturesUnordered<_> = (0..10).map(|_| shield(give_way())).collect();
            let caught = catch_cancel(async {
                tokio::join!(nested, crowd.count());
                forever().await;
            });
            caught.await.is_err()
        });
        assert_eq!(ended, Some(true));
        assert_eq!(log.lines(), ["inner", "outer"]);
    }
}

#[test]
fn in_a_crowd_each_is_shielded() {
    for (flavor, by) in ways() {
        let (ended, _) = shielded(flavor, by, async |requested| {
            let requested = requested.shared();
            let all = (0..1000).map(|number| {
                let requested = requested.clone();
                shield(async move {
                    requested.await;
                    number
                })
            });
            join_all(all).await.into_iter().sum::<u32>()
        });
        assert_eq!(ended, Some(499_500));
    }
}

#[test]
fn one_that_was_never_polled_keeps_nothing_out() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, async {
            let _never = shield(forever());
            forever().await;
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn one_that_was_dropped_half_way_keeps_nothing_out() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            assert!(shield(forever()).now_or_never().is_none());
            forever().await;
        });
        assert!(ended.unwrap_err().is_cancelled());
    }
}

#[test]
fn when_its_owner_drops_it_the_request_is_received() {
    for (flavor, by) in ways() {
        let (ended, _) = shielded(flavor, by, async |requested| {
            let caught = catch_cancel(async {
                tokio::select! {
                    () = shield(forever()) => unreachable!("it never ends"),
                    () = requested => {}
                }
                forever().await;
            });
            caught.await.is_err()
        });
        assert_eq!(ended, Some(true));
    }
}

#[test]
fn a_timeout_is_an_owner_too() {
    let exit = run(&mut paused(), async {
        let task = aiorun::spawn(async {
            let cut = timeout(Duration::from_secs(5), shield(forever())).await;
            assert!(cut.is_err());
            forever().await;
        });
        suspended(task.id()).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.cancelled, 1);
}

#[test]
fn abort_cuts_it() {
    for flavor in FLAVORS {
        let log = Log::default();
        let told = log.on_drop("cut");
        let exit = run(&mut builder(flavor), async {
            let task = aiorun::spawn(shield(async {
                let _told = told;
                forever().await;
            }));
            suspended(task.id()).await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["cut"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn one_that_was_moved_half_way_covers_who_polls_it() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (hand_over, handed_over) = oneshot::channel();
            let (release, released) = oneshot::channel();
            let first = aiorun::spawn(async {
                let mut moving = Box::pin(shield(released));
                assert!((&mut moving).now_or_never().is_none());
                hand_over.send(moving).unwrap();
                forever().await;
            });
            let moving: Pin<Box<_>> = handed_over.await.unwrap();
            let second = aiorun::spawn(moving);
            suspended(second.id()).await;
            first.cancel();
            assert!(
                first.await.unwrap_err().is_cancelled(),
                "it is not covered any longer"
            );
            second.cancel();
            give_way().await;
            assert!(!second.is_finished());
            release.send(7).unwrap();
            assert_eq!(second.await.unwrap().unwrap(), 7);
            aiorun::stop();
        });
    }
}

#[test]
fn one_that_was_first_polled_elsewhere_covers_the_task_it_moves_to() {
    for (flavor, by) in ways() {
        for elsewhere in ELSEWHERE {
            let log = Log::default();
            let of_task = log.clone();
            let (moved, is_moved) = oneshot::channel();
            let (ended, _) = hearing_of_it(flavor, by, is_moved, async move |requested| {
                let moving = Box::pin(shield(async move {
                    requested.await.unwrap();
                    give_way().await;
                    of_task.say("saved");
                }));
                let moving = begun(elsewhere, moving).await;
                moved.send(()).unwrap();
                moving.await;
            });
            assert!(ended.is_ok(), "{elsewhere:?} {ended:?}");
            assert_eq!(log.lines(), ["saved"]);
        }
    }
}

#[test]
fn one_that_is_dropped_elsewhere_lets_its_task_be_cancelled() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (hand_over, handed_over) = oneshot::channel();
            let task = aiorun::spawn(async {
                let mut moving = Box::pin(shield(forever()));
                assert!((&mut moving).now_or_never().is_none());
                hand_over.send(moving).unwrap();
                forever().await;
            });
            let moving = handed_over.await.unwrap();
            suspended(task.id()).await;
            task.cancel();
            give_way().await;
            assert!(!task.is_finished());
            drop(moving);
            assert!(task.await.unwrap_err().is_cancelled());
            aiorun::stop();
        });
    }
}

#[test]
fn polled_after_its_end_it_panics_clearly() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let task = aiorun::spawn(async {
                let mut done = Box::pin(shield(async { 1 }));
                assert_eq!((&mut done).await, 1);
                done.await
            });
            let error = task.await.unwrap_err();
            assert!(error.message().unwrap().contains("shield"), "{error}");
            aiorun::stop();
        });
    }
}

#[test]
fn a_panic_inside_ends_it() {
    for (flavor, by) in ways() {
        let (ended, _) = requested(flavor, by, async {
            let broken = shield(async { panic!("in the middle of it") });
            let broken = std::panic::AssertUnwindSafe(broken).catch_unwind().await;
            assert!(broken.is_err());
            forever().await;
        });
        assert!(ended.unwrap_err().is_cancelled());
    }
}

#[test]
fn a_cleanup_in_it_is_not_cut_by_a_second_request() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let of_task = of_main.clone();
            let (began, has_begun) = oneshot::channel();
            let (release, released) = oneshot::channel::<()>();
            let task = aiorun::spawn(async move {
                assert!(catch_cancel(forever()).await.is_err());
                shield(async {
                    began.send(()).unwrap();
                    released.await.unwrap();
                    of_task.say("rolled back");
                })
                .await;
                forever().await;
            });
            suspended(task.id()).await;
            task.cancel();
            has_begun.await.unwrap();
            task.cancel();
            give_way().await;
            release.send(()).unwrap();
            assert!(task.await.unwrap_err().is_cancelled(), "after it");
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["rolled back"]);
    }
}

#[test]
fn main_is_shielded_like_any_other() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let _told = log.on_drop("dropped");
            aiorun::stop();
            shield(async {
                reach(Phase::Cancelling).await;
                give_way().await;
                log.say("saved");
            })
            .await;
            forever().await;
        });
        assert_eq!(log.lines(), ["saved", "dropped"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn main_under_supervise_is_shielded_like_any_other() {
    let log = Log::default();
    let of_main = log.clone();
    let exit = on_a_runtime(async {
        let mut builder = Builder::new();
        let run = builder.signals([]).supervise(async move {
            aiorun::stop();
            shield(async {
                reach(Phase::Cancelling).await;
                give_way().await;
                of_main.say("saved");
            })
            .await;
            forever().await;
        });
        run.await
    });
    let exit = checked(exit);
    assert!(exit.is_success(), "{:?}", exit.error);
    assert_eq!(log.lines(), ["saved"]);
}

// --- what is started meanwhile -------------------------------------------------------------------

#[test]
fn it_does_not_cover_what_is_spawned_inside() {
    for (flavor, by) in ways() {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, exit) = shielded(flavor, by, async move |requested| {
            shield(async {
                let told = of_task.on_drop("the child is dropped");
                let child = aiorun::spawn(async {
                    let _told = told;
                    forever().await;
                });
                if by == By::Handle {
                    child.cancel();
                }
                let error = child.await.unwrap_err();
                requested.await;
                error.is_cancelled()
            })
            .await
        });
        assert_eq!(ended, Some(true));
        assert_eq!(log.lines(), ["the child is dropped"]);
        assert_eq!(cancelled_of(&exit, by), 1);
    }
}

#[test]
fn what_is_spawned_inside_during_the_shutdown_runs() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, exit) = shielded(flavor, By::Shutdown, async move |requested| {
            shield(async {
                requested.await;
                let child = aiorun::spawn(async move {
                    give_way().await;
                    of_task.say("saved");
                });
                child.await.is_ok()
            })
            .await
        });
        assert_eq!(ended, Some(true));
        assert_eq!(log.lines(), ["saved"]);
        assert_eq!(exit.report.tasks.completed, 3);
    }
}

#[test]
fn a_task_that_was_told_behind_a_shield_starts_work_too() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        let (ended, _) = shielded(flavor, By::Shutdown, async move |requested| {
            let caught = catch_cancel(async {
                shield(requested).await;
                forever().await;
            });
            assert!(caught.await.is_err());
            let (of_child, of_other) = (of_task.clone(), of_task.clone());
            let child = aiorun::spawn(async move {
                give_way().await;
                of_child.say("child");
                aiorun::spawn(async move { of_other.say("grandchild") });
            });
            child.await.is_ok()
        });
        assert_eq!(ended, Some(true));
        assert_eq!(log.lines(), ["child", "grandchild"]);
    }
}

// --- limits --------------------------------------------------------------------------------------

#[test]
fn beyond_the_limit_it_is_cut_and_named_with_the_place() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = attempt(builder(flavor).timeout_task_shutdown(SHORT), async {
            let told = log.on_drop("cut");
            let task = aiorun::task("slow").spawn(async {
                let _told = told;
                shield(forever()).await;
            });
            suspended(task.id()).await;
            let shielded = info(task.id()).shielded.unwrap();
            assert_eq!(shielded.file(), file!());
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["cut"]);
        let [refused] = &exit.report.refused[..] else {
            panic!("{}", exit.report)
        };
        assert!(
            refused
                .shielded
                .is_some_and(|place| place.file() == file!())
        );
        assert!(refused.asked.is_none() && refused.caught.is_none());
        assert!(matches!(&exit.error, Some(RunError::Refused(tasks)) if tasks.len() == 1));
        let text = error_text(&exit);
        assert!(text.contains("shielded at tests/it/shield.rs:"), "{text}");
    }
}

#[test]
fn its_place_is_listed_while_it_holds_and_no_longer() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, released) = oneshot::channel::<()>();
            let task = aiorun::spawn(async {
                let (line, shielded) = (line!(), shield(released).await);
                shielded.unwrap();
                give_way().await;
                forever().await;
                line
            });
            suspended(task.id()).await;
            let place = info(task.id()).shielded.unwrap();
            assert!(place.file() == file!() && place.line() + 20 > line!());
            release.send(()).unwrap();
            while info(task.id()).shielded.is_some() {
                tokio::task::yield_now().await;
            }
            aiorun::stop();
        });
    }
}

// --- under load ----------------------------------------------------------------------------------

/// One after the other, with awaits between them where a cancellation is received.
async fn many(sections: Arc<Sections>) {
    loop {
        sections.one().await;
        tokio::task::yield_now().await;
    }
}

/// Two tasks that keep the workers busy.
fn load() {
    for _ in 0..2 {
        aiorun::spawn(async {
            loop {
                crate::request::dawdle(100);
                tokio::task::yield_now().await;
            }
        });
    }
}

#[test]
fn hundreds_of_shutdowns_under_load_cut_none() {
    const TASKS: usize = 8;
    let sections = Arc::new(Sections::default());
    for round in 0..ROUNDS as usize {
        let before = sections.begun();
        let exit = run(&mut builder(Flavor::MultiThread), async {
            load();
            for _ in 0..TASKS {
                aiorun::spawn(many(Arc::clone(&sections)));
            }
            // Not before all of them are in the middle of one.
            sections.have_begun(before + TASKS + round % 30).await;
            aiorun::stop();
        });
        let tasks = exit.report.tasks;
        assert_eq!((tasks.refused, tasks.cancelled), (0, TASKS as u64 + 2));
    }
    assert!(sections.none_was_cut() >= ROUNDS as usize * TASKS);
}

#[test]
fn hundreds_of_requests_under_load_cut_none() {
    let sections = Arc::new(Sections::default());
    let exit = run(&mut builder(Flavor::MultiThread), async {
        load();
        for round in 0..ROUNDS as usize {
            let before = sections.begun();
            let tasks: Vec<_> = (0..4)
                .map(|_| aiorun::spawn(many(Arc::clone(&sections))))
                .collect();
            sections.have_begun(before + 4 + round % 30).await;
            tasks.iter().for_each(JoinHandle::cancel);
            for task in tasks {
                assert!(task.await.unwrap_err().is_cancelled());
            }
        }
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.refused, 0);
    assert!(sections.none_was_cut() >= ROUNDS as usize * 4);
}

#[test]
fn a_request_against_the_beginning_of_one() {
    let sections = Arc::new(Sections::default());
    let exit = run(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let (go, gone) = oneshot::channel::<()>();
            let sections = Arc::clone(&sections);
            let task = aiorun::spawn(async move {
                gone.await.unwrap();
                sections.one().await;
                forever().await;
            });
            suspended(task.id()).await;
            race(round, || task.cancel(), || go.send(()).unwrap_or_default());
            assert!(task.await.unwrap_err().is_cancelled());
        }
        aiorun::stop();
    });
    assert_eq!(exit.report.tasks.cancelled, u64::from(ROUNDS));
    sections.none_was_cut();
}

#[test]
fn a_request_against_the_drop_of_one_on_another_thread() {
    passes(&mut builder(Flavor::MultiThread), async {
        for round in 0..ROUNDS {
            let (hand_over, handed_over) = oneshot::channel();
            let task = aiorun::spawn(async {
                let mut moving = Box::pin(shield(forever()));
                assert!((&mut moving).now_or_never().is_none());
                hand_over.send(moving).unwrap();
                catch_cancel(forever()).await.is_err()
            });
            let moving = handed_over.await.unwrap();
            suspended(task.id()).await;
            race(round, || task.cancel(), || drop(moving));
            assert!(task.await.unwrap());
        }
        aiorun::stop();
    });
}

#[test]
fn a_task_that_cancels_itself_in_one_goes_on_to_its_end() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            let of_task = log.clone();
            let id = knowing_itself(async move |own: JoinHandle<()>| {
                shield(async {
                    own.cancel();
                    give_way().await;
                    of_task.say("saved");
                })
                .await;
                tokio::task::yield_now().await;
                of_task.say("not said");
            });
            while Handle::current().tasks().iter().any(|task| task.id == id) {
                tokio::task::yield_now().await;
            }
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["saved"]);
    }
}

#[test]
fn in_a_protected_and_in_a_cooperative_task_it_changes_nothing() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        let exit = run(&mut builder(flavor), async move {
            for (name, task) in [
                ("protected", aiorun::task("protected").protected()),
                ("cooperative", aiorun::task("cooperative").cooperative()),
            ] {
                let log = of_main.clone();
                task.spawn(async move {
                    shield(reach(Phase::Cancelling)).await;
                    give_way().await;
                    log.say(name);
                });
            }
            aiorun::stop();
        });
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["cooperative", "protected"]);
        assert_eq!(exit.report.tasks.completed, 3);
    }
}

#[test]
fn the_queue_behind_a_request_is_received_once() {
    for flavor in FLAVORS {
        let (begun, has_begun) = oneshot::channel();
        let (ended, _) = requested_after(flavor, By::Handle, has_begun, async {
            let mut begun = Some(begun);
            let caught = catch_cancel(async {
                for _ in 0..3 {
                    shield(give_way()).await;
                }
                begun.take().unwrap().send(()).unwrap();
                forever().await;
            });
            assert!(caught.await.is_err());
            // Nothing is left of it: neither a shield nor a request.
            catch_cancel(give_way()).await.is_ok()
        });
        assert!(ended.unwrap());
    }
}
