//! No signals: the feature `signals` is off.

use std::convert::Infallible;
use std::io;
use std::task::{Context, Poll};

pub(crate) use super::lacking::{HeldBack, RepeatedExit, leave, number};
use super::{Arrival, Signal};

/// Nothing, for there is nothing to listen to.
pub(crate) struct Signals(Infallible);

impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
    pub(crate) fn prepare(_: &[Signal]) -> io::Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "installing can fail elsewhere")]
    pub(crate) fn install(_: &[Signal]) -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Arrival>> {
        match self.0 {}
    }
}
