//! A server of jobs as it is written on bare tokio: with tokens, a tracker and signals of its own. Read it
//! beside `tokens_after`, which is the same program on aiorun.
//!
//! Type `cargo run -p ecosystem --bin tokens_before`, then lines of text into `nc 127.0.0.1 PORT`: each is a job
//! for the workers, and is answered when it is done. The line `quit` stops the server, as Ctrl-C does. What is in
//! the queue by then is finished, and what is in the journal is written.

#![expect(
    clippy::disallowed_methods,
    reason = "there is no other supervisor here"
)]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const WORKERS: usize = 4;
/// How many jobs may wait.
const QUEUE: usize = 64;
/// How long the end may take, for all together.
const PATIENCE: Duration = Duration::from_secs(20);

/// A line to work on, and who wants to know what came of it.
struct Job {
    text: String,
    answer: oneshot::Sender<String>,
}

/// What the parts of the program share.
#[derive(Clone)]
struct App {
    jobs: mpsc::Sender<Job>,
    journal: mpsc::Sender<String>,
    figures: Arc<Figures>,
    /// Cancelled when the program is to stop.
    stop: CancellationToken,
    /// The connections, of which nobody knows how many there are.
    connections: TaskTracker,
}

#[derive(Default)]
struct Figures {
    begun: AtomicU64,
    done: AtomicU64,
    /// How often each word was seen.
    words: Mutex<BTreeMap<String, u64>>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let stop = CancellationToken::new();
    let figures = Arc::new(Figures::default());
    let (jobs, queue) = mpsc::channel(QUEUE);
    let (journal, entries) = mpsc::channel(QUEUE);
    let app = App {
        jobs,
        journal,
        figures: figures.clone(),
        stop: stop.clone(),
        connections: TaskTracker::new(),
    };

    tokio::spawn(stop_on_signal(stop.clone()));
    tokio::spawn(report_now_and_then(figures.clone(), stop.clone()));
    // Workers and journal end when nobody can send them anything any more.
    let keeper = tokio::spawn(keep_journal(entries));
    let workers = start_workers(queue, &app);

    let listener = ecosystem::listen().await?;
    accept(listener, &app).await;

    // From here on it is the end: those who send first, then those who receive.
    let connections = app.connections.clone();
    connections.close();
    drop(app);
    let end = async {
        connections.wait().await;
        workers.wait().await;
        keeper.await.expect("the journal does not panic")
    };
    match timeout(PATIENCE, end).await {
        Ok(entries) => println!("journal entries={entries}"),
        Err(_) => eprintln!("some did not end in time"),
    }
    let begun = figures.begun.load(Ordering::SeqCst);
    let done = figures.done.load(Ordering::SeqCst);
    println!("work begun={begun} done={done}");
    Ok(())
}

/// Ctrl-C and what service managers send.
async fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        // Somebody else has stopped it.
        () = stop.cancelled() => {}
    }
    stop.cancel();
    Ok(())
}

/// Takes connections in until it is to stop.
async fn accept(listener: TcpListener, app: &App) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, app.clone());
                app.connections.spawn(connection);
            }
            // The client has gone again, or there are too many files.
            Err(error) => eprintln!("no connection: {error}"),
        }
    }
}

/// One connection: a line, its answer, the next line.
async fn serve(stream: TcpStream, app: App) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            () = app.stop.cancelled() => return,
        };
        let Ok(Some(text)) = line else { return };
        if text == "quit" {
            app.stop.cancel();
            return;
        }
        // What was taken in hand is answered, even if it is to stop now.
        if answer(text, &app, &mut write).await.is_err() {
            return;
        }
    }
}

async fn answer(text: String, app: &App, write: &mut OwnedWriteHalf) -> io::Result<()> {
    app.figures.begun.fetch_add(1, Ordering::SeqCst);
    let (answer, answered) = oneshot::channel();
    let job = Job { text, answer };
    app.jobs.send(job).await.map_err(io::Error::other)?;
    let mut line = answered.await.map_err(io::Error::other)?;
    line.push('\n');
    write.write_all(line.as_bytes()).await
}

/// Starts those who do the work. The tracker is closed: there are no more of them to come.
fn start_workers(queue: mpsc::Receiver<Job>, app: &App) -> TaskTracker {
    let workers = TaskTracker::new();
    let queue = Arc::new(AsyncMutex::new(queue));
    for _ in 0..WORKERS {
        let worker = work(queue.clone(), app.figures.clone(), app.journal.clone());
        workers.spawn(worker);
    }
    workers.close();
    workers
}

/// Works until the queue is empty and nobody can send to it.
async fn work(
    queue: Arc<AsyncMutex<mpsc::Receiver<Job>>>,
    figures: Arc<Figures>,
    journal: mpsc::Sender<String>,
) {
    loop {
        let job = queue.lock().await.recv().await;
        let Some(Job { text, answer }) = job else {
            return;
        };
        ecosystem::pause().await;
        let reversed: String = text.chars().rev().collect();
        note_words(&figures, &text);
        // The journal is there for as long as there are workers.
        if journal.send(text).await.is_err() {
            return;
        }
        figures.done.fetch_add(1, Ordering::SeqCst);
        // The client may have gone.
        let _ = answer.send(reversed);
    }
}

fn note_words(figures: &Figures, text: &str) {
    let words = figures.words.lock();
    let mut words = words.unwrap_or_else(PoisonError::into_inner);
    for word in text.split_whitespace() {
        *words.entry(word.to_owned()).or_default() += 1;
    }
}

/// Writes several entries at once, as it would to a disk. Returns how many there were.
async fn keep_journal(mut entries: mpsc::Receiver<String>) -> usize {
    let mut batch = Vec::new();
    let mut written = 0;
    while entries.recv_many(&mut batch, QUEUE).await > 0 {
        ecosystem::pause().await;
        written += batch.len();
        batch.clear();
    }
    written
}

/// Says every ten seconds what is going on.
async fn report_now_and_then(figures: Arc<Figures>, stop: CancellationToken) {
    let mut ticks = interval(Duration::from_secs(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let words = figures.words.lock();
        let words = words.unwrap_or_else(PoisonError::into_inner).len();
        let done = figures.done.load(Ordering::SeqCst);
        println!("{done} jobs so far, {words} words");
    }
}
