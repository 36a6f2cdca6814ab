//! Things to close when all tasks and jobs have ended, in the reverse order of their opening.
//!
//! Type `cargo run --example on_exit` and press Ctrl-C: the worker ends first, then the cache is
//! closed, then the database, because the cache was opened on top of it.

use std::time::Duration;

use tokio::time::sleep;

#[aiorun::main]
async fn main() {
    open("database");
    open("cache");
    aiorun::spawn(async {
        let _end = WorkerEnd;
        println!("working");
        std::future::pending::<()>().await;
    });
}

/// Whoever opens something says right there how to close it.
fn open(what: &'static str) {
    println!("the {what} is open");
    aiorun::on_exit(format!("close the {what}"), async move {
        sleep(Duration::from_millis(200)).await;
        println!("the {what} is closed");
    });
}

struct WorkerEnd;

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        println!("the worker has ended");
    }
}
