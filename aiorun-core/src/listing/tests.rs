use super::*;
use crate::trace::Trace;
use crate::trace::waker::Taken;

#[track_caller]
fn task(name: &'static str, age: u64) -> TaskInfo {
    TaskInfo::sample(name, age)
}

/// A trace that can be told from another: by how many awaits were not noted.
fn trace(more: usize) -> Trace {
    let trace = Trace::new(Taken {
        places: Vec::new(),
        more,
    });
    trace.branches();
    trace
}

fn shown(mut tasks: Vec<TaskInfo>) -> Vec<String> {
    tasks.sort_by_key(|task| std::cmp::Reverse(task.age));
    let text = Listing::all(&tasks).to_string();
    text.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn one_is_a_line() {
    let one = task("ingest", 75);
    let place = one.location;
    assert_eq!(
        shown(vec![one]),
        [format!(
            "  1m 15s old  task `ingest` spawned at {place}, suspended"
        )]
    );
    assert_eq!(shown(Vec::new()), [""; 0]);
}

#[test]
fn the_oldest_is_first() {
    let lines = shown(vec![task("young", 1), task("old", 100), task("middle", 50)]);
    let names: Vec<_> = lines.iter().map(|line| &line[14..24]).collect();
    assert_eq!(names, ["task `old`", "task `midd", "task `youn"]);
}

#[test]
fn those_that_are_alike_are_one_entry() {
    let names = ["c 1", "c 2", "c 3", "c 4", "c 5"];
    let crowd = (1..).zip(names).map(|(age, name)| task(name, age));
    let mut tasks: Vec<_> = crowd.collect();
    let place = tasks[0].location;
    let lines = shown(tasks.clone());
    assert_eq!(
        lines,
        [
            format!("    5.0s old  5 tasks spawned at {place}, suspended"),
            "                `c 5`, `c 4`, `c 3`, …".into(),
            "                the youngest 1.0s old".into(),
        ]
    );
    // What makes a difference to a reader makes one here.
    tasks[0].protected = true;
    tasks[1].shielded = Some(Location::caller());
    tasks[2].state = State::Running {
        thread: "a".into(),
        dropping: true,
    };
    tasks[3].unresponsive = true;
    let lines = shown(tasks);
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(lines[1].ends_with("ready, but no thread was free to poll it"));
    assert!(lines[2].ends_with("in a destructor on a"));
}

#[test]
fn those_without_names_are_counted() {
    let crowd = (0..3).map(|age| TaskInfo {
        name: None,
        kind: Kind::Blocking,
        ..task("", age)
    });
    let tasks: Vec<_> = crowd.collect();
    let place = tasks[0].location;
    assert_eq!(
        shown(tasks),
        [
            format!("    2.0s old  3 blocking jobs spawned at {place}, suspended"),
            "                the youngest 0ms old".into(),
        ]
    );
    let shields = (0..2).map(|age| TaskInfo {
        bare_shield: true,
        ..task("", age)
    });
    let lines = shown(shields.collect());
    assert!(
        lines[0].contains("2 shields in tasks that are not aiorun's at "),
        "{lines:#?}"
    );
}

#[test]
fn those_that_wait_elsewhere_are_entries_of_their_own() {
    let crowd = (0..6).map(|age| TaskInfo {
        trace: Some(trace(age % 2)),
        ..task("twin", age.try_into().unwrap())
    });
    let lines = shown(crowd.collect());
    let counts: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("spawned at"))
        .collect();
    assert_eq!(counts.len(), 2, "{lines:#?}");
    assert!(
        counts
            .iter()
            .all(|line| line.contains("  3 tasks spawned at"))
    );
    assert_eq!(
        lines.iter().filter(|line| line.contains("`twin`")).count(),
        2
    );
}

#[test]
fn who_was_not_asked_is_with_those_who_were_if_they_agree() {
    let crowd = |agree: bool| {
        let crowd = (0..10).map(|age| TaskInfo {
            trace: match age {
                2 => Some(trace(0)),
                7 => Some(trace(usize::from(!agree))),
                _ => None,
            },
            ..task("", age.try_into().unwrap())
        });
        shown(crowd.collect())
    };
    let lines = crowd(true);
    assert!(lines[0].contains("10 tasks"), "{lines:#?}");
    assert!(lines[3].ends_with("2 of them asked where they wait, all of those here:"));
    let lines = crowd(false);
    let heads: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("spawned at"))
        .collect();
    assert_eq!(heads.len(), 3, "{lines:#?}");
    assert!(heads[0].contains("8 tasks"), "{lines:#?}");
    assert!(
        lines[3].ends_with("  not asked where they wait"),
        "{lines:#?}"
    );
}

#[test]
fn a_list_in_the_log_has_an_end() {
    let kinds = (0..25).map(|number: u64| {
        let mut one = task("x", 100 - number);
        one.state = State::Running {
            thread: number.to_string(),
            dropping: false,
        };
        one
    });
    let mut tasks: Vec<_> = kinds.collect();
    // The culprit is young, and who waits for a free thread is old.
    tasks[24].unresponsive = true;
    tasks[0].unresponsive = true;
    tasks[0].state = State::Suspended;
    let text = Listing::some(&tasks).to_string();
    assert_eq!(text.lines().count(), 1 + 10 + 1);
    assert!(text.ends_with("\n              and 15 more"), "{text}");
    let ages: Vec<_> = text.lines().skip(1).map(|line| &line[..8]).collect();
    assert_eq!(ages[0], "  1m 39s", "{text}");
    assert_eq!(ages[9], "  1m 16s", "{text}");
}

#[test]
fn who_cannot_wait_does_not_look_anything_up() {
    let unread = Trace::new(Taken::default());
    let tasks = [TaskInfo {
        trace: Some(unread.clone()),
        ..task("hasty", 1)
    }];
    let hasty = Listing::some(&tasks).at_once().to_string();
    assert!(
        hasty.ends_with("\n                its trace could not be read in time"),
        "{hasty}"
    );
    assert!(unread.in_list(false) == InList::Unread);
    unread.branches();
    let text = Listing::some(&tasks).at_once().to_string();
    assert!(
        text.ends_with(&format!("\n                {unread}")),
        "{text}"
    );
}

#[test]
fn jobs_are_alike_on_whatever_thread_they_run() {
    let jobs = (0..3).map(|number: u64| TaskInfo {
        name: None,
        kind: Kind::Blocking,
        state: State::Running {
            thread: format!("pool-{number}"),
            dropping: false,
        },
        ..task("", number)
    });
    let lines = shown(jobs.collect());
    assert!(lines[0].contains("3 blocking jobs"), "{lines:#?}");
    assert!(
        lines[0].ends_with("running on pool-2 and others"),
        "{lines:#?}"
    );
}
