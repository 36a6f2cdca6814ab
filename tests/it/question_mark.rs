//! What a `?` makes of a cancellation: no failure, in whatever it is wrapped, and what is one.

use std::error::Error;
use std::fmt::{self, Debug};
use std::io;
use std::process::{ExitCode, Termination};

use aiorun::task::{State, TaskInfo};
use aiorun::{
    Cancelled, Exit, Flavor, Handle, JoinError, Phase, RunError, StopReason, cancelled,
    catch_cancel, shield,
};
use futures::future::{FutureExt as _, try_join_all};
use tokio::sync::oneshot;

use crate::request::{By, finished, requested, suspended, ways};
use crate::trial::{FLAVORS, attempt, builder, error_text, forever, give_way, passes, reach, run};

type BoxError = Box<dyn Error + Send + Sync>;

// --- in every wrapping ---------------------------------------------------------------------------

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("no disk")]
    Io(#[from] io::Error),
    #[error("stopped")]
    Stopped(#[from] Cancelled),
    #[error("a task is gone")]
    Gone(#[source] Box<AppError>),
    #[error(transparent)]
    Task(#[from] JoinError),
}

/// An error that keeps its cause and shows it to nobody.
struct Mapped(#[expect(dead_code, reason = "it is owned")] Cancelled);

impl Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mapped")
    }
}

impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something has happened")
    }
}

impl Error for Mapped {}

async fn itself() -> Result<(), Cancelled> {
    catch_cancel(forever()).await
}

async fn boxed() -> Result<(), BoxError> {
    itself().await?;
    Ok(())
}

async fn in_anyhow() -> anyhow::Result<()> {
    use anyhow::Context as _;

    itself().await.context("while it was reading")?;
    Ok(())
}

async fn in_eyre() -> eyre::Result<()> {
    use eyre::WrapErr as _;

    itself().await.wrap_err("while it was reading")?;
    Ok(())
}

async fn in_thiserror() -> Result<(), AppError> {
    itself().await?;
    Ok(())
}

async fn in_thiserror_deeply() -> Result<(), AppError> {
    let inner = in_thiserror().await;
    give_way().await;
    inner.map_err(|error| AppError::Gone(Box::new(error)))
}

async fn mapped() -> Result<(), Mapped> {
    itself().await.map_err(Mapped)
}

async fn in_io() -> io::Result<()> {
    itself().await.map_err(io::Error::other)
}

/// A task that is cancelled and passes it on is cancelled; nobody is told of a failure.
#[track_caller]
fn is_no_failure<F, E>(body: fn() -> F)
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError> + Debug + Send + 'static,
{
    for (flavor, by) in ways() {
        let exit = run(builder(flavor).stop_on_unhandled_errors(true), async {
            // Its handle is gone, so that a failure would be unhandled.
            let (begun, has_begun) = oneshot::channel();
            let task = aiorun::spawn_fallible(async move {
                begun.send(()).unwrap();
                body().await
            });
            has_begun.await.unwrap();
            suspended(task.id()).await;
            if by == By::Handle {
                task.cancel();
                let ended = task.abort_handle();
                drop(task);
                while !ended.is_finished() {
                    tokio::task::yield_now().await;
                }
                assert!(!aiorun::is_stopping());
            }
            aiorun::stop();
        });
        assert_eq!(exit.reason, StopReason::Stop);
        let tasks = exit.report.tasks;
        let outcomes = (tasks.completed, tasks.cancelled, tasks.failed, tasks.caught);
        assert_eq!(outcomes, (1, 1, 0, 1));
        main_is_no_failure(flavor, body());
    }
}

/// The same for main.
#[track_caller]
fn main_is_no_failure<E: Debug>(flavor: Flavor, body: impl Future<Output = Result<(), E>>) {
    let exit = run(&mut builder(flavor), async {
        aiorun::spawn(async { aiorun::stop() });
        body.await
    });
    main_was_cancelled(exit);
}

#[track_caller]
fn main_was_cancelled(exit: Exit) {
    assert_eq!(exit.reason, StopReason::Stop);
    assert!(exit.is_success(), "{:?}", exit.error);
    let tasks = exit.report.tasks;
    assert_eq!((tasks.cancelled, tasks.failed), (1, 0), "{}", exit.report);
    assert_eq!(exit.report(), ExitCode::SUCCESS);
}

#[test]
fn as_it_is() {
    is_no_failure(itself);
}

#[test]
fn in_a_box() {
    is_no_failure(boxed);
}

#[test]
fn in_an_error_of_anyhow_with_context() {
    is_no_failure(in_anyhow);
}

#[test]
fn in_a_report_of_eyre() {
    is_no_failure(in_eyre);
}

#[test]
fn in_an_enum_of_thiserror() {
    is_no_failure(in_thiserror);
    is_no_failure(in_thiserror_deeply);
}

#[test]
fn in_an_error_of_ones_own_by_map_err() {
    is_no_failure(mapped);
    is_no_failure(in_io);
}

#[test]
fn in_a_box_that_cannot_be_sent() {
    async fn local() -> Result<(), Box<dyn Error>> {
        itself().await?;
        Ok(())
    }
    for flavor in FLAVORS {
        main_is_no_failure(flavor, local());
    }
}

#[test]
fn as_a_copy_of_which_the_first_is_gone() {
    async fn copied() -> Result<(), Cancelled> {
        let first = itself().await.unwrap_err();
        let second = first.clone();
        drop(first);
        give_way().await;
        Err(second)
    }
    is_no_failure(copied);
}

#[test]
fn of_several_that_were_joined_one_is_enough() {
    async fn joined() -> Result<(), Cancelled> {
        try_join_all((0..10).map(|_| itself())).await.map(drop)
    }
    is_no_failure(joined);
}

// --- from where ----------------------------------------------------------------------------------

#[test]
fn who_awaits_the_task_still_has_its_error() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let task = aiorun::spawn_fallible(in_anyhow());
            suspended(task.id()).await;
            task.cancel();
            let error = task.await.unwrap().unwrap_err();
            assert!(error.chain().any(<dyn Error>::is::<Cancelled>));
            aiorun::stop();
        });
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.failed), (1, 1, 0));
    }
}

#[test]
fn a_plain_task_is_not_judged() {
    for (flavor, by) in ways() {
        let (ended, exit) = requested(flavor, by, boxed());
        assert!(ended.unwrap().is_err());
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.caught), (2, 0, 1));
    }
}

#[aiorun::test]
async fn from_the_body_of_a_test() -> Result<(), BoxError> {
    aiorun::stop();
    itself().await?;
    Ok(())
}

#[aiorun::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_body_of_a_test_on_workers() -> anyhow::Result<()> {
    aiorun::stop();
    in_anyhow().await
}

#[aiorun::test(flavor = "local")]
async fn from_the_body_of_a_local_test() -> eyre::Result<()> {
    aiorun::stop();
    in_eyre().await
}

#[test]
#[allow(unnameable_test_items, reason = "it is called here")]
fn a_test_fails_with_another_error() {
    #[aiorun::test]
    async fn fails() -> Result<(), BoxError> {
        aiorun::stop();
        drop(itself().await);
        Err("another".into())
    }

    assert_eq!(fails(), ExitCode::FAILURE);
}

#[test]
fn from_main_under_supervise() {
    let exit = crate::trial::on_a_runtime(async {
        let mut builder = aiorun::Builder::new();
        let run = builder.signals([]).supervise(async {
            aiorun::spawn(async { aiorun::stop() });
            boxed().await
        });
        run.await
    });
    main_was_cancelled(exit);
}

#[test]
fn from_main_as_the_attribute_runs_it() {
    #[aiorun::main(signals = [], worker_threads = 2)]
    async fn on_a_worker() -> anyhow::Result<()> {
        aiorun::stop();
        in_anyhow().await
    }

    #[aiorun::main(signals = [], flavor = "current_thread")]
    async fn here(_: &str) -> Result<(), Box<dyn Error>> {
        aiorun::stop();
        itself().await?;
        Ok(())
    }

    main_was_cancelled(on_a_worker());
    main_was_cancelled(here("an argument"));
}

// --- a child that was cancelled ------------------------------------------------------------------

/// Waits for a child that the shutdown cancels, and passes its error on.
async fn with_a_child() -> Result<(), JoinError> {
    let child = aiorun::spawn(forever());
    // So that it lives to see the end of its child.
    shield(child).await
}

#[test]
fn the_error_of_a_child_that_the_shutdown_cancelled_is_none() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            aiorun::spawn(async { aiorun::stop() });
            with_a_child().await
        });
        assert!(exit.is_success());
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.failed), (1, 2, 0));
        let exit = run(builder(flavor).stop_on_unhandled_errors(true), async {
            let task = aiorun::spawn_fallible(async {
                with_a_child().await.map_err(AppError::from)?;
                Ok::<_, anyhow::Error>(())
            });
            suspended(task.id()).await;
            drop(task);
            aiorun::stop();
        });
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.failed), (1, 2, 0));
    }
}

#[test]
fn the_error_of_a_child_is_none_behind_a_request_to_its_reader() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let task = aiorun::spawn_fallible(async {
                let child = aiorun::spawn(forever());
                assert!(itself().await.is_err());
                child.cancel();
                child.await?;
                Ok::<_, JoinError>(())
            });
            suspended(task.id()).await;
            task.cancel();
            finished(&task).await;
            assert!(!aiorun::is_stopping());
            drop(task);
            aiorun::stop();
        });
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.failed), (1, 2, 0));
    }
}

#[test]
fn the_error_of_a_child_without_shutdown_and_without_request_is_a_failure() {
    async fn unasked(abort: bool) -> Result<(), JoinError> {
        let child = aiorun::spawn(forever());
        if abort {
            child.abort();
        } else {
            child.cancel();
        }
        child.await
    }
    for flavor in FLAVORS {
        for abort in [false, true] {
            let exit = attempt(&mut builder(flavor), unasked(abort));
            assert_eq!(exit.reason, StopReason::MainFailed);
            assert!(matches!(exit.error, Some(RunError::MainFailed)));
            assert_eq!(exit.report.tasks.failed, 1);
            let exit = attempt(builder(flavor).stop_on_unhandled_errors(true), async {
                aiorun::spawn_fallible(unasked(abort));
                forever().await;
            });
            assert_eq!(exit.reason, StopReason::TaskFailed);
            assert!(
                error_text(&exit).contains("was cancelled"),
                "{}",
                exit.report
            );
        }
    }
}

#[test]
fn an_error_of_a_child_that_was_read_before_is_a_failure() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let child = aiorun::spawn(forever());
            child.cancel();
            let error = child.await.unwrap_err();
            aiorun::stop();
            Err::<(), _>(error)
        });
        assert!(matches!(exit.error, Some(RunError::MainFailed)));
        assert_eq!(exit.report.tasks.failed, 1);
    }
}

#[test]
fn the_panic_of_a_child_is_a_failure() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            aiorun::stop();
            let panics = shield(async {
                reach(Phase::Cancelling).await;
                aiorun::spawn(async { panic!("of the child") }).await
            });
            panics.await
        });
        assert!(
            matches!(exit.error, Some(RunError::MainFailed)),
            "{}",
            exit.report
        );
        assert_eq!(
            (exit.report.tasks.failed, exit.report.tasks.panicked),
            (1, 1)
        );
    }
}

#[test]
fn reading_a_handle_passes_on_what_the_child_has_received() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let child = aiorun::spawn_fallible(in_anyhow());
            suspended(child.id()).await;
            aiorun::stop();
            let grandchild = shield(async { child.await? });
            grandchild.await?;
            Ok::<_, BoxError>(())
        });
        assert!(exit.is_success());
        let tasks = exit.report.tasks;
        assert_eq!((tasks.cancelled, tasks.failed), (2, 0), "{}", exit.report);
    }
}

#[test]
fn a_fallible_task_passes_on_what_its_child_has_received() {
    for flavor in FLAVORS {
        let exit = run(builder(flavor).stop_on_unhandled_errors(true), async {
            let child = aiorun::spawn_fallible(in_thiserror());
            suspended(child.id()).await;
            let (begun, has_begun) = oneshot::channel();
            let reader = aiorun::spawn_fallible(shield(async {
                begun.send(()).unwrap();
                child.await.map_err(AppError::from)?
            }));
            has_begun.await.unwrap();
            drop(reader);
            aiorun::stop();
        });
        let tasks = exit.report.tasks;
        assert_eq!((tasks.cancelled, tasks.failed), (2, 0), "{}", exit.report);
    }
}

#[test]
fn what_a_plain_child_has_received_is_passed_on_too() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let child = aiorun::spawn(itself());
            suspended(child.id()).await;
            aiorun::stop();
            let value = shield(child).await.unwrap();
            give_way().await;
            value
        });
        assert!(exit.is_success());
        assert_eq!(exit.report.tasks.failed, 0);
    }
}

/// Lets thousands of children catch the shutdown, reads all, and keeps what `keeps` takes.
async fn of_thousands(keeps: impl Fn(usize) -> bool) -> Vec<Cancelled> {
    const CHILDREN: usize = 2000;
    let children: Vec<_> = (0..CHILDREN).map(|_| aiorun::spawn(itself())).collect();
    let waits = |task: &TaskInfo| matches!(task.state, State::Suspended);
    while Handle::current().tasks().into_iter().filter(waits).count() < CHILDREN {
        tokio::task::yield_now().await;
    }
    aiorun::stop();
    let mut read = 0;
    let mut kept = Vec::new();
    let reading = async {
        // One after the other, so that most of what was read is gone when the next one comes.
        for child in children {
            let received = child.await.unwrap().unwrap_err();
            if keeps(read) {
                kept.push(received);
            }
            read += 1;
        }
    };
    shield(reading).await;
    assert_eq!(read, CHILDREN);
    kept
}

#[test]
fn of_thousands_that_were_read_one_that_is_kept_is_enough() {
    for flavor in FLAVORS {
        for kept in [0, 7, 1000, 1999] {
            let exit = run(&mut builder(flavor), async move {
                let kept = of_thousands(|number| number == kept).await;
                Err::<(), _>(kept)
            });
            let tasks = exit.report.tasks;
            assert_eq!(exit.reason, StopReason::Stop);
            assert_eq!((tasks.caught, tasks.cancelled, tasks.failed), (2000, 1, 0));
        }
    }
}

#[test]
fn thousands_that_were_read_and_are_gone_do_not_count() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let kept = of_thousands(|_| false).await;
            Err::<(), _>(kept)
        });
        assert!(matches!(exit.error, Some(RunError::MainFailed)));
        let tasks = exit.report.tasks;
        assert_eq!((tasks.caught, tasks.cancelled, tasks.failed), (2000, 0, 1));
    }
}

#[test]
fn what_a_child_has_received_alone_is_a_failure_of_its_reader() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let child = aiorun::spawn_fallible(boxed());
            suspended(child.id()).await;
            child.cancel();
            child.await.unwrap()
        });
        assert_eq!(exit.reason, StopReason::MainFailed);
        assert_eq!(
            (exit.report.tasks.failed, exit.report.tasks.cancelled),
            (1, 1)
        );
    }
}

#[test]
fn what_came_by_a_channel_is_a_failure() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let (send, received) = oneshot::channel();
            let child = aiorun::spawn(async { send.send(itself().await.unwrap_err()).unwrap() });
            suspended(child.id()).await;
            child.cancel();
            Err::<(), _>(received.await.unwrap())
        });
        assert_eq!(exit.reason, StopReason::MainFailed);
    }
}

// --- what is a failure ---------------------------------------------------------------------------

#[test]
fn an_error_behind_a_cancellation_that_is_gone_is_a_failure() {
    async fn forgets() -> Result<(), BoxError> {
        match itself().await {
            Ok(()) => Ok(()),
            Err(_) => Err("no disk".into()),
        }
    }
    async fn only_its_text() -> Result<(), String> {
        itself().await.map_err(|error| error.to_string())
    }
    #[track_caller]
    fn fails<F, E>(body: fn() -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + Debug + Send + 'static,
    {
        for flavor in FLAVORS {
            let exit = attempt(&mut builder(flavor), async {
                aiorun::spawn(async { aiorun::stop() });
                body().await
            });
            assert!(matches!(exit.error, Some(RunError::MainFailed)));
            let tasks = exit.report.tasks;
            assert_eq!((tasks.failed, tasks.cancelled, tasks.caught), (1, 0, 1));
            let exit = attempt(&mut builder(flavor), async {
                let task = aiorun::spawn_fallible(body());
                suspended(task.id()).await;
                aiorun::stop();
            });
            assert_eq!(exit.report.failures.len(), 1);
            assert_eq!(exit.report.tasks.failed, 1);
        }
    }
    fails(forgets);
    fails(only_its_text);
}

#[test]
fn another_error_of_a_cooperative_task_is_a_failure() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let task = aiorun::spawn_fallible(async {
                cancelled().await;
                Err::<(), _>("no disk")
            });
            suspended(task.id()).await;
            aiorun::stop();
        });
        assert_eq!(exit.report.failures[0].message(), "no disk");
        assert_eq!(exit.report.tasks.failed, 1);
    }
}

#[test]
fn another_error_while_the_program_stops_is_a_failure() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            aiorun::stop();
            assert!(itself().await.is_err());
            let io = io::Error::other("no disk");
            Err::<(), _>(AppError::Io(io))
        });
        assert!(matches!(exit.error, Some(RunError::MainFailed)));
    }
}

// --- others --------------------------------------------------------------------------------------

#[test]
fn from_the_callback() {
    for flavor in FLAVORS {
        let exit = run(
            builder(flavor).shutdown_callback(async || {
                let child = aiorun::spawn(forever());
                child.cancel();
                child.await?;
                Ok::<_, BoxError>(())
            }),
            async { aiorun::stop() },
        );
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.failed), (1, 2, 0));
    }
}

#[test]
fn from_the_callback_on_the_blocking_pool() {
    for flavor in FLAVORS {
        let exit = run(
            builder(flavor).shutdown_callback(|| {
                let child = aiorun::spawn(forever());
                child.cancel();
                tokio::runtime::Handle::current().block_on(child)?;
                Ok::<_, BoxError>(())
            }),
            async { aiorun::stop() },
        );
        let tasks = exit.report.tasks;
        assert_eq!((tasks.completed, tasks.cancelled, tasks.failed), (1, 2, 0));
    }
}

#[test]
fn from_a_critical_task_that_the_shutdown_cancelled() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let vital = aiorun::task("vital").critical().spawn_fallible(boxed());
            suspended(vital.id()).await;
            aiorun::stop();
        });
        assert_eq!(exit.reason, StopReason::Stop);
        assert_eq!(exit.report.tasks.cancelled, 1);
    }
}

#[test]
fn a_handle_that_is_read_behind_the_run_yields_the_error() {
    for flavor in FLAVORS {
        let mut kept = None;
        passes(&mut builder(flavor), async {
            let task = aiorun::spawn_fallible(boxed());
            suspended(task.id()).await;
            kept = Some(task);
            aiorun::stop();
        });
        let ended = kept.unwrap().now_or_never().unwrap();
        assert!(ended.unwrap().unwrap_err().is::<Cancelled>());
    }
}
