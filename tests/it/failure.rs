//! Failures that nobody saw, and those that somebody did.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};

use aiorun::task::Kind;
use aiorun::{
    Builder, Exit, Flavor, Handle, JoinHandle, Phase, RunError, StopReason, UnhandledError,
};

use crate::trial::{FLAVORS, OnDrop, attempt, builder, error_text, forever, give_way, reach, run};

/// What the handler was told, and how the run ended.
fn told(flavor: Flavor, main: impl Future<Output = ()>) -> (Vec<UnhandledError>, Exit) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let mut builder = builder(flavor);
    builder.unhandled_error_handler(move |error| note.lock().unwrap().push(error.clone()));
    let exit = attempt(&mut builder, async {
        main.await;
        aiorun::stop();
    });
    assert!(exit.is_success(), "without the option it stops nothing");
    let told = told.lock().unwrap().clone();
    let texts =
        |errors: &[UnhandledError]| -> Vec<_> { errors.iter().map(ToString::to_string).collect() };
    assert_eq!(texts(&told), texts(&exit.report.failures));
    (told, exit)
}

fn panics() -> JoinHandle<()> {
    aiorun::task("panics").spawn(async { panic!("a panic") })
}

fn fails() -> JoinHandle<Result<(), String>> {
    aiorun::task("fails").spawn_fallible(async { Err("an error".into()) })
}

fn job_panics() -> JoinHandle<()> {
    aiorun::task("job").spawn_blocking(|| panic!("of a job"))
}

async fn ended<T>(task: &JoinHandle<T>) {
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_handle_dropped_before_the_end() {
    for flavor in FLAVORS {
        let (mut told, exit) = told(flavor, async {
            let tasks = [
                panics().abort_handle(),
                fails().abort_handle(),
                job_panics().abort_handle(),
            ];
            while !tasks.iter().all(aiorun::AbortHandle::is_finished) {
                tokio::task::yield_now().await;
            }
        });
        told.sort_by_key(|error| error.name().unwrap_or_default().to_owned());
        let [fails, job, panics] = &told[..] else {
            panic!("{}", exit.report)
        };
        assert_eq!((fails.message(), fails.is_panic()), ("an error", false));
        assert_eq!((job.message(), job.kind()), ("of a job", Kind::Blocking));
        assert_eq!((panics.message(), panics.is_panic()), ("a panic", true));
        assert!(told.iter().all(|error| error.location().file() == file!()));
        assert_eq!(
            (exit.report.tasks.panicked, exit.report.tasks.failed),
            (2, 1)
        );
    }
}

#[test]
fn a_handle_dropped_after_the_end() {
    for flavor in FLAVORS {
        let (told, _) = told(flavor, async {
            let (panics, fails) = (panics(), fails());
            ended(&panics).await;
            ended(&fails).await;
            drop(panics);
            drop(fails);
        });
        let names: Vec<_> = told.iter().map(UnhandledError::name).collect();
        assert_eq!(names, [Some("panics"), Some("fails")]);
    }
}

#[test]
fn a_failure_that_somebody_awaits_is_theirs() {
    for flavor in FLAVORS {
        let (told, exit) = told(flavor, async {
            assert!(panics().await.unwrap_err().is_panic());
            assert_eq!(fails().await.unwrap().unwrap_err(), "an error");
            assert!(job_panics().await.is_err());
            let _ = tokio::join!(panics(), fails(), job_panics());
        });
        assert!(told.is_empty());
        assert_eq!(
            (exit.report.tasks.panicked, exit.report.tasks.failed),
            (4, 2)
        );
    }
}

#[test]
fn a_handle_kept_unread_to_the_end() {
    for flavor in FLAVORS {
        let mut kept = None;
        let (told, exit) = told(flavor, async {
            let (panics, fails) = (panics(), fails());
            ended(&panics).await;
            ended(&fails).await;
            kept = Some((panics, fails));
        });
        let mut names: Vec<_> = told.iter().filter_map(UnhandledError::name).collect();
        names.sort_unstable();
        assert_eq!(names, ["fails", "panics"], "{}", exit.report);
        drop(kept);
    }
}

#[test]
fn a_handle_that_another_task_holds_when_it_is_cancelled() {
    for flavor in FLAVORS {
        let (told, _) = told(flavor, async {
            let panics = panics();
            ended(&panics).await;
            aiorun::spawn(async {
                forever().await;
                let _ = panics.await;
            });
        });
        assert_eq!(told.len(), 1);
    }
}

#[test]
fn a_failure_during_the_shutdown() {
    for flavor in FLAVORS {
        let (told, exit) = told(flavor, async {
            aiorun::task("late").protected().spawn(async {
                aiorun::stopping().await;
                panic!("too late");
            });
            aiorun::task("late").protected().spawn_fallible(async {
                aiorun::stopping().await;
                Err::<(), _>("too late")
            });
        });
        let messages: Vec<_> = told.iter().map(UnhandledError::message).collect();
        assert_eq!(messages, ["too late", "too late"]);
        assert_eq!(exit.reason, StopReason::Stop);
    }
}

#[test]
fn neither_a_success_nor_a_cancellation_nor_an_err_of_plain_spawn() {
    for flavor in FLAVORS {
        let (told, exit) = told(flavor, async {
            aiorun::spawn(async {});
            aiorun::spawn(async { Err::<(), _>("a value like any other") });
            aiorun::spawn_fallible(async { Ok::<_, String>(1) });
            aiorun::spawn(forever()).cancel();
            aiorun::spawn(forever()).abort();
            aiorun::spawn(forever());
            give_way().await;
        });
        assert!(told.is_empty(), "{}", exit.report);
    }
}

#[test]
fn a_handler_that_panics_prevents_nothing() {
    for flavor in FLAVORS {
        let mut builder = builder(flavor);
        builder.unhandled_error_handler(|_| panic!("the handler too"));
        let exit = attempt(&mut builder, async {
            drop(panics());
            drop(fails());
            aiorun::on_exit("later", async {});
            give_way().await;
            aiorun::stop();
        });
        assert!(exit.report.hooks[0].is_success());
        assert!(exit.is_success());
    }
}

#[test]
fn a_handler_may_stop_the_program() {
    for flavor in FLAVORS {
        let mut builder = builder(flavor);
        builder.unhandled_error_handler(|error| {
            assert_eq!(error.name(), Some("panics"));
            Handle::current().stop_with(7);
        });
        let exit = attempt(&mut builder, async {
            drop(panics());
            forever().await;
        });
        assert_eq!(exit.reason, StopReason::Stop);
        let code = std::process::Termination::report(exit);
        assert_eq!(code, std::process::ExitCode::from(7));
    }
}

#[test]
fn with_the_option_it_stops_the_program() {
    let ways: [fn(); 5] = [
        || drop(panics()),
        || drop(fails()),
        || drop(job_panics()),
        || {
            let task = aiorun::task("protected").protected();
            task.spawn(async { panic!("at once") });
        },
        || {
            let unread = panics();
            aiorun::spawn(async move {
                ended(&unread).await;
                drop(unread);
            });
        },
    ];
    for flavor in FLAVORS {
        for way in ways {
            let exit = attempt(builder(flavor).stop_on_unhandled_errors(true), async {
                way();
                forever().await;
            });
            assert_eq!(exit.reason, StopReason::TaskFailed);
            assert_eq!(exit.report.failures.len(), 1);
            assert!(matches!(&exit.error, Some(RunError::TaskFailed(_))));
            assert_eq!(error_text(&exit), exit.report.failures[0].to_string());
        }
    }
}

#[test]
fn with_the_option_the_first_is_the_error_and_the_report_has_all() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).stop_on_unhandled_errors(true), async {
            aiorun::shutdown_waits_for(async {
                // Sooner, it could be cancelled before it has begun.
                reach(Phase::Cancelling).await;
                drop(fails());
            });
            drop(panics());
            forever().await;
        });
        assert!(error_text(&exit).contains("a panic"));
        let mut names: Vec<_> = exit
            .report
            .failures
            .iter()
            .filter_map(UnhandledError::name)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["fails", "panics"]);
    }
}

#[test]
fn with_the_option_one_that_was_kept_unread_is_an_error_too() {
    for flavor in FLAVORS {
        let mut kept = None;
        let exit = attempt(builder(flavor).stop_on_unhandled_errors(true), async {
            let fails = fails();
            ended(&fails).await;
            kept = Some(fails);
            aiorun::stop();
        });
        assert_eq!(exit.reason, StopReason::Stop);
        assert_eq!(exit.report.failures.len(), 1);
        assert!(
            matches!(&exit.error, Some(RunError::TaskFailed(_))),
            "{:?}",
            exit.error
        );
        drop(kept);
    }
}

#[test]
fn a_destructor_that_panics_stops_the_program_where_failures_do() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).stop_on_unhandled_errors(true), async {
            let fragile = OnDrop::new(|| panic!("it breaks"));
            let task = aiorun::task("fragile").spawn(async {
                let _fragile = fragile;
                forever().await;
            });
            task.cancel();
            drop(task);
            let most = std::time::Duration::from_secs(10);
            let _ = tokio::time::timeout(most, aiorun::stopping()).await;
            aiorun::stop();
        });
        assert_eq!(exit.reason, StopReason::TaskFailed);
        assert!(error_text(&exit).contains("`fragile`"));
    }
}

#[derive(Debug)]
struct Outer(std::io::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no configuration")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn an_error_comes_with_its_causes_and_is_still_there() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).stop_on_unhandled_errors(true), async {
            aiorun::spawn_fallible(async { Err::<(), _>(Outer(std::io::Error::other("no file"))) });
            forever().await;
        });
        assert!(error_text(&exit).ends_with("failed: no configuration: no file"));
        let error = exit.into_result().unwrap_err();
        assert!(error.source().is_some_and(<dyn Error>::is::<Outer>));
    }
}

#[derive(Debug)]
struct Unshowable;

impl fmt::Display for Unshowable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("cannot be shown")
    }
}

impl Error for Unshowable {}

#[test]
fn an_error_that_cannot_be_shown_is_an_error() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).stop_on_unhandled_errors(true), async {
            aiorun::spawn_fallible(async { Err::<(), _>(Unshowable) });
            forever().await;
        });
        assert_eq!(exit.report.failures.len(), 1);
        assert!(error_text(&exit).contains("`Display` panicked"));
    }
}

#[test]
fn many_at_once_are_all_told() {
    let (told, exit) = told(Flavor::MultiThread, async {
        let tasks: Vec<_> = (0..500)
            .map(|number| aiorun::spawn_fallible(async move { Err::<(), _>(number.to_string()) }))
            .map(|task| task.abort_handle())
            .collect();
        for task in tasks {
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(told.len(), 500);
    assert_eq!(exit.report.tasks.failed, 500);
}

#[test]
fn a_handler_that_takes_its_time_loses_lines_and_no_time() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let mut builder: Builder = builder(Flavor::MultiThread);
    builder.unhandled_error_handler(move |_| {
        let _ = released.lock().unwrap().recv();
    });
    let exit = attempt(&mut builder, async {
        let panics = panics();
        ended(&panics).await;
        drop(panics);
        aiorun::stop();
    });
    drop(release);
    assert!(exit.is_success());
    let most = std::time::Duration::from_secs(20);
    assert!(exit.report.shutdown_took() < most);
}

#[test]
fn an_unhandled_failure_leaves_the_program_running() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            drop(panics());
            aiorun::spawn(give_way()).await.unwrap();
            assert!(!aiorun::is_stopping());
            aiorun::stop();
        });
        assert_eq!(exit.reason, StopReason::Stop);
        assert_eq!(exit.report.failures.len(), 1);
        assert!(exit.error.is_none());
    }
    let exit = run(&mut builder(Flavor::Local), async { aiorun::stop() });
    assert!(exit.report.failures.is_empty());
}
