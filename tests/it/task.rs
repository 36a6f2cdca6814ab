//! Starting tasks and jobs, and what is known of them.

use std::collections::HashSet;
use std::panic::{Location, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;

use aiorun::task::{Id, Kind, State, TaskInfo};
use aiorun::{Flavor, Handle, JoinHandle};

use crate::trial::{FLAVORS, builder, forever, give_way, on_a_runtime, passes, run};

/// What is known of the task with that id.
#[track_caller]
fn info(id: Id) -> TaskInfo {
    let tasks = Handle::current().tasks();
    tasks
        .into_iter()
        .find(|task| task.id == id)
        .expect("a task of that id")
}

#[test]
fn a_task_yields_its_value() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            assert_eq!(aiorun::spawn(async { 1 }).await.unwrap(), 1);
            assert_eq!(aiorun::spawn_blocking(|| 2).await.unwrap(), 2);
            assert_eq!(aiorun::shutdown_waits_for(async { 3 }).await.unwrap(), 3);
            let fallible = aiorun::spawn_fallible(async { Ok::<_, String>(4) });
            assert_eq!(fallible.await.unwrap(), Ok(4));
            let fails = aiorun::spawn_fallible(async { Err::<(), _>("no") });
            assert_eq!(fails.await.unwrap(), Err("no"));
            let handle = Handle::current();
            let afar = std::thread::spawn(move || handle.spawn(async { 5 }));
            assert_eq!(afar.join().unwrap().await.unwrap(), 5);
            let task = || aiorun::task("named");
            assert_eq!(task().spawn(async { 6 }).await.unwrap(), 6);
            assert_eq!(task().spawn_blocking(|| 7).await.unwrap(), 7);
            assert_eq!(
                task()
                    .spawn_fallible(async { Ok::<_, String>(8) })
                    .await
                    .unwrap(),
                Ok(8)
            );
            aiorun::stop();
        });
        assert_eq!(
            (exit.report.tasks.completed, exit.report.tasks.failed),
            (9, 1)
        );
    }
}

#[test]
fn a_local_task_need_not_be_send() {
    passes(&mut builder(Flavor::Local), async {
        let shared = Rc::new(5);
        let task = aiorun::spawn_local({
            let shared = Rc::clone(&shared);
            async move { *shared + 1 }
        });
        assert_eq!(info(task.id()).kind, Kind::Local);
        assert_eq!(task.await.unwrap(), 6);
        let named = aiorun::task("local").spawn_local(async move { *shared });
        assert_eq!(named.await.unwrap(), 5);
        aiorun::stop();
    });
}

#[test]
fn a_local_task_needs_a_place() {
    for flavor in [Flavor::MultiThread, Flavor::CurrentThread] {
        let exit = run(&mut builder(flavor), async {
            let outside = catch_unwind(|| aiorun::spawn_local(async {}));
            assert!(outside.is_err());
            let set = tokio::task::LocalSet::new();
            let task = set.run_until(async { aiorun::spawn_local(async { 1 }).await });
            assert_eq!(task.await.unwrap(), 1);
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.completed, 2);
    }
}

async fn never_fails() -> Result<(), String> {
    forever().await;
    Ok(())
}

/// A task and the place where it was started, which is told by one line.
macro_rules! placed {
    ($spawn:expr) => {
        (here(), $spawn.id())
    };
}

#[track_caller]
fn here() -> &'static Location<'static> {
    Location::caller()
}

#[test]
fn a_task_knows_where_it_was_started() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let handle = Handle::current();
            let (release, released) = mpsc::channel::<()>();
            let started = [
                placed!(aiorun::spawn(forever())),
                placed!(aiorun::shutdown_waits_for(aiorun::stopping())),
                placed!(aiorun::spawn_fallible(never_fails())),
                placed!(aiorun::spawn_blocking(move || released.recv())),
                placed!(aiorun::task("a").spawn(forever())),
                placed!(aiorun::task("b").spawn_fallible(never_fails())),
                placed!(handle.spawn(forever())),
            ];
            for (place, id) in started {
                let location = info(id).location;
                assert_eq!(
                    (location.file(), location.line()),
                    (place.file(), place.line())
                );
            }
            drop(release);
            aiorun::stop();
        });
    }
}

#[test]
fn tasks_are_listed_with_what_they_are() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (release, released) = mpsc::channel::<()>();
            let plain = aiorun::spawn(forever());
            let job = aiorun::task("job").spawn_blocking(move || released.recv());
            let marked = aiorun::task(String::from("marked"))
                .protected()
                .cooperative();
            let marked = marked.spawn(aiorun::stopping());
            let vital = aiorun::task("vital").critical().spawn(forever());
            give_way().await;
            let seen = Handle::current().tasks();
            let kinds: Vec<_> = seen.iter().map(|task| task.kind).collect();
            assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Main).count(), 1);
            assert_eq!(seen.len(), 5);
            assert!(seen.is_sorted_by_key(|task| std::cmp::Reverse(task.age)));
            assert_eq!(
                (info(plain.id()).name(), info(plain.id()).kind),
                (None, Kind::Async)
            );
            assert_eq!(
                (info(job.id()).name(), info(job.id()).kind),
                (Some("job"), Kind::Blocking)
            );
            let marked = info(marked.id());
            assert_eq!(marked.name(), Some("marked"));
            assert!(marked.protected && marked.cooperative && !marked.critical);
            let vital = info(vital.id());
            assert!(!vital.protected && !vital.cooperative && vital.critical);
            assert!(
                vital
                    .to_string()
                    .starts_with("task `vital` spawned at tests/it/task.rs:")
            );
            drop(release);
            aiorun::stop();
        });
    }
}

#[test]
fn a_task_has_a_state() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        passes(&mut builder(flavor), async {
            let task = aiorun::spawn(forever());
            assert_eq!(info(task.id()).state, State::NotStarted);
            give_way().await;
            assert_eq!(info(task.id()).state, State::Suspended);
            let main = Handle::current().tasks().remove(0);
            assert!(matches!(main.state, State::Running { .. }), "{main}");
            let cooperative = aiorun::task("told").cooperative().spawn(aiorun::stopping());
            give_way().await;
            cooperative.cancel();
            give_way().await;
            assert_eq!(info(cooperative.id()).state, State::Cancelling);
            aiorun::stop();
        });
    }
}

#[test]
fn a_queued_job_is_not_started_and_a_running_one_names_its_thread() {
    for flavor in FLAVORS {
        passes(builder(flavor).executor_workers(1).name("pool"), async {
            let (started, has_started) = tokio::sync::oneshot::channel();
            let (release, released) = mpsc::channel::<()>();
            let running = aiorun::spawn_blocking(move || {
                started.send(()).unwrap();
                released.recv()
            });
            let queued = aiorun::spawn_blocking(|| {});
            has_started.await.unwrap();
            let state = info(running.id()).state;
            assert!(state.to_string().contains("running on pool"), "{state}");
            let queued = info(queued.id());
            assert_eq!(queued.state, State::NotStarted);
            assert!(queued.to_string().ends_with("queued"), "{queued}");
            drop(release);
            aiorun::stop();
        });
    }
}

#[test]
fn an_id_is_used_once() {
    let mut seen = HashSet::new();
    for _ in 0..3 {
        for flavor in FLAVORS {
            passes(&mut builder(flavor), async {
                for _ in 0..300 {
                    let task = aiorun::spawn(async {});
                    assert!(seen.insert(task.id()));
                    task.await.unwrap();
                    assert!(seen.insert(aiorun::spawn_blocking(|| {}).id()));
                }
                aiorun::stop();
            });
        }
    }
}

#[test]
fn an_id_is_known_from_spawn_on() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (tell, told) = tokio::sync::oneshot::channel::<Id>();
            let task: JoinHandle<()> = aiorun::spawn(async move {
                let own = told.await.unwrap();
                assert!(Handle::current().tasks().iter().any(|task| task.id == own));
            });
            assert_eq!(task.id(), task.abort_handle().id());
            tell.send(task.id()).unwrap();
            task.await.unwrap();
            aiorun::stop();
        });
    }
}

#[test]
fn what_has_ended_is_no_longer_listed() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            for _ in 0..100 {
                let task = aiorun::spawn(async {});
                let id = task.id();
                task.await.unwrap();
                assert!(Handle::current().tasks().iter().all(|task| task.id != id));
            }
            aiorun::stop();
        });
    }
}

/// What a call outside of any supervisor panics with.
#[track_caller]
fn complaint<T>(call: fn() -> T) -> String {
    let payload = catch_unwind(call).err().expect("a panic");
    payload.downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn outside_a_supervisor_a_panic_names_the_cure() {
    type Call = fn() -> String;
    let calls: [(&str, Call); 12] = [
        ("spawn", || complaint(|| aiorun::spawn(async {}))),
        ("spawn_local", || {
            complaint(|| aiorun::spawn_local(async {}))
        }),
        ("spawn_blocking", || {
            complaint(|| aiorun::spawn_blocking(|| {}))
        }),
        ("spawn", || {
            complaint(|| aiorun::spawn_fallible(async { Ok::<(), String>(()) }))
        }),
        ("shutdown_waits_for", || {
            complaint(|| aiorun::shutdown_waits_for(async {}))
        }),
        ("spawn", || complaint(|| aiorun::task("t").spawn(async {}))),
        ("spawn_blocking", || {
            complaint(|| aiorun::task("t").spawn_blocking(|| {}))
        }),
        ("stop", || complaint(aiorun::stop)),
        ("stop_with", || complaint(|| aiorun::stop_with(1))),
        ("on_exit", || complaint(|| aiorun::on_exit("h", async {}))),
        ("Handle::current", || complaint(Handle::current)),
        ("spawn_local", || {
            complaint(|| aiorun::task("t").spawn_local(async {}))
        }),
    ];
    for (what, call) in calls {
        let text = call();
        assert!(
            text.contains(&format!("`aiorun::{what}`")),
            "{what}: {text}"
        );
        assert!(text.contains("`#[aiorun::main]`"), "{what}: {text}");
        assert_eq!(
            on_a_runtime(async { call() }),
            text,
            "the same inside a bare runtime"
        );
    }
    let error = Handle::try_current().unwrap_err();
    assert!(error.to_string().contains("#[aiorun::main]"));
}
