//! The examples, each driven as a user would drive it.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal};

use crate::child::Program;
use crate::ended::Ended;

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 20] = [
        ("echo_server_and_client", echo),
        ("echo_server_on_a_taken_address", taken_address),
        ("hello", hello),
        ("quick_start", quick_start),
        ("shutdown_waits_for", shutdown_waits_for),
        ("catch_cancel", catch_cancel),
        ("graceful_worker", graceful_worker),
        ("accept_loop", accept_loop),
        ("stop_on_unhandled_errors", stop_on_unhandled_errors),
        ("shutdown_callback", shutdown_callback),
        ("on_exit", on_exit),
        ("executor", executor),
        ("embedded", embedded),
        ("current_thread", current_thread),
        ("children", children),
        ("systemd", systemd),
        ("kubernetes", kubernetes),
        ("readiness", readiness),
        ("tenants", tenants),
        ("each_says_what_to_type_and_has_a_test", each_has_a_test),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(format!("example::{name}"), move || {
            test();
            Ok(())
        })
    };
    tests.into_iter().map(trial).collect()
}

/// Builds all examples, once; their executables by name.
fn executables() -> &'static BTreeMap<String, PathBuf> {
    static EXECUTABLES: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    EXECUTABLES.get_or_init(|| {
        let build = escargot::CargoBuild::new().examples().current_release();
        let messages = build.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let messages = messages.exec().expect("cargo builds the examples");
        let mut found = BTreeMap::new();
        for message in messages {
            let message = message.expect("the examples compile");
            let message = message.decode().expect("cargo's messages");
            if let escargot::format::Message::CompilerArtifact(artifact) = message {
                let name = artifact.target.name.to_string();
                found.extend(artifact.executable.map(|path| (name, path.into_owned())));
            }
        }
        found
    })
}

pub(crate) fn example(name: &str, arguments: &[&str]) -> Program {
    let path = executables()
        .get(name)
        .unwrap_or_else(|| panic!("there is no example {name}"));
    Program::example(path.clone(), arguments)
}

fn echo() {
    let mut server = example("echo_server", &["--addr", "127.0.0.1:0"]).start();
    let line = server.wait_for("listening on ");
    let address = line.trim_start_matches("listening on ");
    let client = example("echo_client", &["--addr", address]).run();
    client
        .exited(0)
        .says_once("the server says: hello")
        .complains_not();
    server.wait_for("goodbye, 127.0.0.1");
    // One that stays, until the server tells it to go.
    let mut stream = TcpStream::connect(address).expect("the server listens");
    std::io::Write::write_all(&mut stream, b"x").expect("the server reads");
    std::io::Read::read_exact(&mut stream, &mut [0]).expect("the server answers");
    server.signal(Signal::INT);
    let ended = server.finish();
    ended
        .exited(0)
        .says_times(2, "goodbye, ")
        .within(Duration::from_secs(10));
    for words in [
        "Stopping the loop",
        "Cancelling task: ",
        "connection of ",
        "Leaving. Bye!",
    ] {
        ended.says(words);
    }
}

fn taken_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = example("echo_server", &["--addr", &address]).run();
    ended.exited(1).says_once("Error: ");
    let ended = example("echo_client", &["--help"]).run();
    ended
        .exited(1)
        .says("usage: echo_client [--addr HOST:PORT]");
}

fn hello() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = example("hello", &[]).start();
        child.wait_for("hello from a task");
        child.signal(signal);
        child.finish().exited(0).complains_not();
    }
}

fn quick_start() {
    let mut child = example("quick_start", &[]).start();
    child.wait_for("Running forever.");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended
        .exited(0)
        .in_order(&["Stopping the loop", "the count is saved", "Leaving. Bye!"]);
}

fn shutdown_waits_for() {
    let started = Instant::now();
    let mut child = example("shutdown_waits_for", &[]).start();
    child.wait_for("working");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended
        .exited(0)
        .in_order(&["oh noes!", "done!"])
        .complains_not();
    assert!(ended.line("oh noes!").at - ended.told < Duration::from_secs(3));
    assert!(started.elapsed() >= Duration::from_secs(3));
}

fn catch_cancel() {
    let mut child = example("catch_cancel", &[]).start();
    child.wait_for("sentence 1 begins");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended.exited(0).complains_not();
    ended
        .in_order(&["I have to go", "Goodbye!", "the speaker leaves"])
        .not_before(Duration::from_millis(500))
        .says_once("the light goes out");
    // The sentence that was cut has no end.
    assert_eq!(ended.count(" begins"), ended.count(" ends") + 1);
}

fn graceful_worker() {
    let mut child = example("graceful_worker", &[]).start();
    child.wait_for("packing order 1");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended.exited(0).complains_not();
    ended.in_order(&["order 1 is packed", "again", "the shop closes"]);
    let packed = ended.count(" is packed");
    ended.says_times(packed, "packing order ");
    ended.says_times(10 - packed, "the shop has order ");
    // Orders come back in order: from the first that was not begun to the last.
    ended.says_once(&format!("the shop has order {} again", packed + 1));
    ended.says_once("the shop has order 10 again");
}

fn accept_loop() {
    let mut server = example("accept_loop", &["127.0.0.1:0"]).start();
    let line = server.wait_for("listening on ");
    let address = line.trim_start_matches("listening on ");
    let mut idle = client(address, "idle");
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut idle, &mut answer).expect("the server answers");
    assert_eq!(&answer, b"eldi\n");
    let busy = client(address, "busy");
    server.wait_for("working on busy");
    server.signal(Signal::INT);
    server.wait_for("nobody gets in any more");
    let late = TcpStream::connect(address).expect_err("the server has stopped listening");
    assert_eq!(late.kind(), std::io::ErrorKind::ConnectionRefused);
    let rest = |client| std::io::read_to_string(client).expect("the server closes the connection");
    assert_eq!(rest(idle), "goodbye\n");
    assert_eq!(rest(busy), "ysub\ngoodbye\n");
    server.finish().exited(0).complains_not();
}

/// A client that has sent a line.
fn client(address: &str, line: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("the server listens");
    std::io::Write::write_all(&mut client, format!("{line}\n").as_bytes())
        .expect("the server reads");
    client
}

fn stop_on_unhandled_errors() {
    let ended = example("stop_on_unhandled_errors", &[]).run();
    ended
        .exited(1)
        .says_once("no number: invalid digit found in string");
    ended.says_in_a_line(&["`price feed`", "examples/stop_on_unhandled_errors.rs"]);
    ended.says_once("the exchange has closed the connection");
}

fn shutdown_callback() {
    let mut child = example("shutdown_callback", &[]).start();
    child.wait_for("working");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended.exited(0).complains_not();
    ended.in_order(&[
        "last orders!",
        "the bar is closed",
        "the worker is cancelled",
    ]);
}

fn on_exit() {
    let mut child = example("on_exit", &[]).start();
    child.wait_for("working");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended.exited(0).complains_not();
    ended.in_order(&[
        "the worker has ended",
        "the cache is closed",
        "the database is closed",
    ]);
}

fn executor() {
    let mut child = example("executor", &[]).start();
    child.wait_for("six jobs are on their way");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended
        .exited(0)
        .says_times(6, " is done")
        .never_says("the sum")
        .complains_not();
}

fn embedded() {
    let mut child = example("embedded", &[]).start();
    child.wait_for("the guest is there");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended.exited(0).complains_not();
    ended.in_order(&[
        "the guest has cleaned up",
        "the host goes on: signal SIGINT",
        "spawned",
    ]);
}

fn current_thread() {
    let mut child = example("current_thread", &[]).start();
    child.wait_for("tick 3");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended
        .exited(0)
        .says("tock 2, on main's thread: true")
        .never_says("false")
        .complains_not();
}

fn children() {
    let start = || {
        let child = example("children", &[]).start();
        // Who each of the two is, and what it has started.
        child.wait_for_lines(4);
        child
    };
    let number = |ended: &Ended, text: &str| -> u32 {
        let mut lines = ended.lines.iter();
        let number = lines.find_map(|line| line.text.strip_prefix(text)?.parse().ok());
        number.unwrap_or_else(|| panic!("{text:?} and a number are not in {ended:?}"))
    };
    let mut child = start();
    child.signal(Signal::INT);
    let ended = child.finish();
    ended.exited(0).complains_not().in_order(&[
        "bye",
        "the front has ended",
        "the store does not listen",
        "the store has ended",
    ]);
    for process in [
        "the store is process ",
        "the store works in process ",
        "the front is process ",
        "the front works in process ",
    ] {
        is_gone(number(&ended, process));
    }
    // The program needs them both.
    let mut child = start();
    let process = |text| {
        let line = child.wait_for(text);
        let number = line.rsplit(' ').next().and_then(|it| it.parse().ok());
        number.and_then(Pid::from_raw).expect("a number")
    };
    let (front, left) = (
        process("the front is process "),
        process("the front works in process "),
    );
    child.signal_to(front, Signal::KILL);
    // Nobody stops what is left of a child that was killed.
    child.signal_to(left, Signal::KILL);
    let ended = child.finish();
    ended.exited(1).says_once("the front has ended by itself");
    ended.in_order(&["the store does not listen", "the store has ended"]);
    is_gone(number(&ended, "the store is process "));
    is_gone(number(&ended, "the store works in process "));
}

/// Waits for the end of a process that a signal was sent to. Its parent is gone, and nobody may have
/// taken note of its end.
fn is_gone(process: u32) {
    let until = Instant::now() + Duration::from_secs(10);
    let status = format!("/proc/{process}/status");
    while let Ok(status) = std::fs::read_to_string(&status)
        && !status.contains("State:\tZ")
    {
        assert!(
            Instant::now() < until,
            "process {process} is there: {status}"
        );
        std::thread::yield_now();
    }
}

fn systemd() {
    let mut child = example("systemd", &[]).start();
    child.wait_for("packing an order");
    child.signal(Signal::TERM);
    let ended = child.finish();
    ended.exited(0).complains_not();
    ended.in_order(&["the shop is open", "packing an order", "an order is packed"]);
    ended.says_times(ended.count("packing an order"), "an order is packed");
}

fn kubernetes() {
    let mut server = example("kubernetes", &["127.0.0.1:0"]).start();
    let line = server.wait_for("listening on ");
    let address = line.trim_start_matches("listening on ");
    assert!(ask(address, "/ready").starts_with("HTTP/1.1 200 "));
    server.signal(Signal::TERM);
    while !ask(address, "/ready").starts_with("HTTP/1.1 503 ") {}
    assert!(ask(address, "/").ends_with("\r\n\r\nhello"));
    // One that comes sooner would be of the same burst.
    std::thread::sleep(Duration::from_millis(700));
    server.signal(Signal::TERM);
    let ended = server.finish();
    ended.exited(0).within(Duration::from_secs(8));
}

/// What a server answers.
fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it reads");
    std::io::read_to_string(stream).expect("it answers")
}

fn readiness() {
    const ORDERS: usize = 40;
    let mut server = example("readiness", &["127.0.0.1:0"]).start();
    let line = server.wait_for("listening on ");
    let address = line.trim_start_matches("listening on ");
    assert!(ask(address, "/ready").starts_with("HTTP/1.1 200 "));
    server.signal(Signal::TERM);
    while !ask(address, "/ready").starts_with("HTTP/1.1 503 ") {}
    // More than can be packed before the server ends, which a second signal brings about.
    for _ in 0..ORDERS {
        assert!(ask(address, "/order").starts_with("HTTP/1.1 202 "));
    }
    std::thread::sleep(Duration::from_millis(700));
    server.signal(Signal::TERM);
    let ended = server.finish();
    ended.exited(0).says_times(ORDERS, "packed");
    ended.in_order(&["packed", "the pool is closed"]);
    let closed = ended.lines.last().expect("a line");
    assert_eq!(closed.text, "the pool is closed", "{ended:?}");
}

fn tenants() {
    let mut child = example("tenants", &[]).start();
    child.wait_for("still there: task `tenants/eve/packer`");
    child.wait_for("tenants/eve packed order 11");
    child.signal(Signal::INT);
    let ended = child.finish();
    ended.exited(0).complains_not();
    ended.says_once("tenants/bob has left: 2 spawned, 1 completed, 1 cancelled, 1 caught");
    ended.says_times(4, "still there: task `tenants/");
    ended.says_times(3, " closed the shop");
    for name in ["ann", "eve"] {
        ended.in_order(&[
            &format!("tenants/{name} closed the shop"),
            "the ledger is closed",
        ]);
    }
    ended.in_order(&["tenants/bob closed the shop", "tenants/eve packed order 11"]);
}

fn each_has_a_test() {
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"));
    let tests = [include_str!("example.rs"), include_str!("stuck.rs")].concat();
    for source in sources.expect("there are examples") {
        let path = source.expect("a file").path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(
            tests.contains(&format!("example(\"{name}\"")),
            "{name} has no test"
        );
        let main = if path.is_dir() {
            path.join("main.rs")
        } else {
            path
        };
        let text = std::fs::read_to_string(&main).expect("a text");
        let typed = format!("cargo run --example {name}");
        assert!(
            text.starts_with("//!") && text.contains(&typed),
            "{name} does not say what to type"
        );
        assert!(text.lines().count() <= 65, "{name} is too long");
    }
}
