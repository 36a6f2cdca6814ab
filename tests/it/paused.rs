//! Paused time: the clock of the program jumps, and never past something that is under way.

use std::time::{Duration, Instant};

use aiorun::{Builder, Flavor, Handle, Phase, Signal, StopReason};
use tokio::time::{sleep, timeout};

use crate::trial::{Log, builder, forever, on_a_runtime, passes, reach};

const HOUR: Duration = Duration::from_secs(3600);
/// What nothing here takes in real time.
const REAL: Duration = Duration::from_secs(60);

/// Runs with paused time in both flavours that have it.
#[track_caller]
fn paused(main: impl AsyncFn()) {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        let began = Instant::now();
        passes(builder(flavor).start_paused(true), main());
        assert!(began.elapsed() < REAL);
    }
}

#[test]
fn a_timeout_on_what_the_supervisor_owes_never_expires_early() {
    for round in 0..200 {
        paused(async || {
            match round % 4 {
                0 => aiorun::stop(),
                1 => Handle::current().raise(Signal::TERM),
                2 => drop(aiorun::spawn(async { aiorun::stop() })),
                _ => drop(aiorun::spawn_blocking(aiorun::stop)),
            }
            let reason = timeout(HOUR, aiorun::stopping()).await;
            assert!(reason.is_ok(), "round {round}: an hour has passed");
        });
    }
}

#[test]
fn a_timeout_on_a_change_of_phase_never_expires_early() {
    for _ in 0..200 {
        paused(async || {
            aiorun::shutdown_waits_for(async {
                let began = tokio::time::Instant::now();
                reach(Phase::Cancelling).await;
                assert!(began.elapsed() < HOUR);
            });
            let ended = aiorun::spawn(forever());
            aiorun::shutdown_waits_for(async {
                let ended = timeout(HOUR, ended).await;
                assert!(ended.is_ok_and(|it| it.is_err_and(|error| error.is_cancelled())));
            });
            aiorun::stop();
        });
    }
}

#[test]
fn hours_of_cleanup_pass_at_once() {
    paused(async || {
        let began = tokio::time::Instant::now();
        for hours in 1..5 {
            aiorun::shutdown_waits_for(async move {
                aiorun::stopping().await;
                sleep(HOUR * hours).await;
                assert!(began.elapsed() >= HOUR * hours);
            });
        }
        aiorun::on_exit("takes hours too", async move {
            sleep(HOUR * 10).await;
            assert!(began.elapsed() >= HOUR * 14);
        });
        sleep(HOUR).await;
        aiorun::stop();
        forever().await;
    });
}

#[test]
fn a_callback_may_take_hours() {
    let log = Log::default();
    let of_callback = log.clone();
    let mut builder = builder(Flavor::CurrentThread);
    builder.start_paused(true).shutdown_callback(async move || {
        sleep(HOUR).await;
        of_callback.say("an hour later");
    });
    passes(&mut builder, async {
        aiorun::spawn(forever());
        aiorun::stop();
    });
    assert_eq!(log.lines(), ["an hour later"]);
}

#[test]
fn everything_at_once() {
    for _ in 0..20 {
        let log = Log::default();
        paused(async || {
            let of_task = log.clone();
            aiorun::spawn(async move {
                loop {
                    sleep(Duration::from_secs(7)).await;
                    aiorun::spawn(sleep(Duration::from_secs(90)));
                    of_task.say("tick");
                }
            });
            aiorun::spawn_blocking(|| {}).await.unwrap();
            sleep(Duration::from_secs(60)).await;
            Handle::current().raise(Signal::INT);
            forever().await;
        });
        assert_eq!(log.lines().len(), 2 * 8);
    }
}

#[test]
fn a_clock_that_jumps_does_not_shorten_limits() {
    paused(async || {
        aiorun::shutdown_waits_for(async {
            reach(Phase::Cancelling).await;
            let left = aiorun::time_left().unwrap();
            sleep(HOUR).await;
            assert!(
                aiorun::time_left().unwrap() > left / 2,
                "an hour did not really pass"
            );
        });
        aiorun::stop();
    });
}

#[test]
fn a_job_holds_the_clock() {
    paused(async || {
        let began = tokio::time::Instant::now();
        aiorun::shutdown_waits_for(async move {
            let job = aiorun::spawn_blocking(|| {
                for _ in 0..1000 {
                    std::thread::yield_now();
                }
            });
            assert!(timeout(HOUR, job).await.is_ok());
            assert!(began.elapsed() < HOUR);
        });
        aiorun::stop();
    });
}

#[test]
fn a_runtime_that_pauses_by_itself_is_supervised_alike() {
    for _ in 0..50 {
        let exit = on_a_runtime(async {
            tokio::time::pause();
            let mut builder = Builder::new();
            let main = async {
                aiorun::shutdown_waits_for(async {
                    aiorun::stopping().await;
                    sleep(HOUR).await;
                });
                aiorun::stop();
                let reason = timeout(HOUR, aiorun::stopping()).await;
                assert_eq!(reason, Ok(StopReason::Stop));
            };
            builder.signals([]).supervise(main).await
        });
        assert!(exit.is_success(), "{:?}", exit.error);
    }
}
