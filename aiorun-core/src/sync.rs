//! The primitives under everything that tasks share, or loom's under `--cfg aiorun_loom`. (Plain
//! `--cfg loom` would switch tokio as well, whose `net` then vanishes.)
//!
//! The mutex is of one byte and is not poisoned: std's asks at both ends whether the thread panics,
//! which is a tenth of what a task costs.

#[cfg(aiorun_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard, atomic::AtomicBool, atomic::AtomicU32, atomic::AtomicU64,
};
#[cfg(not(aiorun_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(aiorun_loom))]
pub(crate) use std::sync::{atomic::AtomicBool, atomic::AtomicU32, atomic::AtomicU64};

/// Locks. No critical section of this crate runs foreign code, so none is ever left half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(aiorun_loom)]
    return mutex.lock().unwrap_or_else(PoisonError::into_inner);
    #[cfg(not(aiorun_loom))]
    mutex.lock()
}

/// As [`lock`], for whoever cannot wait.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    #[cfg(aiorun_loom)]
    return mutex.try_lock().ok();
    #[cfg(not(aiorun_loom))]
    mutex.try_lock()
}

/// As [`lock`], for what is `std`'s under loom too: statics, and what is only touched in the cold.
pub(crate) fn lock_std<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
