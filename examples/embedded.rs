//! A supervisor inside a runtime that somebody else has built.
//!
//! Type `cargo run --example embedded` and press Ctrl-C: the supervised part ends, its task cleaned
//! up, and the program that it is a part of goes on to its own end.

use std::time::Duration;

use aiorun::{Builder, Exit};

#[tokio::main]
async fn main() -> Exit {
    println!("the host begins");
    let exit = Builder::new()
        .shutdown_timeout(Duration::from_secs(10))
        .supervise(guest())
        .await;

    // The runtime is still there; the supervisor has never closed it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    println!("the host goes on: {}", exit.reason);
    print!("{}", exit.report);
    exit
}

async fn guest() {
    let work = aiorun::spawn(async {
        let _cleanup = Cleanup;
        println!("the guest is there");
        std::future::pending::<()>().await;
    });
    if let Err(error) = work.await {
        println!("{error}");
    }
}

struct Cleanup;

impl Drop for Cleanup {
    fn drop(&mut self) {
        println!("the guest has cleaned up");
    }
}
