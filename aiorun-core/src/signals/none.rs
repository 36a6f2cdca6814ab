//! No signals: the feature `signals` is off.

use std::convert::Infallible;
use std::io;
use std::task::{Context, Poll};

use super::{Arrival, Signal};

/// Nothing, for there is nothing to listen to.
pub(crate) struct Signals(Infallible);

impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "installing can fail elsewhere")]
    pub(crate) fn install(_: &[Signal]) -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Arrival>> {
        match self.0 {}
    }
}

/// Leaves the process.
pub(crate) fn leave(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

/// Nothing to leave from.
pub(crate) struct RepeatedExit(());

impl RepeatedExit {
    #[expect(clippy::unnecessary_wraps, reason = "installing can fail elsewhere")]
    pub(crate) fn install(_: &[Signal]) -> io::Result<Self> {
        Ok(Self(()))
    }

    #[expect(clippy::unused_self, reason = "there is something to arm elsewhere")]
    pub(crate) fn arm(&self, _: bool) {}
}

pub(super) fn number(_: Signal) -> Option<i32> {
    None
}
