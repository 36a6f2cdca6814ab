//! Threads: their numbers and names, so that a task's slot can tell in one word who is polling it;
//! and those of our own that nobody waits for without limit.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crate::latch::{Latch, Opens};
use crate::sync::lock_std as lock;

/// What threads are called: by the number of each its name, and its number in the system where that
/// is known. In the order of the numbers, which are given out in turn.
static NAMES: Mutex<Vec<(u32, String)>> = Mutex::new(Vec::new());
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
        let mut names = lock(&NAMES);
        if let Ok(at) = find(&names, NUMBER.get()) {
            names.remove(at);
        }
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
    let name = thread.name().unwrap_or("a thread without a name");
    let name = match system_number() {
        Some(system) => format!("{name} (thread {system})"),
        None => name.to_owned(),
    };
    // While the thread's locals are being destroyed there is nobody left to forget the name.
    if GUARD.try_with(|_| ()).is_ok() {
        let mut names = lock(&NAMES);
        if let Err(at) = find(&names, number) {
            names.insert(at, (number, name));
        }
    }
    number
}

/// What debuggers, `top` and `/proc` know the calling thread by.
#[cfg(target_os = "linux")]
#[expect(clippy::unnecessary_wraps, reason = "not every system tells")]
fn system_number() -> Option<i32> {
    Some(nix::unistd::gettid().as_raw())
}

#[cfg(not(target_os = "linux"))]
fn system_number() -> Option<i32> {
    None
}

/// The name of the thread with that number.
pub(crate) fn name(number: u32) -> String {
    let names = lock(&NAMES);
    match find(&names, number) {
        Ok(at) => names[at].1.clone(),
        Err(_) => String::from("a thread that has ended"),
    }
}

/// As [`name`], for whoever cannot wait for a lock.
pub(crate) fn with_name<T>(number: u32, tell: impl FnOnce(&str) -> T) -> T {
    let names = NAMES.try_lock();
    let known = names.as_ref().ok();
    let known = known.and_then(|names| Some(&names[find(names, number).ok()?].1));
    tell(known.map_or("a thread whose name is not known", |name| name))
}

/// Where in the list a thread is, or belongs.
fn find(names: &[(u32, String)], number: u32) -> Result<usize, usize> {
    names.binary_search_by_key(&number, |(number, _)| *number)
}

/// A thread of ours that does something that may take any time.
#[derive(Debug)]
pub(crate) struct Helper {
    ended: Arc<Latch>,
    thread: JoinHandle<()>,
}

impl Helper {
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        Self::start_and_then(name, work, || ())
    }

    /// As [`start`](Self::start), and calls `then` when [`has_ended`](Self::has_ended) is true.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(crate) fn start_and_then(
        name: &str,
        work: impl FnOnce() + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_boxed(name, Box::new(work), Box::new(then))
    }

    /// Compiled once for all of them.
    fn start_boxed(name: &str, work: Work, then: Work) -> io::Result<Self> {
        let ended = Arc::new(Latch::default());
        let end = Opens(Arc::clone(&ended));
        let thread = Builder::new().name(name.into()).spawn(move || {
            // Dropped in reverse order, whatever becomes of the work.
            let _then = Finally(Some(then));
            let _end = end;
            work();
        })?;
        Ok(Self { ended, thread })
    }

    /// Waits for the thread to end. One that has not ended by then is left to itself.
    pub(crate) fn wait(self, until: Instant) {
        if self.ends_by(until) {
            let _ = self.thread.join();
        }
    }

    /// Waits for the thread to have ended its work, and says whether it has.
    pub(crate) fn ends_by(&self, until: Instant) -> bool {
        self.ended.wait(until)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_open()
    }
}

/// Something for a thread to do.
type Work = Box<dyn FnOnce() + Send>;

/// Calls something when it is dropped.
struct Finally(Option<Work>);

impl Drop for Finally {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_keeps_its_number_and_its_name_until_it_ends() {
        let spawned = std::thread::Builder::new()
            .name("worker-7".into())
            .spawn(|| {
                assert_eq!(number(), number());
                assert!(name(number()).starts_with("worker-7"));
                number()
            });
        let number_of_spawned = spawned.unwrap().join().unwrap();
        assert_ne!(number_of_spawned, number());
        assert_eq!(name(number_of_spawned), "a thread that has ended");
    }

    #[test]
    fn a_helper_is_waited_for_and_not_for_ever() {
        let (release, released) = mpsc::channel::<()>();
        let (say, said) = mpsc::channel();
        let helper = Helper::start("helper", move || {
            let _ = released.recv();
            say.send(()).unwrap();
        });
        let helper = helper.unwrap();
        assert!(!helper.has_ended());
        helper.wait(Instant::now() + Duration::from_millis(10));
        drop(release);
        said.recv().unwrap();
        let helper = Helper::start("helper", || {}).unwrap();
        helper.wait(Instant::now() + Duration::from_secs(60));
    }
}
