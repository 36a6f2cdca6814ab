//! The shutdown delay, in which everything still works.

use std::time::Duration;

use aiorun::{Flavor, Handle, Phase, Signal, StopReason};

use crate::trial::{FLAVORS, Log, attempt, builder, forever, give_way, passes, paused, run};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn nothing_is_cancelled_meanwhile() {
    for flavor in FLAVORS {
        let log = Log::default();
        let delay = crate::trial::SHORT;
        let exit = run(builder(flavor).shutdown_delay(delay), async {
            let told = log.on_drop("cancelled");
            let of_task = log.clone();
            aiorun::spawn(async move {
                let _told = told;
                aiorun::stopping().await;
                assert_eq!(aiorun::spawn(async { 1 }).await.unwrap(), 1);
                of_task.say("still serves");
                forever().await;
            });
            aiorun::stop();
        });
        assert_eq!(log.lines(), ["still serves", "cancelled"]);
        let stopping = exit.report.phases[1];
        assert!(stopping.ended >= stopping.began + delay);
    }
}

#[test]
fn it_is_cut_short_when_no_task_is_left() {
    for flavor in FLAVORS {
        let exit = run(builder(flavor).shutdown_delay(HOUR), async {
            aiorun::spawn(async {
                aiorun::stopping().await;
                give_way().await;
            });
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.completed, 2);
        assert!(exit.report.shutdown_took() < HOUR / 2);
    }
}

#[test]
fn it_is_for_signals_and_stops_only() {
    for flavor in FLAVORS {
        let exit = run(
            builder(flavor).shutdown_delay(HOUR).run_forever(false),
            async {
                aiorun::spawn(forever());
            },
        );
        assert_eq!(exit.reason, StopReason::MainReturned);
        let exit = attempt(builder(flavor).shutdown_delay(HOUR), async {
            aiorun::spawn(forever());
            Err::<(), _>("main fails")
        });
        assert_eq!(exit.reason, StopReason::MainFailed);
    }
}

#[test]
fn a_repeated_signal_ends_it_and_nothing_else() {
    for flavor in FLAVORS {
        let log = Log::default();
        let mut builder = builder(flavor);
        builder
            .shutdown_delay(HOUR)
            .repeat_signal(aiorun::RepeatSignal::Abort);
        let exit = run(&mut builder, async {
            let handle = Handle::current();
            let of_task = log.clone();
            aiorun::shutdown_waits_for(async move {
                crate::trial::reach(Phase::Cancelling).await;
                give_way().await;
                of_task.say("saved");
            });
            aiorun::spawn(forever());
            handle.raise(Signal::TERM);
            // The first half second is one burst.
            let again = Duration::from_millis(600);
            std::thread::spawn(move || {
                std::thread::sleep(again);
                handle.raise(Signal::TERM);
            });
        });
        assert_eq!(log.lines(), ["saved"]);
        assert!(exit.is_success());
        assert!(exit.report.shutdown_took() < HOUR / 2);
    }
}

#[test]
fn the_clock_of_the_program_ends_it_too() {
    // An hour of paused time is over at once; the budget is what a real one would take.
    let budget = Duration::from_secs(30);
    let mut builder = paused();
    builder.shutdown_delay(HOUR).shutdown_timeout(budget);
    let exit = attempt(&mut builder, async {
        aiorun::spawn(tokio::time::sleep(HOUR * 24));
        aiorun::stop();
    });
    assert!(exit.report.shutdown_took() < budget / 2, "{}", exit.report);
    assert_eq!(exit.report.tasks.cancelled, 1);
}

#[test]
fn paused_time_goes_on_during_it() {
    let mut builder = paused();
    builder.shutdown_delay(HOUR);
    let log = Log::default();
    passes(&mut builder, async {
        let of_task = log.clone();
        aiorun::spawn(async move {
            aiorun::stopping().await;
            tokio::time::sleep(HOUR / 4).await;
            of_task.say("served for a quarter of it");
        });
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["served for a quarter of it"]);
}

#[test]
fn the_phase_is_stopping_and_the_handle_works() {
    passes(builder(Flavor::MultiThread).shutdown_delay(HOUR), async {
        let handle = Handle::current();
        aiorun::spawn(async move {
            aiorun::stopping().await;
            assert_eq!(handle.phase(), Phase::Stopping);
            assert!(aiorun::is_stopping());
            handle.spawn(async {}).await.unwrap();
        });
        aiorun::stop();
    });
}
