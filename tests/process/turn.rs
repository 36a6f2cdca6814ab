//! Phases of the shutdown, as they are seen from outside.

use std::process::{ExitCode, Termination};
use std::time::Duration;

use aiorun::{Builder, catch_cancel};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::scene::{Scene, idle, ready};

/// Long enough after the first signal to count as a repeated one.
const LATER: Duration = Duration::from_millis(700);
/// Much sooner than the budget.
const SOON: Duration = Duration::from_secs(12);
/// Of all tasks.
const LIMIT: Duration = Duration::from_secs(3);

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("one_after_the_other", ordered, |program| {
        for signal in [Signal::INT, Signal::TERM] {
            let ended = program.logging().stop_by(signal);
            ended.exited(0).in_order(&[
                "0 told",
                "0 ended",
                "Cancelling tasks of shutdown phase 1.",
                "1 ended",
                "Cancelling tasks of shutdown phase 9.",
                "9 ended",
                "hook",
                "AFTER",
            ]);
            ended.says_in_a_line(&["Cancelling task: ", "`of phase 9`"]);
            ended.in_order(&["0 ended", "1 told", "1 ended", "9 told"]);
        }
    });
    cases.every_flavor("who_does_not_listen_takes_its_share", deaf, |program| {
        let ended = program.logging().stop_by(Signal::TERM);
        ended
            .exited(1)
            .within(SOON)
            .not_before(LIMIT)
            .in_order(&[
                "shutdown phase 1; 1 task of earlier ones did not end in time.",
                "1 ended",
                "hook",
                "AFTER",
            ])
            .in_order(&["1 told", "1 task did not end within the limit", "`deaf`"]);
        let told = ended.line("1 told").at - ended.told;
        assert!(told >= LIMIT / 2, "it is half of the time: {told:?}");
        ended.never_says("2 tasks did not end");
    });
    cases.every_flavor("a_second_ctrl_c_is_for_all", patient, |program| {
        let mut child = program.logging().start_ready();
        child.signal(Signal::INT);
        child.wait_for("Running pending tasks");
        std::thread::sleep(LATER);
        child.signal(Signal::INT);
        let ended = child.finish();
        ended.exited(1).within(SOON).says_once("hook");
        ended.in_order(&["SIGINT again", "1 task did not end within the limit"]);
        // Those whose turn had not come were dropped, or told, at once.
        ended.never_says("2 tasks did not end").never_says("told");
        ended.says_times(2, "dropped");
        ended.says_in_a_line(&["`plain`", "shutdown phase 3"]);
    });
}

fn talk(phase: u8) {
    let task = aiorun::task(format!("of phase {phase}")).shutdown_phase(phase);
    task.spawn(async move {
        let Err(_) = catch_cancel(std::future::pending::<std::convert::Infallible>()).await;
        println!("{phase} told");
        sleep(Duration::from_millis(100)).await;
        println!("{phase} ended");
    });
}

fn play(builder: &mut Builder, start: fn()) -> ExitCode {
    let exit = builder.run(async move {
        aiorun::on_exit("hook", async { println!("hook") });
        start();
        // All of them have begun by then.
        sleep(Duration::from_millis(100)).await;
        ready();
    });
    println!("AFTER");
    exit.report()
}

fn ordered(scene: &Scene) -> ExitCode {
    play(&mut scene.builder(), || {
        [9, 0, 1].into_iter().for_each(talk);
    })
}

fn deaf(scene: &Scene) -> ExitCode {
    play(scene.builder().timeout_task_shutdown(LIMIT), || {
        aiorun::task("deaf").cooperative().spawn(idle());
        talk(1);
    })
}

fn patient(scene: &Scene) -> ExitCode {
    struct Dropped;
    impl Drop for Dropped {
        fn drop(&mut self) {
            println!("dropped");
        }
    }
    play(&mut scene.builder(), || {
        aiorun::task("deaf").protected().spawn(idle());
        for phase in [1, 3] {
            aiorun::task("plain").shutdown_phase(phase).spawn(async {
                let _dropped = Dropped;
                idle().await;
            });
        }
    })
}
