//! The program of the page `docs::quick_start`.
//!
//! Type `cargo run --example quick_start`, and press Ctrl-C when it is ready: the counter is saved, and
//! the log tells what happens meanwhile.

use std::time::Duration;

use aiorun::{catch_cancel, shield};
use tokio::time::sleep;

const TICK: Duration = Duration::from_millis(100);

#[aiorun::main(shutdown_timeout = 10)]
async fn main() {
    tracing_subscriber::fmt().without_time().init();
    println!("ready, press Ctrl-C");
    aiorun::task("counter").spawn(count());
}

async fn count() {
    let mut count = 0;
    // Here it may be cut, and then it is told.
    while catch_cancel(sleep(TICK)).await.is_ok() {
        count += 1;
    }
    // Here it may not.
    shield(save(count)).await;
    println!("the count is saved");
}

async fn save(_count: u64) {
    sleep(Duration::from_secs(1)).await; // a slow disk
}
