//! Cancellations that tasks catch, hold off and answer, as a service manager sees it: the program
//! ends with the code it should have, and not before all that was begun is done.

use std::process::{ExitCode, Termination};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use aiorun::{Flavor, cancelled, catch_cancel, is_cancelled, shield};
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::case::Cases;
use crate::child::Program;
use crate::load::{
    LEFT, SECTIONED, count, counted, nothing_is_cut, section, tell_sections, under_load,
};
use crate::scene::{Farewell, SINGLE_THREADED, Scene, idle, ready, ready_and_idle};

/// How long a cleanup takes that is to be seen to its end.
pub(crate) const CLEANUP: Duration = Duration::from_millis(100);

pub(crate) fn register(cases: &mut Cases) {
    caught(cases);
    main_that_catches(cases);
    shielded(cases);
    cooperative(cases);
}

fn caught(cases: &mut Cases) {
    cases.every_flavor("an_async_cleanup_runs_to_its_end", cleanups, |program| {
        for signal in [Signal::INT, Signal::TERM] {
            let ended = program.stop_by(signal);
            ended.exited(0).not_before(CLEANUP).complains_not();
            ended.in_order(&["work dropped", "cleaning up", "cleaned up", "AFTER"]);
            ended
                .says_times(10, "work dropped")
                .says_times(10, "cleaned up");
            // Main has returned.
            ended.figures([("caught", 10), ("completed", 11), ("cancelled", 0)]);
        }
    });
    cases.every_flavor("a_panic_in_a_cleanup_is_told", breaks, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(0)
            .says("broken cleanup")
            .says_once("cleaned up");
        ended.figures([("caught", 2), ("panicked", 1), ("failures", 1)]);
        let ended = program.variant("stop").stop_by(Signal::TERM);
        ended.exited(1).says_once("cleaned up");
    });
    cases.every_flavor("a_job_hears_of_it", job, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended.exited(0).says_once("the job stops").complains_not();
    });
    cases.every_flavor("a_cleanup_may_start_others", starts_others, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(0)
            .in_order(&["cleaning up", "helper done", "job done", "cleaned up"])
            .complains_not();
    });
}

fn main_that_catches(cases: &mut Cases) {
    cases.every_flavor(
        "main_catches",
        |scene| after(scene.builder().run(guarded())),
        main_cleans_up,
    );
    cases.once(
        "main_on_a_worker_catches",
        |_| after(on_worker()),
        main_cleans_up,
    );
    cases.once(
        "main_that_is_not_send_catches",
        |_| after(not_send()),
        main_cleans_up,
    );
    cases.once("main_under_supervise_catches", supervised, main_cleans_up);
    cases.every_flavor("main_catches_and_has_a_code", own_code, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended.exited(3).says_once("main cleaned up");
    });
}

fn shielded(cases: &mut Cases) {
    cases.on(
        &[Flavor::MultiThread],
        "no_shielded_section_is_cut_on_two_workers",
        sections,
        |program| no_section_is_cut(program, 48),
    );
    cases.on(
        &SINGLE_THREADED,
        "no_shielded_section_is_cut_on_one_thread",
        sections,
        |program| no_section_is_cut(program, 12),
    );
    cases.every_flavor("a_shield_holds_it_off_and_no_longer", held_off, |program| {
        for signal in [Signal::INT, Signal::TERM] {
            let ended = program.stop_by(signal);
            ended.exited(0).not_before(CLEANUP).complains_not();
            ended.in_order(&["section done", "dropped", "AFTER"]);
            ended.figures([("caught", 0), ("cancelled", 1), ("refused", 0)]);
            let ended = program.variant("catches").stop_by(signal);
            ended.exited(0).not_before(CLEANUP).complains_not();
            ended.in_order(&["section done", "dropped", "told", "AFTER"]);
            ended.figures([("caught", 1), ("cancelled", 0), ("refused", 0)]);
        }
    });
}

fn cooperative(cases: &mut Cases) {
    cases.every_flavor("cooperative_tasks_flush", flushes, |program| {
        for variant in ["select", "ask", "inside", "born", "option"] {
            for signal in [Signal::INT, Signal::TERM] {
                let ended = program.variant(variant).stop_by(signal);
                ended.exited(0).not_before(CLEANUP).complains_not();
                ended.in_order(&["flushing", "flushed", "AFTER"]);
                let taken = ended.figure("taken");
                ended.figures([("handled", taken), ("caught", 0), ("refused", 0)]);
            }
        }
    });
}

fn main_cleans_up(program: &Program) {
    for signal in [Signal::INT, Signal::TERM] {
        let ended = program.stop_by(signal);
        ended
            .exited(0)
            .in_order(&["work dropped", "main cleaned up", "AFTER"])
            .complains_not();
        ended.figures([("caught", 1), ("completed", 1), ("cancelled", 0)]);
    }
}

/// One shutdown after the other, each at another moment.
fn no_section_is_cut(program: &Program, rounds: u64) {
    for round in 0..rounds {
        let signal = [Signal::INT, Signal::TERM][usize::from(round % 2 == 0)];
        let sections = 200 + round * 10;
        let ended = program.variant(&sections.to_string()).stop_by(signal);
        ended.exited(0).complains_not();
        nothing_is_cut(&ended, sections);
        ended.figures([
            ("left", SECTIONED),
            ("caught", SECTIONED),
            ("cancelled", 2 * SECTIONED),
            ("refused", 0),
        ]);
    }
}

/// Tells how it ended.
pub(crate) fn after(exit: aiorun::Exit) -> ExitCode {
    let tasks = exit.report.tasks;
    println!(
        "AFTER caught={} completed={} failed={} panicked={} cancelled={} refused={} failures={}",
        tasks.caught,
        tasks.completed,
        tasks.failed,
        tasks.panicked,
        tasks.cancelled,
        tasks.refused,
        exit.report.failures.len(),
    );
    for task in &exit.report.refused {
        println!("REFUSED {task}");
    }
    exit.report()
}

async fn clean_up() {
    println!("cleaning up");
    sleep(CLEANUP).await;
    println!("cleaned up");
}

fn cleanups(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        for _ in 0..10 {
            let (begin, has_begun) = oneshot::channel();
            aiorun::spawn(async {
                let work = async {
                    let _farewell = Farewell("work dropped");
                    begin.send(()).unwrap();
                    idle().await;
                };
                match catch_cancel(work).await {
                    Ok(()) => println!("nobody has cancelled it"),
                    Err(_) => clean_up().await,
                }
            });
            has_begun.await.unwrap();
        }
        ready();
    }))
}

fn breaks(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.stop_on_unhandled_errors(scene.is("stop"));
    after(builder.run(async {
        for panics in [true, false] {
            let (begin, has_begun) = oneshot::channel();
            aiorun::spawn(async move {
                let work = async {
                    begin.send(()).unwrap();
                    idle().await;
                };
                let caught = catch_cancel(work).await;
                assert!(caught.is_err());
                yield_now().await;
                assert!(!panics, "broken cleanup");
                clean_up().await;
            });
            has_begun.await.unwrap();
        }
        ready();
    }))
}

fn job(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        aiorun::spawn_blocking(|| {
            assert!(!is_cancelled());
            ready();
            while !is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            println!("the job stops");
        });
    }))
}

fn starts_others(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        let caught = catch_cancel(ready_and_idle()).await;
        println!("cleaning up");
        assert!(caught.is_err());
        let helper = aiorun::spawn(async {
            sleep(CLEANUP).await;
            println!("helper done");
        });
        helper.await.unwrap();
        let job = aiorun::spawn_blocking(|| println!("job done"));
        job.await.unwrap();
        println!("cleaned up");
    }))
}

async fn guarded() {
    let work = async {
        let _farewell = Farewell("work dropped");
        ready_and_idle().await;
    };
    let caught = catch_cancel(work).await;
    sleep(CLEANUP).await;
    assert!(caught.is_err());
    println!("main cleaned up");
}

#[aiorun::main]
async fn on_worker() {
    guarded().await;
}

#[aiorun::main]
async fn not_send() {
    let not_send = std::rc::Rc::new(());
    guarded().await;
    drop(not_send);
}

fn supervised(_: &Scene) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    after(runtime.block_on(aiorun::Builder::new().supervise(guarded())))
}

fn own_code(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        guarded().await;
        ExitCode::from(3)
    }))
}

fn sections(scene: &Scene) -> ExitCode {
    let variant = scene.variant.clone();
    let exit = scene.builder().run(async move {
        let (begins, begin) = mpsc::channel(1);
        for _ in 0..SECTIONED {
            let begins = [begins.clone(), begins.clone(), begins.clone()];
            let [of_plain, of_catching, of_joining] = begins;
            aiorun::spawn(async {
                drop(of_plain);
                loop {
                    shield(section()).await;
                    yield_now().await;
                }
            });
            aiorun::spawn(async {
                drop(of_catching);
                while catch_cancel(yield_now()).await.is_ok() {
                    shield(section()).await;
                }
                count(&LEFT);
            });
            aiorun::spawn(async {
                drop(of_joining);
                loop {
                    tokio::join!(shield(section()), shield(section()));
                    yield_now().await;
                }
            });
        }
        drop(begins);
        under_load(begin, &variant).await;
    });
    tell_sections();
    after(exit)
}

async fn held_off_for_long(begin: oneshot::Sender<()>) {
    begin.send(()).unwrap();
    aiorun::stopping().await;
    sleep(CLEANUP).await;
    println!("section done");
}

fn held_off(scene: &Scene) -> ExitCode {
    let catches = scene.is("catches");
    after(scene.builder().run(async move {
        let (begin, has_begun) = oneshot::channel();
        aiorun::spawn(async move {
            let work = async {
                shield(held_off_for_long(begin)).await;
                let _farewell = Farewell("dropped");
                idle().await;
                println!("beyond it");
            };
            if !catches {
                work.await;
            } else if catch_cancel(work).await.is_err() {
                println!("told");
            }
        });
        has_begun.await.unwrap();
        ready();
    }))
}

static TAKEN: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);

async fn handle() {
    let number = count(&TAKEN);
    if number == 100 {
        ready();
    }
    for _ in 0..number % 4 {
        yield_now().await;
    }
    count(&HANDLED);
}

async fn flush() {
    println!("flushing");
    sleep(CLEANUP).await;
    println!(
        "flushed taken={} handled={}",
        counted(&TAKEN),
        counted(&HANDLED)
    );
}

/// Handles items until `end` resolves; afresh in each round, as everybody writes it.
async fn consume<F: Future>(mut items: mpsc::Receiver<()>, end: impl Fn() -> F) {
    loop {
        tokio::select! {
            _ = end() => break,
            Some(()) = items.recv() => handle().await,
        }
    }
    flush().await;
}

async fn ask_and_consume(mut items: mpsc::Receiver<()>) {
    while !is_cancelled() {
        if items.recv().await.is_some() {
            handle().await;
        }
    }
    flush().await;
}

fn flushes(scene: &Scene) -> ExitCode {
    let variant = scene.variant.clone();
    let mut builder = scene.builder();
    builder.cooperative(variant == "option");
    after(builder.run(async move {
        let (feed, items) = mpsc::channel(4);
        aiorun::spawn(async move { while feed.send(()).await.is_ok() {} });
        match &*variant {
            "select" => drop(aiorun::spawn(consume(items, cancelled))),
            "ask" => drop(aiorun::spawn(ask_and_consume(items))),
            "inside" => drop(aiorun::spawn(async {
                let work = async { consume(items, cancelled).await };
                assert!(catch_cancel(work).await.is_ok(), "it ends by itself");
            })),
            "born" => {
                let task = aiorun::task("born cooperative").cooperative();
                task.spawn(consume(items, aiorun::stopping));
            }
            _ => drop(aiorun::spawn(consume(items, aiorun::stopping))),
        }
    }))
}
