//! The shutdown callback, in all its forms.

use std::error::Error;
use std::io;
use std::sync::Mutex;

use aiorun::{Builder, Exit, Handle, Phase, RunError, StopReason};

use crate::trial::{
    FLAVORS, Log, OnDrop, SHORT, attempt, builder, error_text, forever, give_way, run,
};

fn works() {
    assert!(aiorun::is_stopping());
}

#[expect(clippy::needless_pass_by_value, reason = "the form that is asked for")]
fn works_with_a_handle(handle: Handle) {
    assert_eq!(handle.phase(), Phase::Stopping);
}

async fn works_async() {
    give_way().await;
    works();
}

async fn works_async_with_a_handle(handle: Handle) -> io::Result<()> {
    give_way().await;
    works_with_a_handle(handle);
    Ok(())
}

fn panics() {
    panic!("a panic");
}

async fn panics_later() {
    give_way().await;
    panic!("a later panic");
}

type Options = fn(&mut Builder) -> &mut Builder;

#[test]
fn every_form_is_called_once() {
    static CALLS: Mutex<u32> = Mutex::new(0);
    let forms: [Options; 8] = [
        |it| it.shutdown_callback(works),
        |it| it.shutdown_callback(works_with_a_handle),
        |it| it.shutdown_callback(works_async),
        |it| it.shutdown_callback(works_async_with_a_handle),
        |it| it.shutdown_callback(|| *CALLS.lock().unwrap() += 1),
        |it| it.shutdown_callback(|_: Handle| *CALLS.lock().unwrap() += 1),
        |it| it.shutdown_callback(async || *CALLS.lock().unwrap() += 1),
        |it| it.shutdown_callback(async |_: Handle| *CALLS.lock().unwrap() += 1),
    ];
    for flavor in FLAVORS {
        *CALLS.lock().unwrap() = 0;
        for form in forms {
            let exit = run(form(&mut builder(flavor)), async { aiorun::stop() });
            assert_eq!(exit.report.tasks.spawned, 2);
        }
        assert_eq!(*CALLS.lock().unwrap(), 4);
    }
}

#[test]
fn every_way_to_fail_is_the_error_of_the_run() {
    let forms: [(Options, &str); 8] = [
        (
            |it| it.shutdown_callback(|| Err::<(), _>("a text")),
            "a text",
        ),
        (
            |it| it.shutdown_callback(|| Err::<(), _>(String::from("a text"))),
            "a text",
        ),
        (
            |it| it.shutdown_callback(|| Err::<(), _>(io::Error::other("of io"))),
            "of io",
        ),
        (
            |it| it.shutdown_callback(|| Err::<(), Box<dyn Error>>("not to be sent".into())),
            "not to be sent",
        ),
        (
            |it| it.shutdown_callback(async || Err::<(), _>("later")),
            "later",
        ),
        (
            |it| it.shutdown_callback(async |_: Handle| Err::<(), Box<dyn Error>>("local".into())),
            "local",
        ),
        (|it| it.shutdown_callback(panics), "a panic"),
        (|it| it.shutdown_callback(panics_later), "a later panic"),
    ];
    for flavor in FLAVORS {
        for (form, words) in forms {
            let exit = attempt(form(&mut builder(flavor)), async { aiorun::stop() });
            assert!(
                matches!(exit.error, Some(RunError::Callback(_))),
                "{:?}",
                exit.error
            );
            let text = error_text(&exit);
            assert!(
                text.starts_with("shutdown callback") && text.contains(words),
                "{text}"
            );
            assert!(text.contains("tests/it/callback.rs"), "{text}");
            assert_eq!(exit.report.failures.len(), 1);
            let counted = exit.report.tasks;
            assert_eq!(counted.failed + counted.panicked, 1);
            assert_eq!(exit.reason, StopReason::Stop);
            assert!(!exit.is_success());
        }
    }
}

#[test]
fn a_callback_that_fails_prevents_nothing() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = attempt(builder(flavor).shutdown_callback(panics), async {
            let told = log.on_drop("task");
            let hook = log.clone();
            aiorun::on_exit("later", async move { hook.say("hook") });
            aiorun::spawn(async {
                let _told = told;
                forever().await;
            });
            give_way().await;
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["task", "hook"]);
        assert!(!exit.is_success());
    }
}

fn main_fails_and_so_does_the_callback(mut builder: Builder) -> Exit {
    attempt(
        builder.shutdown_callback(|| Err::<(), _>("the callback too")),
        async { Err::<(), _>("main") },
    )
}

#[test]
fn of_two_errors_the_first_is_the_runs_and_none_is_lost() {
    for flavor in FLAVORS {
        let exit = main_fails_and_so_does_the_callback(builder(flavor));
        assert!(matches!(exit.error, Some(RunError::MainFailed)));
        assert_eq!(exit.report.failures[0].message(), "the callback too");
        assert_eq!(exit.report.tasks.failed, 2);
    }
}

#[test]
fn it_runs_before_anything_is_cancelled() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_callback = log.clone();
        let (ask, mut asked) = tokio::sync::mpsc::channel::<tokio::sync::oneshot::Sender<u8>>(1);
        run(
            builder(flavor).shutdown_callback(async move || {
                let (answer, answered) = tokio::sync::oneshot::channel();
                ask.send(answer).await.unwrap();
                of_callback.say(format!("callback hears {}", answered.await.unwrap()));
            }),
            async {
                let told = log.on_drop("server");
                aiorun::spawn(async move {
                    let _told = told;
                    asked.recv().await.unwrap().send(7).unwrap();
                    forever().await;
                });
                aiorun::stop();
                forever().await;
            },
        )
        .into_result()
        .unwrap();
        assert_eq!(log.lines(), ["callback hears 7", "server"]);
    }
}

#[test]
fn one_that_hangs_is_ended_at_the_limit_of_tasks() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_callback = log.clone();
        let exit = attempt(
            builder(flavor)
                .timeout_task_shutdown(SHORT)
                .shutdown_callback(async move || {
                    let _told = of_callback.on_drop("callback");
                    forever().await;
                }),
            async {
                let hook = log.clone();
                aiorun::on_exit("later", async move { hook.say("hook") });
                aiorun::stop();
            },
        );
        assert_eq!(log.lines(), ["callback", "hook"]);
        assert!(matches!(&exit.error, Some(RunError::Refused(tasks)) if tasks.len() == 1));
        assert_eq!(exit.report.refused[0].kind, aiorun::task::Kind::Callback);
        assert_eq!(exit.report.tasks.refused, 1);
    }
}

#[test]
fn a_sync_one_that_hangs_is_left_behind() {
    for flavor in FLAVORS {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let exit = attempt(
            builder(flavor)
                .timeout_task_shutdown(SHORT)
                .shutdown_callback(move || {
                    let _ = released.recv();
                }),
            async { aiorun::stop() },
        );
        drop(release);
        assert!(exit.error.is_some());
        assert_eq!(exit.report.tasks.refused, 1);
        let left = exit.report.refused.iter().chain(&exit.report.abandoned);
        assert!(
            left.into_iter()
                .any(|it| it.kind == aiorun::task::Kind::Callback)
        );
    }
}

#[test]
fn it_is_dropped_unused_by_a_run_that_does_not_start() {
    let log = Log::default();
    let told = log.on_drop("dropped");
    let mut builder = Builder::new();
    let callback = move || drop(told);
    let exit = builder
        .worker_threads(0)
        .shutdown_callback(callback)
        .run(async {});
    assert_eq!(exit.reason, StopReason::NotStarted);
    drop(builder);
    assert_eq!(log.lines(), ["dropped"]);
}

#[test]
fn its_destructor_may_panic() {
    for flavor in FLAVORS {
        let exit = attempt(
            builder(flavor).shutdown_callback(async || {
                let _fragile = OnDrop::new(|| panic!("at its end"));
            }),
            async { aiorun::stop() },
        );
        assert!(error_text(&exit).contains("at its end"), "{}", exit.report);
    }
}
