//! Where the public types may go: between threads, out of their pins, through a `catch_unwind`. All
//! of it is decided when this file is compiled, but for what must not be.

use std::cell::Cell;
use std::error::Error;
use std::fmt::Debug;
use std::marker::{PhantomData, PhantomPinned};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use aiorun::task::{Branch, Frame, State, TaskInfo, Trace};
use aiorun::{
    AbortHandle, Cancellation, Cancelled, CatchCancel, Checkpoint, Dump, Exit, Group, Handle,
    JoinError, JoinHandle, Report, RunError, Shield, StopReason, Stopping,
};

fn between_threads<T: Send + Sync + Unpin + Debug + 'static>() {}
fn anywhere<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + Debug + 'static>() {}
fn error<T: Error + Send + Sync + 'static>() {}

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unpin<T: Unpin>() {}
fn unwind_safe<T: UnwindSafe>() {}
fn ref_unwind_safe<T: RefUnwindSafe>() {}
fn debug<T: Debug>() {}

/// What `dump` returns is no named type.
fn same_thread_or_another(_: fn(&Handle) -> Box<dyn Future<Output = Dump> + Send + '_>) {}

/// As little are what a group returns.
fn a_group_anywhere(
    _: fn(&Group) -> Box<dyn Future<Output = ()> + Send + '_>,
    _: fn(&Group) -> Box<dyn Future<Output = Report> + Send + '_>,
) {
}

/// Both wrappers are what their future is.
fn as_the_future<S: Send, Y: Sync, U: Unpin, W: UnwindSafe, R: RefUnwindSafe, A>() {
    send::<CatchCancel<S>>();
    send::<Shield<S>>();
    sync::<CatchCancel<Y>>();
    sync::<Shield<Y>>();
    unpin::<CatchCancel<U>>();
    unpin::<Shield<U>>();
    unwind_safe::<CatchCancel<W>>();
    unwind_safe::<Shield<W>>();
    ref_unwind_safe::<CatchCancel<R>>();
    ref_unwind_safe::<Shield<R>>();
    debug::<CatchCancel<A>>();
    debug::<Shield<A>>();
}

/// As tokio's, which hands a value over and never shares it.
fn as_the_handle_of_tokio<S: Send, A>() {
    send::<JoinHandle<S>>();
    sync::<JoinHandle<S>>();
    unpin::<JoinHandle<A>>();
    unwind_safe::<JoinHandle<A>>();
    ref_unwind_safe::<JoinHandle<A>>();
    debug::<JoinHandle<A>>();
}

/// What a type has of an auto trait: an associated constant of its own goes before a trait's.
macro_rules! has {
    ($type:ty, $bound:path) => {{
        struct Look<T>(PhantomData<T>);
        #[allow(dead_code, reason = "where the type has it")]
        trait Without {
            const HAS: bool = false;
        }
        impl<T> Without for Look<T> {}
        #[allow(dead_code, reason = "where the type lacks it")]
        impl<T: $bound> Look<T> {
            const HAS: bool = true;
        }
        Look::<$type>::HAS
    }};
}

#[test]
fn the_types_go_everywhere() {
    anywhere::<Cancellation>();
    anywhere::<Cancelled>();
    anywhere::<Checkpoint>();
    anywhere::<Stopping>();
    anywhere::<Handle>();
    anywhere::<Group>();
    anywhere::<aiorun::task::Builder>();
    anywhere::<AbortHandle>();
    anywhere::<JoinError>();
    anywhere::<StopReason>();
    anywhere::<State>();
    anywhere::<TaskInfo>();
    anywhere::<Dump>();
    anywhere::<Trace>();
    anywhere::<Branch>();
    anywhere::<Frame>();
    same_thread_or_another(|handle| Box::new(handle.dump()));
    a_group_anywhere(
        |group| Box::new(group.join()),
        |group| Box::new(group.shutdown(Duration::ZERO)),
    );
    #[cfg(feature = "hyper")]
    anywhere::<aiorun::Executor>();
    // They have errors of others in them, who promise nothing of unwinding.
    between_threads::<Exit>();
    between_threads::<Report>();
    between_threads::<RunError>();
    error::<Cancelled>();
    error::<JoinError>();
    error::<RunError>();
    as_the_future::<(), (), (), (), (), Rc<()>>();
    as_the_handle_of_tokio::<Cell<()>, Rc<()>>();
}

#[test]
fn a_wrapper_goes_no_further_than_its_future() {
    assert!(!has!(CatchCancel<Rc<()>>, Send) && !has!(Shield<Rc<()>>, Send));
    assert!(!has!(CatchCancel<Cell<()>>, Sync) && !has!(Shield<Cell<()>>, Sync));
    assert!(!has!(CatchCancel<PhantomPinned>, Unpin) && !has!(Shield<PhantomPinned>, Unpin));
    assert!(!has!(CatchCancel<&mut ()>, UnwindSafe) && !has!(Shield<&mut ()>, UnwindSafe));
    assert!(!has!(CatchCancel<Cell<()>>, RefUnwindSafe) && !has!(Shield<Cell<()>>, RefUnwindSafe));
    assert!(!has!(JoinHandle<Rc<()>>, Send) && !has!(JoinHandle<Rc<()>>, Sync));
    assert!(has!(CatchCancel<()>, Send), "the look sees what is there");
}
