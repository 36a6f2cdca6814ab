//! Signals by signal-hook, as a stream on the control thread.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream as _;
use nix::sys::signal::{SigSet, SigmaskHow};
use signal_hook::consts;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::{SigId, flag, low_level};
use signal_hook_tokio::SignalsInfo;

use super::{Arrival, Signal};

/// The signals of one supervisor, from `install` to the drop.
pub(crate) struct Signals {
    // First: the default action comes back before nobody listens any more.
    _handled: Vec<Handled>,
    stream: SignalsInfo<WithOrigin>,
}

impl Signals {
    /// Sees to it that each signal acts by default until somebody listens, so that none is lost in
    /// between. First of all: it looks whether the signal acts by default.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub(crate) fn prepare(signals: &[Signal]) -> io::Result<()> {
        let mut actions = Actions::default();
        let mut numbers = signals.iter().copied().filter_map(number);
        numbers.try_for_each(|number| prepare_default(number, &mut actions))
    }

    /// Installs handlers; to be called inside a runtime with I/O enabled. `None` where there is
    /// nothing to listen to.
    ///
    /// # Errors
    ///
    /// When the system refuses, say because there is no file descriptor left.
    pub(crate) fn install(signals: &[Signal]) -> io::Result<Option<Self>> {
        if signals.is_empty() {
            return Ok(None);
        }
        let numbers: Vec<c_int> = signals.iter().copied().filter_map(number).collect();
        let stream = SignalsInfo::with_exfiltrator(&numbers, WithOrigin::default())?;
        let handled = numbers.into_iter().map(Handled::new).collect();
        Ok(Some(Self {
            _handled: handled,
            stream,
        }))
    }

    /// The next signal; `None` when there will be no more.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arrival>> {
        loop {
            let Some(origin) = ready!(Pin::new(&mut self.stream).poll_next(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(signal) = from_number(origin.signal) {
                let sender = origin.process.map(|process| i64::from(process.pid));
                return Poll::Ready(Some(Arrival { signal, sender }));
            }
        }
    }
}

/// Holds the signals back, on this thread until the drop.
///
/// signal-hook installs its handler a moment before it knows what the handler is to do, and a signal
/// in that moment would be lost. At the start of a program there is no other thread to get it.
#[derive(Debug)]
pub(crate) struct HeldBack {
    /// What the thread held back before.
    before: SigSet,
}

impl HeldBack {
    pub(crate) fn new(signals: impl Iterator<Item = Signal>) -> Self {
        let known = signals
            .filter_map(number)
            .map(nix::sys::signal::Signal::try_from);
        let set: SigSet = known.flatten().collect();
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK);
        Self {
            before: before.unwrap_or_else(|_| SigSet::empty()),
        }
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// Leaves the process at once: no destructor, no `atexit` handler, no lock.
pub(crate) fn leave(code: u8) -> ! {
    low_level::exit(c_int::from(code))
}

/// Leaves the process from within the signal handler, once armed.
pub(crate) struct RepeatedExit {
    armed: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl RepeatedExit {
    pub(crate) fn install(signals: &[Signal]) -> io::Result<Self> {
        let armed = Arc::new(AtomicBool::new(false));
        let mut exit = Self {
            armed,
            registered: Vec::new(),
        };
        for signal in signals {
            let Some(number) = number(*signal) else {
                continue;
            };
            let status = c_int::from(signal.exit_code());
            let armed = Arc::clone(&exit.armed);
            exit.registered
                .push(flag::register_conditional_shutdown(number, status, armed)?);
        }
        Ok(exit)
    }

    pub(crate) fn arm(&self, armed: bool) {
        self.armed.store(armed, Ordering::SeqCst);
    }
}

impl Drop for RepeatedExit {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

/// For each signal that acted by default when we first met it: how many supervisors handle it, and
/// whether it is to act by default again because none does. signal-hook never takes a handler
/// away, so the default action is performed by a handler of its own.
static DEFAULTS: Mutex<Vec<DefaultAction>> = Mutex::new(Vec::new());

struct DefaultAction {
    signal: c_int,
    handled_by: usize,
    acts: Arc<AtomicBool>,
}

/// One supervisor's share in one signal, which does not act by default meanwhile.
struct Handled(c_int);

/// For a signal that acts by default: from now on a handler of ours does that.
fn prepare_default(signal: c_int, actions: &mut Actions) -> io::Result<()> {
    let mut defaults = DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    if !defaults.iter().any(|it| it.signal == signal) && actions.is_default(signal) {
        let acts = Arc::new(AtomicBool::new(true));
        flag::register_conditional_default(signal, Arc::clone(&acts))?;
        defaults.push(DefaultAction {
            signal,
            handled_by: 0,
            acts,
        });
    }
    Ok(())
}

impl Handled {
    fn new(signal: c_int) -> Self {
        let mut defaults = DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(default) = defaults.iter_mut().find(|it| it.signal == signal) {
            default.handled_by += 1;
            default.acts.store(false, Ordering::SeqCst);
        }
        Self(signal)
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        let mut defaults = DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(default) = defaults.iter_mut().find(|it| it.signal == self.0) {
            default.handled_by -= 1;
            if default.handled_by == 0 {
                default.acts.store(true, Ordering::SeqCst);
            }
        }
    }
}

/// What signals do. Linux tells in `/proc`; where it does not, nobody is assumed to handle or ignore
/// any yet, as in a program that has just started.
#[derive(Default)]
struct Actions {
    status: Option<String>,
}

impl Actions {
    /// Whether nobody handles or ignores the signal yet.
    fn is_default(&mut self, signal: c_int) -> bool {
        let status = self.status.get_or_insert_with(|| {
            // Room for all of it, so that it is read at once.
            let mut status = String::with_capacity(4096);
            let file = File::open("/proc/self/status");
            let _ = file.and_then(|mut file| file.read_to_string(&mut status));
            status
        });
        let has = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let mask = line
                .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
                .unwrap_or(0);
            mask >> (signal - 1) & 1 == 1
        };
        !has("SigCgt:") && !has("SigIgn:")
    }
}

const NUMBERS: [(Signal, c_int); 18] = [
    (Signal::HUP, consts::SIGHUP),
    (Signal::INT, consts::SIGINT),
    (Signal::QUIT, consts::SIGQUIT),
    (Signal::KILL, consts::SIGKILL),
    (Signal::USR1, consts::SIGUSR1),
    (Signal::USR2, consts::SIGUSR2),
    (Signal::PIPE, consts::SIGPIPE),
    (Signal::ALRM, consts::SIGALRM),
    (Signal::TERM, consts::SIGTERM),
    (Signal::CHLD, consts::SIGCHLD),
    (Signal::CONT, consts::SIGCONT),
    (Signal::STOP, consts::SIGSTOP),
    (Signal::TSTP, consts::SIGTSTP),
    (Signal::TTIN, consts::SIGTTIN),
    (Signal::TTOU, consts::SIGTTOU),
    (Signal::URG, consts::SIGURG),
    (Signal::WINCH, consts::SIGWINCH),
    (Signal::IO, consts::SIGIO),
];

pub(crate) fn number(signal: Signal) -> Option<c_int> {
    NUMBERS
        .iter()
        .find(|(known, _)| *known == signal)
        .map(|(_, number)| *number)
}

fn from_number(number: c_int) -> Option<Signal> {
    NUMBERS
        .iter()
        .find(|(_, known)| *known == number)
        .map(|(signal, _)| *signal)
}
