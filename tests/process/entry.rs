//! The attribute, with main on a worker and under `block_on`, and `supervise`.

use std::process::{ExitCode, Termination};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::oneshot;

use crate::case::Cases;
use crate::scene::{Farewell, Scene, block, idle, ready, ready_and_idle};

const MOST: Duration = Duration::from_secs(10);

pub(crate) fn register(cases: &mut Cases) {
    attribute(cases);
    attribute_in_trouble(cases);
    supervised(cases);
}

fn attribute(cases: &mut Cases) {
    cases.once(
        "main_on_a_worker",
        |_| on_worker().report(),
        |program| {
            program
                .stop_by(Signal::INT)
                .exited(0)
                .says_once("main cleaned up")
                .complains_not();
        },
    );
    cases.once(
        "main_that_is_not_send",
        |_| not_send().report(),
        |program| {
            program
                .stop_by(Signal::INT)
                .exited(0)
                .says_once("main cleaned up")
                .complains_not();
        },
    );
    cases.once(
        "main_in_one_thread",
        |_| one_thread().report(),
        |program| {
            program
                .stop_by(Signal::INT)
                .exited(0)
                .says_once("main cleaned up")
                .complains_not();
        },
    );
    cases.once(
        "main_with_spawn_local",
        |_| local().report(),
        |program| {
            program
                .stop_by(Signal::INT)
                .exited(0)
                .says_once("local task cleaned up")
                .complains_not();
        },
    );
}

fn attribute_in_trouble(cases: &mut Cases) {
    cases.once(
        "an_error_of_main_on_a_worker",
        |_| fails().report(),
        |program| {
            program
                .run()
                .exited(1)
                .says_once("Error: ")
                .says_once("main broke");
        },
    );
    cases.once(
        "a_panic_of_main_on_a_worker",
        |_| panics().report(),
        |program| {
            program.run().exited(101).says_once("main broke");
        },
    );
    cases.once(
        "a_stuck_main_on_a_worker_stops_in_time",
        |_| stuck().report(),
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended
                .exited(1)
                .within(MOST)
                .says_in_a_line(&["main", "entry.rs", "running on"]);
        },
    );
    cases.once(
        "options",
        |_| options().report(),
        |program| {
            program
                .stop_by(Signal::HUP)
                .exited(129)
                .in_order(&["callback", "main cleaned up"]);
            program.stop_by(Signal::TERM).killed_by(15);
        },
    );
}

fn supervised(cases: &mut Cases) {
    cases.once("supervise", supervise, |program| {
        for variant in ["multi_thread", "current_thread"] {
            let ended = program.variant(variant).stop_by(Signal::TERM);
            ended
                .exited(0)
                .in_order(&["task cleaned up", "AFTER", "the runtime goes on"]);
            ended.complains_not();
        }
    });
    cases.once(
        "supervise_never_leaves_the_process",
        supervise_stuck,
        |program| {
            let ended = program.stop_by(Signal::TERM);
            ended
                .exited(1)
                .within(MOST)
                .says_once("AFTER")
                .says("`hog`");
        },
    );
    cases.once(
        "supervise_takes_exit_for_abort",
        supervise_stubborn,
        |program| {
            let mut child = program.start_ready();
            child.signal(Signal::TERM);
            child.wait_for("STOPPING");
            thread::sleep(Duration::from_millis(700));
            child.signal(Signal::TERM);
            child
                .finish()
                .exited(1)
                .within(MOST)
                .says_once("AFTER")
                .says("`stubborn`");
        },
    );
    cases.once("supervise_half_way", supervise_dropped, |program| {
        let mut child = program.start();
        child.wait_for("dropped");
        child.wait_for("task cleaned up");
        child.wait_for("READY");
        child.signal(Signal::TERM);
        child
            .finish()
            .exited(0)
            .says_once("second one ended")
            .never_says("the hook ran");
    });
}

async fn guarded() {
    let _farewell = Farewell("main cleaned up");
    ready_and_idle().await;
}

#[aiorun::main]
async fn on_worker() {
    guarded().await;
}

#[aiorun::main]
async fn not_send() {
    let shared = Rc::new(5);
    guarded().await;
    drop(shared);
}

#[aiorun::main(flavor = "current_thread")]
async fn one_thread() {
    guarded().await;
}

#[aiorun::main(flavor = "local")]
async fn local() {
    let farewell = Rc::new(Farewell("local task cleaned up"));
    aiorun::spawn_local(async move {
        ready_and_idle().await;
        drop(farewell);
    });
}

#[aiorun::main]
async fn fails() -> Result<(), Box<dyn std::error::Error>> {
    Err("main broke".into())
}

#[aiorun::main]
async fn panics() {
    assert_eq!(1, 2, "main broke");
}

#[aiorun::main(worker_threads = 2, shutdown_timeout = 1)]
async fn stuck() {
    ready();
    block();
}

async fn say_so() {
    println!("callback");
}

#[aiorun::main(
    signals = ["SIGHUP"],
    signal_exit_status = "signal",
    shutdown_callback = say_so,
    shutdown_timeout = "10s",
    repeat_signal = "ignore"
)]
async fn options() {
    guarded().await;
}

fn runtime(scene: &Scene) -> tokio::runtime::Runtime {
    let mut builder = match &*scene.variant {
        "current_thread" => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build().unwrap()
}

fn supervise(scene: &Scene) -> ExitCode {
    runtime(scene).block_on(async {
        let mut builder = aiorun::Builder::new();
        let exit = builder.supervise(async {
            aiorun::spawn(async {
                let _farewell = Farewell("task cleaned up");
                ready_and_idle().await;
            });
            idle().await;
        });
        let exit = exit.await;
        println!("AFTER");
        tokio::time::sleep(Duration::from_millis(10)).await;
        println!("the runtime goes on");
        exit.report()
    })
}

fn supervise_stuck(scene: &Scene) -> ExitCode {
    let runtime = runtime(scene);
    let exit = runtime.block_on(async {
        let mut builder = aiorun::Builder::new();
        builder.shutdown_timeout(Duration::from_secs(1));
        let main = async {
            aiorun::task("hog").spawn(async {
                ready();
                block();
            });
            idle().await;
        };
        builder.supervise(main).await
    });
    println!("AFTER");
    runtime.shutdown_background();
    exit.report()
}

fn supervise_stubborn(scene: &Scene) -> ExitCode {
    runtime(scene).block_on(async {
        let mut builder = aiorun::Builder::new();
        builder.repeat_signal(aiorun::RepeatSignal::Exit);
        let main = async {
            aiorun::task("stubborn").protected().spawn(async {
                ready();
                aiorun::stopping().await;
                println!("STOPPING");
                idle().await;
            });
        };
        let exit = builder.supervise(main).await;
        println!("AFTER");
        exit.report()
    })
}

fn supervise_dropped(scene: &Scene) -> ExitCode {
    runtime(scene).block_on(async {
        let mut builder = aiorun::Builder::new();
        let (begin, has_begun) = oneshot::channel();
        let first = builder.supervise(async {
            aiorun::on_exit("not for this one", async { println!("the hook ran") });
            aiorun::spawn(async {
                let _farewell = Farewell("task cleaned up");
                begin.send(()).unwrap();
                idle().await;
            });
            idle().await;
        });
        tokio::select! {
            _ = first => println!("ended by itself"),
            _ = has_begun => println!("dropped"),
        }
        // The runtime is free for another one when the first has cleaned up behind itself.
        loop {
            let exit = aiorun::Builder::new().supervise(ready_and_idle()).await;
            if exit.reason != aiorun::StopReason::NotStarted {
                println!("second one ended");
                return exit.report();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}
