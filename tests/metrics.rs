//! What the recorder of `metrics` is told. There is one in a process, so it is one test.

#![cfg(all(feature = "metrics", feature = "multi-thread"))]

use std::time::Duration;

use aiorun::{Builder, Flavor, Phase, catch_cancel, shutdown_waits_for};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// What there is at one moment: name and label, and the value. To look takes it out of this recorder,
/// which is told again a second later.
struct Look(Vec<(String, Option<String>, DebugValue)>);

impl Look {
    fn at(snapshotter: &Snapshotter) -> Self {
        let metrics = snapshotter.snapshot().into_vec().into_iter();
        let look = metrics.map(|(key, _, description, value)| {
            assert!(description.is_some(), "{key:?} is described");
            let label = key.key().labels().next();
            let label = label.map(|label| label.value().to_owned());
            (key.key().name().to_owned(), label, value)
        });
        Self(look.collect())
    }

    fn value(&self, of: &str, by: Option<&str>) -> Option<&DebugValue> {
        let mut values = self.0.iter();
        let found = values.find(|(name, label, _)| name == of && label.as_deref() == by);
        found.map(|(_, _, value)| value)
    }

    fn count(&self, of: &str, by: Option<&str>) -> Option<u64> {
        match self.value(of, by)? {
            DebugValue::Counter(count) => Some(*count),
            _ => None,
        }
    }

    fn alive(&self) -> Option<f64> {
        match self.value("aiorun_tasks_alive", None)? {
            DebugValue::Gauge(count) => Some(count.0),
            _ => None,
        }
    }

    fn ended(&self, outcome: &str) -> Option<u64> {
        self.count("aiorun_tasks_ended_total", Some(outcome))
    }

    fn spawned(&self) -> Option<u64> {
        self.count("aiorun_tasks_spawned_total", None)
    }

    fn shutdown(&self, phase: Phase) -> Option<Vec<f64>> {
        let phase = phase.to_string();
        match self.value("aiorun_shutdown_seconds", Some(&phase))? {
            DebugValue::Histogram(took) => Some(took.iter().map(|it| it.0).collect()),
            _ => None,
        }
    }
}

fn one_run(flavor: Flavor, main: impl Future<Output = ()>) -> aiorun::Report {
    let mut builder = Builder::new();
    let exit = builder.flavor(flavor).signals([]).run(main);
    assert!(exit.is_success(), "{exit:?}");
    exit.report
}

#[test]
fn the_recorder_is_told() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // A run before there is a recorder is in the sums all the same.
    let first = one_run(Flavor::CurrentThread, async { aiorun::stop() }).tasks;
    assert_eq!(first.spawned, 1);

    let seen = snapshotter.clone();
    let report = one_run(Flavor::MultiThread, async move {
        recorder.install().expect("the only recorder");
        for _ in 0..3 {
            aiorun::spawn(async {}).await.unwrap();
        }
        aiorun::spawn(async { panic!("that is meant") })
            .await
            .unwrap_err();
        aiorun::spawn_fallible(async { Err::<(), _>("that too") })
            .await
            .unwrap()
            .unwrap_err();
        let cancelled = aiorun::spawn(std::future::pending::<()>());
        cancelled.cancel();
        cancelled.await.unwrap_err();
        let waits = aiorun::spawn(async { drop(catch_cancel(std::future::pending::<()>()).await) });

        // While it runs: main, the one that waits, and the one that looks.
        let looks = shutdown_waits_for(async move {
            loop {
                let look = Look::at(&seen);
                let is_all = look.alive() == Some(3.0) && look.spawned() == Some(10);
                if is_all && look.ended("panicked") == Some(1) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        looks.await.unwrap();
        aiorun::stop();
        waits.await.unwrap();
    });

    let look = Look::at(&snapshotter);
    let tasks = report.tasks;
    assert_eq!(tasks.spawned, 9);
    assert_eq!(look.alive(), Some(0.0));
    assert_eq!(look.spawned(), Some(first.spawned + tasks.spawned));
    let outcomes = ["completed", "failed", "panicked", "cancelled", "refused"];
    let completed = first.completed + tasks.completed;
    let cancelled = first.cancelled + tasks.cancelled;
    let ended = [completed, 1, 1, cancelled, 0].map(Some);
    assert_eq!(outcomes.map(|outcome| look.ended(outcome)), ended);
    assert_eq!(look.shutdown(Phase::Running), None);
    assert_eq!(report.phases.len(), 5);
    for phase in &report.phases[1..] {
        let took = phase.ended.saturating_sub(phase.began).as_secs_f64();
        assert_eq!(look.shutdown(phase.phase), Some(vec![took]));
    }
}
