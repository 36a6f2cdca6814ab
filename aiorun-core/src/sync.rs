//! The primitives under everything that tasks share: those of `std`, or loom's under
//! `--cfg aiorun_loom`. (Plain `--cfg loom` would switch tokio as well, whose `net` then vanishes.)

#[cfg(aiorun_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard, atomic::AtomicBool, atomic::AtomicU32, atomic::AtomicU64,
};
#[cfg(not(aiorun_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, atomic::AtomicBool, atomic::AtomicU32, atomic::AtomicU64,
};
use std::sync::{PoisonError, TryLockError};

/// Locks, poisoned or not: no critical section of this crate runs foreign code, so none is ever
/// left half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], for whoever cannot wait.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// As [`lock`], for what is `std`'s under loom too: statics, and what is only touched in the cold.
pub(crate) fn lock_std<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
