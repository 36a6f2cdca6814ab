//! The supervisor behind the crate `aiorun`: use it through that crate, where its documentation is
//! complete. The anatomy is told in `ARCHITECTURE.md`.

mod builder;
mod callback;
mod cancellation;
mod catch;
mod config;
mod control;
mod current;
mod dump;
mod entry;
mod error;
#[cfg(feature = "hyper")]
mod executor;
mod exit;
mod group;
mod handle;
mod hard_exit;
mod join;
#[cfg(test)]
mod kept;
mod latch;
mod listing;
mod log;
mod manager;
#[cfg(feature = "metrics")]
mod meter;
mod output;
mod pause;
mod phase;
mod registry;
mod report;
mod reporter;
mod run;
mod runtime;
mod scope;
#[cfg(feature = "serde")]
mod serial;
mod shield;
mod signals;
#[cfg(feature = "tracing")]
mod span;
mod spawn;
mod stderr;
mod supervised;
mod supervisor;
mod sync;
pub mod task;
mod testing;
mod text;
mod thread;
#[cfg(feature = "tokio-util")]
mod token;
mod trace;

pub use builder::{Builder, run};
pub use callback::ShutdownCallback;
pub use cancellation::{Cancellation, Checkpoint, cancelled, checkpoint, is_cancelled};
pub use catch::{Cancelled, CatchCancel, catch_cancel};
pub use config::{Flavor, ParseOptionError, RepeatSignal, SignalAction, SignalExitStatus};
pub use dump::Dump;
pub use error::{HookReport, RunError, UnhandledError};
#[cfg(feature = "hyper")]
pub use executor::Executor;
pub use exit::{Exit, StopReason};
pub use group::{Group, group};
pub use handle::{
    Handle, Stopping, TryCurrentError, is_stopping, on_exit, ready, stop, stop_with, stopping,
    time_left,
};
pub use join::{AbortHandle, JoinError, JoinHandle};
pub use phase::Phase;
pub use report::{PhaseReport, Report, TaskCounts};
pub use shield::{Shield, shield};
pub use signals::{ParseSignalError, Signal};
pub use spawn::{shutdown_waits_for, spawn, spawn_blocking, spawn_fallible, spawn_local, task};
pub use testing::cancel_everywhere::{CancelAtEveryAwait, Trial, Way, cancel_at_every_await};
#[cfg(feature = "tokio-util")]
pub use token::token;

/// For the expansions of `#[aiorun::main]` and `#[aiorun::test]` only: no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use core::option::Option;
    pub use core::time::Duration;
    pub use std::process::ExitCode;

    pub use crate::entry::{LocalEntry, SendEntry, probe, reported};
    pub use crate::testing::{test, test_builder};
}

/// For `fuzz/`: no part of the interface, nor of the crate as others build it.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::phase::play as play_phases;
}
