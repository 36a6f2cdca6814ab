//! `shield`: work that a cancellation does not cut.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::current::{self, Site};
use crate::registry::{Birth, Slot};
use crate::scope::{self, Scopes};
use crate::spawn::reserve_in;
use crate::supervised::Place;
use crate::task::Id;
use crate::trace::Trace;

/// Runs `future` to its end before the task receives a cancellation: Python's `asyncio.shield`,
/// except that the caller is not cancelled meanwhile either.
///
/// While `future` is under way, from the first poll to the end, a cancellation of the task waits:
/// the task is not dropped, no [`catch_cancel`](crate::catch_cancel) in it yields, and the code
/// inside sees nothing of it. When the last shield of the task is done, the cancellation is received
/// where the task is next suspended, or at the next [`checkpoint`](crate::checkpoint).
///
/// It covers its own task only, not what `future` spawns. It needs no `'static` and starts no task.
/// The shutdown waits for it within `timeout_task_shutdown`; what takes longer is cut, named and an
/// error of the run.
///
/// In a task that this crate did not spawn, say in a request handler of a server, it holds too: the
/// shutdown waits for it. Only when the runtime is about to be closed, one that has not started
/// never starts.
///
/// # Cancel safety
///
/// It protects `future` from the supervisor, and not from its owner: whoever drops the returned
/// future, as `select!`, a timeout or [`JoinHandle::abort`](crate::JoinHandle::abort) do, drops
/// `future`.
///
/// # Panics
///
/// When it is polled again after it was done.
///
/// ```
/// use aiorun::shield;
/// use tokio::sync::oneshot;
///
/// let exit = aiorun::run(async {
///     let (begun, has_begun) = oneshot::channel();
///     let task = aiorun::spawn(shield(async move {
///         begun.send(()).unwrap();
///         tokio::task::yield_now().await; // the middle of a transaction
///         "committed"
///     }));
///     has_begun.await.unwrap();
///     task.cancel();
///     assert_eq!(task.await.unwrap(), "committed");
///     aiorun::stop();
/// });
/// assert!(exit.is_success());
/// ```
#[track_caller]
pub fn shield<F: Future>(future: F) -> Shield<F> {
    Shield {
        future: Some(future),
        cover: Cover::New,
        place: Location::caller(),
    }
}

pin_project! {
    /// Keeps a cancellation out: what [`shield`] returns.
    #[must_use = "futures do nothing unless polled"]
    pub struct Shield<F> {
        // `None` when it is done.
        #[pin]
        future: Option<F>,
        // After the future, which is shielded to its last destructor.
        cover: Cover,
        place: scope::Place,
    }
}

/// What keeps the cancellation out.
enum Cover {
    /// Not polled yet.
    New,
    /// There is nobody who could cancel.
    Inert,
    Task(TaskCover),
    /// In a task that is not ours: a place in the registry, which the shutdown waits for.
    Bare {
        place: Place,
    },
    /// It came when the runtime was about to be closed.
    TooLate,
}

struct TaskCover {
    slot: &'static Slot,
    scopes: Arc<Scopes>,
    index: u32,
}

impl Drop for TaskCover {
    fn drop(&mut self) {
        self.slot.end_shield(&self.scopes, self.index);
    }
}

impl Cover {
    fn new(place: scope::Place) -> Self {
        match current::site() {
            Site::Task(slot) => {
                let (scopes, index) = slot.begin_shield(place);
                Self::Task(TaskCover {
                    slot,
                    scopes,
                    index,
                })
            }
            Site::Bare(run) => match reserve_in(&run, None, &Birth::bare_shield(place)).0 {
                Some(slot) => Self::Bare {
                    place: Place::new(slot),
                },
                None if run.owns_runtime => Self::TooLate,
                None => Self::Inert,
            },
            Site::Job(_) | Site::Outside => Self::Inert,
        }
    }

    /// Whether it covers the task that is running, which may not be the one of the last poll.
    fn is_here(&self) -> bool {
        match self {
            Self::New => false,
            Self::Task(cover) => current::is_of(cover.slot, &cover.scopes),
            Self::Inert | Self::Bare { .. } | Self::TooLate => !current::is_in_task(),
        }
    }
}

impl<F: Future> Future for Shield<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.as_mut().project();
        let future = this.future.as_mut().as_pin_mut();
        let future = future.expect("`shield` is not polled again when it is done");
        if !this.cover.is_here() {
            // The new cover before the old one goes.
            let cover = Cover::new(this.place);
            *this.cover = cover;
        }
        if matches!(this.cover, Cover::TooLate) {
            return Poll::Pending;
        }
        if let Cover::Bare { place } = this.cover {
            let slot = place.slot();
            // Asked first: who asks takes the waker, which is put back then.
            let asked = slot.needs_attention().then(|| slot.is_surveyed()).flatten();
            slot.follow(cx.waker());
            if let Some(id) = asked {
                return self.poll_traced(cx, slot, id);
            }
        }
        let polled = future.poll(cx);
        if polled.is_ready() {
            this.future.set(None);
            *this.cover = Cover::Inert;
        }
        polled
    }
}

impl<F: Future> Shield<F> {
    /// As the supervisor does with a task of ours, so that this one too can tell where it is
    /// suspended.
    #[cold]
    fn poll_traced(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slot: &'static Slot,
        id: Id,
    ) -> Poll<F::Output> {
        /// Answers, even where the poll panics.
        struct Answer(&'static Slot, Id, Option<Trace>);

        impl Drop for Answer {
            fn drop(&mut self) {
                self.0.answer_as(self.1, self.2.take());
            }
        }

        let mut answer = Answer(slot, id, None);
        let polled;
        (polled, answer.2) = slot.poll_traced(cx.waker(), |cx| self.as_mut().poll(cx));
        polled
    }
}

impl<F> fmt::Debug for Shield<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield")
            .field("place", &self.place)
            .field("done", &self.future.is_none())
            .finish_non_exhaustive()
    }
}
