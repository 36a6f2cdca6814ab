//! The user's runtime: how it is built from the options, driven, and closed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime, Runtime};

use crate::config::{Flavor, Options};
use crate::output::message;

/// Main would otherwise have 2 MiB on a worker where it had 8 on the main thread. Reserved, not
/// resident.
pub(crate) const STACK: usize = 8 << 20;

pub(crate) enum UserRuntime {
    Shared(Runtime),
    Local(LocalRuntime),
}

impl UserRuntime {
    /// # Errors
    ///
    /// Where the system has no thread or descriptor to give: tokio says some of that by panics.
    pub(crate) fn build(options: &Options) -> io::Result<Self> {
        let attempt = || catch_unwind(AssertUnwindSafe(|| Self::try_build(options)));
        let built = match options.flavor() {
            // With a thread for one worker and none for the next, tokio unwinds out of its half-built runtime,
            // whose drop waits for the first worker, whom nobody tells to end. It does not wait inside a
            // runtime, where nobody may.
            Flavor::MultiThread => {
                let around = Builder::new_current_thread().build()?;
                around.block_on(async { attempt() })
            }
            _ => attempt(),
        };
        built.unwrap_or_else(|payload| Err(io::Error::other(message(&*payload))))
    }

    fn try_build(options: &Options) -> io::Result<Self> {
        let flavor = options.flavor();
        let mut builder = match flavor {
            #[cfg(feature = "multi-thread")]
            Flavor::MultiThread => Builder::new_multi_thread(),
            _ => Builder::new_current_thread(),
        };
        builder.enable_all();
        builder.thread_stack_size(options.thread_stack_size.unwrap_or(STACK));
        #[cfg(feature = "multi-thread")]
        if let Some(workers) = options.worker_threads {
            builder.worker_threads(workers);
        }
        if let Some(workers) = options.executor_workers {
            builder.max_blocking_threads(workers);
        }
        if let Some(name) = &options.name {
            builder.name(name);
            builder.thread_name(name);
        }
        #[cfg(feature = "test-util")]
        builder.start_paused(options.start_paused == Some(true));
        match flavor {
            Flavor::Local => builder
                .build_local(LocalOptions::default())
                .map(Self::Local),
            _ => builder.build().map(Self::Shared),
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        match self {
            Self::Shared(runtime) => runtime.handle(),
            Self::Local(runtime) => runtime.handle(),
        }
    }

    pub(crate) fn block_on<T>(&self, future: Pin<&mut dyn Future<Output = T>>) -> T {
        match self {
            Self::Shared(runtime) => runtime.block_on(future),
            Self::Local(runtime) => runtime.block_on(future),
        }
    }

    /// Drops what is left of the tasks and waits for the runtime's threads, at most `most`. Whether all
    /// of them have ended; tokio does not tell, so one that took all of the time may be there.
    pub(crate) fn close(self, most: Duration) -> bool {
        let began = Instant::now();
        match self {
            Self::Shared(runtime) => runtime.shutdown_timeout(most),
            Self::Local(runtime) => runtime.shutdown_timeout(most),
        }
        began.elapsed() < most
    }
}
