//! What a service manager hears of its service, at a socket of the test's own.

use std::collections::VecDeque;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{ExitCode, Termination};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aiorun::Flavor;
use rustix::process::Signal;

use crate::case::Cases;
use crate::child::{Child, Program};
use crate::namespace::{only_child, unshare};
use crate::scene::{Scene, block, idle, ready, ready_and_idle, ring_until};

/// What the manager asks for by these variables.
const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_OF: &str = "WATCHDOG_PID";
/// When a message counts as missing.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn register(cases: &mut Cases) {
    cases.every_flavor("a_service_says_how_far_it_is", service, |program| {
        for manager in [Manager::in_a_file(), Manager::in_no_file()] {
            let mut child = manager.start(program);
            let id = child.pid().as_raw_nonzero();
            let running = format!("READY=1\nMAINPID={id}\nSTATUS=running\n");
            assert_eq!(manager.next(), running);
            child.wait_for("READY");
            child.signal(Signal::TERM);
            child.finish().exited(0).complains_not();
            assert_eq!(manager.rest(), shutdown("signal SIGTERM", 2));
        }
    });
    cases.every_flavor(
        "who_is_stopped_before_it_is_ready_says_so",
        early,
        |program| {
            let manager = Manager::in_no_file();
            let mut child = manager.start(program);
            child.wait_for("READY");
            child.signal(Signal::TERM);
            child.finish().exited(0).complains_not();
            assert_eq!(manager.rest(), shutdown("signal SIGTERM", 1));
        },
    );
    cases.once(
        "a_run_that_is_no_service_says_nothing",
        two_runs,
        |program| {
            let manager = Manager::in_no_file();
            manager.start(program).finish().exited(0).complains_not();
            assert!(manager.next().starts_with("READY=1\n"));
            assert_eq!(manager.rest(), shutdown("stop was called", 1));
        },
    );
    cases.every_flavor("nobody_is_told_who_did_not_ask", service, |program| {
        let sockets = |child: &Child| {
            child.wait_for("READY");
            datagram_sockets(child)
        };
        let manager = Manager::in_no_file();
        assert_eq!(sockets(&manager.start(program)), 1);
        // Not by a watchdog alone either.
        let program = program.with(WATCHDOG, "1000");
        assert_eq!(sockets(&program.start()), 0);
        let mut child = program.with(SOCKET, "").start_ready();
        child.signal(Signal::TERM);
        child.finish().exited(0).complains_not();
    });
    cases.every_flavor(
        "a_socket_that_cannot_be_used_is_named_once",
        service,
        |program| {
            for (name, problem) in [
                ("vsock:2:1", "neither a path"),
                ("/nobody/is/there", "No such file or directory"),
                ("@aiorun-nobody-is-there", "Connection refused"),
            ] {
                let mut child = program.with(SOCKET, name).start_ready();
                child.signal(Signal::TERM);
                let ended = child.finish();
                let named = format!("NOTIFY_SOCKET is `{name}`: ");
                ended.exited(0).says_once("NOTIFY_SOCKET");
                ended.says_in_a_line(&["aiorun: warning: ", &named, problem, "unset the variable"]);
            }
        },
    );
    register_watchdogs(cases);
    cases.every_flavor(
        "a_manager_that_does_not_listen_holds_nobody_up",
        service,
        |program| {
            let manager = Manager::deaf();
            let mut child = manager.start(&program.with(WATCHDOG, "1000"));
            child.wait_for("READY");
            child.signal(Signal::TERM);
            child.finish().exited(0).complains_not();
            assert!(manager.rest().iter().all(|it| it == FILLING));
        },
    );
    cases.once(
        "process_number_1_has_another_one_outside",
        service,
        |program| {
            let words = unshare().expect("the case is ignored without it");
            let manager = Manager::in_no_file();
            let mut child = manager.start(&program.started_by(words));
            assert_eq!(manager.next(), "READY=1\nSTATUS=running\n");
            child.wait_for("READY");
            child.signal_to(only_child(child.pid()), Signal::TERM);
            child.finish().exited(0).complains_not();
            assert_eq!(manager.rest(), shutdown("signal SIGTERM", 2));
        },
    );
    cases.only_if(unshare().is_some());
}

fn register_watchdogs(cases: &mut Cases) {
    cases.every_flavor("a_watchdog_is_content_to_the_very_end", stuck, |program| {
        // Its socket has room for ten: what comes sooner than we hear it may be lost at the end.
        let manager = Manager::in_no_file();
        let mut child = manager.start(&program.with(WATCHDOG, "200000"));
        child.wait_for("READY");
        manager.hear(5);
        child.signal(Signal::TERM);
        let ended = child.finish();
        let heard = manager.rest();
        assert!(
            heard.iter().all(|it| it.ends_with("WATCHDOG=1\n")),
            "{heard:?}"
        );
        let stopping = heard.iter().position(|it| it.starts_with("STOPPING=1\n"));
        let stopping = stopping.expect("it says that it stops");
        // Nothing but signs of life while it waits for those that are stuck.
        let alone = heard[stopping..].iter().filter(|it| *it == "WATCHDOG=1\n");
        assert!(alone.count() >= 5, "{heard:?}");
        if program.is_multi_thread() {
            ended.exited(1);
            let closed = heard.last().expect("there are some");
            assert!(closed.starts_with("STATUS=closed\n"), "{heard:?}");
        } else {
            ended.exited(70);
        }
    });
    cases.once(
        "the_watchdog_of_another_process_is_its_own",
        service,
        |program| {
            let manager = Manager::in_no_file();
            let program = program.with(WATCHDOG, "1000").with(WATCHDOG_OF, "1");
            let mut child = manager.start(&program);
            child.wait_for("READY");
            child.signal(Signal::TERM);
            child.finish().exited(0).complains_not();
            assert_eq!(manager.rest()[1..], shutdown("signal SIGTERM", 2));
        },
    );
}

/// What fills the queue of who does not listen.
const FILLING: &str = "X_FILLING=1\n";
/// The last thing that a manager hears, from ourselves.
const END: &str = "X_END=1\n";

/// What a service says that ends by itself, with this many tasks to cancel.
fn shutdown(reason: &str, tasks: usize) -> [String; 5] {
    let s = if tasks == 1 { "" } else { "s" };
    [
        format!("STOPPING=1\nSTATUS=stopping: {reason}"),
        format!("STATUS=cancelling: {tasks} task{s}"),
        "STATUS=draining: 0 jobs".to_owned(),
        "STATUS=finishing".to_owned(),
        "STATUS=closed".to_owned(),
    ]
    .map(|state| state + "\nEXTEND_TIMEOUT_USEC=…\n")
}

/// Us in the place of the service manager.
struct Manager {
    socket: Arc<UnixDatagram>,
    address: SocketAddr,
    name: String,
    heard: Arc<Heard>,
    ear: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    messages: Mutex<VecDeque<String>>,
    changed: Condvar,
}

impl Manager {
    fn in_a_file() -> Self {
        let file = std::env::temp_dir().join(unique());
        let address = SocketAddr::from_pathname(&file).expect("a path that is short enough");
        let name = file.to_str().expect("a path in UTF-8").to_owned();
        Self::at(address, name).listening()
    }

    fn in_no_file() -> Self {
        Self::at_no_file().listening()
    }

    /// One that does not listen, and whose queue is full.
    fn deaf() -> Self {
        let manager = Self::at_no_file();
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.set_nonblocking(true).expect("a socket can do that");
        let fill = || sender.send_to_addr(FILLING.as_bytes(), &manager.address);
        while fill().is_ok() {}
        manager
    }

    fn at_no_file() -> Self {
        let name = unique();
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        Self::at(address, format!("@{name}"))
    }

    fn at(address: SocketAddr, name: String) -> Self {
        let socket = UnixDatagram::bind_addr(&address).expect("a name that nobody else has");
        Self {
            socket: Arc::new(socket),
            address,
            name,
            heard: Arc::default(),
            ear: None,
        }
    }

    fn listening(mut self) -> Self {
        let (socket, heard) = (Arc::clone(&self.socket), Arc::clone(&self.heard));
        self.ear = Some(thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let length = socket.recv(&mut buffer).expect("a message");
                let message = str::from_utf8(&buffer[..length]).expect("a text");
                if message == END {
                    return;
                }
                heard
                    .messages
                    .lock()
                    .unwrap()
                    .push_back(without_figures(message));
                heard.changed.notify_all();
            }
        }));
        self
    }

    fn start(&self, program: &Program) -> Child {
        program.with(SOCKET, &self.name).start()
    }

    /// Waits until it has heard so many messages.
    fn hear(&self, count: usize) {
        let messages = self.heard.messages.lock().unwrap();
        let few = |messages: &mut VecDeque<String>| messages.len() < count;
        let waited = self
            .heard
            .changed
            .wait_timeout_while(messages, PATIENCE, few);
        let (messages, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "heard only {messages:?}");
    }

    fn next(&self) -> String {
        self.hear(1);
        let next = self.heard.messages.lock().unwrap().pop_front();
        next.expect("a message has come")
    }

    /// What else was sent until now.
    fn rest(self) -> Vec<String> {
        let mut manager = self;
        if manager.ear.is_none() {
            manager = manager.listening();
        }
        let sender = UnixDatagram::unbound().expect("a socket");
        let sent = sender.send_to_addr(END.as_bytes(), &manager.address);
        sent.expect("a socket that is listened to");
        let ended = manager.ear.take().map(JoinHandle::join);
        ended.expect("somebody listens").expect("to all there is");
        let mut messages = manager.heard.messages.lock().unwrap();
        messages.drain(..).collect()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(file) = self.address.as_pathname() {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("aiorun-systemd-{}-{number}", std::process::id())
}

/// How long the manager is to be patient depends on the time.
fn without_figures(message: &str) -> String {
    const NAME: &str = "EXTEND_TIMEOUT_USEC=";
    let lines = message.lines().map(|line| match line.strip_prefix(NAME) {
        None => format!("{line}\n"),
        Some(figure) => {
            let time: u32 = figure.parse().expect("a number of microseconds");
            assert!(time >= 5_000_000, "{message}");
            format!("{NAME}…\n")
        }
    });
    lines.collect()
}

/// How many sockets of datagrams the child has.
fn datagram_sockets(child: &Child) -> usize {
    let table = std::fs::read_to_string("/proc/net/unix").expect("the sockets of the system");
    let datagrams = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(4);
        let kind = words.next()?;
        let inode = words.nth(1)?;
        (kind == "0002").then(|| format!("socket:[{inode}]"))
    });
    let datagrams: Vec<_> = datagrams.collect();
    let directory = format!("/proc/{}/fd", child.pid().as_raw_nonzero());
    let files = std::fs::read_dir(directory).expect("the child is there");
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets
        .filter(|target| datagrams.iter().any(|it| target.as_os_str() == it.as_str()))
        .count()
}

fn service(scene: &Scene) -> ExitCode {
    scene.run(async {
        aiorun::spawn(idle());
        aiorun::ready();
        // Only the first time counts.
        aiorun::Handle::current().ready();
        ready_and_idle().await;
    })
}

fn early(scene: &Scene) -> ExitCode {
    scene.run(ready_and_idle())
}

fn two_runs(scene: &Scene) -> ExitCode {
    for is_service in [false, true] {
        let exit = scene.builder().run(async {
            if is_service {
                aiorun::ready();
            }
            aiorun::stop();
            // Whoever stops is no longer ready.
            aiorun::ready();
            idle().await;
        });
        assert!(exit.is_success(), "{exit:?}");
    }
    ExitCode::SUCCESS
}

/// Nobody of the runtime's threads answers.
fn stuck(scene: &Scene) -> ExitCode {
    let mut builder = scene.builder();
    builder.shutdown_timeout(Duration::from_secs(1));
    let has_workers = scene.flavor == Flavor::MultiThread;
    let main = async move {
        aiorun::ready();
        if has_workers {
            for _ in 0..2 {
                let (begin, has_begun) = mpsc::channel();
                aiorun::spawn(async move {
                    begin.send(()).unwrap();
                    block();
                });
                ring_until(&has_begun);
            }
            ready();
        } else {
            aiorun::spawn(async {
                ready();
                block();
            });
        }
        idle().await;
    };
    builder.run(main).report()
}
