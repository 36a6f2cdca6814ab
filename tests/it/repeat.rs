//! Signals that come again while the program stops.

use std::thread;
use std::time::Duration;

use aiorun::{Exit, Flavor, Handle, Phase, RepeatSignal, RunError, Signal};

use crate::trial::{
    FLAVORS, Log, attempt, builder, forever, give_way, on_a_runtime, passes, reach, run,
};

/// Raises a signal, and again and again, beyond the half second of one burst, until tasks are no
/// longer awaited.
pub(crate) fn insist(handle: Handle, signal: Signal) {
    handle.raise(signal);
    thread::spawn(move || {
        while handle.phase() < Phase::Finishing {
            thread::sleep(Duration::from_millis(100));
            handle.raise(signal);
        }
    });
}

async fn stubborn(log: Log, signal: Signal) {
    aiorun::task("stubborn").protected().spawn(forever());
    aiorun::on_exit("later", async move { log.say("hook") });
    insist(Handle::current(), signal);
    forever().await;
}

#[track_caller]
fn aborts(flavor: Flavor, repeat: RepeatSignal, signal: Signal) {
    let log = Log::default();
    let mut builder = builder(flavor);
    let exit = attempt(builder.repeat_signal(repeat), stubborn(log.clone(), signal));
    aborted(&exit);
    assert_eq!(log.lines(), ["hook"]);
}

#[track_caller]
fn aborted(exit: &Exit) {
    assert!(matches!(&exit.error, Some(RunError::Refused(tasks)) if tasks.len() == 1));
    assert_eq!(exit.report.refused[0].name(), Some("stubborn"));
    let took = exit.report.shutdown_took();
    assert!(took >= Duration::from_millis(500) && took < crate::trial::BUDGET / 2);
    assert!(!exit.is_success());
}

#[test]
fn auto_aborts_at_a_repeated_sigint() {
    for flavor in FLAVORS {
        aborts(flavor, RepeatSignal::Auto, Signal::INT);
    }
}

#[test]
fn abort_aborts_at_any() {
    aborts(Flavor::MultiThread, RepeatSignal::Abort, Signal::TERM);
    aborts(Flavor::CurrentThread, RepeatSignal::Abort, Signal::HUP);
}

#[track_caller]
fn goes_on(repeat: RepeatSignal, signal: Signal) {
    let log = Log::default();
    let of_task = log.clone();
    let mut builder = builder(Flavor::MultiThread);
    let exit = run(builder.repeat_signal(repeat), async {
        aiorun::shutdown_waits_for(async move {
            aiorun::stopping().await;
            // For two repeated ones to be there.
            tokio::time::sleep(Duration::from_millis(800)).await;
            of_task.say("saved");
        });
        insist(Handle::current(), signal);
        forever().await;
    });
    assert_eq!(log.lines(), ["saved"]);
    assert!(exit.is_success());
}

#[test]
fn auto_ignores_a_repeated_sigterm() {
    goes_on(RepeatSignal::Auto, Signal::TERM);
}

#[test]
fn ignore_ignores_all() {
    goes_on(RepeatSignal::Ignore, Signal::INT);
}

#[test]
fn a_burst_is_one_signal() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        passes(builder(flavor).repeat_signal(RepeatSignal::Abort), async {
            let handle = Handle::current();
            aiorun::shutdown_waits_for(async move {
                reach(Phase::Cancelling).await;
                give_way().await;
                of_task.say("saved");
            });
            for _ in 0..5 {
                handle.raise(Signal::INT);
            }
        });
        assert_eq!(log.lines(), ["saved"]);
    }
}

#[test]
fn neither_a_stop_nor_a_second_one_is_a_repeated_signal() {
    for flavor in FLAVORS {
        let log = Log::default();
        let of_task = log.clone();
        passes(builder(flavor).repeat_signal(RepeatSignal::Abort), async {
            aiorun::shutdown_waits_for(async move {
                aiorun::stopping().await;
                for _ in 0..7 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    aiorun::stop();
                }
                of_task.say("saved");
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["saved"]);
    }
}

#[test]
fn supervise_never_leaves_the_process() {
    let log = Log::default();
    let of_main = log.clone();
    let exit = on_a_runtime(async {
        let mut builder = aiorun::Builder::new();
        builder.signals([]).repeat_signal(RepeatSignal::Exit);
        builder.supervise(stubborn(of_main, Signal::INT)).await
    });
    aborted(&crate::trial::checked(exit));
    assert_eq!(log.lines(), ["hook"]);
}
