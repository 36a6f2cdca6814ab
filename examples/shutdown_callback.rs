//! Something to do when the program begins to stop, while everything still works.
//!
//! Type `cargo run --example shutdown_callback` and press Ctrl-C: you see how the callback gives the
//! last orders, half a second later that it is done, and only then that the worker is cancelled.

use std::time::Duration;

use aiorun::Handle;
use tokio::time::sleep;

#[aiorun::main(shutdown_callback = last_orders)]
async fn main() {
    aiorun::task("worker").spawn(work());
}

async fn last_orders(handle: Handle) -> Result<(), std::io::Error> {
    println!("last orders! {} tasks", handle.tasks().len());
    sleep(Duration::from_millis(500)).await;
    println!("the bar is closed");
    Ok(())
}

async fn work() {
    let _cancelled = Cancelled;
    println!("working");
    loop {
        sleep(Duration::from_secs(1)).await;
    }
}

struct Cancelled;

impl Drop for Cancelled {
    fn drop(&mut self) {
        println!("the worker is cancelled");
    }
}
