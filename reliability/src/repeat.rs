//! A thousand signals a second while a program shuts down.

use std::os::fd::OwnedFd;
use std::process::{ExitCode, Termination as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use aiorun::{RepeatSignal, catch_cancel, on_exit, shield, shutdown_waits_for, spawn};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::sleep;

use crate::child::{Child, Program};
use crate::load::{BEGUN, counted, nothing_is_cut, section, tell_sections};
use crate::scene::{Scene, idle, ready};
use crate::storm::Verdict::Held;
use crate::storm::{FLAVORS, Storm, Trial, Verdict, size};
use crate::tally::{Token, adds_up, tell};

pub(crate) const STORM: Storm = Storm {
    name: "repeat",
    promise: "1,000 signals a second for all of a shutdown do what `repeat_signal` says and nothing else: \
              `ignore` (and `auto` with SIGTERM) waits for the protected task, `abort` (and `auto` with SIGINT) \
              refuses it and runs the hooks, `exit` leaves with 128 + n; shielded sections that began before \
              have finished.",
    scene,
    check,
};

/// How the shutdown is to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Waits,
    Aborts,
    /// With this code.
    Leaves(i32),
}

const EACH: [(&str, Signal, Expected); 6] = [
    ("ignore", Signal::INT, Expected::Waits),
    ("ignore", Signal::TERM, Expected::Waits),
    ("auto", Signal::TERM, Expected::Waits),
    ("auto", Signal::INT, Expected::Aborts),
    ("abort", Signal::TERM, Expected::Aborts),
    ("exit", Signal::INT, Expected::Leaves(130)),
];

/// For so many tasks in sections.
const TASKS: u64 = 64;

fn scene(scene: &Scene) -> ExitCode {
    // The default action is not to come back with the end of the run: the storm goes on.
    for signal in [Signal::INT, Signal::TERM] {
        let received = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal.as_raw(), received).expect("a handler");
    }
    let lasts = Duration::from_millis(size());
    let mut builder = scene.builder();
    builder.repeat_signal(match scene.variant.as_str() {
        "ignore" => RepeatSignal::Ignore,
        "abort" => RepeatSignal::Abort,
        "exit" => RepeatSignal::Exit,
        _ => RepeatSignal::Auto,
    });
    let exit = builder.run(async move {
        shutdown_waits_for(async move {
            aiorun::stopping().await;
            sleep(lasts).await;
            println!("WAITED");
        });
        // With the protected task cut, there is a storm all the same.
        on_exit("last", async move {
            sleep(lasts / 4).await;
            println!("HOOK");
        });
        for _ in 0..TASKS {
            spawn(cut_at_no_time());
        }
        while counted(&BEGUN) < TASKS {
            tokio::task::yield_now().await;
        }
        ready();
        idle().await;
    });
    tell(&exit);
    tell_sections();
    exit.report()
}

async fn cut_at_no_time() {
    let _token = Token::new();
    while catch_cancel(tokio::task::yield_now()).await.is_ok() {
        shield(section()).await;
    }
}

fn check(trial: &Trial) -> Verdict {
    let lasts = trial.size(10_000, 1_500);
    let cases = FLAVORS
        .iter()
        .flat_map(|flavor| EACH.map(|case| (*flavor, case)));
    let cases: Vec<_> = cases.collect();
    let sent = trial.each(cases.len() as u64, |number, _| {
        let (flavor, case) = cases[usize::try_from(number).expect("few")];
        play(&trial.program(flavor, lasts), case)
    });
    Held(format!(
        "{} signals into {} shutdowns of up to {:.1} s",
        sent.iter().sum::<u64>(),
        sent.len(),
        Duration::from_millis(lasts).as_secs_f64() * 1.25,
    ))
}

fn play(program: &Program, (variant, signal, expected): (&str, Signal, Expected)) -> u64 {
    let child = program.variant(variant).start_ready();
    let storm = Gale::begin(&child, signal);
    let ended = child.finish();
    let sent = storm.end();
    match expected {
        Expected::Waits => ended.exited(0).says_once("WAITED").says_once("HOOK"),
        Expected::Aborts => ended
            .exited(1)
            .never_says("WAITED")
            .says_once("HOOK")
            .figures([("refused", 1)]),
        Expected::Leaves(code) => ended.exited(code).never_says("HOOK"),
    };
    if !matches!(expected, Expected::Leaves(_)) {
        adds_up(&ended);
        nothing_is_cut(&ended, TASKS);
    }
    sent
}

/// Sends a signal a thousand times a second.
pub(crate) struct Gale {
    over: Arc<AtomicBool>,
    sender: thread::JoinHandle<u64>,
}

impl Gale {
    pub(crate) fn begin(child: &Child, signal: Signal) -> Self {
        let process = pidfd_open(child.pid(), PidfdFlags::empty()).expect("a child that is there");
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let sender = thread::spawn(move || send(&process, signal, &told));
        Self { over, sender }
    }

    /// How many were sent.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, SeqCst);
        self.sender.join().expect("it only sends")
    }
}

fn send(process: &OwnedFd, signal: Signal, over: &AtomicBool) -> u64 {
    let (mut sent, mut next) = (0, Instant::now());
    while !over.load(SeqCst) && pidfd_send_signal(process, signal).is_ok() {
        sent += 1;
        next += Duration::from_millis(1);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    sent
}
