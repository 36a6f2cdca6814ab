//! Who is compared: each starts a program, spawns tasks in it, and cancels them, as its users do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The runtime that all of them run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// `current_thread`
    OneThread,
    /// `multi_thread` with two workers.
    Workers,
}

impl Flavor {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::OneThread, Self::Workers];

    /// How it is called on a command line and in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneThread => "ct",
            Self::Workers => "mt",
        }
    }

    pub(crate) fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::OneThread => Builder::new_current_thread(),
            Self::Workers => Builder::new_multi_thread(),
        };
        if self == Self::Workers {
            builder.worker_threads(2);
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

    /// Does `work` in such a way that a cancellation ends it, and not the task.
    fn catch(&self, work: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        work
    }

    /// Runs `main`, and when that has ended cancels what it has spawned; says how long it takes
    /// until all is gone.
    fn cancel(flavor: Flavor, main: impl Main<Self>) -> Duration;
}

/// The main function of a program, which spawns by what it is given.
pub trait Main<C: 'static>: for<'a> FnOnce(&'a C) -> BoxFuture<'a> + Send + 'static {}

impl<C: 'static, T: for<'a> FnOnce(&'a C) -> BoxFuture<'a> + Send + 'static> Main<C> for T {}

/// A boxed future: one allocation for a program.
pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Measures from a moment to the end of `f`.
pub(crate) fn measure(f: impl FnOnce()) -> Duration {
    let began = Instant::now();
    f();
    began.elapsed()
}

/// `tokio::spawn`, and the runtime is dropped: the floor.
#[derive(Debug)]
pub struct Raw;

impl Contender for Raw {
    const NAME: &'static str = "raw";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        flavor.runtime().block_on(main(&Self));
    }

    #[expect(clippy::disallowed_methods, reason = "that is what it is")]
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    fn cancel(flavor: Flavor, main: impl Main<Self>) -> Duration {
        let runtime = flavor.runtime();
        runtime.block_on(main(&Self));
        measure(|| drop(runtime))
    }
}

/// A program under aiorun.
#[derive(Debug)]
pub struct Aiorun;

impl Aiorun {
    fn builder(flavor: Flavor) -> aiorun::Builder {
        let mut builder = aiorun::Builder::new();
        match flavor {
            Flavor::OneThread => builder.flavor(aiorun::Flavor::CurrentThread),
            Flavor::Workers => builder
                .flavor(aiorun::Flavor::MultiThread)
                .worker_threads(2),
        };
        builder
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

    async fn catch(&self, work: impl Future<Output = ()> + Send) {
        let _ = aiorun::catch_cancel(work).await;
    }

    fn cancel(flavor: Flavor, main: impl Main<Self>) -> Duration {
        let (say, said) = std::sync::mpsc::channel();
        let exit = Self::builder(flavor).run(async move {
            main(&Self).await;
            let began = Instant::now();
            // Hooks run when all tasks are gone.
            aiorun::on_exit("measured", async move {
                let _ = say.send(began.elapsed());
            });
            aiorun::stop();
        });
        assert!(exit.is_success(), "{exit:?}");
        said.recv().expect("the hook has said it")
    }
}

/// What people write by hand: a `TaskTracker` to wait for tasks, and a `CancellationToken` for them.
#[derive(Debug, Default)]
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

    fn cancel(flavor: Flavor, main: impl Main<Self>) -> Duration {
        let this = Self::default();
        let runtime = flavor.runtime();
        runtime.block_on(main(&this));
        measure(|| runtime.block_on(this.end()))
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
