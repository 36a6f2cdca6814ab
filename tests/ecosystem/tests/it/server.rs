//! Servers that answer what they have begun with.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use rustix::process::Signal;

use crate::client::{Counts, Habit, Load, get, idle};
use crate::program::{Ended, Program};

const ROUNDS: u32 = 20;
/// The signal comes when so many are answered, or fewer.
const MOST: u64 = 200;

const HTTP1: [Habit; 6] = [
    Habit::KeepAlive,
    Habit::KeepAlive,
    Habit::KeepAlive,
    Habit::NewConnection,
    Habit::NewConnection,
    Habit::NewConnection,
];
const HTTP2: [Habit; 2] = [Habit::Http2, Habit::Http2];
const GRPC: [Habit; 4] = [
    Habit::Unary,
    Habit::Unary,
    Habit::Streaming,
    Habit::Streaming,
];

/// What the rounds of a server add up to.
#[derive(Debug, Default)]
struct Sum {
    answered: u64,
    in_hand: u64,
    unanswered: u64,
    overtaken: u64,
}

impl Sum {
    fn add(&mut self, counts: &Counts) {
        self.answered += counts.answered();
        self.in_hand += counts.in_hand.load(Ordering::SeqCst);
        self.unanswered += counts.unanswered.load(Ordering::SeqCst);
        self.overtaken += counts.overtaken.load(Ordering::SeqCst);
    }
}

/// Every test has an address of its own: on a port that is free again nobody else is to answer.
async fn rounds(server: &str, program: &str, address: &str, habits: &[Habit]) {
    let mut sum = Sum::default();
    for _ in 0..ROUNDS {
        round(program, address, habits, &mut sum).await;
    }
    println!("{server}: {ROUNDS} rounds, {sum:?}, none lost");
    assert!(sum.in_hand > 0, "the signal never came in the middle");
}

async fn round(program: &str, address: &str, habits: &[Habit], sum: &mut Sum) {
    let mut server = Program::start(program, address);
    let address: SocketAddr = server.wait_for("listening on ").await.parse().unwrap();
    let idlers = idlers(address, habits).await;
    let load = Load::start(address, habits);
    load.answered(fastrand::u64(1..MOST)).await;
    load.about_to_signal();
    server.signal(Signal::TERM);

    let ended = server.finish().await;
    let counts = load.finish().await;
    ended.well();
    none_is_lost(&ended, &counts, idlers.asked);
    sum.add(&counts);
    drop(idlers);
}

/// What was begun was done, and was answered to one of the clients or of the `others`.
#[track_caller]
fn none_is_lost(ended: &Ended, counts: &Counts, others: u64) {
    let answered = counts.answered() + others;
    assert_eq!(ended.figure("begun"), answered, "{ended:#?} {counts:#?}");
    assert_eq!(ended.figure("done"), answered, "{ended:#?} {counts:#?}");
}

/// Connections that nobody uses.
struct Idlers<C> {
    asked: u64,
    _connections: Vec<C>,
}

/// One that never asks anything and one that has asked once, of each sort that the server knows.
async fn idlers(address: SocketAddr, habits: &[Habit]) -> Idlers<impl Sized> {
    let (mut asked, mut connections) = (0, Vec::new());
    for habit in [Habit::KeepAlive, Habit::Http2, Habit::Unary] {
        if habits.contains(&habit) {
            connections.push(idle(address, habit, false).await);
            connections.push(idle(address, habit, true).await);
            asked += 1;
        }
    }
    Idlers {
        asked,
        _connections: connections,
    }
}

#[aiorun::test(test_timeout = "2m")]
async fn axum() {
    let program = env!("CARGO_BIN_EXE_axum");
    let habits = [&HTTP1[..], &HTTP2].concat();
    rounds("axum", program, "127.0.0.2:0", &habits).await;
}

#[aiorun::test(test_timeout = "2m")]
async fn hyper() {
    let program = env!("CARGO_BIN_EXE_hyper");
    let habits = [&HTTP1[..], &HTTP2].concat();
    rounds("hyper", program, "127.0.0.3:0", &habits).await;
}

#[aiorun::test(test_timeout = "2m")]
async fn tonic() {
    let program = env!("CARGO_BIN_EXE_tonic");
    rounds("tonic", program, "127.0.0.4:0", &GRPC).await;
}

/// The strictest form: nobody is told that a signal comes, and everybody is answered.
#[aiorun::test(test_timeout = "2m")]
async fn behind_a_balancer() {
    let mut sum = Sum::default();
    let habits = [&HTTP1[..], &HTTP2].concat();
    for _ in 0..ROUNDS {
        let program = env!("CARGO_BIN_EXE_behind_a_balancer");
        let mut server = Program::start(program, "127.0.0.6:0");
        let address: SocketAddr = server.wait_for("listening on ").await.parse().unwrap();
        let load = Load::start(address, &habits);
        load.answered(fastrand::u64(1..MOST)).await;
        server.signal(Signal::TERM);
        while get(address, "/ready").await.status().is_success() {}
        load.send_elsewhere();
        let counts = load.finish().await;
        let ended = server.signal_until_it_ends(Signal::TERM).await;
        assert!(ended.status.success(), "{ended:#?}");
        none_is_lost(&ended, &counts, 0);
        sum.add(&counts);
    }
    println!(
        "behind a balancer: {ROUNDS} rounds, {} answered, all",
        sum.answered
    );
}
