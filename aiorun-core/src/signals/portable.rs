//! Ctrl-C by tokio, where signal-hook's stream does not exist: outside Unix.
//!
//! There is one thing to listen to, so every other signal of the set is accepted and never
//! arrives. tokio keeps its handler for the life of the process, so after the last supervisor a
//! Ctrl-C does nothing; and it cannot leave from the handler, so a repeated one that is to exit is
//! seen by the control thread.

use std::io;
use std::task::{Context, Poll, ready};

pub(crate) use super::lacking::{HeldBack, RepeatedExit, leave, number};
use super::{Arrival, Signal};

/// The signals of one supervisor.
pub(crate) struct Signals {
    #[cfg(unix)]
    stream: tokio::signal::unix::Signal,
    #[cfg(windows)]
    stream: tokio::signal::windows::CtrlC,
}

impl Signals {
    /// There is nothing to prepare.
    #[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
    pub(crate) fn prepare(_: &[Signal]) -> io::Result<()> {
        Ok(())
    }

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

#[cfg(all(test, unix))]
mod tests {
    use nix::sys::signal::{Signal as Real, kill};
    use nix::unistd::Pid;

    use crate::signals::Signal;
    use crate::{Builder, StopReason};

    #[test]
    fn ctrl_c_stops_the_program_and_is_not_lost_in_a_second_run() {
        for _ in 0..2 {
            let exit = Builder::new().run(async {
                kill(Pid::this(), Real::SIGINT).unwrap();
                std::future::pending::<()>().await;
            });
            assert_eq!(exit.reason, StopReason::Signal(Signal::INT));
            assert!(exit.is_success());
        }
    }

    #[test]
    fn a_set_without_ctrl_c_listens_to_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let _entered = runtime.as_ref().unwrap().enter();
        let signals = super::Signals::install(&[Signal::TERM, Signal::HUP]);
        assert!(signals.unwrap().is_none());
    }
}
