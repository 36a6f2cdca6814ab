//! Ctrl-C by tokio, where signal-hook's stream does not exist: outside Unix.
//!
//! There is one thing to listen to, so every other signal of the set is accepted and never
//! arrives. tokio keeps its handler for the life of the process, so after the last supervisor a
//! Ctrl-C does nothing; and it cannot leave from the handler, so a repeated one that is to exit is
//! seen by the control thread.

use std::io;
use std::task::{Context, Poll, ready};

use super::{Arrival, Signal};

/// The signals of one supervisor.
pub(crate) struct Signals {
    #[cfg(unix)]
    stream: tokio::signal::unix::Signal,
    #[cfg(windows)]
    stream: tokio::signal::windows::CtrlC,
}

impl Signals {
    /// Installs the handler. `None` where Ctrl-C is not asked for.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub(crate) fn install(signals: &[Signal]) -> io::Result<Option<Self>> {
        if !signals.contains(&Signal::INT) {
            return Ok(None);
        }
        #[cfg(unix)]
        let stream = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        #[cfg(windows)]
        let stream = tokio::signal::windows::ctrl_c()?;
        Ok(Some(Self { stream }))
    }

    /// The next Ctrl-C; one persistent listener, so that none is lost between two calls.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arrival>> {
        let arrived = ready!(self.stream.poll_recv(cx));
        Poll::Ready(arrived.map(|()| Arrival {
            signal: Signal::INT,
            sender: None,
        }))
    }
}

/// Leaves the process.
pub(crate) fn leave(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

/// Leaving the process from within the handler does not exist here.
pub(crate) struct RepeatedExit(());

impl RepeatedExit {
    // The backends have one face.
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
