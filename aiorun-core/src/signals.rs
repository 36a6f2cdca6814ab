//! Signals: their names, and the stream of those that arrive.
//!
//! The backends (`signals/unix.rs`, `signals/portable.rs`, `signals/none.rs`) have the same face,
//! `Signals`; the first is the only file that names signal-hook. Which one is built follows from
//! the system and the feature `signals`; `--cfg aiorun_portable_signals` chooses the second on a
//! system that has the first, so that it is compiled and tested there.

use std::fmt;
use std::str::FromStr;

#[cfg(not(all(unix, feature = "signals", not(aiorun_portable_signals))))]
mod lacking;

#[cfg(all(unix, feature = "signals", not(aiorun_portable_signals)))]
#[path = "signals/unix.rs"]
mod backend;
#[cfg(all(feature = "signals", any(not(unix), aiorun_portable_signals)))]
#[path = "signals/portable.rs"]
mod backend;
#[cfg(not(feature = "signals"))]
#[path = "signals/none.rs"]
mod backend;

pub(crate) use backend::{HeldBack, RepeatedExit, Signals, leave};

/// A signal, by the name POSIX gives it.
///
/// Every name exists on every system, so that options and tests can be written once; which of them
/// can arrive is the system's matter. Outside Unix only [`Signal::INT`] does, for Ctrl-C.
///
/// ```
/// use aiorun::Signal;
///
/// let signal: Signal = "SIGTERM".parse()?;
/// assert_eq!(signal, Signal::TERM);
/// assert_eq!(signal.to_string(), "SIGTERM");
/// # Ok::<(), aiorun::ParseSignalError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $index:literal, $text:literal, $number:literal, $what:literal;)+) => {
        impl Signal {
            $(#[doc = $what] pub const $name: Self = Self($index);)+

            /// Every signal, in the order of the constants.
            const ALL: &[Self] = &[$(Self::$name),+];

            fn text(self) -> &'static str {
                match self.0 {
                    $($index => $text,)+
                    _ => unreachable!("a signal comes from the constants"),
                }
            }

            /// The number on Linux and, for the signals that stop a program, everywhere: the `n`
            /// of the exit code 128 + n.
            fn usual_number(self) -> u8 {
                match self.0 {
                    $($index => $number,)+
                    _ => unreachable!("a signal comes from the constants"),
                }
            }
        }
    };
}

signals! {
    HUP = 0, "SIGHUP", 1, "The terminal is gone; for daemons by custom: read the configuration anew.";
    INT = 1, "SIGINT", 2, "Ctrl-C.";
    QUIT = 2, "SIGQUIT", 3, "Ctrl-\\\\.";
    KILL = 3, "SIGKILL", 9, "Ends a process; cannot be caught.";
    USR1 = 4, "SIGUSR1", 10, "Free for the program's own use.";
    USR2 = 5, "SIGUSR2", 12, "Free for the program's own use.";
    PIPE = 6, "SIGPIPE", 13, "Written to a pipe that nobody reads.";
    ALRM = 7, "SIGALRM", 14, "The timer of `alarm` has run out.";
    TERM = 8, "SIGTERM", 15, "The polite request to stop: what `kill` and service managers send.";
    CHLD = 9, "SIGCHLD", 17, "A child process has ended.";
    CONT = 10, "SIGCONT", 18, "Go on after a stop.";
    STOP = 11, "SIGSTOP", 19, "Stops a process; cannot be caught.";
    TSTP = 12, "SIGTSTP", 20, "Ctrl-Z.";
    TTIN = 13, "SIGTTIN", 21, "Read from the terminal in the background.";
    TTOU = 14, "SIGTTOU", 22, "Written to the terminal in the background.";
    URG = 15, "SIGURG", 23, "Urgent data at a socket.";
    WINCH = 16, "SIGWINCH", 28, "The terminal's size has changed.";
    IO = 17, "SIGIO", 29, "Input or output is possible.";
}

impl Signal {
    /// Whether the system lets a program handle it.
    pub(crate) fn can_be_caught(self) -> bool {
        !matches!(self, Self::KILL | Self::STOP)
    }

    /// The exit code of a process that it ended, as shells report it.
    pub(crate) fn exit_code(self) -> u8 {
        128 + backend::number(self).map_or(self.usual_number(), |number| {
            u8::try_from(number).unwrap_or(self.usual_number())
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Signal {
    type Err = ParseSignalError;

    /// Reads a name such as `SIGTERM`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|signal| signal.text() == name)
            .ok_or_else(|| ParseSignalError {
                name: name.to_owned(),
            })
    }
}

/// A text that is no signal's name.
///
/// ```
/// let error = "TERM".parse::<aiorun::Signal>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown signal \"TERM\", did you mean `SIGTERM`?");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseSignalError {
    name: String,
}

impl fmt::Display for ParseSignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown signal {:?}", self.name)?;
        let upper = self.name.to_ascii_uppercase();
        let near = [format!("SIG{upper}"), upper];
        match near.iter().find_map(|name| name.parse::<Signal>().ok()) {
            Some(signal) => write!(f, ", did you mean `{signal}`?"),
            None => write!(f, ", a name is written like `SIGTERM`"),
        }
    }
}

impl std::error::Error for ParseSignalError {}

/// A signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) signal: Signal,
    /// The process that sent it, where the kernel tells.
    pub(crate) sender: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for signal in Signal::ALL {
            assert_eq!(signal.to_string().parse(), Ok(*signal));
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(Signal::INT.exit_code(), 130);
        assert_eq!(Signal::TERM.exit_code(), 143);
        assert_eq!(Signal::HUP.exit_code(), 129);
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_one() {
        let says = |name: &str| name.parse::<Signal>().unwrap_err().to_string();
        assert_eq!(
            says("sigint"),
            "unknown signal \"sigint\", did you mean `SIGINT`?"
        );
        assert_eq!(
            says("hup"),
            "unknown signal \"hup\", did you mean `SIGHUP`?"
        );
        assert_eq!(
            says("\u{1b}["),
            "unknown signal \"\\u{1b}[\", a name is written like `SIGTERM`"
        );
    }
}
