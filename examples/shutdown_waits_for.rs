//! Work that the shutdown waits for.
//!
//! Type `cargo run --example shutdown_waits_for` and press Ctrl-C at once: you see `oh noes!`
//! immediately, for the task that awaits the work is cancelled like any other; and `done!` three
//! seconds after the start, for the work itself is not. Only then does the program end.

use std::time::Duration;

use tokio::time::sleep;

#[aiorun::main]
async fn main() {
    let _oh_noes = OnDrop("oh noes!");
    println!("working");
    let work = aiorun::shutdown_waits_for(async {
        sleep(Duration::from_secs(3)).await;
        println!("done!");
    });
    // Who does not care for the end of the work need not await it.
    match work.await {
        Ok(()) => println!("nobody has pressed Ctrl-C in time"),
        Err(error) => println!("{error}"),
    }
}

/// Says something when it is dropped, at the end of a task or at its cancellation.
struct OnDrop(&'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        println!("{}", self.0);
    }
}
