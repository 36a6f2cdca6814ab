//! What is only there where signal-hook is, in the form that it has elsewhere: nothing is held back,
//! nobody leaves from within a handler, and signals have no numbers.

use std::io;

use super::Signal;

/// There is nothing to hold back.
#[derive(Debug)]
pub(crate) struct HeldBack(());

impl HeldBack {
    pub(crate) fn new(_: impl Iterator<Item = Signal>) -> Self {
        Self(())
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

pub(crate) fn number(_: Signal) -> Option<i32> {
    None
}
