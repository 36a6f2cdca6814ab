//! Sections that are not to be cut, under load, in figures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aiorun::catch_cancel;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::ended::Ended;
use crate::scene::ready;

/// How many tasks of each sort are in sections.
pub(crate) const SECTIONED: u64 = 16;

/// How many were to begin, where somebody counts that.
pub(crate) static ASKED: AtomicU64 = AtomicU64::new(0);
pub(crate) static BEGUN: AtomicU64 = AtomicU64::new(0);
static FINISHED: AtomicU64 = AtomicU64::new(0);
/// How many have noticed something under their shield.
static NOTICED: AtomicU64 = AtomicU64::new(0);
/// How many loops have ended by themselves.
pub(crate) static LEFT: AtomicU64 = AtomicU64::new(0);

pub(crate) fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::SeqCst) + 1
}

pub(crate) fn counted(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

/// Suspended now for this and now for that; whoever drops it half-way leaves one unfinished.
pub(crate) async fn section() {
    let number = count(&BEGUN);
    for _ in 0..number % 4 {
        yield_now().await;
    }
    if number.is_multiple_of(8) {
        sleep(Duration::from_millis(1)).await;
    }
    if number.is_multiple_of(3) {
        // Over another thread and back, where there is one.
        let (send, received) = oneshot::channel();
        aiorun::shutdown_waits_for(async { send.send(()) });
        received.await.unwrap();
    }
    if catch_cancel(yield_now()).await.is_err() {
        count(&NOTICED);
    }
    count(&FINISHED);
}

/// Waits until all who have the sender have begun, and so many sections too.
pub(crate) async fn under_load(mut begin: mpsc::Receiver<()>, sections: &str) {
    let sections = sections.parse().expect("a number of sections");
    assert!(begin.recv().await.is_none());
    while counted(&BEGUN) < sections {
        yield_now().await;
    }
    ready();
}

pub(crate) fn tell_sections() {
    println!(
        "SECTIONS asked={} begun={} finished={} noticed={} left={}",
        counted(&ASKED),
        counted(&BEGUN),
        counted(&FINISHED),
        counted(&NOTICED),
        counted(&LEFT),
    );
}

/// In the ended child at least `least` sections had begun, and every one came to its end.
#[track_caller]
pub(crate) fn nothing_is_cut(ended: &Ended, least: u64) {
    let begun = ended.figure("begun");
    assert!(begun >= least, "it was stopped too early: {ended:?}");
    ended.figures([("finished", begun), ("noticed", 0)]);
}
