//! Whatever does not end: the program does, within its limit, and names the culprit.

use std::io::Write as _;
use std::process::{ExitCode, Termination};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use aiorun::Flavor;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;

use crate::case::Cases;
use crate::child::Stderr;
use crate::ended::Ended;
use crate::scene::{
    AGES, Farewell, SINGLE_THREADED, Scene, block, idle, ready, ready_and_idle, ring_until, spin,
};

const LIMIT: Duration = Duration::from_secs(1);
/// Far more than the limit, and far less than what the culprits would take.
const MOST: Duration = Duration::from_secs(10);
/// The exit code when the thread that called `run` is stuck.
const STUCK: i32 = 70;

pub(crate) fn register(cases: &mut Cases) {
    stuck_threads(cases);
    full_pipes(cases);
    foreign_code(cases);
    tasks_without_end(cases);
}

fn stuck_threads(cases: &mut Cases) {
    cases.on(
        &[Flavor::MultiThread],
        "stuck_workers",
        stuck_workers,
        |program| {
            for variant in ["block", "spin"] {
                let ended = program.variant(variant).run();
                ended.exited(1).within(MOST).says_once("AFTER");
                ended.says_in_a_line(&["`hog 0`", "tests/process/limit.rs", "running on"]);
                ended.says_in_a_line(&["`hog 1`", "tests/process/limit.rs", "running on"]);
            }
        },
    );
    cases.on(
        &[Flavor::MultiThread],
        "stuck_workers_and_a_signal",
        stuck_workers,
        |program| {
            for signal in [Signal::INT, Signal::TERM] {
                let ended = program.variant("wait").stop_by(signal);
                ended
                    .exited(1)
                    .within(MOST)
                    .says_once("AFTER")
                    .says("`hog 1`");
            }
        },
    );
    cases.on(
        &SINGLE_THREADED,
        "the_thread_is_stuck",
        stuck_thread,
        |program| {
            for variant in ["block", "spin"] {
                let ended = program.variant(variant).stop_by(Signal::TERM);
                ended.exited(STUCK).within(MOST).never_says("AFTER");
                ended.says_in_a_line(&["`hog`", "tests/process/limit.rs", "running on"]);
            }
        },
    );
    cases.on(
        &SINGLE_THREADED,
        "of_many_the_culprit_is_named_first",
        stuck_among_many,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended.exited(STUCK).within(MOST);
            let said = ended.lines.iter().map(|line| &*line.text);
            let mut last_words = said.skip_while(|line| !line.starts_with("aiorun: error: "));
            let head = last_words.next().expect("it has last words");
            assert!(head.contains("is stuck"), "{ended:?}");
            let culprit = last_words.next().expect("a line for the culprit");
            assert!(culprit.contains("`hog` spawned at tests/process/limit.rs:"));
            assert!(culprit.contains("running on main (thread "), "{ended:?}");
            let last = last_words.last().expect("a line for the rest");
            assert_eq!(last, "  and 4981 more", "{ended:?}");
        },
    );
    cases.every_flavor("a_stray_is_stuck", stuck_stray, |program| {
        let ended = program.stop_by(Signal::TERM);
        if program.is_multi_thread() {
            ended.exited(0).within(MOST).says_once("AFTER");
        } else {
            ended.exited(STUCK).within(MOST);
            ended.says_in_a_line(&["in no task of aiorun", "bare `tokio::spawn`"]);
        }
    });
    cases.on(
        &SINGLE_THREADED,
        "the_thread_is_stuck_and_the_log_is_full",
        stuck_thread,
        |program| {
            let program = program.variant("block").logging();
            program
                .with_stderr(Stderr::Full)
                .stop_by(Signal::TERM)
                .exited(STUCK)
                .within(MOST);
        },
    );
    cases.every_flavor("main_is_stuck", stuck_main, |program| {
        program
            .stop_by(Signal::TERM)
            .exited(STUCK)
            .within(MOST)
            .says_in_a_line(&["main", "limit.rs"]);
    });
}

fn full_pipes(cases: &mut Cases) {
    cases.on(
        &SINGLE_THREADED,
        "the_thread_is_stuck_and_nobody_reads",
        stuck_thread,
        |program| {
            let program = program.variant("block");
            for stderr in [Stderr::Full, Stderr::FullSocket, Stderr::Unheard] {
                let ended = program.with_stderr(stderr).stop_by(Signal::TERM);
                ended.exited(STUCK).within(MOST);
            }
            let ended = program.without_stderr().stop_by(Signal::TERM);
            ended.exited(STUCK).within(MOST);
        },
    );
    // What a pipe has room for may be gone before it is written to.
    cases.on(
        &SINGLE_THREADED,
        "the_thread_is_stuck_and_others_fill_the_pipe",
        stuck_thread,
        |program| {
            let program = program.variant("noise");
            for stderr in [Stderr::Slow, Stderr::Full] {
                let ended = program.with_stderr(stderr).stop_by(Signal::TERM);
                ended.exited(STUCK).within(MOST);
            }
        },
    );
    cases.every_flavor("a_full_standard_error_stops_nobody", simple, |program| {
        program
            .with_stderr(Stderr::Full)
            .stop_by(Signal::TERM)
            .exited(0)
            .within(MOST);
    });
    cases.every_flavor("a_full_log_stops_nobody", simple, |program| {
        program
            .logging()
            .with_stderr(Stderr::Full)
            .stop_by(Signal::TERM)
            .exited(0)
            .within(MOST);
    });
    cases.every_flavor("an_endless_job", endless_jobs, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(1)
            .within(MOST)
            .says_in_a_line(&["`endless`", "tests/process/limit.rs"]);
        ended
            .says_in_a_line(&["`queued behind it`", "queued"])
            .says_once("AFTER");
    });
    cases.every_flavor("a_read_of_standard_input", reader, |program| {
        let ended = program.with_open_stdin().stop_by(Signal::INT);
        ended
            .exited(0)
            .within(Duration::from_secs(5))
            .complains_not();
    });
}

fn foreign_code(cases: &mut Cases) {
    cases.on(
        &[Flavor::MultiThread],
        "a_destructor_that_blocks",
        destructor,
        |program| {
            in_time(&program.stop_by(Signal::TERM)).says_once("AFTER");
        },
    );
    cases.on(
        &SINGLE_THREADED,
        "a_destructor_that_blocks_the_thread",
        destructor,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended
                .exited(STUCK)
                .within(MOST)
                .says_in_a_line(&["`culprit`", "limit.rs"]);
        },
    );
    cases.every_flavor("a_callback_that_never_returns", callback, |program| {
        for variant in ["sync", "async"] {
            let ended = program.variant(variant).stop_by(Signal::TERM);
            ended
                .exited(1)
                .within(MOST)
                .says("shutdown callback")
                .says("limit.rs");
            ended
                .says_once("main cleaned up")
                .says_once("the hook has run")
                .says_once("AFTER");
        }
    });
    cases.every_flavor("a_hook_that_never_ends", hook, |program| {
        let ended = program.variant("pends").stop_by(Signal::TERM);
        in_time(&ended)
            .says_once("the other hook")
            .says_once("AFTER");
        let ended = program.variant("blocks").stop_by(Signal::TERM);
        if program.is_multi_thread() {
            in_time(&ended)
                .says_once("the other hook")
                .says_once("AFTER");
        } else {
            ended
                .exited(STUCK)
                .within(MOST)
                .says_in_a_line(&["`culprit`", "limit.rs"]);
        }
    });
}

fn tasks_without_end(cases: &mut Cases) {
    cases.every_flavor(
        "a_cooperative_task_that_does_not_listen",
        cooperative,
        |program| {
            in_time(&program.stop_by(Signal::TERM))
                .says_once("culprit dropped")
                .says_once("AFTER");
        },
    );
    cases.every_flavor("a_protected_task_that_never_ends", protected, |program| {
        in_time(&program.stop_by(Signal::TERM))
            .says_once("culprit dropped")
            .says_once("AFTER");
    });
    cases.every_flavor("tasks_that_start_others_for_ever", breeders, |program| {
        program
            .stop_by(Signal::TERM)
            .exited(1)
            .within(MOST)
            .says_once("AFTER");
    });
    cases.every_flavor("no_time_at_all", no_time, |program| {
        program
            .stop_by(Signal::TERM)
            .exited(1)
            .within(MOST)
            .says_once("AFTER");
    });
    cases.every_flavor("strays_are_dropped_and_counted", strays, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended.exited(0).says_once("stray dropped").says("strays=1");
    });
}

/// What all have in common where the thread of `run` is free.
fn in_time(ended: &Ended) -> &Ended {
    ended
        .exited(1)
        .within(MOST)
        .says_in_a_line(&["`culprit`", "tests/process/limit.rs"])
}

fn after(exit: aiorun::Exit) -> ExitCode {
    println!(
        "AFTER strays={} {:?}",
        exit.report.strays,
        exit.report.shutdown_took()
    );
    exit.report()
}

fn limited(scene: &Scene) -> aiorun::Builder {
    let mut builder = scene.builder();
    builder.shutdown_timeout(LIMIT);
    builder
}

fn simple(scene: &Scene) -> ExitCode {
    limited(scene).run(ready_and_idle()).report()
}

fn stuck_workers(scene: &Scene) -> ExitCode {
    let spins = scene.is("spin");
    let stops = !scene.is("wait");
    after(limited(scene).run(async move {
        // One after the other: a worker takes whatever is ready into its own queue, and is stuck with it.
        for number in 0..2 {
            let (begin, has_begun) = mpsc::channel();
            aiorun::task(format!("hog {number}")).spawn(async move {
                begin.send(()).unwrap();
                if spins { spin() } else { block() }
            });
            ring_until(&has_begun);
        }
        ready();
        if stops {
            aiorun::stop();
        }
        idle().await;
    }))
}

fn stuck_thread(scene: &Scene) -> ExitCode {
    let spins = scene.is("spin");
    if scene.is("noise") {
        for _ in 0..4 {
            thread::spawn(
                || {
                    while std::io::stderr().write_all(&[b'.'; 4000]).is_ok() {}
                },
            );
        }
    }
    after(limited(scene).run(async move {
        aiorun::task("hog").spawn(async move {
            ready();
            if spins { spin() } else { block() }
        });
        idle().await;
    }))
}

fn stuck_among_many(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        for _ in 0..5_000 {
            aiorun::shutdown_waits_for(idle());
        }
        tokio::task::yield_now().await;
        aiorun::task("hog").spawn(async {
            ready();
            block();
        });
        idle().await;
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is said of such a task is the question"
)]
fn stuck_stray(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        tokio::spawn(async {
            ready();
            block();
        });
        idle().await;
    }))
}

fn stuck_main(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        ready();
        block();
    }))
}

fn endless_jobs(scene: &Scene) -> ExitCode {
    after(limited(scene).executor_workers(1).run(async {
        aiorun::task("endless").spawn_blocking(|| {
            ready();
            block();
        });
        aiorun::task("queued behind it").spawn_blocking(block);
        idle().await;
    }))
}

fn reader(scene: &Scene) -> ExitCode {
    scene.run(async {
        let mut bytes = [0; 10];
        let mut stdin = tokio::io::stdin();
        // Polled in this order: the parent hears of it when the read has begun.
        let _ = tokio::join!(stdin.read(&mut bytes), async { ready() });
    })
}

struct Blocks;

impl Drop for Blocks {
    fn drop(&mut self) {
        block();
    }
}

fn destructor(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        aiorun::task("culprit").spawn(async {
            let _blocks = Blocks;
            ready_and_idle().await;
        });
        idle().await;
    }))
}

fn callback(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.timeout_task_shutdown(LIMIT / 2);
    if scene.is("sync") {
        builder.shutdown_callback(block);
    } else {
        builder.shutdown_callback(idle);
    }
    after(builder.run(async {
        aiorun::on_exit("say so", async { println!("the hook has run") });
        let _farewell = Farewell("main cleaned up");
        ready_and_idle().await;
    }))
}

fn hook(scene: &Scene) -> ExitCode {
    let blocks = scene.is("blocks");
    after(limited(scene).run(async move {
        aiorun::on_exit("say so", async { println!("the other hook") });
        aiorun::on_exit("culprit", async move {
            if blocks {
                block();
            }
            idle().await;
        });
        ready_and_idle().await;
    }))
}

async fn culprit() {
    let _farewell = Farewell("culprit dropped");
    ready_and_idle().await;
}

fn cooperative(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        aiorun::task("culprit").cooperative().spawn(culprit());
    }))
}

fn protected(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        aiorun::task("culprit").protected().spawn(culprit());
    }))
}

/// Each cleanup starts another.
fn breed() {
    aiorun::shutdown_waits_for(async {
        aiorun::stopping().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        breed();
    });
}

fn breeders(scene: &Scene) -> ExitCode {
    after(limited(scene).run(async {
        breed();
        ready_and_idle().await;
    }))
}

fn no_time(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_timeout(Duration::ZERO);
    after(builder.run(async {
        aiorun::shutdown_waits_for(idle());
        aiorun::spawn_blocking(|| {
            ready();
            thread::sleep(AGES);
        });
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what happens to such a task is the question"
)]
fn strays(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        tokio::spawn(async {
            let _farewell = Farewell("stray dropped");
            ready_and_idle().await;
        });
        idle().await;
    }))
}
