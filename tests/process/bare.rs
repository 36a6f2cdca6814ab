//! Scopes in tasks of bare `tokio::spawn`, where libraries run the code of their users.

use std::process::ExitCode;

use aiorun::{cancelled, is_cancelled, shield};
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::cancellation::{CLEANUP, after};
use crate::case::Cases;
use crate::load::{
    ASKED, BEGUN, LEFT, SECTIONED, count, counted, nothing_is_cut, section, tell_sections,
    under_load,
};
use crate::scene::{Farewell, Scene, idle, ready};

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("a_server_ends_gracefully", server, |program| {
        for variant in ["function", "direct"] {
            let ended = program.variant(variant).stop_by(Signal::TERM);
            ended.exited(0).not_before(CLEANUP).complains_not();
            ended.in_order(&["served to the end", "main goes on", "AFTER"]);
        }
    });
    cases.every_flavor("a_shield_holds", held, |program| {
        for signal in [Signal::INT, Signal::TERM] {
            let ended = program.stop_by(signal);
            ended.exited(0).not_before(CLEANUP).complains_not();
            ended.in_order(&["committed", "stray dropped", "AFTER"]);
        }
    });
    cases.every_flavor("a_shield_holds_the_close", late_shield, |program| {
        let ended = program.stop_by(Signal::TERM);
        ended.exited(0).not_before(CLEANUP).complains_not();
        ended.in_order(&["the hook is done", "committed", "stray dropped", "AFTER"]);
    });
    cases.every_flavor("no_shield_is_cut", sections, |program| {
        let rounds = if program.is_multi_thread() { 24 } else { 8 };
        for round in 0..rounds {
            let sections = 50 + round * 20;
            let program = program.variant(&sections.to_string());
            let ended = program.stop_by(Signal::TERM);
            ended.exited(0).complains_not();
            nothing_is_cut(&ended, sections);
            // Half of them ask, and end by themselves, unless the machine is so busy that all is over
            // between the question and the next section. The others wait to begin one more.
            let left = ended.figure("left");
            assert!(left <= SECTIONED / 2, "{left}");
            let asked = ended.figure("begun") + SECTIONED - left;
            ended.figures([("asked", asked)]);
        }
    });
    cases.every_flavor("no_shield_begins_at_the_close", at_the_close, |program| {
        for sections in [20, 40, 60, 80] {
            let program = program.variant(&sections.to_string());
            let ended = program.stop_by(Signal::TERM);
            ended.exited(0).complains_not();
            nothing_is_cut(&ended, sections);
            // Each of them waits for ever to begin one more.
            ended.figures([("asked", ended.figure("begun") + SECTIONED)]);
        }
    });
}

async fn shutdown_signal() {
    cancelled().await;
}

async fn serve(end: impl Future<Output = ()>) {
    // Polled in this order: the parent hears of it when the server listens for its end.
    tokio::join!(end, async { ready() });
    sleep(CLEANUP).await;
    println!("served to the end");
}

#[expect(
    clippy::disallowed_methods,
    reason = "servers of other crates start their tasks so"
)]
fn server(scene: &Scene) -> ExitCode {
    let direct = scene.is("direct");
    after(scene.builder().run(async move {
        let server = if direct {
            tokio::spawn(serve(cancelled()))
        } else {
            tokio::spawn(serve(shutdown_signal()))
        };
        server.await.unwrap();
        println!("main goes on");
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what holds in such a task is the question"
)]
fn held(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        tokio::spawn(async {
            shield(async {
                ready();
                aiorun::stopping().await;
                sleep(CLEANUP).await;
                println!("committed");
            })
            .await;
            let _farewell = Farewell("stray dropped");
            idle().await;
        });
        idle().await;
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what holds in such a task is the question"
)]
fn late_shield(scene: &Scene) -> ExitCode {
    after(scene.builder().run(async {
        let (order, ordered) = oneshot::channel();
        let (begin, has_begun) = oneshot::channel();
        let (finish, may_finish) = oneshot::channel();
        aiorun::on_exit("order", async {
            order.send(()).unwrap();
            has_begun.await.unwrap();
            println!("the hook is done");
            finish.send(()).unwrap();
        });
        tokio::spawn(async {
            ordered.await.unwrap();
            shield(async {
                begin.send(()).unwrap();
                may_finish.await.unwrap();
                sleep(CLEANUP).await;
                println!("committed");
            })
            .await;
            let _farewell = Farewell("stray dropped");
            idle().await;
        });
        ready();
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what holds in such a task is the question"
)]
fn sections(scene: &Scene) -> ExitCode {
    let variant = scene.variant.clone();
    let exit = scene.builder().run(async move {
        let (begins, begin) = mpsc::channel(1);
        for number in 0..SECTIONED {
            let begin = begins.clone();
            let asks = number % 2 == 0;
            tokio::spawn(async move {
                drop(begin);
                while !(asks && is_cancelled()) {
                    count(&ASKED);
                    shield(section()).await;
                }
                count(&LEFT);
                idle().await;
            });
        }
        drop(begins);
        under_load(begin, &variant).await;
    });
    tell_sections();
    after(exit)
}

#[expect(
    clippy::disallowed_methods,
    reason = "what holds in such a task is the question"
)]
fn at_the_close(scene: &Scene) -> ExitCode {
    let sections = scene.variant.parse().expect("a number of sections");
    let exit = scene.builder().run(async move {
        aiorun::on_exit("start them", async move {
            for _ in 0..SECTIONED {
                tokio::spawn(async {
                    loop {
                        count(&ASKED);
                        shield(section()).await;
                    }
                });
            }
            while counted(&BEGUN) < sections {
                yield_now().await;
            }
        });
        ready();
    });
    tell_sections();
    after(exit)
}
