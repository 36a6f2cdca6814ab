//! `catch_cancel`: a cancellation as a value.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Waker};

use pin_project_lite::pin_project;

use crate::current::{self, Site};
use crate::registry::Slot;
use crate::scope::{Entered, Place, Receipt, Scopes};
use crate::trace;

/// Runs `future`, and yields `Err(Cancelled)` where a cancellation of the task would have dropped the
/// task: Python's `try: … except CancelledError:`.
///
/// `future` is a *scope* of the task from the first poll to the end. A cancellation that arrives
/// meanwhile drops `future`, whose destructors run, and the task goes on with what follows, where it
/// may await: it can flush, send a last message, hand work back. Of nested scopes the innermost
/// catches; of concurrent ones, in a `join!`, each does.
///
/// The shutdown waits for the task within its limit, `timeout_task_shutdown`. A cancellation that is
/// requested later is a new one: cleanup that must not be cut goes into a [`shield`](crate::shield).
///
/// A scope in which [`cancelled`](crate::cancelled()) was called or
/// [`is_cancelled`](crate::is_cancelled) asked is *cooperative*: it is not interrupted, and yields
/// what its future returns.
///
/// Where a cancellation is pending already, `future` is not even polled. Outside a task of ours
/// there is nothing to catch and the future just runs.
///
/// # Cancel safety
///
/// When it yields `Err`, `future` has been dropped where it was suspended: at the start of a poll,
/// never in the middle of one, and never with something in it that is shielded. What `future`
/// produced is never dropped: if it is ready in the poll in which the cancellation arrives, that
/// poll yields `Ok`. Whether `future` may be dropped between two of its awaits without losing
/// anything is for `future` to say, as in `select!`.
///
/// The returned future itself may be dropped at any time, which drops `future`. A cancellation that
/// it was about to yield is not lost then: the task receives it again, unless another scope knows of
/// it.
///
/// # Panics
///
/// When it is polled again after it was done.
///
/// ```
/// use aiorun::catch_cancel;
///
/// let exit = aiorun::run(async {
///     aiorun::stop();
///     match catch_cancel(std::future::pending::<()>()).await {
///         Ok(()) => unreachable!("it never ends by itself"),
///         Err(_) => tokio::task::yield_now().await, // cleanup may await
///     }
/// });
/// assert_eq!(exit.report.tasks.completed, 1);
/// assert_eq!(exit.report.tasks.caught, 1);
/// ```
#[track_caller]
pub fn catch_cancel<F: Future>(future: F) -> CatchCancel<F> {
    CatchCancel {
        future: Some(future),
        member: Member::New,
        place: Location::caller(),
    }
}

pin_project! {
    /// Catches a cancellation: what [`catch_cancel`] returns.
    #[must_use = "futures do nothing unless polled"]
    pub struct CatchCancel<F> {
        // `None` when it is done.
        #[pin]
        future: Option<F>,
        // After the future: a scope is over when all in it is gone.
        member: Member,
        place: Place,
    }

    impl<F> PinnedDrop for CatchCancel<F> {
        /// Its destructors belong to the scope too.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Member::Catch(catch) = this.member
                && catch.is_here()
            {
                let _entered = catch.enter();
                this.future.set(None);
            }
        }
    }
}

/// Where a catch belongs.
enum Member {
    /// Not polled yet.
    New,
    /// To no task of ours.
    Inert,
    Catch(Catch),
}

/// A place among the scopes of a task.
struct Catch {
    slot: &'static Slot,
    scopes: Arc<Scopes>,
    index: u32,
    /// The waker that leads here, the task's or one that the scopes hold, for comparison.
    known: Option<Address>,
}

/// What tells one waker from another that lives.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Address(usize, usize);

impl Address {
    fn of(waker: &Waker) -> Self {
        let waker = trace::waker::own(waker);
        let vtable: *const RawWakerVTable = waker.vtable();
        Self(waker.data().addr(), vtable.addr())
    }
}

impl Catch {
    fn begin(slot: &'static Slot, waker: &Waker) -> Self {
        let (scopes, index, own) = slot.begin_catch(waker);
        Self {
            slot,
            scopes,
            index,
            known: own.then(|| Address::of(waker)),
        }
    }

    /// Whether it has fired, and so is to yield.
    fn fires(&self) -> bool {
        self.scopes.has_fired() && self.scopes.fires(self.index)
    }

    /// Whether its task is the one that is running.
    fn is_here(&self) -> bool {
        current::is_of(self.slot, &self.scopes)
    }

    fn enter(&self) -> Entered<'_> {
        self.scopes.enter(self.index)
    }

    /// Sees to it that the catch is polled when it fires, whatever polls it.
    fn follow(&mut self, waker: &Waker) {
        let address = Some(Address::of(waker));
        if self.known != address {
            self.known = address;
            let waker = (!self.slot.is_own(waker)).then(|| trace::waker::own(waker).clone());
            let (stale, told) = self.scopes.follow(self.index, waker);
            drop(stale);
            told.wake();
        }
    }
}

impl Drop for Catch {
    fn drop(&mut self) {
        self.slot.end_catch(&self.scopes, self.index);
    }
}

impl Member {
    /// The catch of the task that is running, which may not be the one of the last poll.
    fn of_this_task(&mut self, waker: &Waker) -> Option<&mut Catch> {
        let stays = match self {
            Self::New => false,
            Self::Inert => !current::is_in_task(),
            Self::Catch(catch) => catch.is_here(),
        };
        if !stays {
            *self = match current::site() {
                Site::Task(slot) => Self::Catch(Catch::begin(slot, waker)),
                _ => Self::Inert,
            };
        }
        match self {
            Self::Catch(catch) => Some(catch),
            _ => None,
        }
    }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut();
        let future = future.expect("`catch_cancel` is not polled again when it is done");
        let Some(catch) = this.member.of_this_task(cx.waker()) else {
            return future.poll(cx).map(|value| {
                this.future.set(None);
                Ok(value)
            });
        };
        if catch.fires() {
            {
                let _entered = catch.enter();
                this.future.set(None);
            }
            let receipt = catch.slot.note_caught(&catch.scopes, this.place);
            *this.member = Member::Inert;
            return Poll::Ready(Err(Cancelled { receipt }));
        }
        let polled = {
            let _entered = catch.enter();
            let polled = future.poll(cx);
            if polled.is_ready() {
                this.future.set(None);
            }
            polled
        };
        match polled {
            Poll::Ready(value) => {
                *this.member = Member::Inert;
                Poll::Ready(Ok(value))
            }
            Poll::Pending => {
                catch.follow(cx.waker());
                Poll::Pending
            }
        }
    }
}

impl<F> fmt::Debug for CatchCancel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchCancel")
            .field("place", &self.place)
            .field("done", &self.future.is_none())
            .finish_non_exhaustive()
    }
}

/// The task was cancelled: what [`catch_cancel`] yields instead of a value.
///
/// Match `Err(_)`, or `Err(Cancelled { .. })`. Passed on by `?` it is no failure: where main, a
/// fallible task or the shutdown callback returns an `Err` that still owns one, in whatever wrapping,
/// that counts as cancelled.
///
/// This goes by ownership. Whoever keeps a `Cancelled` somewhere else while the task returns another
/// error makes that error look like a cancellation: drop it first. Of main this is true whatever it
/// returns, an exit code say.
///
/// ```
/// use aiorun::{Cancelled, catch_cancel};
///
/// async fn serve() -> Result<(), Cancelled> {
///     catch_cancel(std::future::pending::<()>()).await
/// }
///
/// let exit = aiorun::run(async {
///     aiorun::stop();
///     serve().await?;
///     Ok::<_, Box<dyn std::error::Error>>(())
/// });
/// assert_eq!(exit.report.tasks.cancelled, 1);
/// assert!(exit.is_success());
/// ```
#[derive(Clone)]
pub struct Cancelled {
    #[expect(dead_code, reason = "it is counted")]
    receipt: Receipt,
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was cancelled")
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancelled")
    }
}

impl Error for Cancelled {}
