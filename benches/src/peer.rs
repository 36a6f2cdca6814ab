//! Libraries of others, used as their documentation shows it.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_shutdown::ShutdownManager;
use tokio::task::JoinSet;
use tokio_graceful::Shutdown;
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::sync::CancellationToken;

use crate::contender::{Contender, Flavor, Main, measure};

/// tokio's `JoinSet`.
#[derive(Debug, Default)]
pub struct Set(Mutex<JoinSet<()>>);

impl Contender for Set {
    const NAME: &'static str = "JoinSet";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        Self::cancel(flavor, main);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().expect("not poisoned");
        set.spawn(task);
        // Without this it grows for as long as the program runs.
        while set.try_join_next().is_some() {}
    }

    fn cancel(flavor: Flavor, main: impl Main<Self>) -> Duration {
        let this = Self::default();
        let runtime = flavor.runtime();
        runtime.block_on(main(&this));
        let mut set = this.0.into_inner().expect("not poisoned");
        measure(|| runtime.block_on(set.shutdown()))
    }
}

/// `tokio-graceful-shutdown`: a subsystem for each task.
impl Contender for SubsystemHandle {
    const NAME: &'static str = "tokio-graceful-shutdown";

    fn run(flavor: Flavor, main: impl Main<Self>) {
        Self::cancel(flavor, main);
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

    fn cancel(flavor: Flavor, main: impl Main<Self>) -> Duration {
        let began = Arc::new(Mutex::new(Instant::now()));
        let of_main = Arc::clone(&began);
        flavor.runtime().block_on(async {
            let top = Toplevel::new(async move |handle: &mut SubsystemHandle| {
                main(handle).await;
                *of_main.lock().expect("not poisoned") = Instant::now();
                handle.request_shutdown();
            });
            let ended = top.handle_shutdown_requests(Duration::from_mins(10)).await;
            ended.expect("nothing fails");
            began.lock().expect("not poisoned").elapsed()
        })
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
        Self::cancel(flavor, main);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shutdown.spawn_task_fn(async move |guard| {
            tokio::select! {
                () = task => {}
                () = guard.cancelled() => {}
            }
        });
    }

    fn cancel(flavor: Flavor, main: impl Main<Self>) -> Duration {
        let token = CancellationToken::new();
        let signal = token.clone();
        flavor.runtime().block_on(async {
            let this = Self {
                shutdown: Shutdown::new(async move { signal.cancelled().await }),
            };
            main(&this).await;
            let began = Instant::now();
            token.cancel();
            this.shutdown.shutdown().await;
            began.elapsed()
        })
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
        Self::cancel(flavor, main);
    }

    #[expect(clippy::disallowed_methods, reason = "it brings no spawn of its own")]
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.0.wrap_cancel(task);
        let task = self.0.wrap_delay_shutdown(task).expect("it has not ended");
        tokio::spawn(task);
    }

    fn cancel(flavor: Flavor, main: impl Main<Self>) -> Duration {
        let this = Self(ShutdownManager::new());
        let runtime = flavor.runtime();
        runtime.block_on(main(&this));
        measure(|| {
            this.0.trigger_shutdown(()).expect("for the first time");
            runtime.block_on(this.0.wait_shutdown_complete());
        })
    }
}
