//! The dump that a signal asks for, whatever the program is doing.

use std::io::Write as _;
use std::process::{Command, ExitCode, Termination};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use aiorun::Builder;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::case::Cases;
use crate::child::{Program, Stderr};
use crate::scene::{AGES, SINGLE_THREADED, Scene, block, idle, ready};

/// Far more than a dump and an exit take.
const MOST: Duration = Duration::from_secs(10);
/// How a dump begins.
const HEAD: &str = "aiorun: process ";

pub(crate) fn register(cases: &mut Cases) {
    contents(cases);
    obstacles(cases);
    symbols(cases);
}

fn contents(cases: &mut Cases) {
    cases.every_flavor("it_lists_everything", busy, |program| {
        for program in [program.clone(), program.logging()] {
            let mut child = program.start_ready();
            child.signal_until_it_says(Signal::USR1, "awaiting tokio::sync::oneshot::Receiver");
            child.signal(Signal::TERM);
            let ended = child.finish();
            ended.exited(0).within(MOST);
            let pid = format!("{HEAD}{}, up ", ended.figure("pid"));
            ended.says_in_a_line(&[&pid, ", running: 4 tasks, 1 blocking job"]);
            ended.says_in_a_line(&["about 2 stray tasks of bare `tokio::spawn`"]);
            ended.says_in_a_line(&["  main spawned at tests/process/dump.rs:", ", suspended"]);
            ended.says_in_a_line(&["  task `reader` spawned at tests/process/dump.rs:"]);
            ended.says_in_a_line(&["  2 tasks spawned at", "protected, suspended"]);
            ended.says_in_a_line(&["`twin`"]);
            ended.says_in_a_line(&["  blocking job `zip` spawned at", "running on "]);
            let line = ended.figure("wait_line");
            let place = format!("at tests/process/dump.rs:{line}:");
            ended.says_in_a_line(&["            ", &place, "process::dump::wait"]);
            let caller = format!("at tests/process/dump.rs:{}:", ended.figure("caller_line"));
            ended.in_order(&["`reader` spawned", &caller, &place]);
        }
    });
    cases.every_flavor("ten_thousand_are_a_few_lines", crowd, |program| {
        let mut child = program.start_ready();
        child.signal_until_it_says(Signal::USR1, "10000 tasks spawned at");
        child.signal_until_it_says(Signal::USR1, "asked where they wait");
        child.signal(Signal::TERM);
        let ended = child.finish();
        ended.exited(0).within(MOST);
        let dumps = ended.count(HEAD);
        assert!(ended.lines.len() < 20 * dumps, "{ended:?}");
    });
    cases.every_flavor("it_comes_while_the_program_stops", stopping, |program| {
        let mut child = program.start_ready();
        child.signal(Signal::TERM);
        child.wait_for("STOPPING");
        child.signal_until_it_says(Signal::USR1, "cancelling with ");
        child.signal_until_it_says(Signal::USR1, "task `saver`");
        child.signal(Signal::USR2);
        child.finish().exited(0).within(MOST);
    });
    cases.once("one_before_the_end_is_printed", busy, |program| {
        // The kernel may hand over the other one first, and then there is nothing left to tell.
        let mut child = program.variant("echo").start_ready();
        child.signal(Signal::USR1);
        child.wait_for("ASKED 1");
        child.signal(Signal::TERM);
        child.finish().exited(0).within(MOST).says(HEAD);
    });
    cases.once("the_first_of_two_is_printed_to_its_end", busy, |program| {
        let mut child = program.variant("echo").start_ready();
        child.signal(Signal::USR1);
        child.wait_for("running: 4 tasks, 1 blocking job");
        child.signal(Signal::USR1);
        child.wait_for("ASKED 2");
        child.signal(Signal::TERM);
        let ended = child.finish();
        ended.exited(0).within(MOST);
        ended.says_in_a_line(&["  task `reader` spawned at tests/process/dump.rs:"]);
    });
}

fn obstacles(cases: &mut Cases) {
    cases.on(
        &SINGLE_THREADED,
        "it_comes_when_the_thread_is_stuck",
        stuck,
        |program| {
            let mut child = program.start_ready();
            child.signal_until_it_says(Signal::USR1, "`hog` spawned at tests/process/dump.rs:");
            child.wait_for("stuck, running on main (thread ");
            child.wait_for("ready, but no thread was free to poll it");
            child.signal(Signal::KILL);
        },
    );
    cases.every_flavor("it_comes_past_every_lock", holder, |program| {
        for variant in ["stderr", "handler"] {
            let mut child = program.variant(variant).start_ready();
            child.signal_until_it_says(Signal::USR1, "main spawned at tests/process/dump.rs:");
            child.signal(Signal::TERM);
            child.finish().within(MOST);
        }
    });
    cases.every_flavor("nobody_reads_it_and_the_program_ends", busy, |program| {
        for stderr in [Stderr::Full, Stderr::FullSocket, Stderr::Slow] {
            let mut child = program.with_stderr(stderr).start_ready();
            for _ in 0..3 {
                child.signal(Signal::USR1);
                thread::sleep(Duration::from_millis(100));
            }
            child.signal(Signal::TERM);
            child.finish().exited(0).within(MOST);
        }
        let mut child = program.without_stderr().start_ready();
        child.signal(Signal::USR1);
        thread::sleep(Duration::from_millis(100));
        child.signal(Signal::TERM);
        child.finish().exited(0).within(MOST);
    });
    cases.every_flavor(
        "who_panics_into_a_full_pipe_holds_nobody_up",
        panicking,
        |program| {
            let program = program.with_stderr(Stderr::Full);
            let mut child = program.variant("dump").start_ready();
            child.wait_for("DUMPED");
            child.signal(Signal::USR1);
            thread::sleep(Duration::from_millis(100));
            child.signal(Signal::TERM);
            child.finish().exited(0).within(MOST);
            program
                .variant("limit")
                .stop_by(Signal::TERM)
                .exited(1)
                .within(MOST);
        },
    );
    cases.only_if(cfg!(target_os = "linux"));
    cases.once("it_is_added_to_a_file", busy, |program| {
        let file = std::env::temp_dir().join(format!("aiorun-dump-{}", std::process::id()));
        let shell = format!(
            "exec 2>'{}'; echo before >&2; exec \"$0\" \"$@\"",
            file.display()
        );
        let mut child = program.started_by(&["sh", "-c", &shell]).start_ready();
        let text = || std::fs::read_to_string(&file).expect("a text");
        for count in 1..=2 {
            child.signal(Signal::USR1);
            let asked = Instant::now();
            while text().matches(HEAD).count() < count {
                assert!(asked.elapsed() < MOST, "{}", text());
                thread::sleep(Duration::from_millis(20));
            }
        }
        child.signal(Signal::TERM);
        child.finish().exited(0);
        let text = text();
        std::fs::remove_file(&file).expect("it is ours");
        assert!(text.starts_with("before\naiorun: process "), "{text}");
        assert_eq!(text.matches(HEAD).count(), 2, "{text}");
    });
    cases.every_flavor("a_storm_of_them_does_no_harm", busy, |program| {
        let mut child = program.start_ready();
        for _ in 0..200 {
            child.signal(Signal::USR1);
            thread::sleep(Duration::from_millis(2));
        }
        child.signal(Signal::TERM);
        child.finish().exited(0).within(MOST).says(HEAD);
    });
}

/// How much a trace says is up to how the program was built.
fn symbols(cases: &mut Cases) {
    cases.once(
        "without_debug_information_there_are_names",
        busy,
        |program| {
            let stripped = stripped(program, "--strip-debug");
            let mut child = stripped.start_ready();
            child.signal_until_it_says(Signal::USR1, "awaiting tokio::sync::oneshot::Receiver");
            child.signal(Signal::TERM);
            let ended = child.finish();
            std::fs::remove_file(stripped.path()).expect("it is ours");
            ended
                .exited(0)
                .says_in_a_line(&["            in process::dump::wait"]);
            ended.says_in_a_line(&["task `reader` spawned at tests/process/dump.rs:"]);
            ended.in_order(&["in process::dump::caller", "in process::dump::wait"]);
        },
    );
    cases.only_if(has_strip());
    cases.once("without_names_there_is_the_rest", busy, |program| {
        let stripped = stripped(program, "--strip-all");
        let mut child = stripped.start_ready();
        child.signal_until_it_says(Signal::USR1, "at an await whose name is not known");
        child.signal(Signal::TERM);
        let ended = child.finish();
        std::fs::remove_file(stripped.path()).expect("it is ours");
        ended.exited(0).never_says("process::dump");
        ended.says_in_a_line(&["task `reader` spawned at tests/process/dump.rs:"]);
    });
    cases.only_if(has_strip());
}

fn has_strip() -> bool {
    let works = Command::new("strip").arg("--version").output();
    works.is_ok_and(|output| output.status.success())
}

/// The same program without some of what it is debugged by.
fn stripped(program: &Program, how: &str) -> Program {
    let file = format!("aiorun-process{how}-{}", std::process::id());
    let file = std::env::temp_dir().join(file);
    let mut strip = Command::new("strip");
    let stripped = strip.args([how, "-o"]).arg(&file).arg(program.path());
    assert!(stripped.status().expect("strip is there").success());
    program.at(file)
}

async fn caller() {
    println!("caller_line={}", line!() + 1);
    wait().await;
}

async fn wait() {
    let (_nobody, somebody) = oneshot::channel::<()>();
    println!("wait_line={}", line!() + 1);
    let _ = somebody.await;
}

fn dumping(scene: &Scene) -> Builder {
    let mut builder = scene.builder();
    builder.dump_signal(aiorun::Signal::USR1);
    builder
}

#[expect(
    clippy::disallowed_methods,
    reason = "that such tasks are counted is the question"
)]
fn busy(scene: &Scene) -> ExitCode {
    let echoes = scene.is("echo");
    let (release, released) = mpsc::channel::<()>();
    let main = async move {
        println!("pid={}", std::process::id());
        aiorun::task("reader").spawn(caller());
        for _ in 0..2 {
            // These end with the program.
            aiorun::task("twin").protected().spawn(async {
                aiorun::stopping().await;
            });
            tokio::spawn(idle());
        }
        let (started, has_started) = oneshot::channel();
        aiorun::task("zip").spawn_blocking(move || {
            started.send(()).unwrap();
            let _ = released.recv();
        });
        has_started.await.unwrap();
        aiorun::on_exit("none", async {});
        // The supervisor has listened for longer, and so has heard of each that is told here.
        let mut asks = signal(SignalKind::user_defined1()).unwrap();
        ready();
        if echoes {
            for number in 1.. {
                asks.recv().await;
                println!("ASKED {number}");
            }
        }
        aiorun::stopping().await;
        drop(release);
    };
    dumping(scene).run(main).report()
}

fn crowd(scene: &Scene) -> ExitCode {
    let main = async {
        for number in 0..10_000 {
            aiorun::task(format!("connection {number}")).spawn(sleep(AGES));
        }
        ready();
        idle().await;
    };
    dumping(scene).run(main).report()
}

fn stopping(scene: &Scene) -> ExitCode {
    let main = async {
        let mut finish = signal(SignalKind::user_defined2()).unwrap();
        aiorun::task("saver").protected().spawn(async move {
            ready();
            aiorun::stopping().await;
            println!("STOPPING");
            finish.recv().await;
        });
    };
    dumping(scene).run(main).report()
}

fn stuck(scene: &Scene) -> ExitCode {
    let main = async {
        aiorun::task("sleeper").spawn(caller());
        tokio::task::yield_now().await;
        aiorun::task("hog").spawn(async {
            ready();
            block();
        });
        idle().await;
    };
    dumping(scene).run(main).report()
}

/// A thread that panics has std's one lock for all backtraces while it prints that.
fn panicking(scene: &Scene) -> ExitCode {
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        say.send(rustix::thread::gettid()).unwrap();
        panic!("nobody reads this");
    });
    let thread = said.recv().unwrap().as_raw_pid();
    // It sleeps in its write, and for nothing else for that long.
    let mut asleep = 0;
    while asleep < 10 {
        let state = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        asleep = if state.contains(") S ") {
            asleep + 1
        } else {
            0
        };
        thread::sleep(Duration::from_millis(20));
    }
    let asks = scene.is("dump");
    let main = async move {
        if asks {
            let dump = aiorun::Handle::current().dump().await;
            assert!(dump.to_string().contains("\nwithout traces: "), "{dump}");
            println!("DUMPED");
        } else {
            aiorun::task("saver").protected().spawn(caller());
        }
        ready();
        idle().await;
    };
    let mut builder = dumping(scene);
    builder.timeout_task_shutdown(Duration::from_secs(1));
    builder.run(main).report()
}

/// Somebody holds what is needed to print in the usual way.
fn holder(scene: &Scene) -> ExitCode {
    let mut builder = dumping(scene);
    builder.shutdown_timeout(Duration::from_secs(1));
    if scene.is("stderr") {
        let main = async {
            aiorun::task("hog").spawn(async {
                let mut stderr = std::io::stderr().lock();
                let _ = writeln!(stderr, "mine");
                ready();
                block();
            });
            idle().await;
        };
        return builder.run(main).report();
    }
    builder.unhandled_error_handler(|_| {
        ready();
        block();
    });
    let main = async {
        aiorun::spawn(async { panic!("to be handled") });
        idle().await;
    };
    builder.run(main).report()
}
