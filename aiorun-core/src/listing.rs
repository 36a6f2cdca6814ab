//! Lists of tasks as a person reads them: the oldest first, those that are alike in one entry.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;

use crate::task::{Condition, Kind, Label, Spawned, State, TaskInfo};
use crate::text::{Printable, Short};
use crate::trace::InList;

/// How many entries a line of the log has.
const MOST_ENTRIES: usize = 10;
/// Where what belongs to an entry begins.
pub(crate) const INDENT: &str = "            ";
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
        let entries = entries(self.tasks, self.looks_up);
        for entry in entries.iter().take(self.most) {
            entry.show(f)?;
        }
        let left = entries.iter().skip(self.most);
        match left.map(|entry| entry.tasks.len()).sum::<usize>() {
            0 => Ok(()),
            more => write!(f, "\n{:>8}  and {more} more", ""),
        }
    }
}

/// Tasks that are alike but for their names and ages, oldest first.
struct Entry<'a> {
    tasks: Vec<&'a TaskInfo>,
    trace: Option<InList<'a>>,
    /// How many of them have that trace, where the others were not asked.
    traced: usize,
}

/// What tasks in one entry have in common, but for the trace.
#[derive(PartialEq, Eq, Hash)]
struct Likeness<'a> {
    kind: Kind,
    location: &'static Location<'static>,
    state: &'a State,
    marks: [bool; 5],
    places: [Option<&'static Location<'static>>; 3],
}

impl<'a> Likeness<'a> {
    fn of(task: &'a TaskInfo) -> Self {
        Self {
            kind: task.kind,
            location: task.location,
            state: &task.state,
            marks: [
                task.protected,
                task.cooperative,
                task.critical,
                task.unresponsive,
                task.bare_shield,
            ],
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
    entries.sort_unstable_by_key(|entry| (Reverse(entry.tasks[0].age), entry.tasks[0].id));
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
                entry.traced += 1;
            }
            None => entries.push(Entry {
                tasks: vec![task],
                trace,
                traced: 1,
            }),
        }
    }
    match &mut entries[..] {
        [only] => {
            only.tasks.extend(untraced);
            only.tasks
                .sort_unstable_by_key(|task| (Reverse(task.age), task.id));
        }
        _ if untraced.is_empty() => {}
        _ => entries.push(Entry {
            tasks: untraced,
            trace: None,
            traced: 0,
        }),
    }
    entries
}

impl Entry<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [oldest, others @ ..] = &self.tasks[..] else {
            return Ok(());
        };
        let (place, condition) = (Spawned(oldest), Condition(oldest));
        write!(f, "\n{:>8}  ", Short(oldest.age))?;
        match others.last() {
            None => write!(f, "{}{place}, {condition}", oldest.label())?,
            Some(youngest) => {
                let crowd = Crowd(self.tasks.len(), oldest.label());
                write!(f, "{crowd}{place}, {condition}")?;
                self.names(f)?;
                write!(f, "\n{INDENT}the youngest {}", Short(youngest.age))?;
                if self.traced > 0 && self.traced < self.tasks.len() {
                    write!(f, ", {} of them asked where they wait", self.traced)?;
                }
            }
        }
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
