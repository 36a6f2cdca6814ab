//! Libraries of others, used as their documentation shows it.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_shutdown::ShutdownManager;
use tokio::task::JoinSet;
use tokio_graceful::Shutdown;
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::sync::CancellationToken;

use crate::contender::{Contender, Flavor, Main};
use crate::gauge::Gauge;

/// Nothing takes that long.
const LIMIT: Duration = Duration::from_mins(10);

/// tokio's `JoinSet`.
#[derive(Debug, Default)]
pub struct Set(Mutex<JoinSet<()>>);

impl Contender for Set {
    const NAME: &'static str = "JoinSet";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        Self::cancel(flavor, Gauge::TIME, main);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().expect("not poisoned");
        set.spawn(task);
        // Without this it grows for as long as the program runs.
        while set.try_join_next().is_some() {}
    }

    fn cancel(flavor: Flavor, gauge: Gauge, main: impl Main<Self>) -> i64 {
        let this = Self::default();
        let runtime = flavor.runtime();
        runtime.block_on(main(&this));
        let mut set = this.0.into_inner().expect("not poisoned");
        gauge.during(|| runtime.block_on(set.shutdown()))
    }
}

/// `tokio-graceful-shutdown`: a subsystem for each task.
impl Contender for SubsystemHandle {
    const NAME: &'static str = "tokio-graceful-shutdown";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        Self::cancel(flavor, Gauge::TIME, main);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let subsystem = async move |handle: &mut SubsystemHandle| {
            tokio::select! {
                () = task => {}
                () = handle.on_shutdown_requested() => {}
            }
            Ok::<_, Infallible>(())
        };
        self.start(SubsystemBuilder::new("task", subsystem));
    }

    fn cancel(flavor: Flavor, gauge: Gauge, main: impl Main<Self>) -> i64 {
        let before = Arc::new(AtomicI64::new(0));
        let of_main = Arc::clone(&before);
        flavor.runtime().block_on(async {
            let top = Toplevel::new(async move |handle: &mut SubsystemHandle| {
                main(handle).await;
                of_main.store(gauge.read(), Ordering::Release);
                handle.request_shutdown();
            });
            let ended = top.handle_shutdown_requests(LIMIT).await;
            ended.expect("nothing fails");
            gauge.read() - before.load(Ordering::Acquire)
        })
    }

    fn serve(flavor: Flavor, main: impl Main<Self>) {
        flavor.runtime().block_on(async {
            let top = Toplevel::new(async move |handle: &mut SubsystemHandle| {
                main(handle).await;
                handle.on_shutdown_requested().await;
            });
            let top = top.catch_signals();
            let ended = top.handle_shutdown_requests(LIMIT).await;
            ended.expect("nothing fails");
        });
    }
}

/// `tokio-graceful`, where each task listens to its guard.
pub struct Graceful {
    shutdown: Shutdown,
}

impl fmt::Debug for Graceful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Graceful")
    }
}

impl Contender for Graceful {
    const NAME: &'static str = "tokio-graceful";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        Self::cancel(flavor, Gauge::TIME, main);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shutdown.spawn_task_fn(async move |guard| {
            tokio::select! {
                () = task => {}
                () = guard.cancelled() => {}
            }
        });
    }

    fn cancel(flavor: Flavor, gauge: Gauge, main: impl Main<Self>) -> i64 {
        let token = CancellationToken::new();
        let signal = token.clone();
        flavor.runtime().block_on(async {
            let this = Self {
                shutdown: Shutdown::new(async move { signal.cancelled().await }),
            };
            main(&this).await;
            let before = gauge.read();
            token.cancel();
            this.shutdown.shutdown().await;
            gauge.read() - before
        })
    }

    fn serve(flavor: Flavor, main: impl Main<Self>) {
        flavor.runtime().block_on(async {
            let this = Self {
                shutdown: Shutdown::default(),
            };
            main(&this).await;
            this.shutdown.shutdown().await;
        });
    }
}

/// `async-shutdown`, which cancels each task and waits for it.
pub struct AsyncShutdown(ShutdownManager<()>);

impl fmt::Debug for AsyncShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncShutdown")
    }
}

impl Contender for AsyncShutdown {
    const NAME: &'static str = "async-shutdown";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        Self::cancel(flavor, Gauge::TIME, main);
    }

    #[expect(clippy::disallowed_methods, reason = "it brings no spawn of its own")]
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.0.wrap_cancel(task);
        let task = self.0.wrap_delay_shutdown(task).expect("it has not ended");
        tokio::spawn(task);
    }

    fn cancel(flavor: Flavor, gauge: Gauge, main: impl Main<Self>) -> i64 {
        let this = Self(ShutdownManager::new());
        let runtime = flavor.runtime();
        runtime.block_on(main(&this));
        gauge.during(|| {
            this.0.trigger_shutdown(()).expect("for the first time");
            runtime.block_on(this.0.wait_shutdown_complete());
        })
    }
}
