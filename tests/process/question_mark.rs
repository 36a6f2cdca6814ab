//! `?` on a cancellation: no failure where it is the task's own, and one in every other case.

use std::error::Error;
use std::process::ExitCode;

use aiorun::{Cancelled, catch_cancel};
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

use crate::cancellation::after;
use crate::case::Cases;
use crate::child::Program;
use crate::scene::{Scene, idle, ready, ready_and_idle};

pub(crate) fn register(cases: &mut Cases) {
    of_main(cases);
    of_tasks(cases);
    failures(cases);
}

fn of_main(cases: &mut Cases) {
    cases.every_flavor("main_gives_it_up", main_gives_it_up, |program| {
        for variant in ["plain", "box", "anyhow", "io", "map_err", "handle", "child"] {
            let ended = program.variant(variant).stop_by(Signal::TERM);
            ended.exited(0).says_once("AFTER").complains_not();
            // With the task that it awaits, where it awaits one.
            let cancelled = 1 + u64::from(["handle", "child"].contains(&variant));
            ended.figures([("cancelled", cancelled), ("completed", 0)]);
            ended.figures([("failed", 0), ("failures", 0)]);
        }
    });
    cases.once(
        "main_on_a_worker_gives_it_up",
        |_| after(gives_up_on_worker()),
        main_gave_it_up,
    );
    cases.once(
        "main_that_is_not_send_gives_it_up",
        |_| after(gives_up_not_send()),
        main_gave_it_up,
    );
}

fn of_tasks(cases: &mut Cases) {
    cases.every_flavor("tasks_give_it_up", tasks_give_it_up, |program| {
        for signal in [Signal::INT, Signal::TERM] {
            let ended = program.stop_by(signal);
            ended.exited(0).complains_not();
            ended.figures([
                ("caught", 4),
                ("cancelled", 4),
                ("failed", 0),
                ("failures", 0),
            ]);
        }
    });
    cases.every_flavor("a_task_gives_it_up_to_its_handle", by_handle, |program| {
        let ended = program.run();
        ended
            .exited(0)
            .says_once("the program goes on")
            .complains_not();
        ended.figures([("caught", 2), ("cancelled", 2), ("failures", 0)]);
    });
    cases.every_flavor(
        "the_callback_gives_it_up",
        callback_gives_it_up,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended.exited(0).says_once("AFTER").complains_not();
            ended.figures([("cancelled", 2), ("failed", 0), ("failures", 0)]);
        },
    );
}

fn failures(cases: &mut Cases) {
    cases.every_flavor("main_fails_all_the_same", main_fails, |program| {
        for variant in ["another", "text", "panic", "child"] {
            let ended = program.variant(variant).stop_by(Signal::TERM);
            ended.exited(1).says_once("Error: ");
            let failed = 1 + u64::from(variant == "child");
            ended.figures([("failed", failed), ("cancelled", 0), ("failures", 0)]);
        }
    });
    cases.every_flavor(
        "another's_cancellation_is_an_error",
        main_fails_by_another,
        |program| {
            for variant in ["handle", "channel"] {
                let ended = program.variant(variant).run();
                ended.exited(1).says_once("Error: ");
                ended.figures([("failed", 1)]);
            }
        },
    );
    cases.every_flavor("a_task_fails_all_the_same", task_fails, |program| {
        for variant in ["another", "text"] {
            let ended = program.variant(variant).stop_by(Signal::TERM);
            ended
                .exited(0)
                .says_in_a_line(&["`loser`", "tests/process/question_mark.rs"]);
            ended.figures([("failed", 1), ("failures", 1)]);
            let ended = program
                .variant(&format!("stop {variant}"))
                .stop_by(Signal::TERM);
            ended.exited(1).says("`loser`");
            ended.figures([("failed", 1), ("failures", 1)]);
        }
    });
}

fn main_gave_it_up(program: &Program) {
    for signal in [Signal::INT, Signal::TERM] {
        let ended = program.stop_by(signal);
        ended.exited(0).complains_not();
        ended.figures([("caught", 1), ("cancelled", 1), ("failed", 0)]);
    }
}

/// As those of libraries are.
#[derive(Debug, thiserror::Error)]
enum LibraryError {
    #[error("it was stopped")]
    Stopped(#[source] Cancelled),
}

type BoxResult = Result<(), Box<dyn Error>>;

async fn gives_up() -> BoxResult {
    catch_cancel(ready_and_idle()).await?;
    Ok(())
}

#[aiorun::main]
async fn gives_up_on_worker() -> BoxResult {
    gives_up().await
}

#[aiorun::main]
async fn gives_up_not_send() -> BoxResult {
    let not_send = std::rc::Rc::new(());
    gives_up().await?;
    drop(not_send);
    Ok(())
}

fn main_gives_it_up(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    after(match &*scene.variant {
        "plain" => builder.run(catch_cancel(ready_and_idle())),
        "box" => builder.run(gives_up()),
        "anyhow" => builder.run(async {
            catch_cancel(ready_and_idle()).await?;
            Ok::<_, anyhow::Error>(())
        }),
        "io" => builder.run(async {
            let caught = catch_cancel(ready_and_idle()).await;
            caught.map_err(std::io::Error::other)
        }),
        "map_err" => builder.run(async {
            let caught = catch_cancel(ready_and_idle()).await;
            caught.map_err(LibraryError::Stopped)
        }),
        "handle" => builder.run(async {
            let task = aiorun::spawn(idle());
            let _ = catch_cancel(ready_and_idle()).await;
            task.await?;
            Ok::<_, anyhow::Error>(())
        }),
        _ => builder.run(async {
            let (begin, has_begun) = oneshot::channel();
            let child = aiorun::spawn_fallible(catch_cancel(async {
                begin.send(()).unwrap();
                idle().await;
            }));
            has_begun.await?;
            let _ = catch_cancel(ready_and_idle()).await;
            child.await??;
            Ok::<_, anyhow::Error>(())
        }),
    })
}

fn callback_gives_it_up(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_callback(|| async {
        let task = aiorun::spawn(idle());
        task.cancel();
        task.await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    });
    after(builder.run(async { ready() }))
}

async fn work(begin: mpsc::Sender<()>) {
    drop(begin);
    idle().await;
}

fn tasks_give_it_up(scene: &Scene) -> ExitCode {
    // Kept beyond the end of main and of the run.
    let (keep, kept) = std::sync::mpsc::channel();
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(true);
    let exit = builder.run(async move {
        let (begins, mut begin) = mpsc::channel(1);
        let begin_with = || begins.clone();
        // Nobody awaits these two.
        aiorun::spawn_fallible(catch_cancel(work(begin_with())));
        let working = work(begin_with());
        aiorun::spawn_fallible(async {
            catch_cancel(working).await?;
            Ok::<_, anyhow::Error>(())
        });
        // These two have handles that nobody reads.
        let working = work(begin_with());
        let boxed = aiorun::spawn_fallible(async {
            catch_cancel(working).await?;
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        });
        let working = work(begin_with());
        let mapped = aiorun::spawn_fallible(async {
            let caught = catch_cancel(working).await;
            caught.map_err(LibraryError::Stopped)
        });
        keep.send((boxed, mapped)).unwrap();
        drop(begins);
        assert!(begin.recv().await.is_none());
        ready();
    });
    let code = after(exit);
    drop(kept);
    code
}

fn by_handle(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(true);
    after(builder.run(async {
        let (begins, mut begin) = mpsc::channel(1);
        let (ends, mut end) = mpsc::channel::<()>(1);
        let working = work(begins.clone());
        let unread = aiorun::spawn_fallible(async {
            let _end = ends;
            catch_cancel(working).await?;
            Ok::<_, anyhow::Error>(())
        });
        let read = aiorun::spawn_fallible(catch_cancel(work(begins)));
        assert!(begin.recv().await.is_none());
        unread.cancel();
        drop(unread);
        assert!(end.recv().await.is_none());
        read.cancel();
        assert!(read.await.unwrap().is_err());
        yield_now().await;
        println!("the program goes on");
        aiorun::stop();
    }))
}

fn main_fails(scene: &Scene) -> ExitCode {
    let variant = scene.variant.clone();
    after(scene.builder().run(async move {
        let caught = catch_cancel(ready_and_idle()).await;
        match &*variant {
            "text" => caught.map_err(|error| error.to_string())?,
            _ => drop(caught),
        }
        match &*variant {
            "panic" => aiorun::spawn(async { assert_eq!(1, 2, "broken task") }).await?,
            "child" => aiorun::spawn_fallible(async { Err::<(), _>("broken task") }).await??,
            _ => Err("main broke")?,
        }
        BoxResult::Ok(())
    }))
}

fn main_fails_by_another(scene: &Scene) -> ExitCode {
    let by_channel = scene.is("channel");
    after(scene.builder().run(async move {
        let (begins, mut begin) = mpsc::channel(1);
        let (send, received) = oneshot::channel();
        let task = aiorun::spawn(async {
            let caught = catch_cancel(work(begins)).await;
            send.send(caught).unwrap();
            idle().await;
        });
        assert!(begin.recv().await.is_none());
        task.cancel();
        let caught = received.await?;
        if by_channel {
            caught?;
        } else {
            drop(caught);
        }
        task.cancel();
        task.await?;
        BoxResult::Ok(())
    }))
}

fn task_fails(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(scene.variant.starts_with("stop"));
    let text = scene.variant.ends_with("text");
    after(builder.run(async move {
        aiorun::task("loser").spawn_fallible(async move {
            let caught = catch_cancel(ready_and_idle()).await;
            if text {
                caught.map_err(|error| error.to_string())
            } else {
                Err("it broke".to_owned())
            }
        });
    }))
}
