use std::panic::Location;
use std::sync::Arc;

use super::*;
use crate::error::{HookEnd, How};
use crate::output::Origin;
use crate::signals::Signal;
use crate::task::{Id, Kind, State};

fn phase(phase: Phase, began: u64, ended: u64) -> PhaseReport {
    PhaseReport {
        phase,
        began: Duration::from_millis(began),
        ended: Duration::from_millis(ended),
    }
}

fn report() -> Report {
    Report {
        reason: StopReason::Signal(Signal::TERM),
        phases: vec![
            phase(Phase::Running, 0, 7_300_000),
            phase(Phase::Stopping, 7_300_000, 7_300_000),
            phase(Phase::Cancelling, 7_300_000, 7_303_000),
            phase(Phase::Draining, 7_303_000, 7_304_000),
            phase(Phase::Finishing, 7_304_000, 7_304_000),
        ],
        tasks: TaskCounts {
            spawned: 1_234_567,
            completed: 1_234_560,
            cancelled: 5,
            refused: 2,
            caught: 1,
            ..TaskCounts::default()
        },
        ..Report::not_started()
    }
}

#[test]
fn it_is_a_table_with_a_timeline() {
    assert_eq!(
        report().to_string(),
        "\
stopped: signal SIGTERM, after 2h 1m, of which the shutdown took 4.0s

phase           from    took
running          0ms   2h 1m
stopping       2h 1m     0ms  #
cancelling     2h 1m    3.0s  ##############################
draining       2h 1m    1.0s                                ##########
finishing      2h 1m     0ms                                         #

tasks       spawned  completed     failed   panicked  cancelled    refused     caught
            1234567    1234560          0          0          5          2          1"
    );
}

#[test]
fn it_names_everything_that_went_wrong() {
    let location = Location::caller();
    let failure = UnhandledError {
        origin: Origin {
            id: Id::new(9).unwrap(),
            name: Some(Arc::new("feed".into())),
            location,
            kind: Kind::Async,
        },
        how: How::Failed,
        message: "no connection".into(),
        source: None,
    };
    let hook = HookReport {
        name: "close".into(),
        location,
        took: Duration::from_secs(1),
        trace: None,
        end: HookEnd::TimedOut,
    };
    let report = Report {
        refused: vec![TaskInfo {
            location,
            protected: true,
            ..TaskInfo::sample("writer", 12)
        }],
        abandoned: vec![TaskInfo {
            location,
            kind: Kind::Blocking,
            state: State::NotStarted,
            ..TaskInfo::sample("zip", 12)
        }],
        hooks: vec![hook],
        failures: vec![failure],
        more_failures: 3,
        strays: 2,
        ..report()
    };
    let text = report.to_string();
    let (_, rest) = text.split_once("caught\n").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    assert_eq!(
        rest,
        format!(
            "
refused:
     12s old  task `writer` spawned at {location}, protected, suspended

abandoned:
     12s old  blocking job `zip` spawned at {location}, queued

exit hooks:
  exit hook `close` (registered at {location}) did not end within 1.0s

failures:
  task `feed` (spawned at {location}) failed: no connection
  and 3 more

2 stray tasks of bare `tokio::spawn`, dropped"
        )
    );
}

#[test]
fn what_was_not_started_has_no_timeline() {
    let text = Report::not_started().to_string();
    assert!(text.starts_with("stopped: not started\n\ntasks"), "{text}");
}

#[test]
fn in_one_line_there_is_nothing_that_there_is_none_of() {
    assert_eq!(
        report().tasks.to_string(),
        "1234567 spawned, 1234560 completed, 5 cancelled, 2 refused, 1 caught"
    );
    assert_eq!(TaskCounts::default().to_string(), "0 spawned");
}
