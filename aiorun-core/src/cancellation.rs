//! Asking for a cancellation: `cancelled`, `is_cancelled`, `checkpoint`.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::FusedFuture;

use crate::current::{self, Site};
use crate::phase::Phase;
use crate::registry::{Registry, Slot};
use crate::run::Run;
use crate::scope::{Ear, Hearing, Place};
use crate::trace;

/// Waits for a cancellation, and makes the scope it is called in *cooperative*: that is the
/// innermost [`catch_cancel`](crate::catch_cancel) around the call, or else the task.
///
/// A cooperative scope is told and never interrupted, from the call to its own end. So the loop
/// that everybody writes finishes the item in hand and flushes:
///
/// ```
/// # use tokio::sync::mpsc;
/// # async fn handle(_: u32) { tokio::task::yield_now().await }
/// # async fn flush() { tokio::task::yield_now().await }
/// async fn work(mut items: mpsc::Receiver<u32>) {
///     loop {
///         tokio::select! {
///             () = aiorun::cancelled() => break,
///             Some(item) = items.recv() => handle(item).await,
///         }
///     }
///     flush().await;
/// }
/// # let exit = aiorun::run(async {
/// #     let (send, items) = mpsc::channel(1);
/// #     aiorun::spawn(work(items));
/// #     send.send(1).await.unwrap();
/// #     drop(send.reserve().await.unwrap()); // it has taken the item
/// #     aiorun::stop();
/// # });
/// # assert_eq!(exit.report.tasks.completed, 2);
/// ```
///
/// The price: whoever asks and does not listen makes the shutdown wait for the limit, whose warning
/// names the place of the call. A library uses [`catch_cancel`](crate::catch_cancel) or
/// [`stopping`](crate::stopping).
///
/// Where a cancellation is pending, the call receives it, so that a loop as above notices it before the
/// next item even if it never waits. Code that blocks its task, by `block_in_place` and a `block_on`
/// say, is not suspended, and a future from before the request does not resolve there.
///
/// The returned future belongs to the scope that made it, whoever polls it, so that it can be given
/// away: `axum::serve(..).with_graceful_shutdown(aiorun::cancelled())`. It may be polled again when
/// it is done, and is done again then. If the scope ends before, it follows the task, and when that
/// has ended the shutdown: it resolves when the tasks are cancelled.
///
/// In a task that this crate did not spawn it resolves when the shutdown cancels the tasks, and once
/// polled it makes main cooperative. In a blocking job it resolves then too, or at
/// [`JoinHandle::cancel`](crate::JoinHandle::cancel). Outside a supervisor it never does.
///
/// # Cancel safety
///
/// Nothing is lost when it is dropped; a new one resolves as well.
#[track_caller]
pub fn cancelled() -> Cancellation {
    let place = Location::caller();
    let source = match current::site() {
        Site::Task(slot) => Source::Scope(Scope::new(slot, None, place)),
        Site::Job(slot) => {
            let run = slot.registry().run();
            Source::Scope(Scope::new(
                slot,
                run.map(|run| Ear::new(Arc::clone(&run.cancelling))),
                place,
            ))
        }
        Site::Bare(run) => Source::Run {
            ear: Ear::new(Arc::clone(&run.cancelling)),
            run: Some(run),
        },
        Site::Outside => Source::Nobody,
    };
    Cancellation { source, place }
}

/// Resolves when its scope is cancelled: what [`cancelled`] returns.
#[must_use = "futures do nothing unless polled"]
pub struct Cancellation {
    source: Source,
    place: Place,
}

/// Where the word comes from.
enum Source {
    Scope(Scope),
    Run {
        ear: Ear,
        /// Whose main is to be made cooperative.
        run: Option<Arc<Run>>,
    },
    Nobody,
    Done,
}

/// A scope of a task, or a job.
struct Scope {
    ear: Ear,
    slot: &'static Slot,
    /// The run's number: the registry may be another's when the task has ended.
    epoch: u64,
    /// A job is not cancelled by the shutdown, and hears of it all the same.
    shutdown: Option<Ear>,
}

impl Scope {
    fn new(slot: &'static Slot, shutdown: Option<Ear>, place: Place) -> Self {
        Self {
            ear: slot.listen(place),
            slot,
            epoch: slot.registry().epoch(),
            shutdown,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Hearing {
        let waker = cx.waker();
        // The task's own poll comes after whatever it is told.
        let own = current::is_polling(self.slot) && self.slot.is_own(waker);
        let hearing = if own {
            let hearing = self.ear.hear();
            if hearing == Hearing::Waiting {
                trace::waker::note(waker);
            }
            hearing
        } else {
            self.ear.listen(waker)
        };
        match &mut self.shutdown {
            Some(ear) if hearing == Hearing::Waiting => ear.listen(waker),
            _ => hearing,
        }
    }

    /// Who is to be asked when the task is gone.
    fn run(&self) -> Option<Arc<Run>> {
        let registry: &Registry = self.slot.registry();
        registry.run().filter(|run| run.epoch == self.epoch)
    }
}

impl Future for Cancellation {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Source::Scope(scope) = &mut self.source {
            self.source = match scope.poll(cx) {
                Hearing::Waiting => return Poll::Pending,
                Hearing::Told => Source::Done,
                Hearing::Ended => match scope.run() {
                    Some(run) => Source::Run {
                        ear: Ear::new(Arc::clone(&run.cancelling)),
                        run: None,
                    },
                    // It is over, and has cancelled all there was.
                    None => Source::Done,
                },
            };
        }
        let place = self.place;
        if let Source::Run { ear, run } = &mut self.source {
            if let Some(run) = run.take() {
                run.make_main_cooperative(place);
            }
            if ear.listen(cx.waker()) == Hearing::Told {
                self.source = Source::Done;
            }
        }
        match self.source {
            Source::Done => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl FusedFuture for Cancellation {
    fn is_terminated(&self) -> bool {
        matches!(self.source, Source::Done)
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation")
            .field("place", &self.place)
            .field("done", &self.is_terminated())
            .finish_non_exhaustive()
    }
}

/// Whether the scope that asks was cancelled. Asking makes it *cooperative*, as
/// [`cancelled`](cancelled()) does: for work that cannot await, and for what follows a cooperative
/// [`catch_cancel`](crate::catch_cancel).
///
/// True from the request on, unless a [`shield`](crate::shield) keeps it out, to the end of the
/// scope. In a blocking job true from the moment when the shutdown cancels the tasks, or from
/// [`JoinHandle::cancel`](crate::JoinHandle::cancel) on. In a task that this crate did not spawn true
/// when the shutdown cancels the tasks, and asking has no effect. `false` outside a supervisor.
///
/// ```
/// let exit = aiorun::run(async {
///     let count = aiorun::spawn_blocking(|| {
///         let mut rounds = 0_u64;
///         while !aiorun::is_cancelled() {
///             rounds += 1;
///         }
///         rounds
///     });
///     aiorun::stop();
///     aiorun::cancelled().await;
///     println!("{} rounds", count.await.unwrap());
/// });
/// assert!(exit.is_success());
/// ```
#[track_caller]
pub fn is_cancelled() -> bool {
    match current::site() {
        Site::Task(slot) => slot.ask(Location::caller()),
        Site::Job(slot) => slot.is_job_cancelled(),
        Site::Bare(run) => run.phase() >= Phase::Cancelling,
        Site::Outside => false,
    }
}

/// A place where a pending cancellation is received, for code that awaits nothing else.
///
/// Done at once where there is none, or a [`shield`](crate::shield) keeps it out; it does not yield
/// to other tasks, as [`tokio::task::yield_now`] does. Otherwise the task is suspended here, and what
/// happens is what happens at every await: an ordinary task is dropped, a
/// [`catch_cancel`](crate::catch_cancel) around it yields, a cooperative scope goes on.
///
/// # Cancel safety
///
/// There is nothing to lose.
///
/// ```
/// use aiorun::{catch_cancel, checkpoint};
///
/// let exit = aiorun::run(async {
///     aiorun::stop();
///     let mut rounds = 0_u64;
///     let forever = async {
///         loop {
///             rounds += 1; // a piece of work
///             checkpoint().await;
///         }
///     };
///     let Err(_) = catch_cancel(forever).await;
///     println!("cancelled after {rounds} rounds");
/// });
/// assert!(exit.is_success());
/// ```
pub fn checkpoint() -> Checkpoint {
    Checkpoint { polls: 0 }
}

/// Receives a cancellation: what [`checkpoint`] returns.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Checkpoint {
    /// In which it had to suspend.
    polls: u8,
}

impl Future for Checkpoint {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        /// A combinator may poll what woke itself a few times more in the same poll of the task. Who
        /// does so for ever has blocked the task, which cannot be suspended then.
        const MOST_POLLS: u8 = 32;
        let pending = current::slot().is_some_and(Slot::must_suspend);
        if !pending || !matches!(current::site(), Site::Task(_)) || self.polls == MOST_POLLS {
            self.polls = 0;
            return Poll::Ready(());
        }
        self.polls += 1;
        // It is the task that is polled again for the request; this may be a part of it with a waker
        // of its own.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
