//! Tokens of tokio-util: one that hears of a cancellation, and one that stops a run.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::builder::Builder;
use crate::current::{self, Site};
use crate::run::Run;
use crate::scope::{Scopes, wake};

/// A token that is cancelled with the scope it is called in, for code that takes tokens.
///
/// The scope is the innermost [`catch_cancel`](crate::catch_cancel()) around the call, or else the task.
/// The token is cancelled when [`cancelled()`](crate::cancelled()) would resolve there, and the call has
/// the same effect: the scope is *cooperative* from then on, told and never interrupted, and a
/// cancellation that is pending is received.
///
/// ```
/// use tokio_util::sync::CancellationToken;
///
/// # async fn turn() { tokio::task::yield_now().await }
/// async fn pump(token: CancellationToken) -> u32 {
///     let mut turns = 0;
///     while token.run_until_cancelled(turn()).await.is_some() {
///         turns += 1;
///     }
///     turns
/// }
///
/// let exit = aiorun::run(async {
///     let (begin, begun) = tokio::sync::oneshot::channel();
///     let pump = aiorun::spawn(async {
///         let token = aiorun::token();
///         begin.send(()).unwrap();
///         pump(token).await
///     });
///     begun.await.unwrap();
///     pump.cancel();
///     println!("{} turns", pump.await.unwrap());
///     aiorun::stop();
/// });
/// assert_eq!(exit.report.tasks.cancelled, 0);
/// ```
///
/// Each call returns a token of its own. To cancel it cancels what it was given to, and neither the task
/// nor another token. To cancel the task there is [`JoinHandle::cancel`](crate::JoinHandle::cancel).
///
/// A task that has ended takes its tokens with it, in whatever way it ended: they are cancelled, as by a
/// [`drop_guard`](CancellationToken::drop_guard), for nobody is left who would do it later. Two outlive
/// their caller and are cancelled when the shutdown cancels the tasks: that of main, for a main that
/// returns need not be the end of the program, and that of a task which this crate did not spawn. The
/// token of a [`catch_cancel`](crate::catch_cancel()) that is over belongs to the task.
///
/// In a blocking job the token is cancelled when [`is_cancelled`](crate::is_cancelled) turns true. In a
/// task that this crate did not spawn the call makes main cooperative. Outside a supervisor the token is
/// never cancelled, unless by the caller.
#[track_caller]
pub fn token() -> CancellationToken {
    let place = Location::caller();
    match current::site() {
        Site::Task(slot) => slot.listening(place).token(CancellationToken::new),
        // The shutdown cancels no job, and tells it all the same.
        Site::Job(slot) => {
            let run = slot.registry().run();
            let cancelling = run.map(|run| run.cancelling.token(CancellationToken::new));
            slot.listening(place)
                .token(|| cancelling.unwrap_or_default())
        }
        Site::Bare(run) => {
            run.make_main_cooperative(place);
            run.cancelling.token(CancellationToken::new)
        }
        Site::Outside => CancellationToken::new(),
    }
}

/// The token of a scope, whose children are handed out. It is cancelled by being woken, so that whoever
/// wakes need not know what a token is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source(Option<Arc<Cancels>>);

#[derive(Debug)]
struct Cancels(CancellationToken);

impl Wake for Cancels {
    fn wake(self: Arc<Self>) {
        self.0.cancel();
    }
}

impl Source {
    /// The token itself, which is `fresh` where there was none.
    pub(crate) fn get(&mut self, fresh: impl FnOnce() -> CancellationToken) -> CancellationToken {
        let source = self.0.get_or_insert_with(|| Arc::new(Cancels(fresh())));
        source.0.clone()
    }

    /// What cancels all that were handed out.
    pub(crate) fn take(&mut self) -> Option<Waker> {
        self.0.take().map(Waker::from)
    }
}

impl Scopes {
    /// A token for the scope that is running: a child of the scope's own, which is `fresh` where there was
    /// none.
    pub(crate) fn token(&self, fresh: impl FnOnce() -> CancellationToken) -> CancellationToken {
        if let Some(source) = self.source(fresh) {
            return source.child_token();
        }
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        cancelled
    }
}

impl Builder {
    /// A token that stops the run when it is cancelled, as [`stop`](crate::stop) does, and with the reason
    /// [`StopReason::TokenCancelled`](crate::StopReason::TokenCancelled): for a program that stands in
    /// another one, or whose parts know a token and not this crate.
    ///
    /// Where it was cancelled before the run begins, main is never polled. Nothing of it is kept when the
    /// run is over. The token is not cancelled by the run: that is what [`token`] is for. Default: none.
    ///
    /// ```
    /// use aiorun::{Builder, StopReason};
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// let exit = Builder::new().stop_when(token.clone()).run(async move { token.cancel() });
    /// assert_eq!(exit.reason, StopReason::TokenCancelled);
    /// ```
    pub fn stop_when(&mut self, token: CancellationToken) -> &mut Self {
        self.options.stop_when = Some(token);
        self
    }
}

/// While it lives, the end of a token is the end of a run. No task waits for it: whoever cancels the token
/// tells the control thread.
pub(crate) struct StopWhen {
    /// Remembers whom to wake.
    _cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Woken when the token is cancelled.
struct Stops(Arc<Run>);

impl Wake for Stops {
    fn wake(self: Arc<Self>) {
        self.0.stop_by_token();
    }
}

impl StopWhen {
    pub(crate) fn watch(token: CancellationToken, run: &Arc<Run>) -> Self {
        let mut cancelled = Box::pin(token.cancelled_owned());
        let waker = Waker::from(Arc::new(Stops(Arc::clone(run))));
        if let Poll::Ready(()) = cancelled.as_mut().poll(&mut Context::from_waker(&waker)) {
            wake(waker);
        }
        Self {
            _cancelled: cancelled,
        }
    }
}

impl fmt::Debug for StopWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopWhen").finish_non_exhaustive()
    }
}
