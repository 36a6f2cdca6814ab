//! Programs made of everything that has to do with a cancellation, and what is seen of them.

use crate::registry::Outcome;

/// What a task does.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Names it in what is seen; what is never seen has none of its own.
    pub(super) label: usize,
    pub(super) op: Op,
    pub(super) parts: Vec<Self>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Suspends until it is released.
    Wait,
    /// As `Wait`; and a destructor asks `is_cancelled()` if it is dropped before.
    Leave,
    /// Requests the cancellation of the task that is running: its own.
    Request,
    /// Asks `is_cancelled()`.
    Ask,
    /// Calls `cancelled()` and awaits it.
    Listen,
    /// Calls `cancelled()` and puts it into the pocket.
    Bind,
    /// Awaits the `cancelled()` that is in the pocket, if there is one.
    Hear,
    Checkpoint,
    /// `catch_cancel`, around its parts in sequence.
    Catch,
    Shield,
    Seq,
    Join(Wakers),
    /// In order; when one is done, the others are dropped.
    Select,
    /// Polls its parts once, and puts what is left of them into the pocket.
    Begin,
    /// Goes on with what is in the pocket, if there is something.
    Finish,
}

/// Who is woken for a part of a `Join`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wakers {
    /// The task, and all parts are polled: as `join!`.
    Task,
    /// The part, and only such are polled; in the order of the parts, so that it is known.
    Own,
    /// The part, as `FuturesUnordered` does it.
    Unordered,
}

impl Op {
    /// The program that does this, to some parts.
    pub(super) fn of(self, parts: impl Into<Vec<Program>>) -> Program {
        Program {
            label: 0,
            op: self,
            parts: parts.into(),
        }
    }
}

impl Program {
    /// Gives labels, in the order of the text. Returns those of what can be released.
    pub(super) fn label(&mut self) -> Vec<usize> {
        let mut waits = Vec::new();
        self.label_from(0, &mut waits);
        waits
    }

    fn label_from(&mut self, label: usize, waits: &mut Vec<usize>) -> usize {
        self.label = label;
        if matches!(self.op, Op::Wait | Op::Leave) {
            waits.push(label);
        }
        let is_seen = !matches!(self.op, Op::Request | Op::Bind | Op::Begin | Op::Finish)
            && !matches!(self.op, Op::Seq | Op::Join(_) | Op::Select);
        let next = label + usize::from(is_seen);
        let parts = self.parts.iter_mut();
        parts.fold(next, |next, part| part.label_from(next, waits))
    }

    /// The same with another sort of `Join`s.
    pub(super) fn joined_by(mut self, wakers: Wakers) -> Self {
        if let Op::Join(was) = &mut self.op {
            *was = wakers;
        }
        let parts = self.parts.into_iter();
        self.parts = parts.map(|part| part.joined_by(wakers)).collect();
        self
    }
}

/// What happens to a task from outside, while it is suspended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Release(usize),
    /// Somebody cancels the task.
    Cancel,
    /// The shutdown cancels all tasks.
    Shutdown,
    /// The limit of the shutdown has passed.
    Limit,
    /// Its owner drops it.
    Abort,
}

/// A program, what sort of task it is, and what happens in each turn before it is polled.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) program: Program,
    /// From birth.
    pub(super) cooperative: bool,
    /// It is polled with another waker each time, as a main may be.
    pub(super) moves: bool,
    pub(super) turns: Vec<Vec<Event>>,
}

/// What is seen of which part of a program.
pub(super) type Seen = (usize, &'static str);

pub(super) const BEGUN: &str = "+";
pub(super) const DROPPED: &str = "-";
/// Of a `catch_cancel`: with `Ok`.
pub(super) const DONE: &str = "=ok";
pub(super) const CAUGHT: &str = "=err";
pub(super) const TRUE: &str = "=true";
pub(super) const FALSE: &str = "=false";

/// What a turn brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) seen: Vec<Seen>,
    pub(super) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The task lives, and `TaskInfo` says this of it.
    Lives {
        cooperative: bool,
        asked: bool,
        shielded: bool,
        caught: bool,
    },
    /// It has ended, and is counted so.
    Ended { outcome: Outcome, caught: bool },
}
