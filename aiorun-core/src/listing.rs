//! Lists of tasks as a person reads them: the oldest first, those that are alike in one entry.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::Location;

use crate::task::{Condition, Kind, Label, Spawned, State, TaskInfo};
use crate::text::{Printable, Short};
use crate::trace::InList;

/// How many entries a line of the log has.
const MOST_ENTRIES: usize = 10;
/// Where what belongs to an entry begins.
pub(crate) const INDENT: &str = "                ";
/// How many names an entry has.
const MOST_NAMES: usize = 3;

/// Shows tasks, each entry on a line of its own that begins with a line break.
pub(crate) struct Listing<'a> {
    tasks: &'a [TaskInfo],
    most: usize,
    /// Whether names and lines of the code may be looked up, which takes a while.
    looks_up: bool,
}

impl<'a> Listing<'a> {
    /// All of them.
    pub(crate) fn all(tasks: &'a [TaskInfo]) -> Self {
        Self {
            tasks,
            most: usize::MAX,
            looks_up: true,
        }
    }

    /// Enough to go on.
    pub(crate) fn some(tasks: &'a [TaskInfo]) -> Self {
        Self {
            most: MOST_ENTRIES,
            ..Self::all(tasks)
        }
    }

    /// For whoever must not be kept waiting: with what is looked up already.
    pub(crate) fn at_once(self) -> Self {
        Self {
            looks_up: false,
            ..self
        }
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries = entries(self.tasks, self.looks_up);
        let mut left = 0;
        if entries.len() > self.most {
            // Who may be the cause is not to be among those left out, rather who suffers from it.
            let mut room = self.most;
            let mut keep = vec![false; entries.len()];
            for guilt in Entry::GUILTS {
                for (keep, entry) in keep.iter_mut().zip(&entries) {
                    if room > 0 && entry.guilt() == guilt {
                        (*keep, room) = (true, room - 1);
                    }
                }
            }
            let mut kept = keep.into_iter();
            entries.retain(|entry| {
                let kept = kept.next() == Some(true);
                left += if kept { 0 } else { entry.tasks.len() };
                kept
            });
        }
        entries.iter().try_for_each(|entry| entry.show(f))?;
        match left {
            0 => Ok(()),
            more => write!(f, "\n{INDENT:.14}and {more} more"),
        }
    }
}

/// Sorts what is listed by the age of a task, and main first of those that are as old, for the clock is
/// coarse and ids are given out by thread. By numbers, of whatever is sorted: each type that std
/// sorts by itself is six kilobytes of every program.
pub(crate) fn oldest_first<T>(list: &mut Vec<T>, task: impl Fn(&T) -> &TaskInfo) {
    let ages = list.iter().map(task).zip(0..);
    let ages: BinaryHeap<_> = ages
        .map(|(task, number)| (Reverse(task.age), task.kind != Kind::Main, task.id, number))
        .collect();
    let mut unsorted: Vec<_> = list.drain(..).map(Some).collect();
    let order = ages.into_sorted_vec().into_iter();
    list.extend(order.filter_map(|(.., number): (_, _, _, usize)| unsorted[number].take()));
}

/// Tasks that are alike but for their names and ages, oldest first.
struct Entry<'a> {
    tasks: Vec<&'a TaskInfo>,
    trace: Option<InList<'a>>,
    asked: Asked,
}

/// Of those in an entry, who was asked where they wait.
enum Asked {
    AllOrNobody,
    /// That many, and the others are presumed to be there too.
    Some(usize),
    /// Others that are like them.
    Others,
}

/// What tasks in one entry have in common, but for the trace.
#[derive(PartialEq, Eq, Hash)]
struct Likeness<'a> {
    kind: Kind,
    location: &'static Location<'static>,
    state: LikeState<'a>,
    marks: [bool; 5],
    phase: u8,
    places: [Option<&'static Location<'static>>; 3],
}

#[derive(PartialEq, Eq, Hash)]
enum LikeState<'a> {
    /// Wherever it runs.
    RunningJob,
    Same(&'a State),
}

impl<'a> Likeness<'a> {
    fn of(task: &'a TaskInfo) -> Self {
        Self {
            kind: task.kind,
            location: task.location,
            state: match (&task.state, task.kind) {
                // A pool has hundreds of threads.
                (State::Running { .. }, Kind::Blocking) => LikeState::RunningJob,
                (state, _) => LikeState::Same(state),
            },
            marks: [
                task.protected,
                task.cooperative,
                task.critical,
                task.unresponsive,
                task.bare_shield,
            ],
            phase: task.shutdown_phase,
            places: [task.caught, task.asked, task.shielded],
        }
    }
}

fn entries(tasks: &[TaskInfo], looks_up: bool) -> Vec<Entry<'_>> {
    let mut order = Vec::new();
    let mut crowds: HashMap<Likeness<'_>, usize> = HashMap::new();
    for task in tasks {
        let next = order.len();
        match *crowds.entry(Likeness::of(task)).or_insert(next) {
            number if number == next => order.push(vec![task]),
            number => order[number].push(task),
        }
    }
    let mut entries: Vec<_> = order
        .into_iter()
        .flat_map(|crowd| by_trace(crowd, looks_up))
        .collect();
    oldest_first(&mut entries, |entry| entry.tasks[0]);
    entries
}

/// Those that wait at one place. Who was not asked is with them if they are all at one place, and
/// apart from them otherwise.
fn by_trace(crowd: Vec<&TaskInfo>, looks_up: bool) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut untraced = Vec::new();
    for task in crowd {
        let Some(trace) = &task.trace else {
            untraced.push(task);
            continue;
        };
        let trace = Some(trace.in_list(looks_up));
        match entries.iter_mut().find(|entry| entry.trace == trace) {
            Some(entry) => {
                entry.tasks.push(task);
            }
            None => entries.push(Entry {
                tasks: vec![task],
                trace,
                asked: Asked::AllOrNobody,
            }),
        }
    }
    if untraced.is_empty() {
        return entries;
    }
    match &mut entries[..] {
        // Where traces are not read, nobody knows whether they agree.
        [only] if only.trace != Some(InList::Unread) => {
            only.asked = Asked::Some(only.tasks.len());
            only.tasks.extend(untraced);
            oldest_first(&mut only.tasks, |task| task);
        }
        others => {
            let asked = if others.is_empty() {
                Asked::AllOrNobody
            } else {
                Asked::Others
            };
            entries.push(Entry {
                tasks: untraced,
                trace: None,
                asked,
            });
        }
    }
    entries
}

impl Entry<'_> {
    const GUILTS: RangeInclusive<u8> = 0..=2;

    /// Low for who may hold up others, high for who is held up.
    fn guilt(&self) -> u8 {
        let oldest = self.tasks[0];
        match (oldest.unresponsive, &oldest.state) {
            (true, State::Running { .. }) => 0,
            (true, _) => 2,
            (false, _) => 1,
        }
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [oldest, others @ ..] = &self.tasks[..] else {
            return Ok(());
        };
        let (place, condition) = (Spawned(oldest), Condition(oldest));
        write!(f, "\n{:>8} old  ", Short(oldest.age))?;
        match others.last() {
            None => write!(f, "{}{place}, {condition}", oldest.label())?,
            Some(youngest) => {
                let crowd = Crowd(self.tasks.len(), oldest.label());
                write!(f, "{crowd}{place}, {condition}")?;
                if others.iter().any(|task| task.state != oldest.state) {
                    f.write_str(" and others")?;
                }
                self.names(f)?;
                write!(f, "\n{INDENT}the youngest {} old", Short(youngest.age))?;
            }
        }
        match self.asked {
            Asked::Some(asked) => {
                write!(
                    f,
                    "\n{INDENT}{asked} of them asked where they wait, all of those here:"
                )
            }
            Asked::Others => write!(f, "\n{INDENT}not asked where they wait"),
            Asked::AllOrNobody => Ok(()),
        }?;
        match &self.trace {
            Some(trace) => write!(f, "{trace}"),
            None => Ok(()),
        }
    }

    fn names(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.tasks.iter().filter_map(|task| task.name()).collect();
        names.dedup();
        for (number, name) in names.iter().take(MOST_NAMES).enumerate() {
            match number {
                0 => write!(f, "\n{INDENT}")?,
                _ => f.write_str(", ")?,
            }
            write!(f, "`{}`", Printable(name))?;
        }
        if names.len() > MOST_NAMES {
            f.write_str(", …")?;
        }
        Ok(())
    }
}

/// A number of tasks of one kind.
struct Crowd<'a>(usize, Label<'a>);

impl fmt::Display for Crowd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, label) = self;
        if label.bare_shield {
            return write!(f, "{count} shields in tasks that are not aiorun's");
        }
        write!(f, "{count} {}s", label.kind)
    }
}

#[cfg(test)]
mod tests;
