//! The reporting thread: everything foreign that the supervisor has to call runs here — the
//! subscriber of `tracing`, the two handlers, the `Display` of errors — so that none of it can hold
//! up the control thread. The user's runtime is entered on it.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::config::{ErrorHandler, ShutdownHandler, SignalAction};
use crate::error::{How, UnhandledError};
use crate::handle::Handle;
use crate::log::Line;
#[cfg(feature = "metrics")]
use crate::meter::{Meter, Reading};
use crate::output::{Origin, Problem, message};
use crate::run::Run;
use crate::signals::Signal;
use crate::thread::Helper;
use crate::trace;

/// How long the supervisor waits for the thread, whatever for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Something to do for the reporting thread.
pub(crate) enum Message {
    Line(Line),
    /// A failure that nobody saw; goes to the handler.
    Unhandled(Origin, Problem),
    /// The end of a critical task; one that panicked may be unhandled as well.
    Critical(UnhandledError),
    /// The failure of the callback, which is nobody's else.
    Callback(Origin, Problem),
    Ask(Signal, oneshot::Sender<SignalAction>),
    /// Something of the user's that is to be dropped, here and not on the control thread.
    Drop(Box<dyn Send>),
    #[cfg(feature = "metrics")]
    Reading(Reading),
    Stop,
}

/// What the thread calls.
pub(crate) struct Handlers {
    pub(crate) shutdown: Option<ShutdownHandler>,
    pub(crate) error: Option<ErrorHandler>,
}

struct Desk {
    run: Arc<Run>,
    handlers: Handlers,
    #[cfg(feature = "metrics")]
    meter: Meter,
}

/// Starts the thread; `run` has a runtime already.
///
/// # Errors
///
/// When there is no thread to be had.
pub(crate) fn start(
    run: Arc<Run>,
    mut messages: UnboundedReceiver<Message>,
    handlers: Handlers,
) -> io::Result<Helper> {
    let dispatch = Dispatch::of_this_thread();
    let desk = Desk {
        run,
        handlers,
        #[cfg(feature = "metrics")]
        meter: Meter::default(),
    };
    Helper::start("aiorun-report", move || {
        dispatch.with(|| desk.work(&mut messages));
    })
}

impl Desk {
    fn work(self, messages: &mut UnboundedReceiver<Message>) {
        let runtime = self.run.runtime();
        let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
        while let Some(message) = messages.blocking_recv() {
            if matches!(message, Message::Stop) {
                return;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.handle(message))) {
                complain("reporting thread", &*payload);
            }
        }
    }

    fn handle(&self, message: Message) {
        match message {
            Message::Line(line) => self.show(&line),
            Message::Unhandled(origin, problem) => {
                self.unhandled(UnhandledError::new(origin, problem));
            }
            Message::Critical(failure) => {
                if self.run.show_critical(failure.id()) {
                    self.show(&Line::Failure(failure));
                }
            }
            Message::Callback(origin, problem) => {
                let failure = UnhandledError::new(origin, problem);
                self.run.record(failure.clone());
                self.show(&Line::Failure(failure));
            }
            Message::Ask(signal, answer) => {
                let _ = answer.send(self.ask(signal));
            }
            Message::Drop(discarded) => drop(discarded),
            #[cfg(feature = "metrics")]
            Message::Reading(reading) => {
                self.run.take_reading();
                self.meter.show(&reading);
            }
            Message::Stop => {}
        }
    }

    fn show(&self, line: &Line) {
        if line.is_error() && !line.is_visible() {
            self.run.note_unshown();
        }
        trace::read_in_time(line.traces());
        line.emit();
    }

    fn unhandled(&self, failure: UnhandledError) {
        self.run.record(failure.clone());
        match &self.handlers.error {
            None if self.run.has_shown_critical(failure.id()) => {}
            None => self.show(&Line::Failure(failure)),
            Some(handler) => {
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| handler(&failure))) {
                    Line::Failure(failure).emit();
                    complain("unhandled_error_handler", &*payload);
                }
            }
        }
    }

    fn ask(&self, signal: Signal) -> SignalAction {
        let Some(handler) = &self.handlers.shutdown else {
            return SignalAction::Stop;
        };
        let handle = Handle::new(Arc::clone(&self.run));
        catch_unwind(AssertUnwindSafe(|| handler(signal, &handle))).unwrap_or_else(|payload| {
            complain("shutdown_handler", &*payload);
            SignalAction::Stop
        })
    }
}

fn complain(which: &'static str, payload: &(dyn std::any::Any + Send)) {
    let line = Line::Handler {
        which,
        message: message(payload),
    };
    // The subscriber itself may be what panics.
    let _ = catch_unwind(AssertUnwindSafe(|| line.emit()));
}

impl UnhandledError {
    /// Formats the error, so for the reporting thread only.
    fn new(origin: Origin, problem: Problem) -> Self {
        let (how, message, source) = match problem {
            Problem::Panicked(message) => (How::Panicked, message, None),
            Problem::Failed(error) => {
                let text = catch_unwind(AssertUnwindSafe(|| chain(&*error)))
                    .unwrap_or_else(|_| "an error whose `Display` panicked".into());
                (How::Failed, text, Some(Arc::from(error)))
            }
            other => return Self::unformatted(origin, &other),
        };
        Self {
            origin,
            how,
            message,
            source,
        }
    }

    /// What can be said without calling foreign code.
    pub(crate) fn unformatted(origin: Origin, problem: &Problem) -> Self {
        let (how, message) = match problem {
            Problem::Panicked(message) => (How::Panicked, message.clone()),
            Problem::Failed(_) => (How::Failed, "its error could not be shown in time".into()),
            Problem::Unread => (How::Failed, "its `JoinHandle` has the error".into()),
            Problem::Ended => (How::Ended, "came to an end".into()),
        };
        Self {
            origin,
            how,
            message,
            source: None,
        }
    }
}

/// An error with its causes, where the text of one does not contain the next already.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The subscriber of the thread that started the run, where it has one of its own.
struct Dispatch {
    #[cfg(feature = "tracing")]
    own: Option<tracing::Dispatch>,
}

impl Dispatch {
    #[cfg(feature = "tracing")]
    fn of_this_thread() -> Self {
        let own = tracing::dispatcher::get_default(Clone::clone);
        let nobody = own.is::<tracing::subscriber::NoSubscriber>();
        Self {
            own: (!nobody).then_some(own),
        }
    }

    #[cfg(feature = "tracing")]
    fn with(self, work: impl FnOnce()) {
        match self.own {
            Some(own) => tracing::dispatcher::with_default(&own, work),
            None => work(),
        }
    }

    #[cfg(not(feature = "tracing"))]
    fn of_this_thread() -> Self {
        Self {}
    }

    #[cfg(not(feature = "tracing"))]
    fn with(self, work: impl FnOnce()) {
        let Self {} = self;
        work();
    }
}
