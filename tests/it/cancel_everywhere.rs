//! `testing::cancel_at_every_await`: the textbook bugs are found, each at its line; what is right
//! passes; and every await is tried in both ways.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aiorun::testing::{CancelAtEveryAwait, Trial, Way, cancel_at_every_await};
use aiorun::{Flavor, Handle, Phase, cancelled, catch_cancel, shield};
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::trial::{
    FLAVORS, OnDrop, attempt, builder, error_text, forever, on_a_runtime, passes, paused,
    spin_until,
};

const HOUR: Duration = Duration::from_secs(3600);

/// In every flavour, and where there is no supervisor.
#[track_caller]
fn everywhere(main: impl AsyncFn()) {
    supervised(&main);
    on_a_runtime(main());
}

#[track_caller]
fn supervised(main: &impl AsyncFn()) {
    for flavor in FLAVORS {
        passes(builder(flavor).run_forever(false), main());
    }
}

/// What it panics with.
async fn report<T>(of: CancelAtEveryAwait<'_, T>) -> String {
    let panic = AssertUnwindSafe(of.into_future()).catch_unwind().await;
    let payload = panic.expect_err("it finds something");
    *payload.downcast::<String>().expect("a text")
}

/// The line that follows, where something is broken.
macro_rules! here {
    ($line:expr) => {
        $line.store(line!() as usize + 1, Ordering::SeqCst)
    };
}

/// The lines of a report, with the place of the call replaced.
fn lines(report: &str) -> Vec<&str> {
    let mut lines: Vec<_> = report.lines().collect();
    let head = lines[0].strip_prefix("`cancel_at_every_await` at tests/it/cancel_everywhere.rs:");
    let (place, what) = head.expect(report).split_once(": ").expect(report);
    let is_number = |part: &str| part.parse::<u32>().is_ok();
    assert!(place.split(':').all(is_number), "{report}");
    lines[0] = what;
    lines
}

/// A report with this head, and this function suspended at this line.
#[track_caller]
fn assert_found(report: &str, head: &str, function: &str, line: &AtomicUsize, awaits: &str) {
    let lines: Vec<_> = lines(report).into_iter().map(str::trim_start).collect();
    assert_eq!(lines[0], head, "{report}");
    let place = format!("at {}", place(line));
    let end = format!("::cancel_everywhere::{function}");
    let is_there = |line: &str| line.contains(&place) && line.ends_with(&end);
    let found = lines.windows(2).find(|pair| is_there(pair[0]));
    let found = found.unwrap_or_else(|| panic!("no {place} … {end} in:\n{report}"));
    assert_eq!(found[1], format!("awaiting {awaits}"), "{report}");
}

fn place(line: &AtomicUsize) -> String {
    format!(
        "tests/it/cancel_everywhere.rs:{}:",
        line.load(Ordering::SeqCst)
    )
}

// --- a message that is lost by a `select!` around a read ------------------------------------------

type Word = [u8; 4];

struct Inbox {
    stream: DuplexStream,
    /// What has arrived of the next word.
    begun: Vec<u8>,
}

static LOSSY: AtomicUsize = AtomicUsize::new(0);

impl Inbox {
    /// Wrong: dropped half-way, it takes the first half with it.
    async fn lossy(&mut self) -> Word {
        let mut word = Word::default();
        here!(LOSSY);
        self.stream.read_exact(&mut word).await.unwrap();
        word
    }

    /// Right: between two awaits everything is where the next call finds it.
    async fn safe(&mut self) -> Word {
        while self.begun.len() < size_of::<Word>() {
            self.stream.read_buf(&mut self.begun).await.unwrap();
        }
        let rest = self.begun.split_off(size_of::<Word>());
        let word = std::mem::replace(&mut self.begun, rest);
        word.try_into().unwrap()
    }
}

/// A peer sends a word in two halves for each run; who was cancelled meanwhile asks again.
async fn receives(read: impl AsyncFn(&mut Inbox) -> Word) -> Result<(), String> {
    let (stream, mut peer) = duplex(64);
    let begun = Vec::new();
    let inbox = Mutex::new(Inbox { stream, begun });
    let (order, mut orders) = mpsc::unbounded_channel();
    let peer = aiorun::spawn(async move {
        while orders.recv().await.is_some() {
            for half in [b"wo", b"rd"] {
                yield_now().await;
                peer.write_all(half).await.unwrap();
            }
        }
    });
    let series = cancel_at_every_await(async || {
        order.send(()).unwrap();
        let mut inbox = inbox.lock().await;
        tokio::select! {
            word = read(&mut inbox) => word,
            () = sleep(HOUR) => unreachable!("the peer is faster"),
        }
    });
    let series = series.check(async |trial| {
        let word = if let Some(word) = trial.output {
            word
        } else {
            let again = timeout(HOUR, inbox.lock().await.safe()).await;
            again.expect("a word that arrives as a whole")
        };
        assert_eq!(std::str::from_utf8(&word), Ok("word"));
    });
    let found = AssertUnwindSafe(series.into_future()).catch_unwind().await;
    drop(order);
    peer.await.unwrap();
    found.map_err(|payload| *payload.downcast::<String>().unwrap())
}

#[test]
fn a_message_that_a_select_loses() {
    passes(paused().run_forever(false), async {
        let report = receives(Inbox::lossy).await.unwrap_err();
        assert_found(
            &report,
            "the check failed after run 4, which was dropped at suspension 2 of 2",
            "Inbox::lossy",
            &LOSSY,
            "tokio::io::util::read_exact::ReadExact",
        );
        assert!(
            report.ends_with("\na word that arrives as a whole: Elapsed(())"),
            "{report}"
        );
    });
}

#[test]
fn a_message_that_is_not_lost() {
    passes(paused().run_forever(false), async {
        assert_eq!(receives(Inbox::safe).await, Ok(()));
    });
}

// --- a structure that is left half-updated behind its lock ---------------------------------------

#[derive(Default)]
struct Ledger {
    out: i32,
    into: i32,
}

#[derive(Default)]
struct Books(Mutex<Ledger>);

static AUDIT: AtomicUsize = AtomicUsize::new(0);
static BETWEEN: AtomicUsize = AtomicUsize::new(0);

impl Books {
    /// Wrong: the lock is given back by a destructor too.
    async fn book_in_between(&self) {
        let mut ledger = self.0.lock().await;
        audit().await;
        ledger.out += 10;
        here!(BETWEEN);
        audit().await;
        ledger.into += 10;
    }

    /// Right: no await between the two.
    async fn book_at_once(&self) {
        let mut ledger = self.0.lock().await;
        audit().await;
        ledger.out += 10;
        ledger.into += 10;
        audit().await;
    }

    async fn balance(&self) {
        let ledger = self.0.lock().await;
        assert_eq!(ledger.out, ledger.into, "the books balance");
    }
}

async fn audit() {
    here!(AUDIT);
    yield_now().await;
}

#[test]
fn a_lock_that_is_left_half_updated() {
    everywhere(async || {
        let books = Books::default();
        let series = cancel_at_every_await(|| books.book_in_between());
        let report = report(series.check(async |_| books.balance().await)).await;
        assert_found(
            &report,
            "the check failed after run 4, which was dropped at suspension 2 of 2",
            "audit",
            &AUDIT,
            "tokio::task::yield_now::yield_now",
        );
        let caller = place(&BETWEEN);
        let mut lines = lines(&report).into_iter();
        assert!(lines.any(|line| line.contains(&caller)), "{report}");
        assert_eq!(
            lines.skip(2).collect::<Vec<_>>(),
            [
                "assertion `left == right` failed: the books balance",
                "  left: 20",
                " right: 10"
            ],
            "{report}"
        );
    });
}

#[test]
fn a_lock_that_is_not() {
    everywhere(async || {
        let books = Books::default();
        cancel_at_every_await(|| books.book_at_once())
            .check(async |_| books.balance().await)
            .await;
        // Cancelled in the first audit, and not: once for each way.
        assert_eq!(books.0.into_inner().out, 10 * (1 + 2 + 2));
    });
}

// --- a connection that is given back dirty --------------------------------------------------------

struct Pool {
    address: std::net::SocketAddr,
    idle: std::sync::Mutex<Vec<TcpStream>>,
    /// Whether a connection whose answer was not read is given back all the same.
    careless: bool,
}

/// A connection that is given back by its destructor.
struct Pooled<'a> {
    pool: &'a Pool,
    stream: Option<TcpStream>,
    clean: bool,
}

static ANSWER: AtomicUsize = AtomicUsize::new(0);

impl Pool {
    /// With one connection in it, to a server that answers each request with itself.
    async fn connect(careless: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Self {
            address: listener.local_addr().unwrap(),
            idle: std::sync::Mutex::default(),
            careless,
        };
        aiorun::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                aiorun::spawn(async move {
                    let (mut requests, mut answers) = stream.split();
                    tokio::io::copy(&mut requests, &mut answers).await
                });
            }
        });
        drop(pool.get().await);
        pool
    }

    async fn get(&self) -> Pooled<'_> {
        let idle = self.idle.lock().unwrap().pop();
        let stream = match idle {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.unwrap(),
        };
        Pooled {
            pool: self,
            stream: Some(stream),
            clean: true,
        }
    }
}

impl Pooled<'_> {
    async fn ask(&mut self, request: u8) -> u8 {
        self.clean = false;
        let stream = self.stream.as_mut().unwrap();
        stream.write_u8(request).await.unwrap();
        here!(ANSWER);
        let answer = stream.read_u8().await.unwrap();
        self.clean = true;
        answer
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        if self.clean || self.pool.careless {
            self.pool.idle.lock().unwrap().extend(self.stream.take());
        }
    }
}

/// On one thread, where the server has not answered before it is waited for.
#[test]
fn a_connection_that_is_given_back_dirty() {
    passes(builder(Flavor::CurrentThread).run_forever(false), async {
        let pool = Pool::connect(true).await;
        let series = cancel_at_every_await(async || pool.get().await.ask(1).await);
        let series = series.check(async |_| assert_eq!(pool.get().await.ask(2).await, 2));
        let report = report(series).await;
        let head = lines(&report)[0];
        assert!(
            head.starts_with("the check failed after run 2, which was dropped at suspension 1 of ")
        );
        assert_found(
            &report,
            head,
            "Pooled::ask",
            &ANSWER,
            "tokio::io::util::read_int::ReadU8",
        );
    });
}

#[test]
fn a_connection_that_is_closed_instead() {
    supervised(&async || {
        let pool = Pool::connect(false).await;
        let ask = async || {
            pool.idle.lock().unwrap().clear(); // and so it connects
            pool.get().await.ask(1).await
        };
        cancel_at_every_await(ask)
            .check(async |trial| {
                assert!(trial.output.is_none_or(|answer| answer == 1));
                assert_eq!(pool.get().await.ask(2).await, 2);
            })
            .await;
    });
}

// --- which runs there are ------------------------------------------------------------------------

/// The way and the number of suspensions of each run.
type Tried = RefCell<Vec<(Option<Way>, usize)>>;

fn note<T>(tried: &Tried, trial: &Trial<T>) {
    let cancelled = trial.cancelled;
    tried.borrow_mut().push((cancelled, trial.suspensions));
    assert_eq!(trial.trace.is_some(), cancelled.is_some());
}

/// The runs of a future that is suspended so often.
fn all(suspensions: usize) -> Vec<(Option<Way>, usize)> {
    let ways = [Way::Drop, Way::Request].map(Some);
    let cancelled = (1..=suspensions).flat_map(|at| ways.map(|way| (way, at)));
    let to_the_end = [(None, suspensions); 2];
    [(None, suspensions)]
        .into_iter()
        .chain(cancelled)
        .chain(to_the_end)
        .collect()
}

#[test]
fn every_await_is_tried_in_both_ways() {
    everywhere(async || {
        for suspensions in 1..5 {
            let (tried, steps) = (Tried::default(), Cell::new(0));
            cancel_at_every_await(async || {
                steps.set(0);
                for _ in 0..suspensions {
                    yield_now().await;
                    steps.update(|steps| steps + 1);
                }
            })
            .max_runs(2 * suspensions + 3)
            .check(async |trial| {
                note(&tried, &trial);
                let cut = usize::from(trial.cancelled.is_some());
                assert_eq!(steps.get(), trial.suspensions - cut);
                assert_eq!(trial.output, (cut == 0).then_some(()));
            })
            .await;
            assert_eq!(tried.into_inner(), all(suspensions));
        }
    });
}

#[test]
fn what_is_in_a_join_is_suspended_at_once() {
    everywhere(async || {
        let awaits = RefCell::new(Vec::new());
        cancel_at_every_await(async || {
            tokio::join!(async { tokio::join!(yield_now(), forever_but(2)) }, async {
                tokio::join!(forever_but(1), audit())
            },)
        })
        .check(async |trial| {
            let count = |trace: aiorun::task::Trace| {
                let branches = trace.branches().iter();
                branches.map(|branch| branch.count).sum::<usize>()
            };
            awaits
                .borrow_mut()
                .push((trial.suspensions, trial.trace.map(count)));
        })
        .await;
        let twice = |at, waiting| [(at, Some(waiting)); 2];
        let tried = [
            &[(2, None)][..],
            &twice(1, 4),
            &twice(2, 1),
            &[(2, None); 2],
        ]
        .concat();
        assert_eq!(awaits.into_inner(), tried);
    });
}

async fn forever_but(suspensions: usize) {
    for _ in 0..suspensions {
        yield_now().await;
    }
}

#[test]
fn a_future_that_is_suspended_less_often_each_time() {
    everywhere(async || {
        let (tried, length) = (Tried::default(), Cell::new(6_usize));
        cancel_at_every_await(async || {
            let suspensions = length.get();
            length.set(suspensions.saturating_sub(1));
            forever_but(suspensions).await;
        })
        .check(async |trial| note(&tried, &trial))
        .await;
        // Of 6, 5, 4, 3 and 2 each is long enough. What is not is tried ten times in both ways.
        let [drops, asks] = [Way::Drop, Way::Request].map(Some);
        let begin = [
            (None, 6),
            (drops, 1),
            (asks, 1),
            (drops, 2),
            (asks, 2),
            (None, 1),
        ];
        let tried = tried.into_inner();
        assert_eq!(tried[..6], begin);
        assert_eq!(tried[6..], [(None, 0); 4 * 20 - 1 + 2]);
    });
}

#[test]
fn a_future_that_is_suspended_more_often_later() {
    everywhere(async || {
        let (tried, length) = (Tried::default(), Cell::new(1));
        cancel_at_every_await(async || {
            let suspensions = length.replace(3);
            forever_but(suspensions).await;
        })
        .check(async |trial| note(&tried, &trial))
        .await;
        let expected = [&[(None, 1)], &all(3)[1..]].concat();
        assert_eq!(tried.into_inner(), expected);
    });
}

// --- what a request does -------------------------------------------------------------------------

#[test]
fn a_request_is_caught() {
    everywhere(async || {
        let (tried, cleaned) = (Tried::default(), Cell::new(0));
        cancel_at_every_await(async || {
            let caught = catch_cancel(forever_but(2)).await.is_err();
            yield_now().await;
            cleaned.update(|cleaned| cleaned + u32::from(caught));
            caught
        })
        .check(async |trial| {
            note(&tried, &trial);
            let caught = trial.cancelled == Some(Way::Request) && trial.suspensions <= 2;
            assert_eq!(trial.output.unwrap_or_default(), caught);
        })
        .await;
        assert_eq!((tried.into_inner(), cleaned.get()), (all(3), 2));
    });
}

#[test]
fn a_request_finds_a_shield() {
    everywhere(async || {
        let committed = Cell::new(0);
        cancel_at_every_await(async || {
            shield(async {
                yield_now().await;
                committed.update(|committed| committed + 1);
            })
            .await;
            yield_now().await;
        })
        .check(async |trial| {
            let cut = trial.cancelled == Some(Way::Drop) && trial.suspensions == 1;
            assert_eq!(committed.take(), u32::from(!cut));
            assert_eq!(trial.output.is_some(), trial.cancelled.is_none());
        })
        .await;
    });
}

#[test]
fn a_request_is_heard_by_who_listens() {
    everywhere(async || {
        let tried = Tried::default();
        cancel_at_every_await(async || {
            tokio::select! {
                () = cancelled() => {}
                () = forever_but(3) => {}
            }
            yield_now().await;
        })
        .check(async |trial| {
            note(&tried, &trial);
            let dropped = trial.cancelled == Some(Way::Drop);
            assert_eq!(trial.output.is_none(), dropped);
        })
        .await;
        assert_eq!(tried.into_inner(), all(4));
        // It was the run that listened, and not who tries it.
        let me = Handle::try_current().map(|handle| handle.tasks()[0].asked);
        assert!(me.is_ok_and(|asked| asked.is_none()) || Handle::try_current().is_err());
    });
}

static CLEANUP: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_panic_in_a_cleanup_is_found() {
    everywhere(async || {
        let report = report(cancel_at_every_await(async || {
            here!(CLEANUP);
            let caught = catch_cancel(sleep(Duration::from_millis(1))).await;
            yield_now().await;
            assert!(caught.is_ok(), "there is nothing to clean up");
        }))
        .await;
        let head = "run 3, which was requested to cancel at suspension 1 of 2";
        let lines = lines(&report);
        assert_eq!(lines[0], head);
        assert!(lines[1].contains(&place(&CLEANUP)), "{report}");
        assert_eq!(lines[2], "    awaiting tokio::time::sleep::Sleep");
        assert_eq!(lines[3..], ["there is nothing to clean up"]);
    });
}

#[test]
fn a_panic_in_a_destructor_is_found() {
    everywhere(async || {
        let report = report(cancel_at_every_await(async || {
            let bomb = OnDrop::new(|| panic!("dropped too early"));
            yield_now().await;
            std::mem::forget(bomb);
        }))
        .await;
        let lines = lines(&report);
        let head = "run 2, which was dropped at suspension 1 of 1";
        assert_eq!(
            (lines[0], *lines.last().unwrap()),
            (head, "dropped too early")
        );
    });
}

#[test]
fn what_is_wrong_without_a_cancellation_is_said_to_be() {
    everywhere(async || {
        let of_check = report(cancel_at_every_await(yield_now).check(async |_| panic!("never")));
        assert_eq!(
            lines(&of_check.await),
            [
                "the check failed after run 1, which was not cancelled",
                "never"
            ]
        );
        let of_run = report(cancel_at_every_await(async || panic!("{}", "at once")));
        assert_eq!(
            lines(&of_run.await),
            ["run 1, which was not cancelled", "at once"]
        );
    });
}

#[test]
fn a_future_that_never_waits_tests_nothing() {
    everywhere(async || {
        let report = report(cancel_at_every_await(async || 1)).await;
        assert_eq!(
            lines(&report),
            ["the future was not suspended once in 21 runs, so there is no await to cancel it at"]
        );
    });
}

#[test]
fn there_is_a_limit_to_the_runs() {
    everywhere(async || {
        let checks = Cell::new(0);
        let series = cancel_at_every_await(|| forever_but(20)).max_runs(30);
        let report = report(series.check(async |_| checks.update(|checks| checks + 1))).await;
        assert_eq!(
            lines(&report),
            [
                "30 runs are not enough for a future that is suspended 20 times: allow more with \
                 `max_runs`, or give it less to wait for"
            ]
        );
        assert_eq!(checks.get(), 30);
    });
}

// --- where it runs -------------------------------------------------------------------------------

#[test]
fn hours_pass_at_once() {
    let began = Instant::now();
    let test = async || {
        let tried = Tried::default();
        cancel_at_every_await(async || {
            sleep(HOUR).await;
            timeout(HOUR, forever()).await.unwrap_err();
        })
        .check(async |trial| {
            note(&tried, &trial);
            sleep(HOUR).await;
        })
        .await;
        assert_eq!(tried.into_inner(), all(2));
    };
    passes(paused().run_forever(false), test());
    on_a_runtime(async {
        tokio::time::pause();
        test().await;
    });
    assert!(began.elapsed() < HOUR);
}

#[aiorun::test]
async fn works_in_a_test_of_ours() {
    let me = &Cell::new(0);
    cancel_at_every_await(async || {
        yield_now().await;
        me.set(1);
    })
    .await;
    assert_eq!(me.get(), 1);
}

#[aiorun::test(start_paused)]
async fn works_in_a_test_of_ours_with_paused_time() {
    cancel_at_every_await(|| sleep(HOUR)).max_runs(5).await;
}

#[tokio::test]
async fn works_in_a_test_of_theirs() {
    let sum = RefCell::new(0);
    cancel_at_every_await(async || {
        let two = aiorun::spawn(async { 2 }).await.unwrap();
        *sum.borrow_mut() += two;
    })
    .await;
    assert_eq!(*sum.borrow() % 2, 0);
    assert!(Handle::try_current().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_in_a_test_of_theirs_on_several_threads() {
    let books = Books::default();
    cancel_at_every_await(|| books.book_at_once())
        .check(async |_| books.balance().await)
        .await;
}

#[test]
fn a_run_is_a_task_of_the_test() {
    supervised(&async || {
        let names = RefCell::new(Vec::new());
        cancel_at_every_await(async || {
            let tasks = Handle::current().tasks();
            let name = tasks.last().and_then(|task| task.name()).map(str::to_owned);
            names.borrow_mut().extend(name);
            yield_now().await;
        })
        .check(async |_| assert_eq!(Handle::current().tasks().len(), 1))
        .await;
        let expected = (1..=5).map(|run| format!("run {run} of `cancel_at_every_await`"));
        assert_eq!(names.into_inner(), expected.collect::<Vec<_>>());
    });
}

#[test]
fn what_a_run_has_spawned_is_judged_where_nobody_else_does() {
    let report = on_a_runtime(report(cancel_at_every_await(async || {
        drop(aiorun::spawn(async { panic!("in the background") }));
        yield_now().await;
        forever_but(10).await;
    })));
    assert!(report.contains("in the background"), "{report}");
}

#[test]
fn a_run_that_stops_the_program_is_an_error_where_the_program_is_ours() {
    let report = on_a_runtime(report(cancel_at_every_await(async || {
        aiorun::stop();
        forever().await;
    })));
    assert_eq!(lines(&report), ["a run has stopped the program"]);
}

#[test]
fn a_stop_before_its_end_is_a_failure() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            cancel_at_every_await(async || {
                aiorun::stop();
                forever().await;
            })
            .await;
        });
        let [failure] = &exit.report.failures[..] else {
            panic!("{}", exit.report);
        };
        assert_eq!(failure.name(), Some("cancel_at_every_await"));
        assert!(failure.to_string().contains("before it was through"));
        assert_eq!(
            (exit.report.tasks.spawned, exit.report.tasks.cancelled),
            (2, 2)
        );
    }
}

/// Which cancels the run too, and nobody else has.
#[test]
fn a_stop_between_a_poll_of_main_and_that_of_a_run_is_a_failure() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let stops = async {
                yield_now().await;
                aiorun::stop();
                spin_until(&Handle::current(), Phase::Cancelling);
            };
            let everywhere = cancel_at_every_await(async || forever().await);
            tokio::join!(biased; stops, everywhere.into_future());
        });
        // By a panic of main, or where that was dropped before.
        let said = format!("{:?}\n{}", exit.error, exit.report);
        let is_told = said.contains("before it was through with all awaits");
        assert!(is_told && !said.contains("somebody else"), "{said}");
    }
}

#[test]
fn a_stop_after_its_end_is_none() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            cancel_at_every_await(yield_now).await;
            aiorun::stop();
            forever().await;
        });
    }
}

#[test]
fn dropped_half_way_it_leaves_nothing() {
    passes(paused().run_forever(false), async {
        let dropped = Cell::new(false);
        let endless = cancel_at_every_await(async || {
            let _guard = OnDrop::new(|| dropped.set(true));
            forever().await;
        });
        assert!(timeout(HOUR, endless.into_future()).await.is_err());
        assert!(dropped.get());
        assert_eq!(Handle::current().tasks().len(), 1);
    });
}

#[test]
fn a_failure_fails_the_test() {
    let exit = attempt(builder(Flavor::CurrentThread).run_forever(false), async {
        cancel_at_every_await(yield_now)
            .check(async |trial| assert!(trial.cancelled.is_none(), "lost"))
            .await;
    });
    let text = error_text(&exit);
    assert!(
        text.contains("which was dropped at suspension 1 of 1"),
        "{text}"
    );
}
