//! Programs made of everything that has to do with a cancellation, and what is seen of them.

use std::fmt;

use crate::registry::Outcome;

/// What a task does.
#[derive(Clone)]
pub(super) struct Program {
    /// Names it in what is seen; there is none of its own for what is not seen.
    pub(super) label: usize,
    pub(super) op: Op,
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// Suspends until it is released; how often, the label says once.
    Wait,
    /// Requests the cancellation of the task that is running.
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
    Catch(Box<Program>),
    Shield(Box<Program>),
    Seq(Vec<Program>),
    Join(Wakers, Vec<Program>),
    /// In this order; when one is done, the other is dropped.
    Select(Box<[Program; 2]>),
    /// Polls it once, and puts what is left of it into the pocket.
    Begin(Box<Program>),
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

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", name(self.label), self.op)
    }
}

/// `a` to `z`.
fn name(label: usize) -> char {
    u8::try_from(label).map_or('?', |label| char::from(b'a' + label))
}

impl From<Op> for Program {
    fn from(op: Op) -> Self {
        Self { label: 0, op }
    }
}

impl Program {
    /// Gives labels, in the order of the text.
    pub(super) fn labelled(mut self) -> Self {
        self.label_from(0);
        self
    }

    /// Returns the next label.
    fn label_from(&mut self, label: usize) -> usize {
        self.label = label;
        let seen = !matches!(
            self.op,
            Op::Request
                | Op::Bind
                | Op::Seq(_)
                | Op::Join(..)
                | Op::Select(_)
                | Op::Begin(_)
                | Op::Finish
        );
        let next = label + usize::from(seen);
        let parts = match &mut self.op {
            Op::Catch(inner) | Op::Shield(inner) | Op::Begin(inner) => {
                std::slice::from_mut(&mut **inner)
            }
            Op::Seq(parts) | Op::Join(_, parts) => parts,
            Op::Select(parts) => &mut parts[..],
            _ => &mut [],
        };
        parts
            .iter_mut()
            .fold(next, |next, part| part.label_from(next))
    }

    pub(super) fn parts(&self) -> &[Self] {
        match &self.op {
            Op::Catch(inner) | Op::Shield(inner) | Op::Begin(inner) => std::slice::from_ref(inner),
            Op::Seq(parts) | Op::Join(_, parts) => parts,
            Op::Select(parts) => &parts[..],
            _ => &[],
        }
    }

    /// The labels of all `Wait`s.
    pub(super) fn waits(&self) -> Vec<usize> {
        match self.op {
            Op::Wait => vec![self.label],
            _ => self.parts().iter().flat_map(Self::waits).collect(),
        }
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

/// A program, what sort of task it is, and what happens in the turns before it is polled.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) program: Program,
    /// From birth.
    pub(super) cooperative: bool,
    /// It is polled with another waker each time, as a main may be.
    pub(super) moves: bool,
    pub(super) turns: Vec<Vec<Event>>,
}

/// What is seen of a part of a program; or of all, at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Begun(usize),
    /// Of a `catch_cancel`, with `Ok`.
    Done(usize),
    /// It was a `catch_cancel`, and yielded `Err`.
    Caught(usize),
    /// Before it was done.
    Dropped(usize),
    Answer(usize, bool),
    /// The task has ended, and is counted.
    Ended {
        outcome: Outcome,
        caught: bool,
    },
}

impl Seen {
    pub(super) fn label(self) -> Option<usize> {
        match self {
            Self::Begun(label)
            | Self::Done(label)
            | Self::Caught(label)
            | Self::Dropped(label)
            | Self::Answer(label, _) => Some(label),
            Self::Ended { .. } => None,
        }
    }
}

/// `+a`: it begins; `a=ok` and `a=err`, `a=true` and `a=false`: it ends, or answers; `-a`: it is dropped.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Begun(label) => write!(f, "+{}", name(label)),
            Self::Done(label) => write!(f, "{}=ok", name(label)),
            Self::Caught(label) => write!(f, "{}=err", name(label)),
            Self::Dropped(label) => write!(f, "-{}", name(label)),
            Self::Answer(label, answer) => write!(f, "{}={answer}", name(label)),
            Self::Ended { outcome, caught } => {
                let caught = if caught { " (caught)" } else { "" };
                write!(f, "{}{caught}", format!("{outcome:?}").to_lowercase())
            }
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a turn brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) seen: Vec<Seen>,
    /// Unless it has ended.
    pub(super) look: Option<Look>,
}

/// What `TaskInfo` tells of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) cooperative: bool,
    pub(super) asked: bool,
    pub(super) shielded: bool,
    pub(super) caught: bool,
}
