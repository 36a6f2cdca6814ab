//! What the attributes of `aiorun-macros` expand to calls of.

#![expect(unnameable_types, reason = "only expansions use them, and name none")]
#![expect(missing_docs, reason = "no part of the interface")]

use std::marker::PhantomData;
use std::panic::Location;
use std::process::{ExitCode, Termination};

use crate::builder::Builder;
use crate::exit::Exit;
use crate::supervisor;

/// Turns what main returns into an exit code the moment it returns, which prints its error.
pub async fn reported<F>(main: F) -> ExitCode
where
    F: Future,
    F::Output: Termination,
{
    main.await.report()
}

/// Tells whether a future may run on a worker thread, at compile time and without a bound on it:
/// `(&&probe(&future)).entry()` finds the method of [`SendEntry`] where the future is `Send`, one
/// reference deeper that of [`LocalEntry`] where it is not.
#[derive(Debug)]
pub struct Probe<F>(PhantomData<fn() -> F>);

/// Asks about a future.
pub fn probe<F>(_: &F) -> Probe<F> {
    Probe(PhantomData)
}

/// Main may run on a worker.
#[derive(Debug)]
pub struct OnWorker;
/// Main runs on the thread that calls `run`.
#[derive(Debug)]
pub struct Here;

/// The future is `Send`.
pub trait SendEntry {
    fn entry(&self) -> OnWorker {
        OnWorker
    }
}

impl<F: Future<Output = ExitCode> + Send + 'static> SendEntry for &Probe<F> {}

/// The future need not be.
pub trait LocalEntry {
    fn entry(&self) -> Here {
        Here
    }
}

impl<F: Future<Output = ExitCode>> LocalEntry for Probe<F> {}

impl OnWorker {
    #[track_caller]
    pub fn run<F>(self, builder: &mut Builder, main: F) -> Exit
    where
        F: Future<Output = ExitCode> + Send + 'static,
    {
        supervisor::run_on_worker(builder, Location::caller(), main)
    }
}

impl Here {
    #[track_caller]
    pub fn run<F>(self, builder: &mut Builder, main: F) -> Exit
    where
        F: Future<Output = ExitCode>,
    {
        supervisor::run_here(builder, Location::caller(), Some(main))
    }
}
