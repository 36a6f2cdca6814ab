//! The survey: some tasks are asked where they are suspended.
//!
//! Whoever is asked gets `TRACE` and is woken, and answers in its next poll, wherever that happens.
//! There is one survey at a time, by the control thread, and a late answer to an earlier one is of no
//! interest.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::panic::Location;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::{
    Body, CANCEL, GIVEN_UP, JOB, NEW, REARM, Registry, Slot, Sort, TRACE, kind_of, may_be_cut,
};
use crate::scope::wake;
use crate::sync::{lock, lock_std};
use crate::task::{Id, Kind, TaskInfo};
use crate::trace::Trace;
use crate::trace::waker::Traced;

/// How many tasks are asked at the most: a trace takes some kilobytes.
const MOST: usize = 100;

/// A survey that is under way.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Who answers later need not say where it is.
    until: Option<Instant>,
    waiting: Vec<(Id, &'static Slot)>,
    found: Found,
}

/// What tasks have said, in the order of their identities: a hundred need no hash table.
type Found = Vec<(Id, Trace)>;

fn trace_of(found: &[(Id, Trace)], id: Id) -> Option<Trace> {
    let at = found.binary_search_by_key(&id, |(id, _)| *id).ok()?;
    Some(found[at].1.clone())
}

/// What came of a survey.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Found,
    /// Who did not answer.
    silent: HashSet<Id>,
    /// Nobody could be asked.
    pub(crate) out_of_reach: bool,
}

impl Findings {
    /// Of a survey that could not be held.
    pub(crate) fn out_of_reach() -> Self {
        Self {
            out_of_reach: true,
            ..Self::default()
        }
    }

    /// Makes nothing of it that somebody has not answered.
    pub(crate) fn forgive(&mut self) {
        self.silent.clear();
    }

    /// Notes with each task what it has said.
    pub(crate) fn add_to(&self, tasks: &mut [TaskInfo]) {
        for task in tasks {
            task.trace = self.trace_of(task.id);
            task.unresponsive |= self.silent.contains(&task.id);
        }
    }

    pub(crate) fn trace_of(&self, id: Id) -> Option<Trace> {
        trace_of(&self.found, id)
    }
}

impl Registry {
    /// Asks those tasks that are there and awaited where they are suspended.
    pub(crate) fn survey_all(&self, until: Instant) {
        self.survey(until, |_, _| true);
    }

    /// Asks some of them.
    pub(crate) fn survey_some(&self, until: Instant, ids: &HashSet<Id>) {
        self.survey(until, |body, _| {
            Id::new(body.id).is_some_and(|id| ids.contains(&id))
        });
    }

    /// Asks those that will be refused if they are ended by force.
    pub(crate) fn survey_stubborn(&self, until: Instant, applies: impl Fn(Sort) -> bool) {
        self.survey(until, |body, flags| {
            applies(Sort::of(flags)) && flags & NEW == 0 && !may_be_cut(body, flags)
        });
    }

    fn survey(&self, until: Instant, applies: impl Fn(&Body, u32) -> bool) {
        drop(self.end_survey());
        lock_std(&self.survey).until = Some(until);
        // All are marked before the first answers: what one does then is news to the others.
        for slot in self.mark(applies) {
            let mut body = lock(&slot.body);
            // Whoever has answered meanwhile would not put it back.
            if slot.flags.load(Relaxed) & TRACE == 0 {
                continue;
            }
            let waker = body.waker.take();
            drop(body);
            if let Some(waker) = waker {
                wake(waker);
            }
        }
    }

    /// Marks those who are asked.
    fn mark(&self, applies: impl Fn(&Body, u32) -> bool) -> Vec<&'static Slot> {
        let candidates = self.slots().filter_map(|slot| {
            let body = lock(&slot.body);
            let flags = slot.flags.load(Relaxed);
            let id = Id::new(body.id).filter(|_| can_answer(flags) && applies(&body, flags))?;
            Some((body.location, (slot, id)))
        });
        let chosen = sample(candidates, MOST).into_iter();
        let asked = chosen.filter(|(slot, id)| slot.survey(*id));
        asked.map(|(slot, _)| slot).collect()
    }

    /// Whether all who were asked have answered, or are gone.
    pub(crate) fn is_surveyed(&self) -> bool {
        lock_std(&self.survey).waiting.is_empty()
    }

    /// Ends the survey: who has not answered need not any more.
    pub(crate) fn end_survey(&self) -> Findings {
        let Survey { waiting, found, .. } = std::mem::take(&mut *lock_std(&self.survey));
        for (id, slot) in &waiting {
            let body = lock(&slot.body);
            if body.id == id.get() {
                // Its waker was taken, and has to be put back all the same.
                slot.flags.fetch_or(REARM, Release);
                slot.flags.fetch_and(!TRACE, Release);
            }
        }
        let silent = waiting.into_iter().map(|(id, _)| id).collect();
        Findings {
            found,
            silent,
            out_of_reach: false,
        }
    }

    /// A task that was asked has answered, or is gone.
    pub(super) fn answered(&self, id: u64, trace: Option<Trace>) {
        let Some(id) = Id::new(id) else { return };
        let mut survey = lock_std(&self.survey);
        let Some(at) = survey.waiting.iter().position(|(it, _)| *it == id) else {
            return;
        };
        survey.waiting.swap_remove(at);
        if let Some(trace) = trace {
            let at = survey.found.partition_point(|(before, _)| *before < id);
            survey.found.insert(at, (id, trace));
        }
        let last = survey.waiting.is_empty();
        drop(survey);
        if last {
            self.changed.notify_one();
        }
    }
}

impl Slot {
    /// Asks a task, unless it is gone.
    fn survey(&'static self, id: Id) -> bool {
        // Before the flag, which leads to an answer.
        lock_std(&self.registry.survey).waiting.push((id, self));
        let body = lock(&self.body);
        if body.id == id.get() {
            self.flags.fetch_or(TRACE, Release);
            return true;
        }
        drop(body);
        self.registry.answered(id.get(), None);
        false
    }

    /// Polls to answer where it is suspended, if it is.
    pub(crate) fn poll_traced<T>(
        &self,
        waker: &Waker,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Option<Trace>) {
        let until = lock_std(&self.registry.survey).until;
        // Where the survey is over, there is no time left for it.
        let until = until.unwrap_or_else(Instant::now);
        let mut poll = || {
            let traced = Traced::new(waker, until);
            let polled = poll(&mut Context::from_waker(traced.waker()));
            let taken = polled.is_pending().then(|| traced.taken()).flatten();
            (polled, taken)
        };
        let (polled, taken) = poll();
        match taken {
            None => (polled, None),
            // It was not polled: a cancellation has come between, and not everybody is marked yet.
            Some(_) if self.flags.load(Relaxed) & CANCEL != 0 => (polled, None),
            // There may be awaits among them that it has left since, in the same poll.
            Some(first) if first.count() > 1 => {
                let (polled, taken) = poll();
                let again = taken.filter(|taken| taken.count() > 0).unwrap_or(first);
                let trace = polled.is_pending().then(|| Trace::new(again));
                (polled, trace)
            }
            Some(taken) => (polled, Some(Trace::new(taken))),
        }
    }

    /// For a bare shield: whether it is asked now, and so has to answer by this name.
    pub(crate) fn is_surveyed(&self) -> Option<Id> {
        let flags = self.flags.fetch_and(!(TRACE | REARM), Acquire);
        Id::new(lock(&self.body).id).filter(|_| flags & TRACE != 0)
    }

    /// Answers after a traced poll; with nothing if the task has ended in it.
    pub(crate) fn answer(&self, trace: Option<Trace>) {
        let id = lock(&self.body).id;
        self.registry.answered(id, trace);
    }

    /// As [`answer`](Self::answer), for a bare shield, which may be gone, and another in its place.
    pub(crate) fn answer_as(&self, id: Id, trace: Option<Trace>) {
        self.registry.answered(id.get(), trace);
    }
}

/// Whether it is polled, and is not given up as stuck.
fn can_answer(flags: u32) -> bool {
    flags & (JOB | GIVEN_UP) == 0 && kind_of(flags) != Kind::Blocking
}

/// Some of the candidates: of every place where tasks are spawned as many as fit, spread over their
/// ages, so that a crowd does not hide the others.
fn sample<T: Copy>(
    candidates: impl Iterator<Item = (&'static Location<'static>, T)>,
    most: usize,
) -> Vec<T> {
    let mut places: HashMap<&'static Location<'static>, Vec<T>> = HashMap::new();
    for (place, candidate) in candidates {
        places.entry(place).or_default().push(candidate);
    }
    // Those that need little first: what they leave is for the others.
    let sizes = places.iter().map(|(place, crowd)| (crowd.len(), *place));
    let order = sizes.collect::<BinaryHeap<_>>().into_sorted_vec();
    let mut left = most;
    let mut chosen = Vec::new();
    for (number, (_, place)) in order.iter().enumerate() {
        let crowd = &places[place];
        let share = (left / (order.len() - number)).max(1).min(left);
        let picked = share.min(crowd.len());
        chosen.extend((0..picked).map(|nth| crowd[nth * crowd.len() / picked]));
        left -= picked;
    }
    chosen
}

#[cfg(all(test, not(aiorun_loom)))]
mod tests;
