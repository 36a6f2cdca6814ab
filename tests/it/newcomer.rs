//! What is started while the program stops: which of it runs, and which is born cancelled.

#![expect(
    clippy::disallowed_methods,
    reason = "strays are among those who start something"
)]

use std::sync::mpsc;

use aiorun::{Flavor, Handle, JoinHandle, Phase};

use crate::trial::{
    FLAVORS, Log, OnDrop, builder, forever, give_way, on_a_runtime, passes, reach, run, spin_until,
};

/// A task that takes a while and says so when it has come to its end.
fn newcomer(log: &Log, what: &str) -> JoinHandle<()> {
    let (log, what) = (log.clone(), what.to_owned());
    aiorun::spawn(async move {
        give_way().await;
        log.say(what);
    })
}

#[test]
fn in_the_callback_everything_still_starts() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_callback = log.clone();
        let exit = run(
            builder(flavor).shutdown_callback(async move || {
                newcomer(&of_callback, "task").await.unwrap();
                aiorun::spawn_blocking(|| {}).await.unwrap();
                // It is an ordinary one, and so cancelled with the others.
                aiorun::spawn(forever());
            }),
            async {
                aiorun::stop();
                forever().await;
            },
        );
        assert_eq!(log.lines(), ["task"]);
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (3, 2)
        );
    }
}

#[test]
fn who_was_not_told_yet_bears_cancelled_tasks() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let told = log.on_drop("dropped");
            aiorun::stop();
            spin_until(&Handle::current(), Phase::Cancelling);
            let of_newcomer = log.clone();
            let task = aiorun::spawn(async move {
                let _told = told;
                of_newcomer.say("polled");
            });
            drop(task);
        });
        assert_eq!(log.lines(), ["dropped"]);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn who_was_not_told_yet_bears_protected_tasks_that_run() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            aiorun::stop();
            spin_until(&Handle::current(), Phase::Cancelling);
            let of_newcomer = log.clone();
            aiorun::shutdown_waits_for(async move {
                give_way().await;
                of_newcomer.say("saved");
            });
        });
        assert_eq!(log.lines(), ["saved"]);
    }
}

#[test]
fn jobs_always_start() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            aiorun::stop();
            spin_until(&Handle::current(), Phase::Cancelling);
            let of_job = log.clone();
            aiorun::spawn_blocking(move || of_job.say("job"));
        });
        assert_eq!(log.lines(), ["job"]);
    }
}

#[test]
fn who_is_protected_may_still_start_work() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        let exit = run(&mut builder(flavor), async move {
            aiorun::shutdown_waits_for(async move {
                reach(Phase::Cancelling).await;
                newcomer(&of_main, "awaited").await.unwrap();
                newcomer(&of_main, "left alone");
            });
            aiorun::stop();
        });
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["awaited", "left alone"]);
        assert_eq!(exit.report.tasks.cancelled, 0);
    }
}

#[test]
fn what_a_newcomer_starts_is_awaited_too() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            aiorun::shutdown_waits_for(async move {
                reach(Phase::Cancelling).await;
                aiorun::spawn(async move {
                    give_way().await;
                    newcomer(&of_main, "grandchild");
                });
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["grandchild"]);
    }
}

#[test]
fn a_destructor_may_still_start_work() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            for number in 0..3 {
                let log = log.clone();
                let clean_up = OnDrop::new(move || {
                    newcomer(&log, &format!("task of {number}"));
                    let log = log.clone();
                    aiorun::spawn_blocking(move || log.say(format!("job of {number}")));
                });
                aiorun::spawn(async {
                    let _clean_up = clean_up;
                    forever().await;
                });
            }
            give_way().await;
            aiorun::stop();
        });
        let mut lines = log.lines();
        lines.sort();
        let all = [
            "job of 0",
            "job of 1",
            "job of 2",
            "task of 0",
            "task of 1",
            "task of 2",
        ];
        assert_eq!(lines, all);
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.cancelled),
            (7, 3)
        );
    }
}

#[test]
fn a_job_that_is_waited_for_may_still_start_work() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let handle = Handle::current();
            aiorun::spawn_blocking(move || {
                spin_until(&handle, Phase::Draining);
                newcomer(&of_main, "task");
                aiorun::spawn_blocking(move || of_main.say("job"));
            });
            aiorun::stop();
        });
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["job", "task"]);
    }
}

#[test]
fn a_stray_may_still_start_work() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        passes(&mut builder(flavor), async move {
            let (hold, released) = tokio::sync::oneshot::channel::<()>();
            aiorun::shutdown_waits_for(released);
            tokio::spawn(async move {
                reach(Phase::Cancelling).await;
                newcomer(&of_main, "of a stray").await.unwrap();
                drop(hold);
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["of a stray"]);
    }
}

#[test]
fn a_thread_may_still_start_work() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_thread = log.clone();
        passes(&mut builder(flavor), async move {
            let handle = Handle::current();
            let (hold, released) = mpsc::channel::<()>();
            aiorun::spawn_blocking(move || released.recv());
            std::thread::spawn(move || {
                spin_until(&handle, Phase::Draining);
                handle.spawn(async move {
                    give_way().await;
                    of_thread.say("from afar");
                });
                drop(hold);
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["from afar"]);
    }
}

#[test]
fn a_hook_may_still_start_work_and_it_counts_to_its_time() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_main = log.clone();
        let exit = run(&mut builder(flavor), async move {
            let of_hook = of_main.clone();
            aiorun::on_exit("older", async move { of_hook.say("older hook") });
            aiorun::on_exit("newer", async move {
                newcomer(&of_main, "task");
                let handle = Handle::current();
                let of_job = of_main.clone();
                aiorun::spawn_blocking(move || {
                    spin_until(&handle, Phase::Finishing);
                    of_job.say("job");
                });
            });
            aiorun::stop();
        });
        let mut lines = log.lines();
        lines[..2].sort();
        assert_eq!(lines, ["job", "task", "older hook"]);
        assert!(exit.report.hooks.iter().all(aiorun::HookReport::is_success));
        assert_eq!(exit.report.tasks.completed, 5);
    }
}

#[test]
fn after_the_end_nothing_starts_and_nothing_panics() {
    for flavor in FLAVORS {
        let log = Log::default();
        let mut handle = None;
        passes(&mut builder(flavor), async {
            handle = Some(Handle::current());
            aiorun::stop();
        });
        let told = log.on_drop("dropped");
        let late = handle.unwrap().spawn(async move {
            let _told = told;
        });
        assert_eq!(log.lines(), ["dropped"]);
        late.cancel();
        late.abort();
        assert!(on_a_runtime(late).unwrap_err().is_cancelled());
    }
}

#[test]
fn what_the_close_drops_may_try_and_nothing_panics() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let log = log.clone();
            let tries = OnDrop::new(move || {
                let task = aiorun::spawn(async { panic!("never runs") });
                let job = aiorun::spawn_blocking(|| ());
                aiorun::on_exit("never runs", async { panic!("never runs") });
                drop((task, job));
                log.say("tried");
            });
            tokio::spawn(async move {
                let _tries = tries;
                forever().await;
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["tried"]);
        assert!(exit.is_success());
    }
}

#[test]
fn main_never_starts_where_a_stop_came_first() {
    // As near as a test gets from inside: a run whose main stops it at once, many times.
    for _ in 0..300 {
        let exit = run(&mut builder(Flavor::MultiThread), async {
            aiorun::stop();
            let child = aiorun::spawn(forever());
            child.await.unwrap_err();
        });
        assert_eq!(exit.report.tasks.spawned, 2);
    }
}
