//! The spans that tasks are polled in. A subscriber that was set once is set for the process, so these tests
//! have one of their own.

#![cfg(all(feature = "multi-thread", feature = "tracing"))]

use std::io;
use std::sync::{Arc, Mutex};

use aiorun::{Builder, Flavor};
use tokio::task::yield_now;
use tracing::{info, info_span};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// What was logged.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// With the spans that are around it, without `aiorun`'s own lines.
    fn of(filter: &str, main: impl Future<Output = ()>) -> Vec<String> {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_span_events(FmtSpan::CLOSE)
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut builder = Builder::new();
            let exit = builder.flavor(Flavor::CurrentThread).signals([]).run(main);
            assert!(exit.is_success(), "{exit:?}");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines = text
            .lines()
            .map(|line| match line.split_once(" time.busy=") {
                Some((line, _)) => line.trim().to_owned(),
                None => line.trim().to_owned(),
            });
        lines.collect()
    }
}

#[test]
fn a_task_is_in_the_span_of_its_spawner_at_every_poll() {
    let lines = Lines::of("off,span=info", async {
        let request = info_span!("request", number = 7);
        let task = request.in_scope(|| {
            aiorun::spawn(async {
                info!("first");
                yield_now().await;
                info!("second");
                let child = aiorun::spawn(async { info!("child") });
                child.await.unwrap();
            })
        });
        drop(request);
        info!("main");
        task.await.unwrap();
        aiorun::spawn(async { info!("other") }).await.unwrap();
        aiorun::stop();
    });
    let expected = [
        "main",
        "request{number=7}: first",
        "request{number=7}: second",
        "request{number=7}: child",
        "request{number=7}: close",
        "other",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_name_is_a_span_in_that_of_the_spawner() {
    let main = async || {
        let request = info_span!("request");
        let task = request.in_scope(|| {
            aiorun::task("worker").spawn(async {
                yield_now().await;
                info!("works");
            })
        });
        task.await.unwrap();
        aiorun::stop();
    };
    let lines = Lines::of("off,span=info,aiorun=info", main());
    assert!(
        lines.contains(&r#"request:task{name="worker"}: works"#.to_owned()),
        "{lines:?}"
    );
    // Who does not want such spans has the others.
    let lines = Lines::of("off,span=info", main());
    assert_eq!(lines, ["request: works", "request: close"]);
}

#[test]
fn destructors_are_in_it_too() {
    struct Drops;
    impl Drop for Drops {
        fn drop(&mut self) {
            info!("dropped");
        }
    }
    let lines = Lines::of("off,span=info", async {
        let suspended = async {
            let _drops = Drops;
            std::future::pending::<()>().await;
        };
        let task = info_span!("cancelled").in_scope(|| aiorun::spawn(suspended));
        yield_now().await;
        task.cancel();
        task.await.unwrap_err();
        let drops = Drops;
        let never_polled = async move {
            let _drops = drops;
        };
        let task = info_span!("aborted").in_scope(|| aiorun::spawn(never_polled));
        task.abort();
        task.await.unwrap_err();
        aiorun::stop();
    });
    let expected = [
        "cancelled: dropped",
        "cancelled: close",
        "aborted: dropped",
        "aborted: close",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_handle_gives_the_span_of_who_has_it() {
    let lines = Lines::of("off,span=info", async {
        let handle = aiorun::Handle::current();
        let task = info_span!("afar").in_scope(|| handle.spawn(async { info!("here") }));
        task.await.unwrap();
        aiorun::stop();
    });
    assert_eq!(lines, ["afar: here", "afar: close"]);
}

#[test]
fn a_job_is_in_the_span_too() {
    let lines = Lines::of("off,span=info", async {
        // The subscriber is that of this thread only.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let job = info_span!("import").in_scope(|| {
            aiorun::spawn_blocking(move || {
                tracing::dispatcher::with_default(&dispatch, || info!("reads"));
            })
        });
        job.await.unwrap();
        aiorun::stop();
    });
    assert_eq!(lines, ["import: reads", "import: close"]);
}

#[test]
fn a_task_in_a_span_catches_and_is_told_as_others_are() {
    let lines = Lines::of("off,span=info", async {
        let task = info_span!("request").in_scope(|| {
            aiorun::spawn(async {
                let Err(_) = aiorun::catch_cancel(std::future::pending::<()>()).await else {
                    panic!("it is cancelled");
                };
                aiorun::shield(yield_now()).await;
                info!("cleaned up");
                aiorun::cancelled().await;
            })
        });
        yield_now().await;
        task.cancel();
        task.await.unwrap();
        info!("over");
        aiorun::stop();
    });
    let expected = ["request: cleaned up", "request: close", "over"];
    assert_eq!(lines, expected);
}
