//! What the programs in `src/bin` do for their clients, and how that is counted.
//!
//! Each of these programs is meant to be copied; what they have from here is only what the tests need.

pub mod ledger;
#[path = "../../it/text.rs"]
pub mod text;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

/// Work that takes its time, counted as it begins and as it is done.
#[derive(Debug, Clone, Default)]
pub struct Work(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Work {
    /// Work for a program that prints at its exit how much there was of it.
    pub fn counted() -> Self {
        let work = Self::default();
        let counts = Arc::clone(&work.0);
        aiorun::on_exit("print the counts", async move {
            let begun = counts.begun.load(Ordering::SeqCst);
            let done = counts.done.load(Ordering::SeqCst);
            println!("work begun={begun} done={done}");
        });
        work
    }

    /// Answers a request, after up to three awaits. Whoever drops it half-way leaves one undone.
    pub async fn answer(&self, request: &str) -> String {
        self.begin();
        pause().await;
        self.done();
        answer_to(request)
    }

    /// For work in several steps, with a [`pause`] between them.
    pub fn begin(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// As many times as [`Work::begin`].
    pub fn done(&self) {
        self.0.done.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a client may expect.
pub fn answer_to(request: &str) -> String {
    format!("the answer to {request}")
}

/// Some milliseconds, or just another turn.
pub async fn pause() {
    for _ in 0..fastrand::u8(1..=3) {
        match fastrand::u64(0..5) {
            0 => tokio::task::yield_now().await,
            milliseconds => sleep(Duration::from_millis(milliseconds)).await,
        }
    }
}

/// Listens where the first argument says, or where there is room, and prints the address.
///
/// # Errors
///
/// When the address cannot be bound.
pub async fn listen() -> io::Result<TcpListener> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}
