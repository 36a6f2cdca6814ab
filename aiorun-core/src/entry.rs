//! What the attributes of `aiorun-macros` expand to calls of.

#![expect(unnameable_types, reason = "only expansions use them, and name none")]
#![expect(missing_docs, reason = "no part of the interface")]
#![expect(
    clippy::unused_self,
    reason = "the two entries are told apart by their type"
)]

use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::process::{ExitCode, Termination};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::builder::Builder;
use crate::current;
use crate::exit::Exit;
use crate::registry::Slot;
use crate::supervisor;

pin_project! {
    /// What [`reported`] returns.
    #[derive(Debug)]
    pub struct Reported<F: Future> {
        #[pin]
        main: Option<F>,
        report: fn(F::Output) -> ExitCode,
    }
}

/// Turns what main returns into an exit code the moment it returns, which prints its error; or into
/// `None` if it says that main was cancelled.
///
/// It is no `async fn`, so that the bound on the output is asked for here and nowhere later: a main
/// with a wrong return type is one error then.
pub fn reported<F>(main: F) -> Reported<F>
where
    F: Future,
    F::Output: Termination,
{
    Reported {
        main: Some(main),
        report: Termination::report,
    }
}

impl<F: Future> Future for Reported<F> {
    type Output = Option<ExitCode>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ExitCode>> {
        let mut this = self.project();
        let main = this.main.as_mut().as_pin_mut();
        let returned = ready!(main.expect("not polled after it returned").poll(cx));
        this.main.set(None);
        // What it returns owns what it has received and not dropped.
        if let Some(_receipts) = current::slot().and_then(Slot::take_live_receipts) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some((this.report)(returned)))
    }
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

impl<F: Future<Output = Option<ExitCode>> + Send + 'static> SendEntry for &Probe<F> {}

/// The future need not be.
pub trait LocalEntry {
    fn entry(&self) -> Here {
        Here
    }
}

impl<F: Future<Output = Option<ExitCode>>> LocalEntry for Probe<F> {}

impl OnWorker {
    #[track_caller]
    pub fn run<F>(self, builder: &mut Builder, main: F) -> Exit
    where
        F: Future<Output = Option<ExitCode>> + Send + 'static,
    {
        supervisor::run_on_worker(builder, Location::caller(), main)
    }
}

impl Here {
    #[track_caller]
    pub fn run<F>(self, builder: &mut Builder, main: F) -> Exit
    where
        F: Future<Output = Option<ExitCode>>,
    {
        supervisor::run_here(builder, Location::caller(), Some(main))
    }
}
