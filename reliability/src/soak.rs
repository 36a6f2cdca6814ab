//! Churn for minutes, and what the process has of everything meanwhile.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio, Termination as _};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use aiorun::{cancelled, catch_cancel, shield, shutdown_waits_for, spawn, spawn_blocking, task};
use fastrand::Rng;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::ended::{Ended, Line, Stream};
use crate::gauge::Reading;
use crate::load::{nothing_is_cut, section, tell_sections};
use crate::scene::{FLAVOR, SCENARIO, Scene, idle};
use crate::storm::Verdict::Held;
use crate::storm::{SEED, SIZE, Storm, Trial, Verdict, number, size};
use crate::tally::{Token, adds_up, tell};

pub(crate) const STORM: Storm = Storm {
    name: "soak",
    promise: "Minutes of tasks that complete, are cancelled, catch that in scopes of their own, are shielded, \
              block, panic and are aborted: heap, resident memory, threads and descriptors are flat.",
    scene,
    check,
};

/// How many do something at the same time.
const CHURNERS: usize = 16;
/// Fewer than may block at once, so that all are there soon.
const JOB_THREADS: usize = 4;
const SAMPLES: u32 = 600;
const LEAST: Duration = Duration::from_millis(50);
/// In which each of them has to have done something.
const LONG: Duration = Duration::from_secs(20);
/// When a child that says nothing hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is flat: the median of the last third is that of the middle third, and so much more at most.
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Reading) -> u64,
    percent: u64,
    beyond: u64,
}

pub(crate) const MEASURES: [Measure; 4] = [
    Measure {
        name: "heap",
        of: |reading| reading.heap,
        percent: 2,
        beyond: 64 << 10,
    },
    Measure {
        name: "resident",
        of: |reading| reading.resident,
        percent: 5,
        beyond: 1 << 20,
    },
    Measure {
        name: "threads",
        of: |reading| reading.threads,
        percent: 0,
        beyond: 1,
    },
    Measure {
        name: "descriptors",
        of: |reading| reading.descriptors,
        percent: 0,
        beyond: 0,
    },
];

/// What was read, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) reading: Reading,
}

/// Of the soak of this run, for its plot.
pub(crate) static TAKEN: Mutex<Vec<Sample>> = Mutex::new(Vec::new());

/// How often each of them has done something.
static DONE: [AtomicU64; CHURNERS] = [const { AtomicU64::new(0) }; CHURNERS];

fn scene(scene: &Scene) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let lasts = Duration::from_millis(size());
    let over = Arc::new(AtomicBool::new(false));
    let sampler = thread::spawn({
        let over = Arc::clone(&over);
        move || sample(lasts, &over)
    });
    let mut builder = scene.builder();
    // A thread more now and then, because one was late, is tokio's choice and no leak.
    builder
        .executor_workers(JOB_THREADS)
        .dump_signal(aiorun::Signal::USR1);
    let exit = builder.unhandled_error_handler(|_| {}).run(async move {
        let seeds = number(SEED)..;
        let churners = DONE.iter().zip(seeds).map(|(done, seed)| {
            let (mut rng, over) = (Rng::with_seed(seed), Arc::clone(&over));
            spawn(async move {
                while !over.load(SeqCst) {
                    do_something(&mut rng).await;
                    done.fetch_add(1, SeqCst);
                }
            })
        });
        for churner in churners.collect::<Vec<_>>() {
            churner.await.expect("what is done is as it should be");
        }
        aiorun::stop();
    });
    sampler.join().expect("it only reads");
    println!("DONE done={}", done().iter().sum::<u64>());
    tell(&exit);
    tell_sections();
    exit.report()
}

fn done() -> [u64; CHURNERS] {
    DONE.each_ref().map(|done| done.load(SeqCst))
}

fn sample(lasts: Duration, over: &AtomicBool) {
    let (began, every) = (Instant::now(), (lasts / SAMPLES).max(LEAST));
    let mut next = began;
    let mut before = (began, done());
    while began.elapsed() < lasts {
        next += every;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let at = began.elapsed().as_millis();
        let Reading {
            heap,
            resident,
            threads,
            descriptors,
        } = Reading::now();
        println!("SAMPLE {at} {heap} {resident} {threads} {descriptors}");
        if before.0.elapsed() > LONG {
            let now = done();
            if before.1.iter().zip(&now).any(|(before, now)| before == now) {
                give_up(&now);
            }
            before = (Instant::now(), now);
        }
    }
    over.store(true, SeqCst);
}

/// One of them waits for ever: says in which line.
fn give_up(done: &[u64]) -> ! {
    println!("STUCK {done:?}");
    // Printed by the supervisor, to standard error.
    let _ = kill_process(getpid(), Signal::USR1);
    thread::sleep(Duration::from_secs(5));
    std::process::exit(1)
}

async fn do_something(rng: &mut Rng) {
    let token = Token::new();
    match rng.u8(..11) {
        0 => spawn(async { drop(token) }).await.expect("it completes"),
        1 => drop(spawn(async {
            yield_now().await;
            drop(token);
        })),
        2 => {
            let task = spawn(forever(token));
            if rng.bool() {
                yield_now().await;
            }
            task.cancel();
            assert!(task.await.expect_err("it never completes").is_cancelled());
        }
        3 => {
            let (entered, all_entered) = oneshot::channel();
            let task = spawn(scopes(token, entered));
            all_entered.await.expect("it enters them");
            task.cancel();
            assert!(task.await.expect("it catches that"));
        }
        4 => {
            let task = spawn(async move {
                shield(section()).await;
                forever(token).await;
            });
            yield_now().await;
            task.cancel();
            assert!(task.await.expect_err("it never completes").is_cancelled());
        }
        5 => spawn_blocking(|| drop(token)).await.expect("it completes"),
        6 => {
            let task = spawn(async {
                let _token = token;
                yield_now().await;
                panic!("seen");
            });
            assert!(task.await.expect_err("it never completes").is_panic());
        }
        7 => drop(task("unseen").spawn(async {
            let _token = token;
            panic!("unseen");
        })),
        8 => drop(shutdown_waits_for(async {
            section().await;
            drop(token);
        })),
        9 => {
            let task = spawn(forever(token));
            task.abort();
            assert!(task.await.expect_err("it never completes").is_cancelled());
        }
        _ => {
            let task = task("asks").cooperative().spawn(async {
                cancelled().await;
                drop(token);
            });
            task.cancel();
            task.await.expect("it hears of it");
        }
    }
}

async fn forever(token: Token) {
    idle().await;
    drop(token);
}

/// Whether each innermost of its scopes has caught the cancellation. It is to come when all are entered:
/// of those that are entered while it is pending, the first has it for itself.
async fn scopes(token: Token, entered: oneshot::Sender<()>) -> bool {
    let nested = catch_cancel(catch_cancel(idle()));
    let (one, other, _) = tokio::join!(biased; catch_cancel(idle()), nested, async {
        entered.send(())
    });
    drop(token);
    one.is_err() && matches!(other, Ok(Err(_)))
}

fn check(trial: &Trial) -> Verdict {
    let lasts = trial.extent.soak;
    let ended = soak(trial, lasts);
    adds_up(ended.exited(0));
    nothing_is_cut(&ended, 1);
    let samples: Vec<_> = ended
        .lines
        .iter()
        .filter_map(|line| Sample::read(&line.text))
        .collect();
    (*TAKEN.lock().expect("nobody panics here")).clone_from(&samples);
    let figures = MEASURES.map(|measure| measure.judge(&samples));
    Held(format!(
        "{:.1} minutes, {} times something done by {CHURNERS} tasks, {} tasks spawned, {} of them panicked; \
         medians of the middle and of the last third: {}",
        lasts.as_secs_f64() / 60.0,
        ended.figure("done"),
        ended.figure("spawned"),
        ended.figure("panicked"),
        figures.join(", ")
    ))
}

/// By hand, for it lasts longer than other children may.
fn soak(trial: &Trial, lasts: Duration) -> Ended {
    let program = std::env::current_exe().expect("this executable has a path");
    let mut child = Command::new(program)
        .env(SCENARIO, trial.storm)
        .env(FLAVOR, "multi_thread")
        .env(SIZE, lasts.as_millis().to_string())
        .env(SEED, (trial.seed >> 1).to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        stdout
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| say.send(line))
    });
    let told = Instant::now();
    let mut lines = Vec::new();
    loop {
        match said.recv_timeout(PATIENCE) {
            Ok(text) => lines.push(Line {
                stream: Stream::Out,
                at: Instant::now(),
                text,
            }),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().expect("it is ours");
                panic!("the soak hangs after {:?}", told.elapsed());
            }
        }
    }
    Ended {
        status: child.wait().expect("it is ours"),
        took: told.elapsed(),
        told,
        lines,
    }
}

impl Sample {
    fn read(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix("SAMPLE ")?.split(' ').map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        let [at, heap, resident, threads, descriptors] = numbers.try_into().ok()?;
        Some(Self {
            seconds: Duration::from_millis(at).as_secs_f64(),
            reading: Reading {
                heap,
                resident,
                threads,
                descriptors,
            },
        })
    }
}

impl Measure {
    fn judge(&self, samples: &[Sample]) -> String {
        let third = samples.len() / 3;
        assert!(third > 0, "there are too few samples");
        let middle = self.median(&samples[third..2 * third]);
        let last = self.median(&samples[2 * third..]);
        let most = middle + middle * self.percent / 100 + self.beyond;
        let name = self.name;
        assert!(
            last <= most,
            "{name} grows: {middle} in the middle third, {last} in the last"
        );
        format!("{name} {middle} → {last}")
    }

    /// 0 where there are no samples.
    pub(crate) fn median(&self, samples: &[Sample]) -> u64 {
        let mut values: Vec<_> = samples
            .iter()
            .map(|sample| (self.of)(&sample.reading))
            .collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    }
}
