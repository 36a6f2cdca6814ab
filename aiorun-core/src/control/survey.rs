//! Asking the tasks where they are suspended, for whoever wants to know.
//!
//! One survey at a time; those that want one meanwhile share the next. It ends when all have
//! answered, or after a second, or when the limit of a step comes near: then those that will not make
//! it are asked, all before the first is ended.
//!
//! To answer takes a backtrace, and there is one lock for all backtraces of a process. Before anybody
//! is asked, a thread of ours finds out whether it can be had. Otherwise nobody is: a task that stands
//! still for its diagnosis is worse than one without.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Control;
use crate::dump::Printer;
use crate::log::{self, Line};
use crate::phase::Step;
use crate::registry::survey::Findings;
use crate::run::Caller;
use crate::sync::lock_std as lock;
use crate::task::Id;
use crate::thread::Helper;
use crate::trace;

/// How long a survey waits for answers, and how long it waits to begin.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long before a limit everything is made ready to tell where those are that will not make it, at
/// the most: a busy machine takes its time for that.
const LEAD: Duration = Duration::from_secs(5);
/// How long before a limit those are asked that will not make it. After it there is no time for that:
/// on a busy machine an answer takes longer than the grace.
const AHEAD: Duration = Duration::from_millis(250);
/// Most programs end in less than that, and have nothing to make ready.
const NOTICEABLE: Duration = Duration::from_millis(100);
/// Who was asked or ended less than that ago has had no time to react.
const LEAST_TIME: Duration = Duration::from_millis(10);
/// With less than that nothing is read before: it might not be done in time, and be in the way.
const LEAST_LEAD: Duration = Duration::from_millis(500);

/// Who wants to know.
pub(super) enum Client {
    /// [`Handle::dump`](crate::Handle::dump), which lists the tasks itself.
    Caller(Caller),
    /// The dump signal; `owed` to somebody who raised it.
    Signal { owed: bool },
    /// The log, beside the line that tells what is being waited for.
    Log,
}

impl Client {
    /// Whom it asks, if not everybody, and until when.
    fn of(&self) -> Option<&(HashSet<Id>, Instant)> {
        match self {
            Self::Caller(caller) => caller.of.as_ref(),
            Self::Signal { .. } | Self::Log => None,
        }
    }
}

/// Surveys, and what becomes of them.
#[derive(Default)]
pub(super) struct Surveys {
    /// Who waits for the one that is under way, and until when.
    under_way: Option<(Vec<Client>, Instant)>,
    next: Vec<Client>,
    /// Finds out whether anybody can be asked.
    probe: Option<Helper>,
    /// Until when those who are next wait for that.
    patient: Option<Instant>,
    /// Prints the last dump. It may take its time, and there is one at a time.
    printer: Option<Printer>,
    /// Those that came meanwhile.
    after_printer: Vec<Client>,
    /// When there is something to tell, as far as is known.
    limit: Option<Duration>,
    /// When it will be near enough to prepare for it, if nobody has yet.
    prepare_at: Option<Instant>,
    /// The limit of the step, if there is one.
    force_at: Option<Duration>,
    /// When to ask those that will not make it, if nobody has yet.
    ask_at: Option<Instant>,
    /// The survey of those that a limit is about to end.
    at_limit: Option<AtLimit>,
    /// Until when those have time that were ended late.
    pub(super) respite: Option<Instant>,
}

/// A limit is about to pass, and when it has, force is used as soon as this is over.
struct AtLimit {
    step: Step,
    /// From when on there is no more time for it; `None` before the limit.
    until: Option<Instant>,
    asked: Option<Instant>,
}

impl Surveys {
    /// When there is something to do.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let at_limit = self.at_limit.as_ref().and_then(|limit| limit.until);
        // The end of the probe tells of itself.
        let prepare_at = self.prepare_at.filter(|_| !self.is_probing());
        let times = [
            self.until(),
            self.patient,
            prepare_at,
            self.ask_at,
            at_limit,
        ];
        times.into_iter().flatten().min()
    }

    /// Takes those who may share a survey: who asks some tasks only, and is in a hurry, has one alone.
    fn take_next(&mut self) -> Vec<Client> {
        let alone = self.next.iter().position(|client| client.of().is_some());
        match alone {
            Some(at) => vec![self.next.remove(at)],
            None => std::mem::take(&mut self.next),
        }
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

    fn is_probing(&self) -> bool {
        let probe = self.probe.as_ref();
        probe.is_some_and(|probe| !probe.has_ended())
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
        self.check_limit_survey();
        let now = Instant::now();
        let over = |until: Instant| until <= now || self.run.registry.is_surveyed();
        if self.surveys.until().is_some_and(over) {
            self.end_survey();
        }
        if !self.surveys.is_printing() {
            let waiting = &mut self.surveys.after_printer;
            self.surveys.next.append(waiting);
        }
        let at_limit = self.surveys.at_limit.is_some() || lock(&self.run.machine).forced();
        let busy = self.surveys.under_way.is_some() || at_limit;
        if busy || self.surveys.next.is_empty() {
            return;
        }
        if self.surveys.patient.is_none() {
            self.surveys.patient = Some(now + PATIENCE);
            self.probe(false);
        }
        let is_probing = self.surveys.is_probing();
        if is_probing && self.surveys.patient > Some(now) {
            return;
        }
        self.surveys.patient = None;
        let clients = self.surveys.take_next();
        if is_probing {
            self.serve(clients, Findings::out_of_reach());
        } else {
            let mut until = now + PATIENCE;
            match clients.first().and_then(Client::of) {
                Some((ids, limit)) => {
                    until = until.min(*limit);
                    self.run.registry.survey_some(until, ids);
                }
                None => self.run.registry.survey_all(until),
            }
            self.surveys.under_way = Some((clients, until));
        }
        // There may be nobody to ask, and somebody who came meanwhile.
        self.check_survey();
    }

    /// Begins to find out whether anybody can be asked, where that is not under way.
    fn probe(&mut self, reads: bool) {
        if !self.surveys.is_probing() {
            let registry = self.run.registry;
            // Where there is no thread to be had, there is nothing to be found out.
            self.surveys.probe = trace::probe(reads, || registry.changed.notify_one());
        }
    }

    /// A limit has passed, and force is to be used.
    pub(super) fn survey_limit(&mut self, step: Step) {
        let grace = lock(&self.run.machine).step_ends();
        let grace = grace.and_then(|at| self.run.started.checked_add(at));
        let now = Instant::now();
        let left = grace.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if self.surveys.at_limit.is_none() {
            self.begin_limit_survey(step);
        }
        if let Some(limit) = &mut self.surveys.at_limit {
            // Who was asked before has had that time already.
            let had = limit.asked.map_or(Duration::ZERO, |at| at.elapsed());
            limit.until = Some(now + (left / 2).saturating_sub(had));
        }
        self.check_limit_survey();
    }

    /// Those that will not make it are asked where they are, all before the first is ended: what one
    /// gives back as it ends sets others free.
    fn begin_limit_survey(&mut self, step: Step) {
        self.end_survey();
        // Who wants one waits for the end of the step.
        self.surveys.patient = None;
        self.surveys.at_limit = Some(AtLimit {
            step,
            until: None,
            asked: None,
        });
        self.probe(false);
    }

    fn check_limit_survey(&mut self) {
        let is_probing = self.surveys.is_probing();
        let Some(limit) = &self.surveys.at_limit else {
            return;
        };
        let (step, until, asked) = (limit.step, limit.until, limit.asked);
        if step != self.step() {
            self.drop_limit_survey();
            return;
        }
        let now = Instant::now();
        let over = until.is_some_and(|until| until <= now);
        if asked.is_none() && !is_probing && !over {
            let applies = self.scope(step);
            self.run.registry.survey_stubborn(now + PATIENCE, applies);
            if let Some(limit) = &mut self.surveys.at_limit {
                limit.asked = Some(now);
            }
        }
        let asked = self.surveys.at_limit.as_ref().and_then(|it| it.asked);
        let is_complete = asked.is_some() && self.run.registry.is_surveyed();
        if over || until.is_some() && is_complete {
            self.end_limit_survey();
        }
    }

    fn end_limit_survey(&mut self) {
        if let Some(AtLimit { step, asked, .. }) = self.surveys.at_limit.take() {
            let mut findings = self.run.registry.end_survey();
            if asked.is_none_or(|at| at.elapsed() < LEAST_TIME) {
                // Nobody has had the time to be late.
                findings.forgive();
            }
            self.use_force(step, findings);
        }
    }

    /// The step has ended by itself: there is nobody left to be ended.
    pub(super) fn drop_limit_survey(&mut self) {
        self.surveys.respite = None;
        if self.surveys.at_limit.take().is_some() {
            drop(self.run.registry.end_survey());
        }
    }

    /// When the grace is over: whether those that were to be ended have had a moment for it. This
    /// thread may have been kept from running all the while.
    pub(super) fn has_had_time(&mut self) -> bool {
        let is_due = |limit: &AtLimit| limit.until.is_some();
        if self.surveys.at_limit.as_ref().is_some_and(is_due) {
            self.end_limit_survey();
            self.surveys.respite = Some(Instant::now() + LEAST_TIME);
        }
        self.surveys
            .respite
            .is_none_or(|until| until <= Instant::now())
    }

    /// Where a limit comes near, it is likely to pass; and at debug level so is the time for a line that
    /// tells what is waited for. What is needed to name lines may take a second to read, and a program
    /// that ends in time never needs it.
    pub(super) fn foresee(&mut self) {
        let line = self.next_line.filter(|_| log::debugs());
        let line = line.map(|at| at.saturating_duration_since(self.run.started));
        let force_at = lock(&self.run.machine).force_at();
        let limit = [force_at, line].into_iter().flatten().min();
        let elapsed = self.run.started.elapsed();
        let surveys = &mut self.surveys;
        if surveys.force_at != force_at {
            surveys.force_at = force_at;
            surveys.ask_at = force_at.and_then(|limit| {
                let left = limit.saturating_sub(elapsed);
                Instant::now().checked_add(left.saturating_sub(AHEAD.min(left / 4)))
            });
        }
        if surveys.limit != limit {
            surveys.limit = limit;
            surveys.prepare_at = limit.and_then(|limit| {
                let left = limit.saturating_sub(elapsed);
                let lead = left.saturating_sub(NOTICEABLE).min(LEAD);
                let lead = Some(lead).filter(|lead| *lead >= LEAST_LEAD)?;
                Instant::now().checked_add(left.saturating_sub(lead))
            });
        }
        let is_due = |at: &mut Instant| *at <= Instant::now();
        if !surveys.is_probing() && surveys.prepare_at.take_if(is_due).is_some() {
            self.probe(true);
        }
        if self.surveys.ask_at.take_if(is_due).is_some() && self.surveys.at_limit.is_none() {
            self.begin_limit_survey(self.step());
            self.check_limit_survey();
        }
    }

    fn end_survey(&mut self) {
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
        let mut clients = std::mem::take(&mut self.surveys.next);
        if self.surveys.is_printing() {
            // It prints what there was. There is nothing any more.
            for client in std::mem::take(&mut self.surveys.after_printer) {
                self.dismiss(&client);
            }
        } else {
            clients.append(&mut self.surveys.after_printer);
        }
        self.serve(clients, Findings::default());
    }

    fn serve(&mut self, clients: Vec<Client>, findings: Findings) {
        let findings = Arc::new(findings);
        let mut print = false;
        for client in clients {
            match client {
                Client::Caller(caller) => {
                    caller.answer(&findings);
                    self.run.pay();
                }
                Client::Signal { .. } => {
                    print = true;
                    self.dismiss(&client);
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
            // There is none that prints still: see `after_printer`.
            match Printer::start(&self.run, &findings) {
                Ok(printer) => self.surveys.printer = Some(printer),
                Err(dump) => self.say(Line::Dump(dump)),
            }
        }
    }

    /// Whoever raised the signal does not wait for what becomes of it.
    fn dismiss(&self, client: &Client) {
        if let Client::Signal { owed: true } = client {
            self.run.pay();
        }
    }
}
