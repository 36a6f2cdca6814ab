//! Scopes in tasks that are not ours: from bare `tokio::spawn`, and of a `LocalSet` inside one of
//! ours.

#![expect(clippy::disallowed_methods, reason = "bare tasks are the subject")]

use std::sync::{Arc, mpsc};

use aiorun::{
    Flavor, Handle, Phase, RunError, cancelled, catch_cancel, checkpoint, is_cancelled, shield,
};
use futures::future::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::request::suspended;
use crate::section::Sections;
use crate::trial::{
    FLAVORS, Log, SHORT, attempt, builder, error_text, forever, give_way, passes, reach, run,
    spin_until,
};

// --- `cancelled()` -------------------------------------------------------------------------------

#[test]
fn cancelled_resolves_when_the_tasks_are_cancelled_and_main_goes_on() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let (listens, is_listening) = oneshot::channel();
            let stray = tokio::spawn(async {
                let mut told = cancelled();
                assert!((&mut told).now_or_never().is_none());
                listens.send(()).unwrap();
                told.await;
                Handle::current().phase()
            });
            is_listening.await.unwrap();
            give_way().await;
            aiorun::stop();
            // Main is cooperative, since somebody has asked on its behalf.
            assert!(stray.await.unwrap() >= Phase::Cancelling);
            give_way().await;
            log.say("to its end");
        });
        assert_eq!(log.lines(), ["to its end"]);
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled), (1, 0));
    }
}

#[test]
fn cancelled_resolves_when_main_is_gone() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_stray = log.clone();
        passes(&mut builder(flavor), async move {
            let (hold, released) = oneshot::channel::<()>();
            aiorun::shutdown_waits_for(released);
            tokio::spawn(async move {
                while Handle::current().tasks().len() > 1 {
                    tokio::task::yield_now().await;
                }
                aiorun::stop();
                cancelled().await;
                of_stray.say("told");
                drop(hold);
            });
        });
        assert_eq!(log.lines(), ["told"]);
    }
}

#[test]
fn cancelled_that_is_called_later_resolves_too() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_stray = log.clone();
        passes(&mut builder(flavor), async move {
            let (hold, released) = oneshot::channel::<()>();
            aiorun::shutdown_waits_for(released);
            tokio::spawn(async move {
                reach(Phase::Cancelling).await;
                cancelled().await;
                of_stray.say("told");
                drop(hold);
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["told"]);
    }
}

#[test]
fn cancelled_that_resolves_at_once_makes_main_cooperative_too() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            // Until then main has received nothing.
            shield(async {
                let job = aiorun::spawn_blocking(|| {
                    tokio::runtime::Handle::current().block_on(cancelled());
                });
                aiorun::stop();
                job.await.unwrap();
                let bare = tokio::spawn(async { cancelled().now_or_never().is_some() });
                assert!(bare.await.unwrap());
            })
            .await;
            give_way().await;
            log.say("to its end");
        });
        assert_eq!(log.lines(), ["to its end"]);
        assert_eq!(exit.report.tasks.cancelled, 0);
    }
}

#[test]
fn cancelled_that_is_never_polled_leaves_main_as_it_is() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let _told = log.on_drop("dropped");
            let asked = tokio::spawn(async { drop(cancelled()) });
            asked.await.unwrap();
            aiorun::stop();
            forever().await;
        });
        assert_eq!(log.lines(), ["dropped"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn main_that_has_become_cooperative_and_does_not_end_is_named() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).timeout_task_shutdown(SHORT), async {
            let asked = tokio::spawn(async { cancelled().now_or_never().is_none() });
            assert!(asked.await.unwrap());
            aiorun::stop();
            forever().await;
        });
        let [refused] = &exit.report.refused[..] else {
            panic!("{}", exit.report)
        };
        assert!(refused.asked.is_some_and(|place| place.file() == file!()));
        let text = error_text(&exit);
        assert!(text.contains("asked at tests/it/bare.rs:"), "{text}");
    }
}

#[test]
fn only_main_becomes_cooperative() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let told = log.on_drop("dropped");
            let (listens, is_listening) = oneshot::channel();
            let task = aiorun::spawn(async {
                let _told = told;
                let stray = tokio::spawn(async {
                    let mut told = cancelled();
                    assert!((&mut told).now_or_never().is_none());
                    listens.send(()).unwrap();
                    told.await;
                });
                stray.await.unwrap();
                forever().await;
            });
            suspended(task.id()).await;
            is_listening.await.unwrap();
            aiorun::stop();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        assert_eq!(log.lines(), ["dropped"]);
        assert_eq!(exit.report.tasks.completed, 1);
    }
}

#[test]
fn the_request_of_a_handle_is_none_of_its_business() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (start, started) = oneshot::channel();
            let task = aiorun::spawn(async {
                // As servers do: the listener is made in a bare task of theirs.
                let stray = tokio::spawn(async { cancelled().await });
                start.send(stray).unwrap();
                forever().await;
            });
            let stray = started.await.unwrap();
            suspended(task.id()).await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            give_way().await;
            assert!(!stray.is_finished());
            aiorun::stop();
        });
    }
}

// --- `is_cancelled()` ------------------------------------------------------------------------------

#[test]
fn is_cancelled_reads_and_has_no_effect() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_stray = log.clone();
        let exit = run(&mut builder(flavor), async {
            let (hold, released) = oneshot::channel::<()>();
            aiorun::shutdown_waits_for(released);
            let (asked, has_asked) = oneshot::channel();
            tokio::spawn(async move {
                asked.send(is_cancelled()).unwrap();
                reach(Phase::Stopping).await;
                reach(Phase::Cancelling).await;
                of_stray.say(format!("{}", is_cancelled()));
                drop(hold);
            });
            assert!(!has_asked.await.unwrap());
            aiorun::stop();
            forever().await;
        });
        assert_eq!(log.lines(), ["true"]);
        assert_eq!(exit.report.tasks.cancelled, 1, "main is as plain as it was");
    }
}

#[test]
fn is_cancelled_is_read_by_bare_jobs_too() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_job = log.clone();
        passes(&mut builder(flavor), async move {
            let (hold, released) = oneshot::channel::<()>();
            aiorun::shutdown_waits_for(released);
            let (begun, has_begun) = oneshot::channel();
            let handle = Handle::current();
            tokio::task::spawn_blocking(move || {
                begun.send(is_cancelled()).unwrap();
                spin_until(&handle, Phase::Cancelling);
                of_job.say(format!("{}", is_cancelled()));
                drop(hold);
            });
            assert!(!has_begun.await.unwrap());
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["true"]);
    }
}

// --- what is inert -------------------------------------------------------------------------------

#[test]
fn a_catch_is_inert() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_stray = log.clone();
        let exit = run(&mut builder(flavor), async move {
            let (hold, released) = oneshot::channel::<()>();
            aiorun::shutdown_waits_for(released);
            tokio::spawn(async move {
                let told = of_stray.on_drop("dropped with the runtime");
                let waits = catch_cancel(async {
                    reach(Phase::Cancelling).await;
                    give_way().await;
                    7
                });
                of_stray.say(format!("{}", waits.await.unwrap()));
                let entered_late = catch_cancel(give_way()).await;
                checkpoint().await;
                of_stray.say(format!("{}", entered_late.is_ok()));
                drop(hold);
                let _ = catch_cancel(forever()).await;
                drop(told);
                of_stray.say("not said");
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["7", "true", "dropped with the runtime"]);
        assert_eq!((exit.report.strays, exit.report.tasks.caught), (1, 0));
    }
}

#[test]
fn a_catch_that_moves_to_a_bare_task_is_inert_there() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (hand_over, handed_over) = oneshot::channel();
            let (send, received) = oneshot::channel();
            let task = aiorun::spawn(async {
                let mut moving = Box::pin(catch_cancel(received));
                assert!((&mut moving).now_or_never().is_none());
                hand_over.send(moving).unwrap();
                forever().await;
            });
            let moving = handed_over.await.unwrap();
            let stray = tokio::spawn(moving);
            give_way().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            send.send(7).unwrap();
            assert_eq!(stray.await.unwrap().unwrap().unwrap(), 7);
            aiorun::stop();
        });
    }
}

// --- `shield` ------------------------------------------------------------------------------------

#[test]
fn shutdown_waits_for_a_shield() {
    for flavor in FLAVORS {
        let log = Log::default();
        let (of_main, of_hook) = (log.clone(), log.clone());
        let exit = run(&mut builder(flavor), async move {
            let (begun, has_begun) = oneshot::channel();
            aiorun::on_exit("hook", async move { of_hook.say("hook") });
            tokio::spawn(async move {
                shield(async {
                    begun.send(()).unwrap();
                    reach(Phase::Cancelling).await;
                    for _ in 0..20 {
                        give_way().await;
                    }
                    assert_eq!(Handle::current().phase(), Phase::Cancelling);
                    of_main.say("committed");
                })
                .await;
                forever().await;
            });
            has_begun.await.unwrap();
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["committed", "hook"]);
        assert_eq!(exit.report.strays, 1);
        assert_eq!(exit.report.refused.len(), 0);
    }
}

#[test]
fn shutdown_waits_for_a_shield_again_before_the_runtime_closes() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let (begun, has_begun) = oneshot::channel();
            let (in_time, is_in_time) = oneshot::channel::<()>();
            // The hook holds the runtime open until the shield has begun.
            aiorun::on_exit("holds", async { is_in_time.await.unwrap() });
            tokio::spawn(async move {
                begun.send(()).unwrap();
                reach(Phase::Finishing).await;
                shield(async {
                    in_time.send(()).unwrap();
                    for _ in 0..20 {
                        give_way().await;
                    }
                    of_main.say("committed");
                })
                .await;
            });
            has_begun.await.unwrap();
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["committed"]);
    }
}

#[test]
fn a_shield_yields_its_value_and_the_next_one_holds_too() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let (begun, has_begun) = oneshot::channel();
            tokio::spawn(async move {
                let sum = shield(async {
                    let left = shield(async { 3 }).await;
                    begun.send(()).unwrap();
                    reach(Phase::Cancelling).await;
                    left + shield(async { 4 }).await
                });
                of_main.say(format!("{}", sum.await));
            });
            has_begun.await.unwrap();
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["7"]);
    }
}

#[test]
fn a_shield_that_is_dropped_holds_nothing() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let stray = tokio::spawn(async {
                assert!(shield(forever()).now_or_never().is_none());
                tokio::select! {
                    () = shield(forever()) => {}
                    () = give_way() => {}
                }
                let _never_polled = shield(forever());
                forever().await;
            });
            give_way().await;
            assert!(!stray.is_finished());
            aiorun::stop();
        });
        assert_eq!(exit.report.strays, 1);
    }
}

#[test]
fn inside_a_shield_of_a_bare_task_the_question_is_answered() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let (begun, has_begun) = oneshot::channel();
            tokio::spawn(shield(async move {
                begun.send(is_cancelled()).unwrap();
                cancelled().await;
                of_main.say(format!("{}", is_cancelled()));
            }));
            assert!(!has_begun.await.unwrap());
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["true"]);
    }
}

#[test]
fn beyond_the_limit_a_shield_is_named_like_a_task() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).timeout_task_shutdown(SHORT), async {
            let (begun, has_begun) = oneshot::channel();
            tokio::spawn(shield(async {
                begun.send(()).unwrap();
                forever().await;
            }));
            has_begun.await.unwrap();
            aiorun::stop();
        });
        let [refused] = &exit.report.refused[..] else {
            panic!("{}", exit.report)
        };
        assert_eq!(refused.location.file(), file!());
        assert!(matches!(&exit.error, Some(RunError::Refused(tasks)) if tasks.len() == 1));
        let text = error_text(&exit);
        assert!(text.contains("tests/it/bare.rs:"), "{text}");
        assert_eq!(exit.report.tasks.refused, 1, "it is counted with the tasks");
        assert_eq!(exit.report.strays, 1);
    }
}

#[test]
fn hundreds_of_shutdowns_cut_no_shield() {
    let sections = Arc::new(Sections::default());
    for _ in 0..200 {
        let before = sections.begun();
        let exit = run(&mut builder(Flavor::MultiThread), async {
            for _ in 0..4 {
                let sections = Arc::clone(&sections);
                tokio::spawn(async move {
                    while !is_cancelled() {
                        sections.one().await;
                    }
                });
            }
            sections.have_begun(before + 4).await;
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.refused, 0);
        sections.none_was_cut();
    }
}

#[test]
fn a_shield_against_the_close_of_the_runtime_is_not_cut() {
    let sections = Arc::new(Sections::default());
    for round in 0..200 {
        let exit = run(&mut builder(Flavor::MultiThread), async {
            let handle = Handle::current();
            for number in 0..4 {
                let (sections, handle) = (Arc::clone(&sections), handle.clone());
                tokio::spawn(async move {
                    while handle.phase() < Phase::Finishing {
                        tokio::task::yield_now().await;
                    }
                    for _ in 0..(round + number) % 20 {
                        tokio::task::yield_now().await;
                    }
                    // It is in time, or never starts.
                    sections.one().await;
                });
            }
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.refused, 0);
        sections.none_was_cut();
    }
}

/// The close does not wait for it for ever, and then the run is over, but not for what is left of it.
#[test]
fn a_thread_that_is_left_behind_goes_on_in_a_run_that_is_over() {
    for flavor in FLAVORS {
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        passes(&mut builder(flavor), async {
            let (begin, has_begun) = oneshot::channel();
            tokio::task::spawn_blocking(move || {
                begin.send(()).unwrap();
                let _ = released.recv();
                let shielded = shield(async {}).now_or_never();
                let task = aiorun::spawn(async { unreachable!("it is too late") });
                let seen = (is_cancelled(), shielded, task.is_finished());
                tell.send(seen).unwrap();
            });
            has_begun.await.unwrap();
            aiorun::stop();
        });
        drop(release);
        assert_eq!(told.recv(), Ok((true, None, true)));
    }
}

#[test]
fn under_supervise_the_shutdown_waits_for_a_shield_too() {
    let log = Log::default();
    let of_main = log.clone();
    let exit = crate::trial::on_a_runtime(async {
        let mut builder = aiorun::Builder::new();
        let run = builder.signals([]).supervise(async move {
            let (begun, has_begun) = oneshot::channel();
            tokio::spawn(shield(async move {
                begun.send(()).unwrap();
                reach(Phase::Cancelling).await;
                give_way().await;
                of_main.say("committed");
            }));
            has_begun.await.unwrap();
            aiorun::stop();
        });
        let exit = run.await;
        // The runtime goes on, and so do the shields of those who live in it.
        let late = tokio::spawn(shield(async { 7 }));
        assert_eq!(late.await.unwrap(), 7);
        exit
    });
    assert!(exit.is_success(), "{:?}", exit.error);
    assert_eq!(log.lines(), ["committed"]);
}

// --- a LocalSet inside a task of ours ------------------------------------------------------------

#[test]
fn tasks_of_a_nested_local_set_are_bare() {
    for flavor in [Flavor::MultiThread, Flavor::CurrentThread] {
        let log = Log::default();
        let of_main = log.clone();
        let exit = run(&mut builder(flavor), async {
            let set = LocalSet::new();
            let inside = set.run_until(async {
                let of_task = of_main.clone();
                let bare = tokio::task::spawn_local(async move {
                    // Inert: it is not main that waits here.
                    let caught = catch_cancel(async {
                        assert!(!is_cancelled());
                        let mut told = cancelled();
                        assert!((&mut told).now_or_never().is_none());
                        aiorun::stop();
                        told.await;
                        give_way().await;
                    });
                    of_task.say(format!("{} {}", caught.await.is_ok(), is_cancelled()));
                });
                bare.await.unwrap();
            });
            inside.await;
            of_main.say("main, which has become cooperative");
        });
        assert_eq!(
            log.lines(),
            ["true true", "main, which has become cooperative"]
        );
        assert_eq!(exit.report.tasks.caught, 0);
    }
}

#[test]
fn what_a_nested_local_set_runs_itself_belongs_to_the_task() {
    for flavor in [Flavor::MultiThread, Flavor::CurrentThread] {
        let exit = run(&mut builder(flavor), async {
            let set = LocalSet::new();
            let caught = set.run_until(async {
                aiorun::spawn(async { aiorun::stop() });
                catch_cancel(forever()).await.is_err()
            });
            assert!(caught.await);
        });
        assert_eq!(exit.report.tasks.caught, 1);
    }
}

#[test]
fn tasks_of_ours_in_a_nested_local_set_are_ours() {
    for flavor in [Flavor::MultiThread, Flavor::CurrentThread] {
        let exit = run(&mut builder(flavor), async {
            let set = LocalSet::new();
            let inside = set.run_until(async {
                let task = aiorun::spawn_local(async { catch_cancel(forever()).await.is_err() });
                suspended(task.id()).await;
                task.cancel();
                task.await.unwrap()
            });
            assert!(inside.await);
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.caught, 1);
    }
}

#[test]
fn a_bare_local_task_does_not_hear_of_the_request_of_the_task_around_it() {
    for flavor in FLAVORS {
        if flavor == Flavor::Local {
            continue;
        }
        passes(&mut builder(flavor), async {
            let (release, released) = oneshot::channel::<()>();
            let set = LocalSet::new();
            let inside = set.run_until(async {
                let (hand_out, handle) = oneshot::channel();
                let bare = tokio::task::spawn_local(async {
                    released.await.unwrap();
                    (is_cancelled(), cancelled().now_or_never().is_some())
                });
                let around = aiorun::spawn_local(async {
                    hand_out.send(()).unwrap();
                    cancelled().await;
                    release.send(()).unwrap();
                    bare.await.unwrap()
                });
                handle.await.unwrap();
                around.cancel();
                around.await.unwrap()
            });
            assert_eq!(inside.await, (false, false));
            aiorun::stop();
        });
    }
}
