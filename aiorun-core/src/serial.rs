//! What a dump and a report are for machines: `serde::Serialize`, with the feature `serde`.
//!
//! Fields have the names that they have in Rust. Durations are seconds, identities numbers, names of
//! variants are written like fields, and traces are lists of branches.

use std::panic::Location;

use serde::ser::{Serialize, SerializeStruct as _, SerializeStructVariant as _, Serializer};

use crate::dump::Dump;
use crate::error::{HookEnd, HookReport, How, UnhandledError};
use crate::exit::StopReason;
use crate::phase::Phase;
use crate::report::{PhaseReport, Report, TaskCounts};
use crate::signals::Signal;
use crate::task::{Id, Kind, State, TaskInfo};
use crate::trace::{Branch, Frame, Trace};

/// Says which fields a type has for machines: those of its own, or others with what they are.
macro_rules! fields {
    ($($type:ident($self:ident) { $($name:ident $(: $value:expr)?,)+ })+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let $self = self;
                let count = [$(stringify!($name)),+].len();
                let mut fields = to.serialize_struct(stringify!($type), count)?;
                $(fields!(@field fields, $self, $name $(, $value)?);)+
                fields.end()
            }
        }
    )+};
    (@field $fields:ident, $self:ident, $name:ident) => {
        $fields.serialize_field(stringify!($name), &$self.$name)?;
    };
    (@field $fields:ident, $self:ident, $name:ident, $value:expr) => {
        $fields.serialize_field(stringify!($name), &$value)?;
    };
}

fields! {
    Dump(it) {
        phase,
        age: it.age.as_secs_f64(),
        time_left: it.time_left.map(|left| left.as_secs_f64()),
        tasks,
        strays,
    }
    TaskInfo(it) {
        id,
        name,
        location: Place(it.location),
        kind,
        age: it.age.as_secs_f64(),
        state,
        protected,
        cooperative,
        critical,
        shutdown_phase,
        caught: it.caught.map(Place),
        asked: it.asked.map(Place),
        shielded: it.shielded.map(Place),
        trace,
        unresponsive,
        bare_shield,
    }
    Branch(it) {
        frames,
        awaits,
        count,
    }
    Frame(it) {
        function,
        file,
        line,
        column,
    }
    Report(it) {
        reason,
        phases,
        tasks,
        refused,
        abandoned,
        strays,
        hooks,
        failures,
        more_failures,
    }
    PhaseReport(it) {
        phase,
        began: it.began.as_secs_f64(),
        ended: it.ended.as_secs_f64(),
    }
    TaskCounts(it) {
        spawned,
        completed,
        failed,
        panicked,
        cancelled,
        refused,
        caught,
    }
    HookReport(it) {
        name,
        location: Place(it.location),
        took: it.took.as_secs_f64(),
        end: it.end.name(),
        message: it.end.message(),
        trace,
    }
    UnhandledError(it) {
        id: it.id(),
        name: it.name(),
        location: Place(it.location()),
        kind: it.kind(),
        how: it.how.name(),
        message,
    }
    Place(it) {
        file: it.0.file(),
        line: it.0.line(),
        column: it.0.column(),
    }
}

struct Place(&'static Location<'static>);

impl HookEnd {
    fn name(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Panicked(_) => "panicked",
            Self::TimedOut => "timed_out",
            Self::NotRun => "not_run",
        }
    }

    fn message(&self) -> Option<&str> {
        match self {
            Self::Panicked(message) => Some(message),
            _ => None,
        }
    }
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::Failed => "failed",
            Self::Ended => "ended",
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.get())
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match self {
            Self::Main => "main",
            Self::Async => "async",
            Self::Local => "local",
            Self::Blocking => "blocking",
            Self::Callback => "callback",
            Self::Hook => "hook",
        })
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::NotStarted => to.serialize_str("not_started"),
            Self::Suspended => to.serialize_str("suspended"),
            Self::Cancelling => to.serialize_str("cancelling"),
            Self::Finished => to.serialize_str("finished"),
            Self::Running { thread, dropping } => {
                let mut fields = to.serialize_struct_variant("State", 0, "running", 2)?;
                fields.serialize_field("thread", thread)?;
                fields.serialize_field("dropping", dropping)?;
                fields.end()
            }
        }
    }
}

impl Serialize for StopReason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Signal(signal) => to.serialize_newtype_variant("StopReason", 0, "signal", signal),
            Self::Stop => to.serialize_str("stop"),
            Self::TokenCancelled => to.serialize_str("token_cancelled"),
            Self::MainReturned => to.serialize_str("main_returned"),
            Self::MainFailed => to.serialize_str("main_failed"),
            Self::TaskFailed => to.serialize_str("task_failed"),
            Self::NotStarted => to.serialize_str("not_started"),
        }
    }
}

impl Serialize for Trace {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.branches())
    }
}
