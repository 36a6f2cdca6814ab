//! A supervisor inside a runtime that somebody else owns.

#![expect(clippy::disallowed_methods, reason = "the owner has tasks of its own")]

use std::sync::{Arc, Mutex};

use aiorun::{Builder, Exit, Handle, Phase, RunError, StopReason, shield};
use tokio::sync::oneshot;

use crate::trial::{Log, Watchdog, checked, forever, give_way, on_a_runtime, reach};

/// Both kinds of runtime that one may own.
fn everywhere<T>(body: impl AsyncFn() -> T) {
    on_a_runtime(body());
    let _watchdog = Watchdog::new();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(body());
}

async fn supervised<F>(main: F) -> Exit
where
    F: Future<Output: std::process::Termination>,
{
    checked(Builder::new().signals([]).supervise(main).await)
}

/// A supervisor for a runtime whose last one may not be gone yet.
async fn next_supervisor() -> Exit {
    loop {
        let exit = supervised(async { aiorun::stop() }).await;
        if exit.reason != StopReason::NotStarted {
            return exit;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn it_ends_as_a_run_does_and_leaves_the_runtime_alone() {
    everywhere(async || {
        let log = Log::default();
        let (hook, told) = (log.clone(), log.on_drop("task"));
        let owners = tokio::spawn(forever());
        let exit = supervised(async {
            aiorun::spawn(async {
                let _told = told;
                forever().await;
            });
            aiorun::spawn_blocking(|| {}).await.unwrap();
            aiorun::on_exit("hook", async move { hook.say("hook") });
            give_way().await;
            aiorun::stop_with(3);
        })
        .await;
        assert_eq!(log.lines(), ["task", "hook"]);
        assert_eq!((exit.reason, exit.report.strays), (StopReason::Stop, 0));
        assert!(!exit.is_success() && exit.error.is_none());
        assert!(!owners.is_finished());
        assert!(Handle::try_current().is_err(), "the supervisor is gone");
        tokio::spawn(async {}).await.unwrap();
    });
}

#[test]
fn main_may_borrow() {
    everywhere(async || {
        let text = String::from("borrowed");
        let mut length = 0;
        let exit = supervised(async {
            length = text.len();
            aiorun::stop();
        })
        .await;
        assert!(exit.is_success());
        assert_eq!(length, 8);
    });
}

#[test]
fn errors_are_those_of_a_run() {
    everywhere(async || {
        let exit = supervised(async { Err::<(), _>("main") }).await;
        assert!(matches!(exit.error, Some(RunError::MainFailed)));
        let exit = supervised(async { panic!("main") }).await;
        assert!(matches!(exit.error, Some(RunError::MainPanicked(_))));
        let mut builder = Builder::new();
        let exit = builder
            .signals([])
            .stop_on_unhandled_errors(true)
            .supervise(async {
                aiorun::spawn_fallible(async { Err::<(), _>("a task") });
                forever().await;
            });
        assert!(matches!(
            checked(exit.await).error,
            Some(RunError::TaskFailed(_))
        ));
    });
}

#[test]
fn one_after_the_other() {
    everywhere(async || {
        for round in 0..50 {
            let exit = supervised(async {
                for _ in 0..round {
                    aiorun::spawn(forever());
                }
                aiorun::stop();
            })
            .await;
            assert_eq!(exit.report.tasks.spawned, round + 1);
        }
    });
}

/// What the owner's tasks shield when our tasks are being cancelled is in nobody's way: the runtime
/// goes on, and so do they.
#[test]
fn late_shields_of_the_owner_are_not_waited_for() {
    everywhere(async || {
        let (release, released) = oneshot::channel();
        let mut owners = None;
        let exit = supervised(async {
            let (begun, has_begun) = oneshot::channel();
            owners = Some(tokio::spawn(async {
                reach(Phase::Cancelling).await;
                shield(async {
                    begun.send(()).unwrap();
                    released.await.unwrap()
                })
                .await
            }));
            aiorun::shutdown_waits_for(has_begun);
            aiorun::stop();
        })
        .await;
        assert!(exit.error.is_none(), "{:?}", exit.error);
        assert_eq!(exit.report.refused.len(), 0);
        let owners = owners.unwrap();
        assert!(!owners.is_finished());
        release.send(7).unwrap();
        assert_eq!(owners.await.unwrap(), 7);
    });
}

#[track_caller]
fn refused(exit: Exit) {
    assert_eq!(exit.reason, StopReason::NotStarted);
    let error = exit.into_result().unwrap_err();
    assert!(matches!(error, RunError::Config(_)));
    assert!(
        error.to_string().contains("has a supervisor already"),
        "{error}"
    );
}

#[test]
fn a_runtime_has_one_supervisor() {
    everywhere(async || {
        let exit = supervised(async {
            refused(supervised(async { panic!("never runs") }).await);
            let beside = tokio::task::spawn_blocking(|| {
                let runtime = tokio::runtime::Handle::current();
                runtime.block_on(supervised(async { panic!("never runs") }))
            });
            refused(beside.await.unwrap());
            aiorun::stop();
        })
        .await;
        assert!(
            exit.is_success(),
            "the first one is none the worse: {:?}",
            exit.error
        );
    });
    for flavor in crate::trial::FLAVORS {
        crate::trial::passes(&mut crate::trial::builder(flavor), async {
            refused(supervised(async { panic!("never runs") }).await);
            aiorun::stop();
        });
    }
}

/// Tells whether a type is `Send`, and compiles where it is not.
struct Probe<T>(std::marker::PhantomData<T>);

impl<T> Probe<T> {
    fn new(_: &T) -> Self {
        Self(std::marker::PhantomData)
    }
}

#[allow(
    dead_code,
    reason = "one of the two is called, which is what the test asks"
)]
impl<T: Send> Probe<T> {
    fn is_send(&self) -> bool {
        let Self(_) = self;
        true
    }
}

#[allow(dead_code, reason = "as above")]
trait NotSend {
    fn is_send(&self) -> bool {
        false
    }
}

impl<T> NotSend for Probe<T> {}

#[test]
fn it_can_be_spawned() {
    let mut builder = Builder::new();
    let future = builder.supervise(async {});
    assert!(Probe::new(&future).is_send());
}

#[test]
fn dropped_before_it_was_polled_it_does_nothing() {
    everywhere(async || {
        let mut builder = Builder::new();
        drop(
            builder
                .signals([])
                .supervise(async { panic!("never runs") }),
        );
        assert!(next_supervisor().await.is_success());
    });
}

/// Starts a supervisor and drops its future when main says so. Yields its handle.
async fn dropped_half_way(builder: &mut Builder, main: impl AsyncFnOnce()) -> Handle {
    let (tell, told) = oneshot::channel();
    let run = builder.signals([]).supervise(async {
        main().await;
        tell.send(Handle::current()).unwrap();
        forever().await;
    });
    tokio::select! {
        exit = run => panic!("it runs forever: {exit:?}"),
        handle = told => handle.unwrap(),
    }
}

#[test]
fn dropped_half_way_it_cancels_all_and_runs_no_hooks() {
    everywhere(async || {
        let log = Log::default();
        let tasks = Arc::new(Mutex::new(Vec::new()));
        let mut builder = Builder::new();
        builder.shutdown_callback({
            let log = log.clone();
            move || log.say("callback")
        });
        let of_main = Arc::clone(&tasks);
        let hook = log.clone();
        let handle = dropped_half_way(&mut builder, async move || {
            aiorun::on_exit("hook", async move { hook.say("hook") });
            for _ in 0..10 {
                of_main.lock().unwrap().push(aiorun::spawn(forever()));
            }
        })
        .await;
        let tasks = std::mem::take(&mut *tasks.lock().unwrap());
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert!(next_supervisor().await.is_success());
        assert_eq!(handle.phase(), Phase::Closed);
        assert!(handle.is_stopping());
        assert!(log.lines().is_empty(), "{:?}", log.lines());
    });
}

#[test]
fn dropped_half_way_it_leaves_what_is_protected_until_the_limit() {
    everywhere(async || {
        let log = Log::default();
        let (release, released) = oneshot::channel::<()>();
        let mut builder = Builder::new();
        let of_task = log.clone();
        let handle = dropped_half_way(&mut builder, async move || {
            aiorun::shutdown_waits_for(async move {
                released.await.unwrap();
                of_task.say("saved");
            });
        })
        .await;
        while handle.phase() < Phase::Cancelling {
            tokio::task::yield_now().await;
        }
        give_way().await;
        release.send(()).unwrap();
        assert!(next_supervisor().await.is_success());
        assert_eq!(log.lines(), ["saved"]);
    });
}

#[test]
fn dropped_half_way_it_drops_what_is_left_at_the_limit() {
    everywhere(async || {
        let log = Log::default();
        let told = log.on_drop("dropped");
        let mut builder = Builder::new();
        builder.shutdown_timeout(crate::trial::SHORT);
        dropped_half_way(&mut builder, async move || {
            aiorun::shutdown_waits_for(async move {
                let _told = told;
                forever().await;
            });
        })
        .await;
        assert!(next_supervisor().await.is_success());
        assert_eq!(log.lines(), ["dropped"]);
    });
}

#[test]
fn dropped_while_it_stops() {
    everywhere(async || {
        let log = Log::default();
        let of_hook = log.clone();
        let mut builder = Builder::new();
        dropped_half_way(&mut builder, async move || {
            aiorun::on_exit("hook", async move { of_hook.say("hook") });
            aiorun::shutdown_waits_for(give_way());
            aiorun::stop();
        })
        .await;
        assert!(next_supervisor().await.is_success());
        // Where it was so far already, it may have run; it never runs twice.
        assert!(log.lines().len() <= 1);
    });
}

#[test]
fn it_finds_local_sets() {
    on_a_runtime(async {
        let set = tokio::task::LocalSet::new();
        let exit = set
            .run_until(supervised(async {
                let shared = std::rc::Rc::new(3);
                assert_eq!(
                    aiorun::spawn_local(async move { *shared }).await.unwrap(),
                    3
                );
                aiorun::stop();
            }))
            .await;
        assert_eq!(exit.report.tasks.completed, 2);
    });
}

/// The only worker is stuck until a task of another thread is gone.
#[test]
fn who_is_polled_elsewhere_is_cancelled_though_all_workers_are_stuck() {
    let _watchdog = Watchdog::new();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let set = tokio::task::LocalSet::new();
    let exit = set.block_on(
        &runtime,
        supervised(async {
            let (release, released) = std::sync::mpsc::channel::<()>();
            let (started, has_started) = oneshot::channel();
            aiorun::spawn_local(async move {
                let _release = release;
                forever().await;
            });
            aiorun::spawn(async move {
                started.send(()).unwrap();
                let _ = released.recv();
            });
            has_started.await.unwrap();
            aiorun::stop();
        }),
    );
    assert!(exit.is_success(), "{exit:?}");
    assert_eq!(exit.report.tasks.completed, 2);
    assert_eq!(exit.report.tasks.cancelled, 1);
}
