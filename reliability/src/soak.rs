//! Churn for minutes, and what the process has of everything meanwhile.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio, Termination as _};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use aiorun::{Flavor, spawn};
use fastrand::Rng;
use rustix::process::{Signal, getpid, kill_process};

use crate::churn::{REFUSED, do_something};
use crate::ended::{Ended, Line, Stream};
use crate::gauge::Reading;
use crate::load::{counted, nothing_is_cut, tell_sections};
use crate::scene::{FLAVOR, SCENARIO, Scene, flavor_name};
use crate::storm::Verdict::Held;
use crate::storm::{SEED, SIZE, Storm, Trial, Verdict, number, size};
use crate::tally::{adds_up, tell};

pub(crate) const STORM: Storm = Storm {
    name: "soak",
    promise: "Minutes of tasks that complete, are cancelled, catch that in scopes of their own, are shielded, \
              block, panic and are aborted, some of a later shutdown phase, some in groups that are cancelled, shut \
              down, left half shut down, ended by force and dropped; then a tenth of the time with one thread: \
              heap, resident memory, threads and descriptors are flat.",
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

/// Of the soak of this run, with all workers, for its plot.
pub(crate) static TAKEN: Mutex<Vec<Sample>> = Mutex::new(Vec::new());

/// How often each of them has done something.
static DONE: [AtomicU64; CHURNERS] = [const { AtomicU64::new(0) }; CHURNERS];

fn scene(scene: &Scene) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    // Nobody reads the log, but there is one, with a span for each task that has a name.
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
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
    println!(
        "DONE done={} by_force={}",
        done().iter().sum::<u64>(),
        counted(&REFUSED)
    );
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

fn check(trial: &Trial) -> Verdict {
    let whole = trial.extent.soak;
    let (samples, workers) = play(trial, Flavor::MultiThread, whole);
    *TAKEN.lock().expect("nobody panics here") = samples;
    let (_, one_thread) = play(trial, Flavor::CurrentThread, whole / 10);
    Held(format!("{workers}; with one thread {one_thread}"))
}

/// What was read meanwhile, and what came of it.
fn play(trial: &Trial, flavor: Flavor, lasts: Duration) -> (Vec<Sample>, String) {
    let ended = soak(trial, flavor, lasts);
    adds_up(ended.exited(0));
    nothing_is_cut(&ended, 1);
    ended.figures([("refused", ended.figure("by_force"))]);
    let samples = ended.lines.iter();
    let samples: Vec<_> = samples
        .filter_map(|line| Sample::read(&line.text))
        .collect();
    let said = format!(
        "{lasts:?}, {} times something done by {CHURNERS} tasks, {} tasks spawned, {} of them panicked \
         and {} refused; medians of the middle and of the last third: {}",
        ended.figure("done"),
        ended.figure("spawned"),
        ended.figure("panicked"),
        ended.figure("refused"),
        MEASURES.map(|measure| measure.judge(&samples)).join(", ")
    );
    (samples, said)
}

/// By hand, for it lasts longer than other children may.
fn soak(trial: &Trial, flavor: Flavor, lasts: Duration) -> Ended {
    let program = std::env::current_exe().expect("this executable has a path");
    let mut child = Command::new(program)
        .env(SCENARIO, trial.storm)
        .env(FLAVOR, flavor_name(flavor))
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
    let status = child.wait().expect("it is ours");
    let took = told.elapsed();
    Ended {
        status,
        took,
        lasted: took,
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
