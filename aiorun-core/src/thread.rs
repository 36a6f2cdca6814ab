//! Numbers and names of threads, so that a task's slot can tell in one word who is polling it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

static NAMES: Mutex<BTreeMap<u32, String>> = Mutex::new(BTreeMap::new());
/// 0 is no thread.
static NEXT: AtomicU32 = AtomicU32::new(1);

thread_local! {
    // Apart from the guard: a thread-local without a destructor is one load.
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    static GUARD: Guard = const { Guard };
}

/// Forgets the thread's name when it ends.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        NAMES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&NUMBER.get());
    }
}

/// The calling thread's number, at least 1 and unique in the process.
pub(crate) fn number() -> u32 {
    match NUMBER.get() {
        0 => register(),
        number => number,
    }
}

#[cold]
fn register() -> u32 {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    NUMBER.set(number);
    let thread = std::thread::current();
    let name = thread
        .name()
        .map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
    // While the thread's locals are being destroyed there is nobody left to forget the name.
    if GUARD.try_with(|_| ()).is_ok() {
        NAMES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, name);
    }
    number
}

/// The name of the thread with that number.
pub(crate) fn name(number: u32) -> String {
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names
        .get(&number)
        .cloned()
        .unwrap_or_else(|| String::from("a thread that has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_number_and_its_name_until_it_ends() {
        let spawned = std::thread::Builder::new()
            .name("worker-7".into())
            .spawn(|| {
                assert_eq!(number(), number());
                assert_eq!(name(number()), "worker-7");
                number()
            });
        let number_of_spawned = spawned.unwrap().join().unwrap();
        assert_ne!(number_of_spawned, number());
        assert_eq!(name(number_of_spawned), "a thread that has ended");
    }
}
