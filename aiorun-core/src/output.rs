//! What a task leaves behind for its `JoinHandle`, and what becomes of it when nobody takes it.
//!
//! A failure that nobody saw is found without any link between the task and its handle: the output
//! itself reports when it is dropped untaken. tokio drops a task's output when its handle is gone
//! already or goes later unread. A task that succeeds pays nothing for it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::registry::Name;
use crate::run::Run;
use crate::scope::Receipts;
use crate::task::{Id, Kind, Label};

/// An error of any type, as failures carry it.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The output of a task, as tokio keeps it.
#[derive(Debug)]
pub(crate) enum Output<T> {
    Value(T),
    Cancelled,
    /// What hardly ever happens, in one place.
    Other(Rare<Other<T>>),
}

/// A box whose drop is a call, and no code at each place where it may be dropped.
#[derive(Debug)]
pub(crate) struct Rare<T>(Option<Box<T>>);

impl<T> Rare<T> {
    pub(crate) fn take(mut self) -> Option<T> {
        self.0.take().map(|boxed| *boxed)
    }
}

impl<T> Drop for Rare<T> {
    fn drop(&mut self) {
        if let Some(boxed) = self.0.take() {
            discard(boxed);
        }
    }
}

#[cold]
#[inline(never)]
fn discard<T>(boxed: Box<T>) {
    drop(boxed);
}

#[derive(Debug)]
pub(crate) enum Other<T> {
    /// A value in which there may be cancellations that the task has received.
    Received(T, Receipts),
    Panicked(Panicked),
    Failed(Failed<T>),
}

impl<T> From<Other<T>> for Output<T> {
    fn from(other: Other<T>) -> Self {
        Self::Other(Rare(Some(Box::new(other))))
    }
}

/// Which task it was, for whoever has no slot to look into any more.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) id: Id,
    pub(crate) name: Name,
    pub(crate) location: &'static Location<'static>,
    pub(crate) kind: Kind,
}

impl Origin {
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| &**name)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = Label {
            kind: self.kind,
            id: self.id,
            name: self.name(),
            bare_shield: false,
        };
        write!(f, "{label} (spawned at {})", self.location)
    }
}

/// A failure that is there to be seen by somebody.
#[derive(Debug)]
struct Failure {
    run: Arc<Run>,
    origin: Origin,
}

/// How a task failed.
#[derive(Debug)]
pub(crate) enum Problem {
    Panicked(String),
    Failed(BoxError),
    /// It failed, and its error is in the hands of somebody who has not looked yet.
    Unread,
    /// A critical task came to an end that is no failure.
    Ended,
}

/// A panic, with what it was raised with.
pub(crate) struct Panicked {
    payload: Option<Box<dyn Any + Send>>,
    failure: Failure,
}

impl Panicked {
    pub(crate) fn new(run: Arc<Run>, origin: Origin, payload: Box<dyn Any + Send>) -> Self {
        run.failed(&origin, Problem::Panicked(message(&*payload)));
        Self {
            payload: Some(payload),
            failure: Failure { run, origin },
        }
    }

    /// Hands out the payload; the panic counts as seen.
    pub(crate) fn take(mut self) -> Option<Box<dyn Any + Send>> {
        self.failure.run.seen(self.failure.origin.id);
        self.payload.take()
    }
}

impl Drop for Panicked {
    fn drop(&mut self) {
        if let Some(payload) = &self.payload {
            let problem = Problem::Panicked(message(&**payload));
            self.failure
                .run
                .unhandled(self.failure.origin.clone(), problem);
        }
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panicked").finish_non_exhaustive()
    }
}

/// An `Err` of a fallible task.
pub(crate) struct Failed<T> {
    value: Option<T>,
    into_error: fn(T) -> Option<BoxError>,
    failure: Failure,
}

impl<T> Failed<T> {
    pub(crate) fn new(
        run: Arc<Run>,
        origin: Origin,
        value: T,
        into_error: fn(T) -> Option<BoxError>,
    ) -> Self {
        run.failed(&origin, Problem::Unread);
        Self {
            value: Some(value),
            into_error,
            failure: Failure { run, origin },
        }
    }

    /// Hands out the value; the failure counts as seen.
    pub(crate) fn take(mut self) -> Option<T> {
        self.failure.run.seen(self.failure.origin.id);
        self.value.take()
    }
}

impl<T> Drop for Failed<T> {
    fn drop(&mut self) {
        if let Some(error) = self.value.take().and_then(self.into_error) {
            self.failure
                .run
                .unhandled(self.failure.origin.clone(), Problem::Failed(error));
        }
    }
}

impl<T> fmt::Debug for Failed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed").finish_non_exhaustive()
    }
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is no text").to_owned()
}
