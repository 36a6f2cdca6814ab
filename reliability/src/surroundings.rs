//! What is around a program: its streams, its clock, its cores, its children.

use std::fs;
use std::io::{self, Write as _};
use std::process::{Command, ExitCode, Stdio, Termination as _};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use aiorun::{Builder, Flavor, shutdown_waits_for, spawn, spawn_blocking, task};
use rustix::process::Signal;
use rustix::stdio::{dup2_stdout, stdout};
use tokio::time::sleep;

use crate::child::Stderr;
use crate::load::{nothing_is_cut, section, tell_sections};
use crate::scene::{Scene, idle, ready};
use crate::storm::Verdict::{Held, NotPlayed};
use crate::storm::{Extent, FLAVORS, Storm, Trial, Verdict, size};
use crate::tally::{Token, adds_up, tell};
use crate::{crowd, panic, repeat, start, stop};

pub(crate) const STDERR: Storm = Storm {
    name: "stderr",
    promise: "With standard error closed, or with nobody left to read it, warnings and errors are lost and nothing \
              else: same exit code, same figures.",
    scene: complaining,
    check: |trial| {
        each_flavor(|flavor| {
            let program = trial.program(flavor, 0);
            let unheard = program.with_stderr(Stderr::Unheard);
            for program in [program.clone(), program.without_stderr(), unheard] {
                let ended = program.stop_by(Signal::TERM);
                ended.exited(1).figures([
                    ("panicked", 1),
                    ("failed", 1),
                    ("refused", 1),
                    // Main.
                    ("cancelled", 1),
                ]);
                adds_up(&ended);
            }
        });
        Held("a panic, an error and a refused task, open, closed and unheard".to_owned())
    },
};

fn complaining(scene: &Scene) -> ExitCode {
    let exit = scene
        .builder()
        .timeout_task_shutdown(Duration::from_millis(100))
        .run(async {
            task("panics").spawn(async { panic!("said by the panic hook") });
            task("fails").spawn_fallible(async { Err::<(), _>("said in the log") });
            task("refuses").cooperative().spawn(idle());
            while aiorun::Handle::current().tasks().len() > 2 {
                sleep(Duration::from_millis(1)).await;
            }
            ready();
            idle().await;
        });
    tell(&exit);
    exit.report()
}

pub(crate) const STDOUT: Storm = Storm {
    name: "stdout",
    promise: "With nobody left to read standard output there is no SIGPIPE: who writes gets an error, `println!` \
              panics and that is the task's, and the program stops as ever.",
    scene: unheard,
    check: |trial| {
        each_flavor(|flavor| {
            let ended = trial.program(flavor, 100).run();
            ended
                .exited(0)
                .figures([("panicked", 50), ("completed", 51), ("cancelled", 0)]);
            adds_up(&ended);
        });
        Held("100 tasks that write, half of them by `println!`".to_owned())
    },
};

fn unheard(scene: &Scene) -> ExitCode {
    let before = rustix::io::dup(stdout()).expect("a descriptor");
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    dup2_stdout(&writer).expect("this process has a standard output");
    let writers = size();
    let exit = scene
        .builder()
        .unhandled_error_handler(|_| {})
        .run(async move {
            let tasks = (0..writers).map(|number| {
                let token = Token::new();
                spawn(async move {
                    let _token = token;
                    if number % 2 == 0 {
                        println!("nobody reads this");
                    } else {
                        let written = writeln!(io::stdout(), "nor this");
                        let error = written.expect_err("there is no reader");
                        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                let _ = task.await;
            }
            aiorun::stop();
        });
    dup2_stdout(&before).expect("it was there before");
    tell(&exit);
    exit.report()
}

pub(crate) const CHILDREN: Storm = Storm {
    name: "children",
    promise: "A child process that is started at any moment, also while other supervisors of the process begin \
              and end, inherits no signal that is blocked, and ignores neither SIGINT nor SIGTERM.",
    scene: parents,
    check: |trial| {
        let count = trial.size(400, 60);
        each_flavor(|flavor| {
            let ended = trial.program(flavor, count).run();
            ended
                .exited(0)
                .complains_not()
                .figures([("right", count), ("wrong", 0)]);
        });
        Held(format!("{count} children for each flavour"))
    },
};

fn parents(scene: &Scene) -> ExitCode {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                let mut builder = Builder::new();
                let exit = builder
                    .flavor(Flavor::CurrentThread)
                    .run_forever(false)
                    .run(async {});
                assert!(exit.is_success(), "{exit:?}");
            }
        });
        let exit = scene.builder().run(async {
            let (mut right, mut wrong) = (0, 0);
            for number in 0..size() {
                let masks = match number % 3 {
                    0 => masks_of_a_child(),
                    1 => spawn(async { masks_of_a_child() }).await.expect("no panic"),
                    _ => spawn_blocking(masks_of_a_child).await.expect("no panic"),
                };
                if masks == (0, 0) {
                    right += 1;
                } else {
                    wrong += 1;
                }
            }
            println!("right={right} wrong={wrong}");
            aiorun::stop();
        });
        over.store(true, SeqCst);
        exit.report()
    })
}

/// What a child holds back, and which of the two signals it ignores.
fn masks_of_a_child() -> (u64, u64) {
    let child = Command::new("cat")
        .arg("/proc/self/status")
        .stdin(Stdio::null())
        .output()
        .expect("a child");
    let status = String::from_utf8_lossy(&child.stdout).into_owned();
    let mask = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.expect("a mask")
    };
    let bit = |signal: Signal| 1 << (signal.as_raw() - 1);
    let both = bit(Signal::INT) | bit(Signal::TERM);
    (mask("SigBlk:"), mask("SigIgn:") & both)
}

pub(crate) const CLOCK: Storm = Storm {
    name: "clock",
    promise: "The clock of the wall may jump as it likes, for nothing reads it; limits hold also where the clock \
              that they are kept by shows a hundred years.",
    scene: limited,
    check: |trial| {
        let Some(words) = in_a_hundred_years() else {
            return NotPlayed("this needs a time namespace, which `unshare` cannot make here");
        };
        each_flavor(|flavor| {
            let ended = trial.program(flavor, 0).started_by(words).run();
            ended.exited(1).figures([("refused", 1)]);
            assert!(ended.figure("uptime") > CENTURY, "{ended:?}");
            adds_up(&ended);
            nothing_is_cut(&ended, 1);
        });
        Held("a program with a task that refuses, in a time namespace".to_owned())
    },
};

const CENTURY: u64 = 100 * 365 * 24 * 60 * 60;
const IN_A_HUNDRED_YEARS: &[&str] = &[
    "unshare",
    "--time",
    "--fork",
    "--kill-child",
    "--monotonic=3153600000",
    "--boottime=3153600000",
];

/// How to start a program then, if this machine lets us.
fn in_a_hundred_years() -> Option<&'static [&'static str]> {
    let [first, rest @ ..] = IN_A_HUNDRED_YEARS else {
        return None;
    };
    let mut command = Command::new(first);
    command.args(rest).arg("true").stderr(Stdio::null());
    let works = command.status().is_ok_and(|status| status.success());
    works.then_some(IN_A_HUNDRED_YEARS)
}

fn limited(scene: &Scene) -> ExitCode {
    let uptime = fs::read_to_string("/proc/uptime").expect("procfs");
    println!("uptime={}", uptime.split('.').next().expect("a number"));
    let exit = scene
        .builder()
        .shutdown_timeout(Duration::from_secs(1))
        .run(async {
            task("refuses").cooperative().spawn(idle());
            shutdown_waits_for(section());
            aiorun::stop();
            idle().await;
        });
    tell(&exit);
    tell_sections();
    exit.report()
}

pub(crate) const SUSPENDED: Storm = Storm {
    name: "suspended",
    promise: "A program that gets SIGSTOP in the middle of its shutdown and SIGCONT later, within its budget or \
              long after it, ends by itself: what had time to finish has, and the rest is refused.",
    scene: slow,
    check: check_suspended,
};

/// Of the tasks, of which they need a fifth.
const LIMIT: Duration = Duration::from_millis(900);

/// Is dropped by the close of the runtime, which takes a moment so.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        println!("CLOSING");
        thread::sleep(Duration::from_millis(50));
    }
}

fn slow(scene: &Scene) -> ExitCode {
    let exit = scene
        .builder()
        .shutdown_timeout(Duration::from_secs(1))
        .timeout_task_shutdown(LIMIT)
        .run(async {
            for _ in 0..100 {
                let token = Token::new();
                shutdown_waits_for(async {
                    aiorun::stopping().await;
                    sleep(LIMIT / 5).await;
                    drop(token);
                });
            }
            stray(Last);
            ready();
            idle().await;
        });
    tell(&exit);
    exit.report()
}

#[expect(clippy::disallowed_methods, reason = "what nobody cancels or awaits")]
fn stray(owned: Last) {
    tokio::spawn(async {
        idle().await;
        drop(owned);
    });
}

fn check_suspended(trial: &Trial) -> Verdict {
    let count = trial.size(100, 12);
    let refused = trial.each(count, |number, rng| {
        let mut child = trial
            .program(FLAVORS[usize::from(number % 2 == 1)], 0)
            .start_ready();
        let told = Instant::now();
        child.signal(Signal::TERM);
        if number % 4 < 2 {
            thread::sleep(Duration::from_micros(rng.u64(..250_000)));
        } else {
            child.wait_for("CLOSING");
        }
        child.signal(Signal::STOP);
        // Every third one for longer than its budget and all that comes after it.
        let most = if number % 3 == 0 { 4_000 } else { 400 };
        thread::sleep(Duration::from_millis(rng.u64(most / 2..most)));
        child.signal(Signal::CONT);
        let ended = child.finish();
        let refused = ended.figure("refused");
        // Limits are real time: where they are long over, nobody waits for what is still there.
        let [made, dropped] = ["made", "dropped"].map(|name| ended.figure(name));
        assert!(dropped <= made && made <= dropped + refused, "{ended:?}");
        let took = ended.line("REPORT").at - told;
        assert!(refused == 0 || took >= LIMIT, "too early: {ended:?}");
        ended.figures([("ended", ended.figure("spawned"))]);
        ended.exited(i32::from(refused > 0));
        refused
    });
    let some = refused.iter().filter(|refused| **refused > 0).count();
    Held(format!(
        "{count} programs, half of them stopped as they close; {some} with tasks that were refused"
    ))
}

pub(crate) const ONE_CORE: Storm = Storm {
    name: "one-core",
    promise: "What holds with several cores holds with one.",
    scene: none,
    check: |trial| {
        under(trial, &["taskset", "-c", "0"]);
        Held(format!("{} of the storms, by `taskset -c 0`", AGAIN.len()))
    },
};

pub(crate) const BUSY: Storm = Storm {
    name: "busy",
    promise: "And with all cores busy.",
    scene: none,
    check: |trial| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 * cores {
                scope.spawn(|| {
                    while !over.load(SeqCst) {
                        std::hint::spin_loop();
                    }
                });
            }
            let _calm = Calm(&over);
            under(trial, &[]);
        });
        Held(format!(
            "the same, beside {} threads that spin on {cores} cores",
            2 * cores
        ))
    },
};

/// Ends the load also when a storm does not hold.
struct Calm<'a>(&'a AtomicBool);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

const AGAIN: [&Storm; 5] = [
    &start::STORM,
    &repeat::STORM,
    &crowd::STORM,
    &stop::STORM,
    &panic::STORM,
];

fn none(_: &Scene) -> ExitCode {
    unreachable!("it plays the scenes of others")
}

/// Plays others once more, at their short size.
fn under(trial: &Trial, words: &'static [&'static str]) {
    for storm in AGAIN {
        let again = Trial {
            storm: storm.name,
            extent: Extent {
                short: true,
                ..trial.extent
            },
            under: words,
            ..*trial
        };
        let played = (storm.check)(&again);
        assert!(matches!(played, Held(_)), "{} was not played", storm.name);
    }
}

fn each_flavor(play: impl Fn(Flavor)) {
    FLAVORS.into_iter().for_each(play);
}
