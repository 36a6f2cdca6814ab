//! `Handle::dump`: everything that lives, and the lines where tasks are suspended.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use aiorun::task::{Branch, Frame, Kind, State, TaskInfo};
use aiorun::{Dump, Flavor, Handle, Phase, catch_cancel, shield};
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::trial::{
    FLAVORS, attempt, builder, forever, give_way, on_a_runtime, passes, paused, reach, run,
};

const HOUR: Duration = Duration::from_secs(3600);
/// What nothing here takes unless it hangs.
const LONG: Duration = Duration::from_secs(60);

/// A dump, when all have begun.
async fn dump() -> Dump {
    all_have_begun().await;
    Handle::current().dump().await
}

async fn all_have_begun() {
    let handle = Handle::current();
    let waits = |task: &TaskInfo| task.state == State::NotStarted;
    while handle.tasks().iter().any(waits) {
        yield_now().await;
    }
}

/// As [`all_have_begun`], and none is in its first poll any more.
async fn all_others_are_suspended() {
    let handle = Handle::current();
    let is_not = |task: &TaskInfo| task.kind != Kind::Main && task.state != State::Suspended;
    while handle.tasks().iter().any(is_not) {
        yield_now().await;
    }
}

#[track_caller]
fn find<'a>(dump: &'a Dump, name: &str) -> &'a TaskInfo {
    let found = dump.tasks.iter().find(|task| task.name() == Some(name));
    found.unwrap_or_else(|| panic!("no `{name}` in:\n{dump}"))
}

/// Where the task waits, as it is where there is one such place.
#[track_caller]
fn only_branch<'a>(dump: &'a Dump, name: &str) -> &'a Branch {
    let trace = find(dump, name).trace.as_ref();
    let trace = trace.unwrap_or_else(|| panic!("`{name}` has no trace in:\n{dump}"));
    match trace.branches() {
        [branch] => branch,
        branches => panic!("{} branches in:\n{dump}", branches.len()),
    }
}

/// The functions of this file, and their lines.
fn functions(frames: &[Frame]) -> Vec<(&str, u32)> {
    let frames = frames.iter().map(|frame| {
        assert_eq!(frame.file.as_deref(), Some("tests/it/dump.rs"), "{frame:?}");
        assert!(frame.column.is_some());
        (
            frame.function.strip_prefix("it::dump::").unwrap(),
            frame.line.unwrap(),
        )
    });
    frames.collect()
}

/// The line that follows, where a task waits.
macro_rules! here {
    ($line:expr) => {
        $line.store(line!() as usize + 1, Ordering::SeqCst)
    };
}

static OUTER: AtomicUsize = AtomicUsize::new(0);
static INNER: AtomicUsize = AtomicUsize::new(0);
static SHIELDED: AtomicUsize = AtomicUsize::new(0);

fn line(of: &AtomicUsize) -> u32 {
    of.load(Ordering::SeqCst).try_into().unwrap()
}

async fn outer() {
    here!(OUTER);
    inner().await;
}

async fn inner() {
    here!(INNER);
    sleep(HOUR).await;
}

#[test]
fn a_trace_leads_down_to_the_await() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            aiorun::task("sleeper").spawn(outer());
            let dump = dump().await;
            let branch = only_branch(&dump, "sleeper");
            assert_eq!(
                functions(&branch.frames),
                [("outer", line(&OUTER)), ("inner", line(&INNER))]
            );
            assert_eq!(branch.awaits.as_deref(), Some("tokio::time::sleep::Sleep"));
            assert_eq!(branch.count, 1);
            let sleeper = find(&dump, "sleeper");
            assert_eq!(sleeper.state, State::Suspended);
            assert!(!sleeper.unresponsive);
            let text = dump.to_string();
            let place = format!("at tests/it/dump.rs:{}:", line(&INNER));
            assert!(text.contains(&place), "{text}");
            aiorun::stop();
        });
    }
}

#[test]
fn whatever_a_task_awaits_is_named() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let (_keep, received) = oneshot::channel::<()>();
            let (_sender, mut queue) = tokio::sync::mpsc::channel::<()>(1);
            let lock = Arc::new(tokio::sync::Mutex::new(()));
            let held = lock.lock().await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (of_lock, other) = (Arc::clone(&lock), aiorun::spawn(forever()));
            aiorun::task("oneshot").spawn(received);
            aiorun::task("mpsc").spawn(async move { queue.recv().await });
            aiorun::task("mutex").spawn(async move { drop(of_lock.lock().await) });
            aiorun::task("socket").spawn(async move { drop(listener.accept().await) });
            aiorun::task("task").spawn(other);
            aiorun::task("cancelled").spawn(async { aiorun::cancelled().await });
            aiorun::task("stopping").spawn(async { aiorun::stopping().await });
            aiorun::task("timeout").spawn(async { timeout(HOUR, forever()).await });
            aiorun::task("caught").spawn(async { catch_cancel(sleep(HOUR)).await });
            aiorun::task("shielded").spawn(async { shield(aiorun::stopping()).await });
            aiorun::task("boxed").spawn(async {
                let boxed: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(outer());
                boxed.await;
            });
            let dump = dump().await;
            let awaits = |name| {
                only_branch(&dump, name)
                    .awaits
                    .as_deref()
                    .unwrap_or_default()
            };
            assert_eq!(awaits("oneshot"), "tokio::sync::oneshot::Receiver");
            assert_eq!(awaits("mpsc"), "tokio::sync::mpsc::bounded::Receiver::recv");
            assert_eq!(awaits("mutex"), "tokio::sync::mutex::Mutex::lock");
            assert_eq!(
                awaits("socket"),
                "tokio::net::tcp::listener::TcpListener::accept"
            );
            assert_eq!(awaits("task"), "aiorun::JoinHandle");
            assert_eq!(awaits("cancelled"), "aiorun::Cancellation");
            assert_eq!(awaits("stopping"), "aiorun::Stopping");
            assert_eq!(awaits("timeout"), "tokio::time::timeout::Timeout");
            assert_eq!(awaits("caught"), "tokio::time::sleep::Sleep");
            assert_eq!(awaits("shielded"), "aiorun::Stopping");
            assert_eq!(awaits("boxed"), "tokio::time::sleep::Sleep");
            assert_eq!(only_branch(&dump, "boxed").frames.len(), 3);
            drop(held);
            aiorun::stop();
        });
    }
}

async fn both() {
    tokio::join!(inner(), async {
        tokio::select! {
            () = outer() => {}
            _ = aiorun::stopping() => {}
        }
    });
}

#[test]
fn concurrent_awaits_are_branches() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            aiorun::task("both").spawn(both());
            aiorun::task("many").spawn(async {
                futures::future::join_all((0..20).map(|_| outer())).await;
            });
            let dump = dump().await;
            let branches = find(&dump, "both").trace.as_ref().unwrap().branches();
            let mut leaves: Vec<_> = branches
                .iter()
                .map(|branch| {
                    let functions = functions(&branch.frames);
                    assert_eq!(functions[0].0, "both");
                    (
                        functions.last().unwrap().0,
                        branch.awaits.as_deref().unwrap(),
                    )
                })
                .collect();
            leaves.sort_unstable();
            assert_eq!(
                leaves,
                [
                    ("both", "aiorun::Stopping"),
                    ("inner", "tokio::time::sleep::Sleep"),
                    ("inner", "tokio::time::sleep::Sleep"),
                ]
            );
            // Those that are alike are counted, up to the number that is noted.
            let many = find(&dump, "many").trace.as_ref().unwrap();
            assert_eq!((many.branches().len(), many.more()), (1, 4));
            assert_eq!(many.branches()[0].count, 16);
            assert!(dump.to_string().contains("and at 4 more awaits"), "{dump}");
            aiorun::stop();
        });
    }
}

#[test]
fn a_trace_ends_at_what_brings_wakers_of_its_own() {
    passes(&mut builder(Flavor::CurrentThread), async {
        aiorun::task("unordered").spawn(async {
            let mut all: FuturesUnordered<_> = (0..3).map(|_| outer()).collect();
            all.next().await;
        });
        let mut set = tokio::task::JoinSet::new();
        set.spawn(forever());
        aiorun::task("set").spawn(async move { drop(set.join_next().await) });
        let dump = dump().await;
        let awaits = |name| only_branch(&dump, name).awaits.clone().unwrap();
        assert!(awaits("unordered").ends_with("FuturesUnordered"), "{dump}");
        assert!(awaits("set").ends_with("JoinSet::join_next"), "{dump}");
        aiorun::stop();
    });
}

#[test]
fn who_takes_no_waker_waits_for_nothing() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            aiorun::task("for nothing").spawn(async { pending::<()>().await });
            let dump = dump().await;
            let task = find(&dump, "for nothing");
            assert!(task.trace.as_ref().unwrap().branches().is_empty());
            assert!(!task.unresponsive);
            assert!(dump.to_string().contains("asked for no waker"), "{dump}");
            aiorun::stop();
        });
    }
}

#[test]
fn everything_that_lives_is_in_it() {
    for flavor in FLAVORS {
        let mut builder = builder(flavor);
        builder.shutdown_callback(async || {
            let dump = dump().await;
            assert_eq!(dump.phase, Phase::Stopping);
            assert!(dump.time_left.is_some());
            let callback = dump.tasks.iter().find(|it| it.kind == Kind::Callback);
            assert!(callback.unwrap().trace.is_some(), "{dump}");
        });
        passes(&mut builder, async move {
            let (release, released) = mpsc::channel::<()>();
            let (started, has_started) = oneshot::channel();
            aiorun::task("job").spawn_blocking(move || {
                started.send(()).unwrap();
                let _ = released.recv();
            });
            has_started.await.unwrap();
            aiorun::task("plain").spawn(forever());
            aiorun::task("saver").protected().spawn(async {
                reach(Phase::Cancelling).await;
                let dump = dump().await;
                assert_eq!(dump.phase, Phase::Cancelling);
                assert!(find(&dump, "saver").protected);
            });
            if flavor == Flavor::Local {
                aiorun::task("local").spawn_local(outer());
            }
            aiorun::on_exit("hook", async {
                let dump = dump().await;
                assert_eq!(dump.phase, Phase::Finishing);
                assert!(find(&dump, "hook").trace.is_some(), "{dump}");
            });
            let dump = dump().await;
            assert_eq!((dump.phase, dump.time_left), (Phase::Running, None));
            assert_eq!(dump.tasks[0].kind, Kind::Main);
            assert!(
                dump.tasks
                    .is_sorted_by_key(|task| std::cmp::Reverse(task.age))
            );
            let job = find(&dump, "job");
            assert!(matches!(&job.state, State::Running { thread, .. } if !thread.is_empty()));
            assert!(job.trace.is_none() && !job.unresponsive);
            find(&dump, "plain");
            if flavor == Flavor::Local {
                assert_eq!(only_branch(&dump, "local").frames.len(), 2);
            }
            let text = dump.to_string();
            let count = dump.tasks.len() - 1;
            let head = format!("running: {count} tasks, 1 blocking job");
            assert!(text.contains(&head), "{text}");
            assert!(
                text.contains(&format!("process {}", std::process::id())),
                "{text}"
            );
            drop(release);
            aiorun::stop();
        });
    }
}

/// Main that waits for the dump is in it, wherever it runs.
#[test]
fn main_is_traced_too() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let dump = dump().await;
            let branches = dump.tasks[0].trace.as_ref().unwrap().branches();
            let awaits: Vec<_> = branches.iter().map(|it| it.awaits.as_deref()).collect();
            assert_eq!(awaits, [Some("aiorun::Handle::dump")], "{dump}");
            aiorun::stop();
        });
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "what is said of such a task is the question"
)]
fn strays_are_counted_and_their_shields_listed() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            assert_eq!(dump().await.strays, 0);
            let strays = [(); 3].map(|()| tokio::spawn(forever()));
            let (release, released) = oneshot::channel::<()>();
            let shielded = tokio::spawn(async {
                shield(async {
                    here!(SHIELDED);
                    let _ = released.await;
                })
                .await;
            });
            while Handle::current().tasks().len() < 2 {
                yield_now().await;
            }
            let dump = dump().await;
            assert_eq!(dump.strays, 4, "{dump}");
            let [_, section] = &dump.tasks[..] else {
                panic!("{dump}")
            };
            assert!(section.shielded.is_some(), "{dump}");
            let branches = section.trace.as_ref().unwrap().branches();
            assert_eq!(
                branches[0].frames.last().unwrap().line,
                Some(line(&SHIELDED)),
                "{dump}"
            );
            assert!(dump.to_string().contains("about 4 stray tasks"), "{dump}");
            release.send(()).unwrap();
            shielded.await.unwrap();
            strays.iter().for_each(tokio::task::JoinHandle::abort);
            aiorun::stop();
        });
    }
}

/// What it begins with hears of it.
#[test]
fn a_request_that_finds_a_task_asked_and_not_begun_is_not_lost() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let handle = Handle::current();
            for _ in 0..20 {
                let task = aiorun::task("begins").cooperative().spawn(async {
                    catch_cancel(forever()).await.unwrap_err();
                });
                let mut asking = Box::pin(handle.dump());
                assert!((&mut asking).now_or_never().is_none());
                // It is asked meanwhile, for the thread that could poll it is here or is busy.
                std::thread::sleep(Duration::from_millis(20));
                task.cancel();
                task.await.unwrap();
                asking.await;
            }
            aiorun::stop();
        });
    }
}

/// A poll more may be all that a future needs.
#[test]
fn a_traced_poll_may_end_a_task() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let ends_when_polled_again = |then: fn() -> u8| {
                let mut polls = 0;
                poll_fn(move |cx| {
                    polls += 1;
                    // As anybody does who waits.
                    let _kept = cx.waker().clone();
                    if polls == 1 {
                        Poll::Pending
                    } else {
                        Poll::Ready(then())
                    }
                })
            };
            let value = aiorun::task("value").spawn(ends_when_polled_again(|| 42));
            let panic = aiorun::task("panic").spawn(ends_when_polled_again(|| panic!("at last")));
            let error = aiorun::task("error").spawn_fallible(async move {
                Err::<(), _>(ends_when_polled_again(|| 7).await.to_string())
            });
            let dump = dump().await;
            let live = dump.tasks.iter().filter(|it| it.state != State::Finished);
            assert_eq!(live.count(), 1, "they have ended:\n{dump}");
            assert_eq!(value.await.unwrap(), 42);
            assert_eq!(panic.await.unwrap_err().message(), Some("at last"));
            assert_eq!(error.await.unwrap(), Err("7".into()));
            aiorun::stop();
        });
    }
}

/// The poll of a dump may wake whomever it likes, which a dump of tokio's own has not survived.
#[test]
fn a_traced_poll_may_wake_everybody() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let wakers: Arc<[futures::task::AtomicWaker; 8]> = Arc::default();
            for number in 0..8 {
                let wakers = Arc::clone(&wakers);
                aiorun::spawn(poll_fn(move |cx| {
                    wakers[number].register(cx.waker());
                    wakers.iter().for_each(futures::task::AtomicWaker::wake);
                    cx.waker().wake_by_ref();
                    Poll::<()>::Pending
                }));
            }
            for _ in 0..20 {
                let dump = dump().await;
                assert_eq!(dump.tasks.len(), 9);
            }
            aiorun::stop();
        });
    }
}

/// Its panic goes through a lock, a destructor spawns, and the handle is dropped in between.
#[test]
fn a_traced_poll_may_go_wrong_in_any_way() {
    for flavor in FLAVORS {
        let exit = attempt(&mut builder(flavor), async {
            let mut polls = 0;
            let told = crate::trial::OnDrop::new(|| {
                aiorun::task("of a destructor").spawn(forever());
            });
            let breaks = poll_fn(move |cx| {
                polls += 1;
                let _told = &told;
                let _kept = cx.waker().clone();
                assert!(polls == 1, "polled again");
                Poll::<()>::Pending
            });
            aiorun::task("breaks").spawn(breaks);
            let dump = dump().await;
            let mut live = dump.tasks.iter().filter(|it| it.state != State::Finished);
            assert!(live.all(|task| task.name() != Some("breaks")), "{dump}");
            aiorun::stop();
        });
        assert_eq!(exit.report.tasks.panicked, 1);
        assert_eq!(exit.report.failures[0].message(), "polled again");
    }
}

#[test]
fn a_crowd_is_one_entry_and_hides_nobody() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            aiorun::task("first").spawn(outer());
            for number in 0..10_000 {
                aiorun::task(format!("connection {number}")).spawn(inner());
            }
            aiorun::task("last").spawn(outer());
            let dump = dump().await;
            assert_eq!(dump.tasks.len(), 10_003);
            let traced = dump.tasks.iter().filter(|task| task.trace.is_some());
            assert_eq!(traced.count(), 100);
            only_branch(&dump, "first");
            only_branch(&dump, "last");
            let text = dump.to_string();
            assert!(text.lines().count() < 25, "{text}");
            assert!(
                text.contains("10000 tasks spawned at tests/it/dump.rs:"),
                "{text}"
            );
            assert!(text.contains("97 of them asked where they wait"), "{text}");
            aiorun::stop();
        });
    }
}

/// Blocks its thread until the release.
fn stuck() -> (impl Future<Output = ()> + Send, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let stuck = async move {
        let _ = released.recv();
    };
    (stuck, release)
}

#[test]
fn who_is_stuck_does_not_keep_the_others_from_answering() {
    passes(&mut builder(Flavor::MultiThread), async {
        let (stuck, release) = stuck();
        let handle = Handle::current();
        aiorun::task("sleeper").spawn(outer());
        give_way().await;
        aiorun::task("stuck").spawn(stuck);
        while !matches!(
            handle.tasks().iter().find(|task| task.name() == Some("stuck")),
            Some(task) if matches!(task.state, State::Running { .. })
        ) {
            yield_now().await;
        }
        let began = Instant::now();
        let dump = dump().await;
        assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < LONG);
        only_branch(&dump, "sleeper");
        let task = find(&dump, "stuck");
        assert!(task.unresponsive && task.trace.is_none());
        assert!(matches!(&task.state, State::Running { thread, .. } if !thread.is_empty()));
        let text = dump.to_string();
        assert!(text.contains("stuck, running on "), "{text}");
        drop(release);
        aiorun::stop();
    });
}

/// From another thread, when the only thread of the runtime is stuck.
#[test]
fn when_all_is_stuck_there_is_a_dump_without_traces() {
    for flavor in [Flavor::CurrentThread, Flavor::Local] {
        passes(&mut builder(flavor), async {
            let handle = Handle::current();
            let (stuck, release) = stuck();
            aiorun::task("sleeper").spawn(outer());
            give_way().await;
            let other = std::thread::spawn(move || {
                let waiting = tokio::runtime::Builder::new_current_thread().build();
                while !handle.tasks().iter().any(|it| {
                    it.name() == Some("stuck") && matches!(it.state, State::Running { .. })
                }) {
                    std::thread::yield_now();
                }
                let dump = waiting.unwrap().block_on(handle.dump());
                drop(release);
                dump
            });
            aiorun::task("stuck").spawn(stuck);
            give_way().await;
            let dump = other.join().unwrap();
            let sleeper = find(&dump, "sleeper");
            assert!(sleeper.trace.is_none() && sleeper.unresponsive, "{dump}");
            assert!(find(&dump, "stuck").unresponsive);
            let text = dump.to_string();
            assert!(
                text.contains("ready, but no thread was free to poll it"),
                "{text}"
            );
            // It has got over it.
            let dump = crate::dump::dump().await;
            only_branch(&dump, "sleeper");
            aiorun::stop();
        });
    }
}

#[test]
fn many_may_ask_at_once() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            aiorun::task("sleeper").spawn(outer());
            let handle = Handle::current();
            let threads = [(); 4].map(|()| {
                let handle = handle.clone();
                std::thread::spawn(move || {
                    let waiting = tokio::runtime::Builder::new_current_thread().build();
                    let waiting = waiting.unwrap();
                    (0..20).all(|_| !waiting.block_on(handle.dump()).tasks.is_empty())
                })
            });
            let askers: Vec<_> = (0..20).map(|_| aiorun::spawn(dump())).collect();
            for asker in askers {
                only_branch(&asker.await.unwrap(), "sleeper");
            }
            while !threads.iter().all(std::thread::JoinHandle::is_finished) {
                yield_now().await;
            }
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
            aiorun::stop();
        });
    }
}

#[test]
fn one_that_is_dropped_half_way_does_no_harm() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            aiorun::task("sleeper").spawn(outer());
            let handle = Handle::current();
            for _ in 0..50 {
                let mut dump = Box::pin(handle.dump());
                poll_fn(|cx| Poll::Ready(dump.as_mut().poll(cx).is_ready())).await;
                drop(dump);
            }
            only_branch(&dump().await, "sleeper");
            aiorun::stop();
        });
    }
}

/// Whoever polls it may have a waker that breaks.
#[test]
fn a_waker_that_panics_is_its_owners_affair() {
    struct Breaks(AtomicUsize);

    impl std::task::Wake for Breaks {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("as wakers should not");
        }
    }

    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let handle = Handle::current();
            aiorun::task("sleeper").spawn(outer());
            let breaks = Arc::new(Breaks(AtomicUsize::new(0)));
            let mut asking = Box::pin(handle.dump());
            let waker = Waker::from(Arc::clone(&breaks));
            let polled = asking.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            only_branch(&dump().await, "sleeper");
            assert_eq!(breaks.0.load(Ordering::Relaxed), 1);
            only_branch(&asking.await, "sleeper");
            aiorun::stop();
        });
    }
}

#[test]
fn after_the_end_it_is_empty() {
    for flavor in FLAVORS {
        let mut kept = None;
        passes(&mut builder(flavor), async {
            kept = Some(Handle::current());
            aiorun::stop();
        });
        let handle = kept.unwrap();
        let dump = on_a_runtime(handle.dump());
        assert_eq!(
            (dump.phase, dump.tasks.len(), dump.strays),
            (Phase::Closed, 0, 0)
        );
        assert!(dump.to_string().contains("closed"), "{dump}");
    }
}

#[test]
fn under_paused_time_nothing_expires_while_it_is_taken() {
    for _ in 0..100 {
        passes(&mut paused(), async {
            aiorun::task("sleeper").spawn(outer());
            yield_now().await;
            let dump = timeout(HOUR / 2, Handle::current().dump()).await;
            only_branch(&dump.expect("half an hour has passed"), "sleeper");
            aiorun::stop();
        });
    }
}

#[test]
fn it_works_in_somebody_elses_runtime() {
    on_a_runtime(async {
        let mut builder = aiorun::Builder::new();
        let exit = builder.signals([]).supervise(async {
            aiorun::task("sleeper").spawn(outer());
            let dump = dump().await;
            only_branch(&dump, "sleeper");
            let main = dump.tasks[0].trace.as_ref().unwrap();
            assert!(
                main.to_string().contains("awaiting aiorun::Handle::dump"),
                "{dump}"
            );
            assert_eq!(dump.strays, 0);
            aiorun::stop();
        });
        assert!(exit.await.is_success());
    });
}

/// The poll of a task that catches, in a combinator that brings a waker of its own.
#[test]
fn a_survey_does_not_come_between_a_task_and_its_cancellation() {
    for flavor in FLAVORS {
        for round in 0..20 {
            let exit = run(&mut builder(flavor), async {
                for number in 0..8 {
                    aiorun::spawn(async move {
                        let caught = match number % 4 {
                            0 => catch_cancel(forever()).await.is_err(),
                            1 => {
                                let (one, other) =
                                    tokio::join!(catch_cancel(outer()), catch_cancel(inner()));
                                one.is_err() && other.is_err()
                            }
                            2 => {
                                let mut all = FuturesUnordered::new();
                                all.push(catch_cancel(forever()));
                                all.next().await.unwrap().is_err()
                            }
                            _ => {
                                aiorun::cancelled().await;
                                true
                            }
                        };
                        assert!(caught);
                        shield(give_way()).await;
                    });
                }
                let handle = Handle::current();
                let dumps = aiorun::shutdown_waits_for(async move {
                    while !aiorun::is_stopping() {
                        handle.dump().await;
                    }
                    handle.dump().await
                });
                // What is entered in one poll with the request is another matter.
                all_others_are_suspended().await;
                for _ in 0..round {
                    yield_now().await;
                }
                aiorun::stop();
                dumps.await.unwrap();
            });
            assert_eq!(exit.report.tasks.refused, 0);
        }
    }
}

/// A waker that a future has kept from a traced poll is the task's own.
#[test]
fn nothing_of_a_trace_outlives_it() {
    passes(&mut builder(Flavor::CurrentThread), async {
        let kept: Arc<std::sync::Mutex<Vec<Waker>>> = Arc::default();
        let of_task = Arc::clone(&kept);
        aiorun::task("keeper").spawn(poll_fn(move |cx| {
            of_task.lock().unwrap().push(cx.waker().clone());
            Poll::<()>::Pending
        }));
        for _ in 0..3 {
            let dump = dump().await;
            assert!(find(&dump, "keeper").trace.is_some());
        }
        let wakers = kept.lock().unwrap().clone();
        assert!(wakers.len() >= 4);
        assert!(wakers.iter().all(|waker| waker.will_wake(&wakers[0])));
        wakers.into_iter().for_each(Waker::wake);
        aiorun::stop();
    });
}

#[test]
fn it_can_be_read_by_machines() {
    let exit = run(&mut builder(Flavor::CurrentThread), async {
        aiorun::task("sleeper").spawn(outer());
        let dump = serde_json::to_value(dump().await).unwrap();
        assert_eq!(dump["phase"], "running");
        assert_eq!(dump["time_left"], serde_json::Value::Null);
        assert!(dump["age"].as_f64().unwrap() > 0.0);
        let main = &dump["tasks"][0];
        assert_eq!((&main["kind"], &main["name"]), (&"main".into(), &().into()));
        assert!(main["state"]["running"]["thread"].is_string());
        let sleeper = &dump["tasks"][1];
        assert_eq!(sleeper["name"], "sleeper");
        assert_eq!(
            (&sleeper["kind"], &sleeper["state"]),
            (&"async".into(), &"suspended".into())
        );
        assert_eq!(sleeper["location"]["file"], "tests/it/dump.rs");
        assert_eq!(sleeper["protected"], false);
        let frame = &sleeper["trace"][0]["frames"][1];
        assert_eq!(frame["function"], "it::dump::inner");
        assert_eq!(frame["line"], line(&INNER));
        assert_eq!(sleeper["trace"][0]["awaits"], "tokio::time::sleep::Sleep");
        Handle::current().raise(aiorun::Signal::TERM);
        forever().await;
    });
    let report = serde_json::to_value(&exit.report).unwrap();
    assert_eq!(report["reason"]["signal"], "SIGTERM");
    assert_eq!(report["phases"][1]["phase"], "stopping");
    assert_eq!(report["tasks"]["spawned"], 2);
    assert_eq!(report["refused"], serde_json::json!([]));
}
