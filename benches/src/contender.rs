//! Who is compared: each starts a program, spawns tasks in it, and cancels them, as its users do.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiorun::__private::{SendEntry as _, probe, reported};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gauge::Gauge;

/// The runtime that all of them run on: `ct` or `mt`, the latter with two workers or as many as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// `current_thread`
    OneThread,
    /// `multi_thread` with so many workers.
    Workers(usize),
}

impl FromStr for Flavor {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let workers = match name {
            "ct" => return Ok(Self::OneThread),
            "mt" => Ok(2),
            other => other.strip_prefix("mt").unwrap_or_default().parse(),
        };
        let workers = workers.map_err(|_| "a flavor is ct, mt, or mt with a number")?;
        Ok(Self::Workers(workers))
    }
}

impl Flavor {
    pub(crate) fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::OneThread => Builder::new_current_thread(),
            Self::Workers(_) => Builder::new_multi_thread(),
        };
        if let Self::Workers(workers) = self {
            builder.worker_threads(workers);
        }
        builder.enable_all().build().expect("a runtime")
    }
}

/// One way to write a program.
pub trait Contender: Sized + Sync + 'static {
    /// How it is called on a command line and in a table.
    const NAME: &'static str;

    /// Runs `main` in a program of its own, and ends that when `main` has ended.
    fn run(flavor: Flavor, main: impl Main<Self>);

    /// Starts a task that the program cancels at its end.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Starts one that notices that it is cancelled, and goes on to its end.
    fn spawn_catching(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(task);
    }

    /// Does `work` in such a way that a cancellation ends it, and not the task.
    fn catch(&self, work: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        work
    }

    /// Does `work` and listens to a cancellation beside it.
    fn listen(&self, work: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        work
    }

    /// Does `work` in such a way that no cancellation ends it.
    fn shield(&self, work: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        work
    }

    /// As `run`, with main where the attribute of the library has it.
    fn enter(flavor: Flavor, main: impl Main<Self>) {
        Self::run(flavor, main);
    }

    /// Runs `main`, and when that has ended cancels what it has spawned; says how much the gauge
    /// goes up until all is gone.
    fn cancel(flavor: Flavor, gauge: Gauge, main: impl Main<Self>) -> i64;

    /// Runs `main`, and then until a signal ends the program.
    fn serve(flavor: Flavor, main: impl Main<Self>) {
        Self::cancel(flavor, Gauge::TIME, |program: &Self| {
            Box::pin(async move {
                let mut interrupt = signal(SignalKind::interrupt()).expect("a handler");
                let mut terminate = signal(SignalKind::terminate()).expect("a handler");
                main(program).await;
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            })
        });
    }
}

/// The main function of a program, which spawns by what it is given.
pub trait Main<C: 'static>: for<'a> FnOnce(&'a C) -> BoxFuture<'a> + Send + 'static {}

impl<C: 'static, T: for<'a> FnOnce(&'a C) -> BoxFuture<'a> + Send + 'static> Main<C> for T {}

/// A boxed future: one allocation for a program.
pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// `tokio::spawn`, and the runtime is dropped: the floor.
#[derive(Debug, Clone)]
pub struct Raw;

impl Raw {
    /// A runtime that has had a blocking job. With the second thread of a process malloc begins to
    /// take its locks, and there is hardly a program without: a name is looked up, a file is read.
    fn runtime(flavor: Flavor) -> Runtime {
        let runtime = flavor.runtime();
        drop(runtime.spawn_blocking(|| ()));
        runtime
    }
}

impl Contender for Raw {
    const NAME: &'static str = "raw";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        Self::runtime(flavor).block_on(main(&Self));
    }

    #[expect(clippy::disallowed_methods, reason = "that is what it is")]
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    fn cancel(flavor: Flavor, gauge: Gauge, main: impl Main<Self>) -> i64 {
        let runtime = Self::runtime(flavor);
        runtime.block_on(main(&Self));
        gauge.during(|| drop(runtime))
    }

    /// The signal has its default effect.
    fn serve(flavor: Flavor, main: impl Main<Self>) {
        flavor.runtime().block_on(async {
            main(&Self).await;
            std::future::pending::<()>().await;
        });
    }
}

/// A program under aiorun.
#[derive(Debug, Clone)]
pub struct Aiorun;

impl Aiorun {
    fn builder(flavor: Flavor) -> aiorun::Builder {
        let mut builder = aiorun::Builder::new();
        match flavor {
            Flavor::OneThread => builder.flavor(aiorun::Flavor::CurrentThread),
            Flavor::Workers(workers) => builder
                .flavor(aiorun::Flavor::MultiThread)
                .worker_threads(workers),
        };
        builder
    }

    /// What `#[aiorun::main]` expands to, which cannot be put on a closure.
    fn attribute(flavor: Flavor, main: impl Future<Output = ()> + Send + 'static) {
        let (main, builder) = (reported(main), &mut Self::builder(flavor));
        let exit = (&&probe(&main)).entry().run(builder, main);
        assert!(exit.is_success(), "{exit:?}");
    }
}

impl Contender for Aiorun {
    const NAME: &'static str = "aiorun";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        let exit = Self::builder(flavor).run(async {
            main(&Self).await;
            aiorun::stop();
        });
        assert!(exit.is_success(), "{exit:?}");
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        aiorun::spawn(task);
    }

    fn spawn_catching(&self, task: impl Future<Output = ()> + Send + 'static) {
        aiorun::spawn(async {
            let _ = aiorun::catch_cancel(task).await;
        });
    }

    async fn catch(&self, work: impl Future<Output = ()> + Send) {
        let _ = aiorun::catch_cancel(work).await;
    }

    async fn listen(&self, work: impl Future<Output = ()> + Send) {
        tokio::select! {
            biased;
            () = aiorun::cancelled() => {}
            () = work => {}
        }
    }

    async fn shield(&self, work: impl Future<Output = ()> + Send) {
        aiorun::shield(work).await;
    }

    fn enter(flavor: Flavor, main: impl Main<Self>) {
        Self::attribute(flavor, async {
            main(&Self).await;
            aiorun::stop();
        });
    }

    fn cancel(flavor: Flavor, gauge: Gauge, main: impl Main<Self>) -> i64 {
        let (say, said) = std::sync::mpsc::channel();
        let exit = Self::builder(flavor).run(async move {
            main(&Self).await;
            let before = gauge.read();
            // Hooks run when all tasks are gone.
            aiorun::on_exit("measured", async move {
                let _ = say.send(gauge.read() - before);
            });
            aiorun::stop();
        });
        assert!(exit.is_success(), "{exit:?}");
        said.recv().expect("the hook has said it")
    }

    fn serve(flavor: Flavor, main: impl Main<Self>) {
        Self::attribute(flavor, main(&Self));
    }
}

/// What people write by hand: a `TaskTracker` to wait for tasks, and a `CancellationToken` for them.
#[derive(Debug, Clone, Default)]
pub struct Idiom {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Idiom {
    async fn end(&self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Contender for Idiom {
    const NAME: &'static str = "idiom";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        let this = Self::default();
        flavor.runtime().block_on(async {
            main(&this).await;
            this.end().await;
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.tracker.spawn(async move {
            token.run_until_cancelled(task).await;
        });
    }

    async fn catch(&self, work: impl Future<Output = ()> + Send) {
        self.token.run_until_cancelled(work).await;
    }

    async fn listen(&self, work: impl Future<Output = ()> + Send) {
        tokio::select! {
            biased;
            () = self.token.cancelled() => {}
            () = work => {}
        }
    }

    fn cancel(flavor: Flavor, gauge: Gauge, main: impl Main<Self>) -> i64 {
        let this = Self::default();
        let runtime = flavor.runtime();
        runtime.block_on(main(&this));
        gauge.during(|| runtime.block_on(this.end()))
    }
}

/// Tasks that are counted, for who has no way of its own to know that they have ended.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<(AtomicUsize, Notify)>);

impl Counter {
    /// Counts one more; the last of `of` wakes who waits.
    pub fn add(&self, of: usize) {
        if self.0.0.fetch_add(1, Ordering::Relaxed) + 1 == of {
            self.0.1.notify_one();
        }
    }

    /// Waits for the last.
    pub async fn last(&self) {
        self.0.1.notified().await;
    }
}
