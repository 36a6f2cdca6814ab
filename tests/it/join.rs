//! The handle of a task, and the error it yields.

use std::any::Any;
use std::error::Error;

use aiorun::{Flavor, Handle, JoinError, JoinHandle};

use crate::trial::{FLAVORS, Log, builder, forever, give_way, passes};

fn send_sync_static<T: Send + Sync + 'static>() {}

#[test]
fn the_types_go_everywhere() {
    send_sync_static::<JoinError>();
    send_sync_static::<JoinHandle<()>>();
    send_sync_static::<aiorun::AbortHandle>();
    send_sync_static::<Handle>();
    send_sync_static::<aiorun::RunError>();
    send_sync_static::<aiorun::Exit>();
}

/// Ends a task that yields nothing, in a way, and looks at the error.
#[track_caller]
fn error_of(flavor: Flavor, task: impl AsyncFnOnce() -> JoinError) -> JoinError {
    let mut error = None;
    passes(&mut builder(flavor), async {
        error = Some(task().await);
        aiorun::stop();
    });
    error.expect("main runs to its end")
}

async fn panicked() -> JoinError {
    let task = aiorun::task("ingest").spawn(async { panic!("no feed") });
    task.await.unwrap_err()
}

async fn cancelled() -> JoinError {
    let task = aiorun::spawn(forever());
    task.cancel();
    task.await.unwrap_err()
}

#[test]
fn a_panic_is_told() {
    for flavor in FLAVORS {
        let error = error_of(flavor, panicked);
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(
            (error.name(), error.message()),
            (Some("ingest"), Some("no feed"))
        );
        assert_eq!(error.location().file(), file!());
        let text = error.to_string();
        assert!(
            text.starts_with("task `ingest` (spawned at tests/it/join.rs:"),
            "{text}"
        );
        assert!(text.ends_with("panicked: no feed"), "{text}");
        assert!(format!("{error:?}").contains(&text));
        let payload = error.into_panic();
        assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "no feed");
    }
}

#[test]
fn a_cancellation_is_told() {
    for flavor in FLAVORS {
        let error = error_of(flavor, cancelled);
        assert!(error.is_cancelled() && !error.is_panic());
        assert_eq!((error.name(), error.message()), (None, None));
        let text = error.to_string();
        assert!(text.contains(&error.id().to_string()), "{text}");
        assert!(text.ends_with("was cancelled"), "{text}");
        let error = error.try_into_panic().unwrap_err();
        assert!(error.is_cancelled());
    }
}

#[test]
#[should_panic(expected = "did not panic")]
fn a_cancellation_has_no_payload() {
    let _ = error_of(Flavor::CurrentThread, cancelled).into_panic();
}

#[test]
fn a_payload_may_be_anything() {
    for flavor in FLAVORS {
        let error = error_of(flavor, async || {
            let task = aiorun::spawn(async { std::panic::panic_any(42_u8) });
            task.await.unwrap_err()
        });
        assert!(error.message().is_some_and(|text| !text.is_empty()));
        let payload: Box<dyn Any + Send> = error.try_into_panic().unwrap();
        assert_eq!(payload.downcast_ref::<u8>(), Some(&42));
    }
}

#[test]
fn a_job_that_panics_is_told_of_alike() {
    for flavor in FLAVORS {
        let error = error_of(flavor, async || {
            let job = aiorun::task("sum").spawn_blocking(|| panic!("no sum"));
            job.await.unwrap_err()
        });
        assert!(error.is_panic());
        let text = error.to_string();
        assert!(
            text.starts_with("blocking job `sum`") && text.ends_with("no sum"),
            "{text}"
        );
    }
}

#[test]
fn an_error_goes_through_a_question_mark() {
    async fn sum() -> Result<u32, Box<dyn Error + Send + Sync>> {
        let left = aiorun::spawn(async { 1 }).await?;
        let task = aiorun::task("right").spawn(async { panic!("no right") });
        Ok(left + task.await.map(|()| 1)?)
    }
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let text = sum().await.unwrap_err().to_string();
            assert!(
                text.contains("`right`") && text.contains("no right"),
                "{text}"
            );
            aiorun::stop();
        });
    }
}

#[test]
fn a_dropped_handle_detaches() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (send, received) = tokio::sync::oneshot::channel();
            drop(aiorun::spawn(async {
                give_way().await;
                send.send(1).unwrap();
            }));
            assert_eq!(received.await.unwrap(), 1);
            aiorun::stop();
        });
    }
}

#[test]
fn a_handle_can_be_awaited_in_pieces() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (send, received) = tokio::sync::oneshot::channel::<()>();
            let mut task = aiorun::spawn(async {
                received.await.unwrap();
                7
            });
            tokio::select! {
                biased;
                _ = &mut task => panic!("it waits"),
                () = give_way() => {}
            }
            assert!(!task.is_finished());
            send.send(()).unwrap();
            assert_eq!((&mut task).await.unwrap(), 7);
            assert!(task.is_finished());
            aiorun::stop();
        });
    }
}

#[test]
fn abort_drops_whatever_the_task_is_doing() {
    for flavor in FLAVORS {
        let log = Log::default();
        passes(&mut builder(flavor), async {
            let told = log.on_drop("dropped");
            let task = aiorun::task("x").protected().cooperative().spawn(async {
                let _told = told;
                forever().await;
            });
            give_way().await;
            let handle = task.abort_handle();
            assert!(!handle.is_finished());
            if flavor == Flavor::Local {
                task.abort();
            } else {
                handle.clone().abort();
            }
            assert!(task.await.unwrap_err().is_cancelled());
            assert!(handle.is_finished());
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["dropped"]);
    }
}

#[test]
fn an_aborted_task_counts_as_cancelled() {
    for flavor in FLAVORS {
        let exit = crate::trial::run(&mut builder(flavor), async {
            let never_polled = aiorun::spawn(forever());
            never_polled.abort();
            let suspended = aiorun::spawn(forever());
            give_way().await;
            suspended.abort();
            let done = aiorun::spawn(async { 1 });
            give_way().await;
            while !done.is_finished() {
                tokio::task::yield_now().await;
            }
            done.abort();
            assert_eq!(done.await.unwrap(), 1);
            aiorun::stop();
        });
        assert_eq!(
            (exit.report.tasks.cancelled, exit.report.tasks.completed),
            (2, 2)
        );
    }
}
