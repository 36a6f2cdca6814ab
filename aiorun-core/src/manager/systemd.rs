//! systemd, or whoever speaks its protocol, at the socket that the environment names.
//!
//! The words are those of the crate `sd-notify`. It is not what sends them: its sockets block, and do
//! not know the names of Linux that are in no file system.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::text::Printable;

/// For how long at most the manager is asked to be patient: asked again at half of it, so that a
/// program that does not get to that is not waited for until the end of a long budget.
const LEASE: Duration = Duration::from_secs(30);
/// What may come beyond the budget: the close, a thread that is stuck, the last lines of the log.
const BEYOND: Duration = Duration::from_secs(5);
/// When it is tried again to tell a manager who does not keep up.
const AGAIN: Duration = Duration::from_millis(100);

/// The service manager, from the side of one run.
#[derive(Debug)]
pub(crate) struct Manager {
    /// As the environment has it.
    name: OsString,
    /// Where it listens; an error where nobody can.
    ear: io::Result<Ear>,
    /// Why it hears nothing, until that is said; which is once.
    trouble: Option<String>,
    is_troubled: bool,
    watchdog: Option<Watchdog>,
    /// The run is the service: it said that it is ready, or a signal stopped it. Any other is a
    /// matter of the program, say one that prepares something before the service begins.
    is_service: bool,
    is_ready: bool,
    /// When to ask for patience again.
    renew_at: Option<Instant>,
    /// When to try again.
    retry_at: Option<Instant>,
    untold: News,
}

/// The socket of the manager, and the one to send to it by.
#[derive(Debug)]
struct Ear {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// The manager ends a service that does not say every so often that it lives.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    /// `None` beyond the clock.
    next: Option<Instant>,
}

/// What is to be told, and was not yet.
#[derive(Debug, Default)]
struct News {
    ready: bool,
    stopping: bool,
    status: Option<String>,
    lease: Option<Duration>,
    alive: bool,
}

impl Manager {
    /// The manager that the environment names.
    pub(crate) fn of_environment() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        Some(Self::new(name, sd_notify::watchdog_enabled()))
    }

    fn new(name: OsString, watchdog: Option<Duration>) -> Self {
        Self {
            ear: Ear::at(&name),
            name,
            trouble: None,
            is_troubled: false,
            watchdog: watchdog
                .filter(|period| !period.is_zero())
                .map(Watchdog::new),
            is_service: false,
            is_ready: false,
            renew_at: None,
            retry_at: None,
            untold: News::default(),
        }
    }

    /// The program is ready; to be told with what comes next. `false` if it was before.
    pub(crate) fn ready(&mut self) -> bool {
        let is_new = !self.is_ready;
        self.untold.ready |= is_new;
        (self.is_ready, self.is_service) = (true, true);
        is_new
    }

    /// The program stops; to be told with what comes next.
    pub(crate) fn stopping(&mut self, by_signal: bool) {
        self.is_service |= by_signal;
        self.untold.ready = false;
        self.untold.stopping = self.is_service;
    }

    /// Tells how far the run is; while it stops, with what is left of its budget. Without a budget
    /// that is any time.
    pub(crate) fn tell(&mut self, status: &str, left: Option<Duration>) {
        if self.is_service {
            self.untold.status = Some(status.to_owned());
            let lease = left.map(|left| left.saturating_add(BEYOND).min(LEASE));
            self.untold.lease = lease;
            self.renew_at = lease.map(|lease| Instant::now() + lease / 2);
        }
        self.send();
    }

    /// When [`check_time`](Self::check_time) has something to do.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let ping = self.watchdog.as_ref().and_then(|watchdog| watchdog.next);
        [ping, self.renew_at, self.retry_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Says what has to be said again. `true` if how far the run is belongs to that.
    pub(crate) fn check_time(&mut self, now: Instant) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let watchdog = self.watchdog.as_ref();
        if is_due(self.retry_at) || is_due(watchdog.and_then(|watchdog| watchdog.next)) {
            self.send();
        }
        is_due(self.renew_at)
    }

    /// Sends what is untold. Whatever it is, it also says that we live.
    fn send(&mut self) {
        let now = Instant::now();
        if let Some(watchdog) = &mut self.watchdog {
            self.untold.alive = true;
            watchdog.next = now.checked_add(watchdog.every);
        }
        let text = self.untold.text();
        if text.is_empty() {
            return;
        }
        let problem = match self.ear.as_ref().map(|ear| ear.hear(&text)) {
            Ok(Ok(())) => None,
            Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                self.retry_at = Some(now + AGAIN);
                return;
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(unusable) => Some(unusable.to_string()),
        };
        // A manager that is gone hears nothing of what follows either.
        (self.untold, self.retry_at) = (News::default(), None);
        if let Some(problem) = problem.filter(|_| !self.is_troubled) {
            self.is_troubled = true;
            self.trouble = Some(self.describe(&problem));
        }
    }

    fn describe(&self, problem: &str) -> String {
        let name = self.name.to_string_lossy();
        format!(
            "the service manager hears nothing, for NOTIFY_SOCKET is `{}`: {problem}; \
             unset the variable where there is no manager, or let it name a socket that this \
             process can reach",
            Printable(&name)
        )
    }

    /// What there is to say about a manager that cannot be told anything, the first time.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }
}

impl Ear {
    fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            // Say the `vsock:` of a virtual machine.
            _ => {
                let what = "neither a path that begins with `/` nor a name that begins with `@`";
                return Err(io::Error::new(ErrorKind::Unsupported, what));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    fn hear(&self, text: &str) -> io::Result<()> {
        let sent = self.socket.send_to_addr(text.as_bytes(), &self.address);
        sent.map(drop)
    }
}

impl Watchdog {
    /// It asks for a sign of life every `period`, and gets two.
    fn new(period: Duration) -> Self {
        Self {
            every: period / 2,
            next: Some(Instant::now()),
        }
    }
}

impl News {
    fn text(&self) -> String {
        let id = std::process::id();
        let lease = self.lease.map(|lease| lease.as_micros());
        let lease = lease.map(|lease| u32::try_from(lease).unwrap_or(u32::MAX));
        let states = [
            self.ready.then_some(NotifyState::Ready),
            // The first process of a container has another number outside.
            (self.ready && id != 1).then_some(NotifyState::MainPid(id)),
            self.stopping.then_some(NotifyState::Stopping),
            self.status.as_deref().map(NotifyState::Status),
            lease.map(NotifyState::ExtendTimeoutUsec),
            self.alive.then_some(NotifyState::Watchdog),
        ];
        let mut text = String::new();
        for state in states.into_iter().flatten() {
            let _ = writeln!(text, "{state}");
        }
        text
    }
}

#[cfg(test)]
mod tests;
