//! Tasks that other libraries spawn, as far as these ask with what.

use std::borrow::Cow;
use std::panic::Location;

use crate::task;

/// What hyper spawns its tasks with: an executor whose tasks are supervised and have a name.
///
/// A server of HTTP/2 serves every request in a task of its own, and spawns it with the executor that
/// it was given. With this one such tasks are listed with the others, with the place where the executor
/// was made, and the shutdown awaits them. They are *cooperative*: a request that is being served is
/// not cut before the limit. A handler can hear of the shutdown through
/// [`cancelled`](crate::cancelled()), [`catch_cancel`](crate::catch_cancel()) and
/// [`stopping`](crate::stopping).
///
/// It is meant for servers. The connections of a client serve whoever needs them last, a cleanup or an
/// exit hook say, and those of a pool stay open while nobody does: there the executor that the client
/// comes with is the right one.
///
/// # Panics
///
/// [`execute`](hyper::rt::Executor::execute) panics outside a supervisor.
///
/// ```
/// use aiorun::{Executor, Handle};
/// use hyper::rt::Executor as _;
///
/// #[aiorun::main]
/// async fn main() {
///     // Where hyper asks for an executor: `http2::Builder::new(executor)`.
///     let executor = Executor::named("request");
///     executor.execute(async { /* what hyper does for a request */ });
///     let tasks = Handle::current().tasks();
///     assert!(tasks.iter().any(|task| task.name() == Some("request")));
///     aiorun::stop();
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Executor {
    name: Cow<'static, str>,
    location: &'static Location<'static>,
}

impl Executor {
    /// One whose tasks are called `connection`.
    #[track_caller]
    pub fn new() -> Self {
        Self::named("connection")
    }

    /// One whose tasks have that name.
    #[track_caller]
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            location: Location::caller(),
        }
    }
}

/// As [`Executor::new`].
impl Default for Executor {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let task = task::Builder::new(self.name.clone()).cooperative();
        drop(task.spawn_from(self.location, future));
    }
}
