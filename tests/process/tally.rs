//! How the figures of a run add up: the report's counts, and what its tasks owned.

use std::sync::atomic::{AtomicU64, Ordering};

use aiorun::Exit;

use crate::ended::Ended;

static MADE: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// What a task owns: counted when it is made and when it is dropped.
pub(crate) struct Token;

impl Token {
    pub(crate) fn new() -> Self {
        MADE.fetch_add(1, Ordering::SeqCst);
        Self
    }

    /// How many were made so far.
    pub(crate) fn made() -> u64 {
        MADE.load(Ordering::SeqCst)
    }

    /// How many were dropped so far.
    pub(crate) fn dropped() -> u64 {
        DROPPED.load(Ordering::SeqCst)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

/// Says what the report has counted, in one line.
pub(crate) fn tell(exit: &Exit) {
    let tasks = exit.report.tasks;
    let ended = tasks.completed + tasks.failed + tasks.panicked + tasks.cancelled + tasks.refused;
    println!(
        "REPORT spawned={} ended={ended} completed={} failed={} panicked={} cancelled={} refused={} \
         made={} dropped={}",
        tasks.spawned,
        tasks.completed,
        tasks.failed,
        tasks.panicked,
        tasks.cancelled,
        tasks.refused,
        Token::made(),
        Token::dropped(),
    );
}

/// In the ended child each task has one outcome, and each destructor ran once.
#[track_caller]
pub(crate) fn adds_up(ended: &Ended) {
    ended.says_once("REPORT").figures([
        ("ended", ended.figure("spawned")),
        ("dropped", ended.figure("made")),
    ]);
}
