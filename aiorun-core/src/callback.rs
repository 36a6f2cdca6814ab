//! The shutdown callback, in all the forms a user may give it.

#![expect(unnameable_types, reason = "the parts of one inferred bound")]

use std::error::Error;
use std::pin::Pin;

use crate::handle::Handle;
use crate::output::BoxError;

/// What a callback comes to, whatever it returned.
pub(crate) type CallbackResult = Result<(), BoxError>;

/// A callback in one of two forms: what it is depends on what it returns.
pub struct Callback(pub(crate) Form);

pub(crate) enum Form {
    Async(Box<dyn FnOnce(Handle) -> CallbackFuture + Send>),
    /// To be called on the blocking pool.
    Sync(Box<dyn FnOnce(Handle) -> CallbackResult + Send>),
}

type CallbackFuture = Pin<Box<dyn Future<Output = CallbackResult> + Send>>;

impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callback")
    }
}

/// What [`shutdown_callback`](crate::Builder::shutdown_callback) takes: a function, an async
/// function or a closure, with a [`Handle`] as its argument or without one, that returns nothing or
/// a `Result` whose error is `Into<Box<dyn Error + Send + Sync>>` or `Box<dyn Error>`.
///
/// `M` only tells the forms apart and is always inferred.
///
/// ```
/// use aiorun::{Builder, Handle};
///
/// async fn say_goodbye(handle: Handle) -> Result<(), std::io::Error> {
///     println!("{} tasks to go", handle.tasks().len());
///     Ok(())
/// }
///
/// let mut builder = Builder::new();
/// builder.shutdown_callback(say_goodbye);
/// builder.shutdown_callback(|| println!("bye"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a shutdown callback",
    label = "not a shutdown callback",
    note = "it is a `fn` or `async fn` or closure, `Send + 'static`, called with nothing or with an \
            `aiorun::Handle`",
    note = "it returns nothing, or a `Result` whose error is `Into<Box<dyn Error + Send + Sync>>` \
            or `Box<dyn Error>`"
)]
pub trait ShutdownCallback<M> {
    #[doc(hidden)]
    fn into_callback(self) -> Callback;
}

/// Something that a callback returns.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a shutdown callback cannot return `{Self}`",
    label = "this callback returns `{Self}`",
    note = "it returns nothing, or a `Result<(), E>` with `E: Into<Box<dyn Error + Send + Sync>>` or \
            `Box<dyn Error>`, or a future of one of these",
    note = "one that never returns needs to say that it returns nothing: `|| -> () {{ .. }}`"
)]
pub trait CallbackOutput<M> {
    fn lift<A: 'static>(call: impl FnOnce(A) -> Self + Send + 'static) -> Lifted<A>;
}

/// A callback that takes `A`.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "nobody ever holds one")]
pub struct Lifted<A>(LiftedForm<A>);

enum LiftedForm<A> {
    Async(Box<dyn FnOnce(A) -> CallbackFuture + Send>),
    Sync(Box<dyn FnOnce(A) -> CallbackResult + Send>),
}

/// Something that a callback, or its future, comes to.
#[doc(hidden)]
pub trait CallbackValue<M> {
    fn into_result(self) -> CallbackResult;
}

/// Markers of the forms.
#[doc(hidden)]
#[derive(Debug)]
pub enum Unit {}
#[doc(hidden)]
#[derive(Debug)]
pub enum SendError {}
#[doc(hidden)]
#[derive(Debug)]
pub enum LocalError {}
#[doc(hidden)]
#[derive(Debug)]
pub struct Sync<M>(M);
#[doc(hidden)]
#[derive(Debug)]
pub struct Async<M>(M);
#[doc(hidden)]
#[derive(Debug)]
pub struct WithHandle<M>(M);
#[doc(hidden)]
#[derive(Debug)]
pub struct WithoutHandle<M>(M);

impl CallbackValue<Unit> for () {
    fn into_result(self) -> CallbackResult {
        Ok(())
    }
}

impl<E: Into<BoxError>> CallbackValue<SendError> for Result<(), E> {
    fn into_result(self) -> CallbackResult {
        self.map_err(Into::into)
    }
}

impl CallbackValue<LocalError> for Result<(), Box<dyn Error>> {
    /// The error cannot leave its thread; its text can.
    fn into_result(self) -> CallbackResult {
        self.map_err(|error| error.to_string().into())
    }
}

impl<V: CallbackValue<M>, M> CallbackOutput<Sync<M>> for V {
    fn lift<A: 'static>(call: impl FnOnce(A) -> Self + Send + 'static) -> Lifted<A> {
        Lifted(LiftedForm::Sync(Box::new(|argument| {
            call(argument).into_result()
        })))
    }
}

impl<F, M> CallbackOutput<Async<M>> for F
where
    F: Future + Send + 'static,
    F::Output: CallbackValue<M>,
{
    fn lift<A: 'static>(call: impl FnOnce(A) -> Self + Send + 'static) -> Lifted<A> {
        Lifted(LiftedForm::Async(Box::new(|argument| {
            let future = call(argument);
            Box::pin(async move { future.await.into_result() })
        })))
    }
}

impl<C, R, M> ShutdownCallback<WithHandle<M>> for C
where
    C: FnOnce(Handle) -> R + Send + 'static,
    R: CallbackOutput<M>,
{
    fn into_callback(self) -> Callback {
        Callback(match R::lift(self).0 {
            LiftedForm::Async(call) => Form::Async(call),
            LiftedForm::Sync(call) => Form::Sync(call),
        })
    }
}

impl<C, R, M> ShutdownCallback<WithoutHandle<M>> for C
where
    C: FnOnce() -> R + Send + 'static,
    R: CallbackOutput<M>,
{
    fn into_callback(self) -> Callback {
        Callback(match R::lift(move |()| self()).0 {
            LiftedForm::Async(call) => Form::Async(Box::new(|_| call(()))),
            LiftedForm::Sync(call) => Form::Sync(Box::new(|_| call(()))),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn is_async<M>(callback: impl ShutdownCallback<M>) -> bool {
        matches!(callback.into_callback().0, Form::Async(_))
    }

    fn plain() {}
    fn with_handle(handle: Handle) -> io::Result<()> {
        let handle = Some(handle);
        if handle.is_some_and(|handle| handle.is_stopping()) {
            Ok(())
        } else {
            Err(io::ErrorKind::Other.into())
        }
    }
    async fn asynchronous() {}
    async fn fails(_: Handle) -> Result<(), Box<dyn Error>> {
        Err("no".into())
    }
    async fn fails_with_text() -> Result<(), String> {
        Err("no".into())
    }

    #[test]
    fn every_form_is_taken_for_what_it_is() {
        assert!(!is_async(plain));
        assert!(!is_async(with_handle));
        assert!(!is_async(|| {}));
        assert!(!is_async(|_: Handle| Ok::<
            (),
            Box<dyn Error + Send + std::marker::Sync>,
        >(())));
        assert!(is_async(asynchronous));
        assert!(is_async(fails));
        assert!(is_async(fails_with_text));
        assert!(is_async(|| async {}));
        assert!(is_async(async |_: Handle| Ok::<(), io::Error>(())));
    }
}
