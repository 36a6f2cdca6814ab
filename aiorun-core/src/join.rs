//! The handle of a task, and what it says when the task did not return.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::task;

use crate::current::{self, Site};
use crate::output::{Origin, Other, Output, message};
use crate::registry::Slot;
use crate::scope::Receipt;
use crate::task::Id;
use crate::text::PrintableLines;

/// Awaits a task and can stop it: what [`spawn`](crate::spawn()) and its like return.
///
/// Awaiting it yields what the task returned, or a [`JoinError`]. Dropping it detaches the task,
/// which goes on; a failure of it is then *unhandled* (see
/// [`unhandled_error_handler`](crate::Builder::unhandled_error_handler)).
///
/// # Cancel safety
///
/// A `JoinHandle` that is not done can be dropped and, by `&mut`, awaited again: nothing is lost,
/// the task goes on.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     let task = aiorun::spawn(async { 6 * 7 });
///     assert_eq!(task.await.unwrap(), 42);
///     aiorun::stop();
/// }
/// ```
pub struct JoinHandle<T> {
    /// `None` for a task that came too late and never was.
    inner: Option<task::JoinHandle<Output<T>>>,
    slot: Option<&'static Slot>,
    origin: Origin,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(
        inner: task::JoinHandle<Output<T>>,
        slot: &'static Slot,
        origin: Origin,
    ) -> Self {
        Self {
            inner: Some(inner),
            slot: Some(slot),
            origin,
        }
    }

    pub(crate) fn too_late(origin: Origin) -> Self {
        Self {
            inner: None,
            slot: None,
            origin,
        }
    }

    /// The task's identity.
    pub fn id(&self) -> Id {
        self.origin.id
    }

    /// Requests a cancellation of this one task, protected or not, as shutdown does for all. Returns
    /// at once.
    ///
    /// The task receives it where it is next suspended outside any [`shield`](crate::shield). What
    /// happens then is up to the task: an ordinary one is dropped and its handle yields an error
    /// with [`is_cancelled`](JoinError::is_cancelled); one that is in a
    /// [`catch_cancel`](crate::catch_cancel), or [cooperative](crate::cancelled()), goes on and may
    /// yield its value. A request that comes before an earlier one was received is one with it. A
    /// blocking job is dropped if it is still queued, and never interrupted.
    ///
    /// ```
    /// use aiorun::catch_cancel;
    ///
    /// #[aiorun::main(flavor = "current_thread")]
    /// async fn main() {
    ///     let task = aiorun::spawn(async {
    ///         match catch_cancel(std::future::pending::<()>()).await {
    ///             Ok(()) => "done",
    ///             Err(_) => "cancelled",
    ///         }
    ///     });
    ///     tokio::task::yield_now().await; // it starts
    ///     task.cancel();
    ///     assert_eq!(task.await.unwrap(), "cancelled");
    ///     aiorun::stop();
    /// }
    /// ```
    pub fn cancel(&self) {
        if let Some(slot) = self.slot {
            slot.cancel(self.origin.id);
        }
    }

    /// tokio's hard abort: the future is dropped at the end of the poll that may be going on,
    /// whatever the task is doing. See [`tokio::task::JoinHandle::abort`].
    pub fn abort(&self) {
        if let Some(inner) = &self.inner {
            inner.abort();
        }
    }

    /// A handle for [`abort`](Self::abort) that can be kept apart from this one.
    pub fn abort_handle(&self) -> AbortHandle {
        let inner = self.inner.as_ref().map(task::JoinHandle::abort_handle);
        AbortHandle {
            inner,
            id: self.origin.id,
        }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(task::JoinHandle::is_finished)
    }

    #[cold]
    fn other(&self, other: Option<Other<T>>) -> Result<T, JoinError> {
        match other {
            Some(Other::Received(value, receipts)) => {
                if let Some(reader) = receiver() {
                    reader.adopt_receipts(receipts);
                }
                Ok(value)
            }
            Some(Other::Panicked(panic)) => Err(self.error(panic.take())),
            Some(Other::Failed(failed)) => failed.take().ok_or_else(|| self.error(None)),
            None => Err(self.error(None)),
        }
    }

    fn error(&self, payload: Option<Box<dyn Any + Send>>) -> JoinError {
        let cause = match payload {
            None => Cause::Cancelled {
                _receipt: receiver().map(Slot::issue_receipt),
            },
            Some(payload) => Cause::Panicked {
                message: message(&*payload),
                payload: Mutex::new(payload),
            },
        };
        JoinError {
            origin: self.origin.clone(),
            cause,
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Err(self.error(None)));
        };
        let output = ready!(Pin::new(inner).poll(cx));
        Poll::Ready(match output {
            Ok(Output::Value(value)) => Ok(value),
            Ok(Output::Other(other)) => self.other(other.take()),
            // An `Err` is tokio's: somebody used `abort`, or the runtime is gone.
            Ok(Output::Cancelled) | Err(_) => Err(self.error(None)),
        })
    }
}

/// The task that reads a handle, where what was cancelled may be a part of its own cancellation.
fn receiver() -> Option<&'static Slot> {
    match current::site() {
        // The job of a sync shutdown callback is judged as well.
        Site::Task(slot) | Site::Job(slot) => Some(slot).filter(|slot| slot.may_receive()),
        _ => None,
    }
}

// As tokio's: a task that panicked has not left anything half done in its handle.
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.origin.id)
            .field("name", &self.origin.name)
            .field("location", &self.origin.location)
            .finish_non_exhaustive()
    }
}

/// Aborts a task from anywhere: what [`JoinHandle::abort_handle`] returns.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     let task = aiorun::spawn(std::future::pending::<()>());
///     let abort = task.abort_handle();
///     abort.abort();
///     assert!(task.await.unwrap_err().is_cancelled());
///     assert!(abort.is_finished());
///     aiorun::stop();
/// }
/// ```
#[derive(Debug, Clone)]
pub struct AbortHandle {
    inner: Option<task::AbortHandle>,
    id: Id,
}

impl AbortHandle {
    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        if let Some(inner) = &self.inner {
            inner.abort();
        }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(task::AbortHandle::is_finished)
    }

    /// The task's identity.
    pub fn id(&self) -> Id {
        self.id
    }
}

/// Why a task returned nothing: it was cancelled or it panicked.
///
/// Has the methods of [`tokio::task::JoinError`], and names the task.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     let task = aiorun::task("ingest").spawn(async { panic!("no such feed") });
///     let error = task.await.unwrap_err();
///     assert!(error.is_panic());
///     assert_eq!(error.name(), Some("ingest"));
///     assert_eq!(error.message(), Some("no such feed"));
///     aiorun::stop();
/// }
/// ```
pub struct JoinError {
    origin: Origin,
    cause: Cause,
}

enum Cause {
    Cancelled {
        /// The task that read the error has received a cancellation by it.
        _receipt: Option<Receipt>,
    },
    Panicked {
        message: String,
        /// In a mutex because an error should be `Sync`, and a payload need not be.
        payload: Mutex<Box<dyn Any + Send>>,
    },
}

impl JoinError {
    /// Whether the task was cancelled: by the shutdown, by [`JoinHandle::cancel`], by
    /// [`JoinHandle::abort`], or because its runtime is gone.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.cause, Cause::Cancelled { .. })
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        !self.is_cancelled()
    }

    /// What the task panicked with, say for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// If the task did not panic.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.try_into_panic()
            .expect("the task did not panic, ask `is_panic` first")
    }

    /// What the task panicked with.
    ///
    /// # Errors
    ///
    /// The error itself if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, Self> {
        match self.cause {
            Cause::Cancelled { .. } => Err(self),
            Cause::Panicked { payload, .. } => {
                Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    /// The task's identity.
    pub fn id(&self) -> Id {
        self.origin.id
    }

    /// The name it was given, if any.
    pub fn name(&self) -> Option<&str> {
        self.origin.name()
    }

    /// Where it was spawned.
    pub fn location(&self) -> &'static Location<'static> {
        self.origin.location
    }

    /// What the panic said, `None` for a cancellation.
    pub fn message(&self) -> Option<&str> {
        match &self.cause {
            Cause::Cancelled { .. } => None,
            Cause::Panicked { message, .. } => Some(message),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.origin)?;
        match self.message() {
            None => f.write_str("was cancelled"),
            Some(message) => write!(f, "panicked: {}", PrintableLines(message)),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}
