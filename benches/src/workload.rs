//! What is measured: the same work for every contender.

use std::future::pending;
use std::hint::black_box;
use std::io::Write;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};

use crate::contender::{BoxFuture, Contender, Counter, Flavor};
use crate::gauge::Gauge;

/// Does something so many times, and says how much the gauge goes up.
pub type Workload = fn(Flavor, Gauge, usize) -> i64;

/// Tasks that are outstanding at once where they come and go.
const BATCH: usize = 1000;
/// Tasks that are alive all the time where the oldest is replaced by a new one.
const ALIVE: usize = 10_000;
/// Clients at the same time.
const CLIENTS: usize = 64;

/// The workload of that name, for any contender.
pub fn any<C: Contender>(name: &str) -> Option<Workload> {
    Some(match name {
        "spawn" => spawn::<C>,
        "burst" => burst::<C>,
        "one_by_one" => one_by_one::<C>,
        "churn" => churn::<C>,
        "idle" => idle::<C>,
        "ping_pong" => ping_pong::<C>,
        "round_trip" => round_trip::<C>,
        "accept" => accept::<C>,
        "echo" => echo::<C>,
        "catch" => catch::<C>,
        "listen" => listen::<C>,
        "shield" => shield::<C>,
        "cancel" => cancel::<C>,
        "cancel_caught" => cancel_caught::<C>,
        "serve" => serve::<C>,
        _ => return None,
    })
}

/// As [`any`], for contenders of which a task may have a copy.
pub fn shared<C: Contender + Clone + Send>(name: &str) -> Option<Workload> {
    match name {
        "spawn_everywhere" => Some(spawn_everywhere::<C>),
        other => any::<C>(other),
    }
}

/// Spawns so many tasks, a thousand at a time; each yields once.
fn spawn<C: Contender>(flavor: Flavor, gauge: Gauge, tasks: usize) -> i64 {
    run::<C>(flavor, gauge, move |program| {
        Box::pin(batches(program, tasks, BATCH))
    })
}

/// Spawns so many tasks at once; few of them so often that the clock has something to show, of which
/// it says the mean.
fn burst<C: Contender>(flavor: Flavor, gauge: Gauge, tasks: usize) -> i64 {
    let times = (100 * BATCH / tasks).max(1);
    let all = run::<C>(flavor, gauge, move |program| {
        Box::pin(batches(program, times * tasks, tasks))
    });
    all / i64::try_from(times).expect("a small number")
}

/// Spawns so many tasks, each when the one before has ended.
fn one_by_one<C: Contender>(flavor: Flavor, gauge: Gauge, tasks: usize) -> i64 {
    run::<C>(flavor, gauge, move |program| {
        Box::pin(batches(program, tasks, 1))
    })
}

/// As [`spawn`], by as many tasks as there are workers.
fn spawn_everywhere<C: Contender + Clone + Send>(
    flavor: Flavor,
    gauge: Gauge,
    tasks: usize,
) -> i64 {
    run::<C>(flavor, gauge, move |program| {
        Box::pin(async move {
            let workers = Handle::current().metrics().num_workers();
            let done = Counter::default();
            for _ in 0..workers {
                let (program, done) = (program.clone(), done.clone());
                let spawner = program.clone();
                spawner.spawn(async move {
                    batches(&program, tasks / workers, BATCH).await;
                    done.add(workers);
                });
            }
            done.last().await;
        })
    })
}

async fn batches<C: Contender>(program: &C, tasks: usize, batch: usize) {
    let done = Counter::default();
    let mut spawned = 0;
    while spawned < tasks {
        let batch = batch.min(tasks - spawned);
        spawned += batch;
        for _ in 0..batch {
            program.spawn(trivial(done.clone(), spawned));
        }
        done.last().await;
    }
}

async fn trivial(done: Counter, last: usize) {
    yield_now().await;
    done.add(last);
}

/// Replaces the oldest of many tasks so many times.
fn churn<C: Contender>(flavor: Flavor, gauge: Gauge, times: usize) -> i64 {
    run::<C>(flavor, gauge, move |program| {
        Box::pin(async move {
            let done = Counter::default();
            let mut alive = Vec::with_capacity(ALIVE);
            for turn in 0..times + ALIVE {
                let (end, ended) = oneshot::channel::<()>();
                let done = done.clone();
                program.spawn(async move {
                    let _ = ended.await;
                    done.add(times + ALIVE);
                });
                if turn < ALIVE {
                    alive.push(end);
                } else {
                    alive[turn % ALIVE] = end;
                }
                if turn % BATCH == 0 {
                    yield_now().await;
                }
            }
            drop(alive);
            done.last().await;
        })
    })
}

/// Spawns so many tasks that wait for ever, of eight sizes: tokio rounds the size of a task up to a
/// multiple of 128 bytes, so that for a single size it is chance what something more costs.
fn idle<C: Contender>(flavor: Flavor, gauge: Gauge, tasks: usize) -> i64 {
    fn spawn<C: Contender, const SIZE: usize>(program: &C, begun: &Counter, tasks: usize) {
        for _ in 0..tasks / 8 {
            let begun = begun.clone();
            program.spawn(async move {
                let held = black_box([0_u8; SIZE]);
                begun.add(tasks);
                pending::<()>().await;
                black_box(held);
            });
        }
    }
    let tasks = tasks.next_multiple_of(8);
    run::<C>(flavor, gauge, move |program| {
        Box::pin(async move {
            let begun = Counter::default();
            spawn::<C, 16>(program, &begun, tasks);
            spawn::<C, 32>(program, &begun, tasks);
            spawn::<C, 48>(program, &begun, tasks);
            spawn::<C, 64>(program, &begun, tasks);
            spawn::<C, 80>(program, &begun, tasks);
            spawn::<C, 96>(program, &begun, tasks);
            spawn::<C, 112>(program, &begun, tasks);
            spawn::<C, 128>(program, &begun, tasks);
            begun.last().await;
        })
    })
}

/// A ball that goes to and fro between two tasks so many times.
fn ping_pong<C: Contender>(flavor: Flavor, gauge: Gauge, times: usize) -> i64 {
    run::<C>(flavor, gauge, move |program| {
        Box::pin(async move {
            let (there, returned) = wall(program);
            let (end, ended) = oneshot::channel();
            program.spawn(async move {
                play(there, returned, times).await;
                let _ = end.send(());
            });
            ended.await.expect("the last one");
        })
    })
}

/// The same between main and a task.
fn round_trip<C: Contender>(flavor: Flavor, gauge: Gauge, times: usize) -> i64 {
    enter::<C>(flavor, gauge, move |program| {
        Box::pin(async move {
            let (there, returned) = wall(program);
            play(there, returned, times).await;
        })
    })
}

/// A task that returns what it gets.
fn wall<C: Contender>(program: &C) -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (there, mut arrived) = mpsc::channel(1);
    let (back, returned) = mpsc::channel(1);
    program.spawn(async move {
        while let Some(ball) = arrived.recv().await {
            if back.send(ball).await.is_err() {
                return;
            }
        }
    });
    (there, returned)
}

async fn play(there: mpsc::Sender<()>, mut returned: mpsc::Receiver<()>, times: usize) {
    for _ in 0..times {
        there.send(()).await.expect("the wall stands");
        returned.recv().await.expect("the wall stands");
    }
}

/// Accepts so many connections in main; each brings a request and is closed.
fn accept<C: Contender>(flavor: Flavor, gauge: Gauge, connections: usize) -> i64 {
    enter::<C>(flavor, gauge, move |program| {
        Box::pin(server(program, connections.div_ceil(CLIENTS), 1))
    })
}

/// Returns so many requests.
fn echo<C: Contender>(flavor: Flavor, gauge: Gauge, requests: usize) -> i64 {
    enter::<C>(flavor, gauge, move |program| {
        Box::pin(server(program, 1, requests.div_ceil(CLIENTS)))
    })
}

/// Has clients, in a thread of their own, each of which connects so many times and each time sends so
/// many requests.
async fn server<C: Contender>(program: &C, connections: usize, requests: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a port");
    let (end, ended) = oneshot::channel();
    let clients = thread::spawn(move || {
        Flavor::OneThread.runtime().block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..CLIENTS {
                clients.spawn(async move {
                    for _ in 0..connections {
                        let mut stream = TcpStream::connect(address).await.expect("the server");
                        for _ in 0..requests {
                            stream.write_all(&[1; 64]).await.expect("it listens");
                            stream.read_exact(&mut [0; 64]).await.expect("it answers");
                        }
                        // Closed ports would otherwise be used up.
                        stream.set_zero_linger().expect("an option");
                    }
                });
            }
            clients.join_all().await;
        });
        let _ = end.send(());
    });
    for _ in 0..CLIENTS * connections {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.set_nodelay(true).expect("an option");
        program.spawn(async move {
            let mut buffer = [0; 64];
            while stream.read_exact(&mut buffer).await.is_ok() {
                if stream.write_all(&buffer).await.is_err() {
                    return;
                }
            }
        });
    }
    ended.await.expect("all answers have come");
    clients.join().expect("all answers have come");
}

/// Suspends so many times, each time in what catches a cancellation.
fn catch<C: Contender>(flavor: Flavor, gauge: Gauge, times: usize) -> i64 {
    run::<C>(flavor, gauge, move |program| {
        Box::pin(async move {
            for _ in 0..times {
                program.catch(yield_now()).await;
            }
        })
    })
}

/// Suspends so many times, each time beside what listens to a cancellation.
fn listen<C: Contender>(flavor: Flavor, gauge: Gauge, times: usize) -> i64 {
    run::<C>(flavor, gauge, move |program| {
        Box::pin(async move {
            for _ in 0..times {
                program.listen(yield_now()).await;
            }
        })
    })
}

/// Suspends so many times, each time in what no cancellation ends.
fn shield<C: Contender>(flavor: Flavor, gauge: Gauge, times: usize) -> i64 {
    run::<C>(flavor, gauge, move |program| {
        Box::pin(async move {
            for _ in 0..times {
                program.shield(yield_now()).await;
            }
        })
    })
}

/// Cancels so many tasks that wait for something that never comes.
fn cancel<C: Contender>(flavor: Flavor, gauge: Gauge, tasks: usize) -> i64 {
    cancel_all::<C>(flavor, gauge, tasks, move |program, receiver, begun| {
        program.spawn(wait(receiver, begun, tasks));
    })
}

/// The same when they all catch that.
fn cancel_caught<C: Contender>(flavor: Flavor, gauge: Gauge, tasks: usize) -> i64 {
    cancel_all::<C>(flavor, gauge, tasks, move |program, receiver, begun| {
        program.spawn_catching(wait(receiver, begun, tasks));
    })
}

fn cancel_all<C: Contender>(
    flavor: Flavor,
    gauge: Gauge,
    tasks: usize,
    spawn: impl Fn(&C, oneshot::Receiver<()>, Counter) + Send + Sync + 'static,
) -> i64 {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..tasks).map(|_| oneshot::channel()).unzip();
    let went_up = C::cancel(flavor, gauge, move |program: &C| {
        Box::pin(async move {
            let begun = Counter::default();
            for receiver in receivers {
                spawn(program, receiver, begun.clone());
            }
            begun.last().await;
        })
    });
    // What they waited for is not part of the question.
    drop(senders);
    went_up
}

async fn wait(receiver: oneshot::Receiver<()>, begun: Counter, tasks: usize) {
    begun.add(tasks);
    let _ = receiver.await;
}

/// Says that it is ready when so many tasks wait, and goes on until a signal ends it.
fn serve<C: Contender>(flavor: Flavor, _: Gauge, tasks: usize) -> i64 {
    C::serve(flavor, move |program: &C| {
        Box::pin(async move {
            let begun = Counter::default();
            for _ in 0..tasks {
                let begun = begun.clone();
                program.spawn(async move {
                    begun.add(tasks);
                    pending::<()>().await;
                });
            }
            if tasks > 0 {
                begun.last().await;
            }
            // Nobody may be there any more.
            let _ = writeln!(std::io::stdout(), "ready");
        })
    });
    0
}

/// How much the gauge goes up during `main`.
fn run<C: Contender>(
    flavor: Flavor,
    gauge: Gauge,
    main: impl for<'a> FnOnce(&'a C) -> BoxFuture<'a> + Send + 'static,
) -> i64 {
    let (say, said) = std::sync::mpsc::channel();
    C::run(flavor, move |program: &C| {
        Box::pin(gauged(gauge, main(program), say))
    });
    said.recv().expect("the program has said it")
}

/// The same, with main where the attribute of the library has it.
fn enter<C: Contender>(
    flavor: Flavor,
    gauge: Gauge,
    main: impl for<'a> FnOnce(&'a C) -> BoxFuture<'a> + Send + 'static,
) -> i64 {
    let (say, said) = std::sync::mpsc::channel();
    C::enter(flavor, move |program: &C| {
        Box::pin(gauged(gauge, main(program), say))
    });
    said.recv().expect("the program has said it")
}

async fn gauged(gauge: Gauge, work: BoxFuture<'_>, say: std::sync::mpsc::Sender<i64>) {
    let before = gauge.read();
    work.await;
    let _ = say.send(gauge.read() - before);
}
