//! Work that begins late: queued jobs, jobs and tasks of the shutdown, and what comes after the end.

use std::process::{ExitCode, Termination};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use aiorun::{Handle, Phase};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::case::Cases;
use crate::scene::{Farewell, Scene, idle, ready, ready_and_idle};

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("queued_jobs_all_run", queue, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(0)
            .says_times(10, "a job is done")
            .complains_not();
        ended.in_order(&["main cleaned up", "a job is done"]);
    });
    cases.every_flavor("jobs_of_the_shutdown_run", late_jobs, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(0)
            .says_once("job of a destructor")
            .says_once("job of protected work");
        ended
            .says_once("job of the callback")
            .says_once("job of a job")
            .complains_not();
    });
    cases.every_flavor("a_hook's_job_and_task_are_awaited", hook_work, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended.exited(0).complains_not();
        ended.in_order(&["second hook", "its job", "first hook"]);
        ended.in_order(&["second hook", "its task", "first hook"]);
    });
    cases.every_flavor("a_task_of_a_cleanup_is_awaited", cleanup_task, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(0)
            .in_order(&["cleanup begins", "its task is done", "AFTER"])
            .complains_not();
    });
    cases.every_flavor(
        "a_task_of_a_destructor_is_awaited",
        destructor_task,
        |program| {
            program
                .stop_by(Signal::TERM)
                .exited(0)
                .in_order(&["its task is done", "AFTER"]);
        },
    );
    cases.every_flavor(
        "a_child_of_one_not_told_yet_is_cancelled",
        children,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended
                .exited(0)
                .within(Duration::from_secs(10))
                .says_once("AFTER")
                .complains_not();
        },
    );
    cases.every_flavor(
        "after_the_end_nothing_starts_and_nothing_panics",
        too_late,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended
                .exited(0)
                .says_once("late: true")
                .never_says("a late task ran")
                .complains_not();
        },
    );
    cases.every_flavor("threads_that_spawn_all_the_time", hammer, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended
            .exited(0)
            .says_once("all accounted for: true")
            .never_says("panicked");
    });
}

fn queue(scene: &Scene) -> ExitCode {
    scene
        .builder()
        .executor_workers(1)
        .run(async {
            let handle = Handle::current();
            // The first holds up the others until they are all that is left.
            aiorun::spawn_blocking(move || {
                while handle.phase() < Phase::Draining {
                    thread::sleep(Duration::from_millis(5));
                }
            });
            for _ in 0..10 {
                aiorun::spawn_blocking(|| println!("a job is done"));
            }
            let _farewell = Farewell("main cleaned up");
            ready_and_idle().await;
        })
        .report()
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn say_in_a_job(what: &'static str) {
    aiorun::spawn_blocking(move || {
        thread::sleep(Duration::from_millis(20));
        println!("{what}");
    });
}

fn late_jobs(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_callback(|| say_in_a_job("job of the callback"));
    let main = async {
        aiorun::shutdown_waits_for(async {
            aiorun::stopping().await;
            sleep(Duration::from_millis(20)).await;
            say_in_a_job("job of protected work");
        });
        aiorun::spawn_blocking(|| {
            while !aiorun::is_stopping() {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(Duration::from_millis(50));
            say_in_a_job("job of a job");
        });
        aiorun::spawn(async {
            let _job = OnDrop(|| say_in_a_job("job of a destructor"));
            ready_and_idle().await;
        });
        idle().await;
    };
    builder.run(main).report()
}

fn hook_work(scene: &Scene) -> ExitCode {
    scene.run(async {
        aiorun::on_exit("first", async { println!("first hook") });
        aiorun::on_exit("second", async {
            println!("second hook");
            say_in_a_job("its job");
            aiorun::spawn(async {
                sleep(Duration::from_millis(200)).await;
                println!("its task");
            });
        });
        ready_and_idle().await;
    })
}

async fn slow_work() {
    sleep(Duration::from_millis(100)).await;
    println!("its task is done");
}

fn cleanup_task(scene: &Scene) -> ExitCode {
    let exit = scene.builder().run(async {
        aiorun::shutdown_waits_for(async {
            // Who is there by then is cancelled.
            while Handle::current().phase() < Phase::Cancelling {
                sleep(Duration::from_millis(5)).await;
            }
            println!("cleanup begins");
            aiorun::spawn(slow_work());
        });
        ready_and_idle().await;
    });
    println!("AFTER");
    exit.report()
}

fn destructor_task(scene: &Scene) -> ExitCode {
    let exit = scene.builder().run(async {
        aiorun::spawn(async {
            let _task = OnDrop(|| drop(aiorun::spawn(slow_work())));
            ready_and_idle().await;
        });
    });
    println!("AFTER");
    exit.report()
}

/// Tasks that start others without a pause: whichever is being polled when the shutdown comes was
/// not told yet, and so its child is not forgotten.
fn children(scene: &Scene) -> ExitCode {
    let exit = scene.builder().run(async {
        for _ in 0..4 {
            aiorun::spawn(async {
                loop {
                    for _ in 0..20 {
                        aiorun::spawn(sleep(Duration::from_millis(10)));
                    }
                    tokio::task::yield_now().await;
                    aiorun::spawn(tokio::task::yield_now()).await.unwrap();
                }
            });
        }
        sleep(Duration::from_millis(30)).await;
        ready();
    });
    println!("AFTER");
    exit.report()
}

fn too_late(scene: &Scene) -> ExitCode {
    let (give, take) = mpsc::channel::<Handle>();
    let (over, wait) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let handle = take.recv().unwrap();
        wait.recv().unwrap();
        let task = handle.spawn(async { println!("a late task ran") });
        handle.stop();
        handle.on_exit("too late", async { println!("a late task ran") });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let error = runtime.block_on(task).unwrap_err();
        println!("late: {}", error.is_cancelled());
    });
    let exit = scene.builder().run(async move {
        give.send(Handle::current()).unwrap();
        ready_and_idle().await;
    });
    over.send(()).unwrap();
    thread.join().unwrap();
    exit.report()
}

fn hammer(scene: &Scene) -> ExitCode {
    let (give, take) = mpsc::channel::<Handle>();
    let thread = thread::spawn(move || {
        let handle = take.recv().unwrap();
        let waiting = tokio::runtime::Builder::new_current_thread().build();
        let waiting = waiting.unwrap();
        while handle.phase() != aiorun::Phase::Closed {
            // It waits for every hundredth: otherwise it outruns a single-threaded runtime, and a
            // queue of millions has to be dropped at the end.
            (0..99).for_each(|_| drop(handle.spawn(async {})));
            let _ = waiting.block_on(handle.spawn(async {}));
        }
    });
    // What a thread spawns runs, so without end it is the limit that ends it.
    let limit = Duration::from_secs(2);
    let exit = scene.builder().shutdown_timeout(limit).run(async move {
        give.send(Handle::current()).unwrap();
        sleep(Duration::from_millis(50)).await;
        ready_and_idle().await;
    });
    thread.join().unwrap();
    let tasks = exit.report.tasks;
    let ended = tasks.completed + tasks.failed + tasks.panicked + tasks.cancelled + tasks.refused;
    println!("all accounted for: {}", tasks.spawned == ended);
    ExitCode::SUCCESS
}
