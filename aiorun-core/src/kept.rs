//! For tests: what lives as long as the process.

use std::any::Any;
use std::sync::Mutex;

use crate::sync::lock_std;

/// Where a leak detector finds it: what is kept is not lost.
pub(crate) fn keep<T: Any + Send + Sync>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<&(dyn Any + Send + Sync)>> = Mutex::new(Vec::new());
    let value: &'static T = Box::leak(Box::new(value));
    lock_std(&KEPT).push(value);
    value
}
