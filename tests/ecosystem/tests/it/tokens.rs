//! A program with tokens of its own, before and after it came to aiorun.

use std::net::SocketAddr;

use aiorun::task;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::program::{Ended, Program};

const BEFORE: &str = env!("CARGO_BIN_EXE_tokens_before");
const AFTER: &str = env!("CARGO_BIN_EXE_tokens_after");
const CLIENTS: usize = 8;

async fn start(path: &str) -> (Program, SocketAddr) {
    let mut server = Program::start(path, "127.0.0.6:0");
    let address = server.wait_for("listening on ").await.parse();
    (server, address.expect("an address"))
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn new(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    async fn send(&mut self, line: &str) {
        let sent = self.0.write_all(format!("{line}\n").as_bytes()).await;
        // Where the server has gone there is no answer either.
        let _ = sent;
    }

    /// Whether there was an answer, which is right then.
    async fn ask(&mut self, number: u64) -> bool {
        self.send(&format!("job {number}")).await;
        let mut answer = String::new();
        match self.0.read_line(&mut answer).await {
            Ok(length) if length > 0 => {
                let text: String = answer.trim_end().chars().rev().collect();
                assert_eq!(text, format!("job {number}"));
                true
            }
            _ => false,
        }
    }
}

/// Stops a server in the middle of a load, and checks that what it had begun with it has done, written and
/// answered.
async fn stop_under_load(path: &str, stop: impl AsyncFnOnce(&Program, SocketAddr)) -> Ended {
    let (server, address) = start(path).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let tell = tell.clone();
        clients.push(task("client").spawn(async move {
            let mut client = Client::new(address).await;
            let mut answers = 0;
            while client.ask(answers).await {
                answers += 1;
                tell.send(()).expect("somebody counts");
            }
            answers
        }));
    }
    for _ in 0..50 {
        told.recv().await.expect("an answer");
    }
    stop(&server, address).await;
    let ended = server.finish().await;
    let mut answers = 0;
    for client in clients {
        answers += client.await.unwrap();
    }
    assert!(ended.status.success(), "{ended:#?}");
    let figures = ["begun", "done", "entries"].map(|name| ended.figure(name));
    assert_eq!(figures, [answers; 3], "{ended:#?}");
    ended
}

#[aiorun::test]
async fn both_stop_at_sigterm_and_lose_no_job() {
    for path in [BEFORE, AFTER] {
        for _ in 0..5 {
            let stop = async |server: &Program, _| server.signal(Signal::TERM);
            stop_under_load(path, stop).await.well();
        }
    }
}

#[aiorun::test]
async fn both_stop_when_a_client_says_so() {
    for path in [BEFORE, AFTER] {
        let quit = async |_: &Program, address| Client::new(address).await.send("quit").await;
        stop_under_load(path, quit).await.well();
    }
}

#[aiorun::test]
async fn after_it_the_tasks_are_listed_with_the_lines_where_they_wait() {
    let (mut server, address) = start(AFTER).await;
    let mut client = Client::new(address).await;
    assert!(client.ask(1).await);
    server.signal(Signal::USR1);
    let source = include_str!("../../src/bin/tokens_after.rs");
    let spawns = (1..)
        .zip(source.lines())
        .filter(|(_, line)| line.contains("aiorun::spawn("));
    let spawns: Vec<u32> = spawns.map(|(number, _)| number).collect();
    assert_eq!(spawns.len(), 5);
    for number in spawns {
        server
            .complains(&format!("tokens_after.rs:{number}:"))
            .await;
    }
    server.signal(Signal::TERM);
    assert!(server.finish().await.status.success());
}

#[test]
fn they_differ_in_the_attribute_and_in_how_tasks_are_spawned() {
    let code = |text: &'static str| text.lines().skip_while(|line| !line.starts_with("use "));
    let before = code(include_str!("../../src/bin/tokens_before.rs"));
    let after = code(include_str!("../../src/bin/tokens_after.rs"));
    assert_eq!(before.clone().count(), after.clone().count());
    let changed: Vec<_> = before
        .zip(after)
        .filter(|(before, after)| before != after)
        .collect();
    assert_eq!(changed.len(), 6, "{changed:#?}");
    for (before, after) in changed {
        let spawned = before.contains("spawn(") && after.contains("aiorun::spawn(");
        assert!(spawned || before == "#[tokio::main]", "{before} {after}");
    }
}
