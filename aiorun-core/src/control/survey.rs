//! Asking the tasks where they are suspended, for whoever wants to know.
//!
//! One survey at a time; those that want one meanwhile share the next. It ends when all have
//! answered, or after a second, or when the limit of a step has come: then those that refuse are
//! asked as they are ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Control;
use crate::dump::Printer;
use crate::log::Line;
use crate::registry::survey::Findings;
use crate::sync::lock_std as lock;
use crate::trace;

/// How long a survey waits for answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long before a limit everything is made ready to tell where those are that will not make it.
const LEAD: Duration = Duration::from_secs(2);

/// Who wants to know.
pub(super) enum Client {
    /// [`Handle::dump`](crate::Handle::dump), which lists the tasks itself.
    Caller(oneshot::Sender<Arc<Findings>>),
    /// The dump signal; `owed` to somebody who raised it.
    Signal { owed: bool },
    /// The log, beside the line that tells what is being waited for.
    Log,
}

/// Surveys, and what becomes of them.
#[derive(Default)]
pub(super) struct Surveys {
    /// Who waits for the one that is under way, and until when.
    under_way: Option<(Vec<Client>, Instant)>,
    next: Vec<Client>,
    /// Prints the last dump. It may take its time, and there is one at a time.
    printer: Option<Printer>,
    /// Those that came meanwhile.
    after_printer: Vec<Client>,
    /// The limit that is ahead.
    limit: Option<Duration>,
    /// When it will be near enough to prepare for it, if nobody has yet.
    prepare_at: Option<Instant>,
}

impl Surveys {
    /// When there is something to do.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.until().into_iter().chain(self.prepare_at).min()
    }

    fn until(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|(_, until)| *until)
    }

    pub(super) fn into_printer(self) -> Option<Printer> {
        self.printer
    }

    fn is_printing(&self) -> bool {
        let printer = self.printer.as_ref();
        printer.is_some_and(|printer| !printer.has_ended())
    }
}

impl Control {
    pub(super) fn survey_for(&mut self, client: Client) {
        match client {
            Client::Signal { .. } => self.surveys.after_printer.push(client),
            _ => self.surveys.next.push(client),
        }
        self.check_survey();
    }

    /// Ends a survey that is over and begins one that is wanted.
    pub(super) fn check_survey(&mut self) {
        let now = Instant::now();
        let over = |until: Instant| until <= now || self.run.registry.is_surveyed();
        if self.surveys.until().is_some_and(over) {
            self.end_survey();
        }
        if !self.surveys.is_printing() {
            let waiting = &mut self.surveys.after_printer;
            self.surveys.next.append(waiting);
        }
        let busy = self.surveys.under_way.is_some() || lock(&self.run.machine).forced();
        if !busy && !self.surveys.next.is_empty() {
            self.run.registry.survey_all();
            let clients = std::mem::take(&mut self.surveys.next);
            self.surveys.under_way = Some((clients, now + PATIENCE));
            // There may be nobody to ask.
            self.check_survey();
        }
    }

    /// Where a limit comes near, it is likely to pass. What is needed to name lines may take a second
    /// to read, and a program that ends in time never needs it.
    pub(super) fn foresee(&mut self) {
        let limit = lock(&self.run.machine).force_at();
        let surveys = &mut self.surveys;
        if surveys.limit != limit {
            surveys.limit = limit;
            surveys.prepare_at = limit.and_then(|limit| {
                let left = limit.saturating_sub(self.run.started.elapsed());
                let lead = (left / 2).min(LEAD);
                Instant::now().checked_add(left.saturating_sub(lead))
            });
        }
        let is_due = |at: &mut Instant| *at <= Instant::now();
        if surveys.prepare_at.take_if(is_due).is_some() {
            trace::prepare();
        }
    }

    pub(super) fn end_survey(&mut self) {
        if let Some((clients, until)) = self.surveys.under_way.take() {
            let mut findings = self.run.registry.end_survey();
            if Instant::now() < until {
                // Nobody has had the time to be late.
                findings.forgive();
            }
            self.serve(clients, findings);
        }
    }

    /// At the end of the run nobody can be asked any more.
    pub(super) fn end_surveys(&mut self) {
        self.end_survey();
        let Surveys {
            next,
            after_printer,
            ..
        } = &mut self.surveys;
        let clients = next.drain(..).chain(after_printer.drain(..)).collect();
        self.serve(clients, Findings::default());
    }

    fn serve(&mut self, clients: Vec<Client>, findings: Findings) {
        let findings = Arc::new(findings);
        let mut print = false;
        for client in clients {
            match client {
                Client::Caller(caller) => {
                    let _ = caller.send(Arc::clone(&findings));
                    self.run.pay();
                }
                Client::Signal { owed } => {
                    print = true;
                    if owed {
                        self.run.pay();
                    }
                }
                Client::Log => {
                    let mut tasks = self.run.registry.tasks(true);
                    findings.add_to(&mut tasks);
                    if !tasks.is_empty() {
                        self.say(Line::WaitingAt(tasks));
                    }
                }
            }
        }
        if print {
            match Printer::start(&self.run, &findings) {
                Ok(printer) => self.surveys.printer = Some(printer),
                Err(dump) => self.say(Line::Dump(dump)),
            }
        }
    }
}
