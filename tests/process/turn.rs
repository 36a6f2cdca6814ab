//! Phases of the shutdown, as they are seen from outside.

use std::process::{ExitCode, Termination};
use std::time::Duration;

use aiorun::task::{State, TaskInfo};
use aiorun::{Builder, Handle, catch_cancel};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::scene::{Scene, idle, ready};

/// Long enough after the first signal to count as a repeated one.
const LATER: Duration = Duration::from_millis(700);
/// Much sooner than the budget.
const SOON: Duration = Duration::from_secs(12);
/// What a hook says.
const HOOK: &str = "the hook has run";
/// Of all tasks.
const LIMIT: Duration = Duration::from_secs(3);

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("one_after_the_other", ordered, |program| {
        for signal in [Signal::INT, Signal::TERM] {
            let ended = program.logging().stop_by(signal);
            ended.exited(0).in_order(&[
                "0 told", "0 ended", "1 told", "1 ended", "9 told", "9 ended", HOOK, "AFTER",
            ]);
            // The log comes by another way, and so at another time.
            ended.in_order(&[
                "Cancelling pending tasks.",
                "Cancelling task: task `of phase 0`",
                "Cancelling task: task `of phase 1`",
                "Cancelling tasks of shutdown phase 1. phase=1 tasks=1 late=0",
                "Cancelling task: task `of phase 9`",
                "Cancelling tasks of shutdown phase 9. phase=9 tasks=1 late=0",
                "Waiting for executor shutdown.",
            ]);
        }
    });
    cases.every_flavor("who_does_not_listen_takes_its_share", deaf, |program| {
        let ended = program.logging().stop_by(Signal::TERM);
        ended
            .exited(1)
            .within(SOON)
            .not_before(LIMIT)
            .in_order(&["1 told", "1 ended", HOOK, "AFTER"])
            .in_order(&[
                "shutdown phase 1; 1 task of earlier ones did not end in time.",
                "1 task did not end within the limit",
                "task `deaf`",
            ]);
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
        ended.exited(1).within(SOON).says_once(HOOK);
        ended.in_order(&["SIGINT again", "1 task did not end within the limit"]);
        // Those whose turn had not come were dropped, or told, at once.
        ended.never_says("2 tasks did not end");
        ended.says_times(2, "DROPPED");
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
        aiorun::on_exit("last", async { println!("{HOOK}") });
        start();
        // Who has not begun is dropped by a cancellation, and says nothing.
        let is_new = |task: TaskInfo| task.state == State::NotStarted;
        while Handle::current().tasks().into_iter().any(is_new) {
            tokio::task::yield_now().await;
        }
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
            println!("DROPPED");
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
