//! A task that cleans up with awaits when it is cancelled.
//!
//! Type `cargo run --example catch_cancel` and press Ctrl-C: the lecture stops in the middle of a
//! sentence, the speaker takes half a second to say goodbye, and only then the program ends. The
//! light is a task without a `catch_cancel`: all that it can do is what its destructors do.

use std::time::Duration;

use aiorun::catch_cancel;
use tokio::time::sleep;

#[aiorun::main]
async fn main() {
    aiorun::task("speaker").spawn(speak());
    let light = Light;
    aiorun::task("light").spawn(async move {
        std::future::pending::<()>().await;
        drop(light);
    });
}

async fn speak() {
    // Python's `try`.
    match catch_cancel(lecture()).await {
        Ok(sentences) => println!("all {sentences} sentences are said"),
        // Python's `except CancelledError`. The lecture has been dropped at the await where it was,
        // with all that it owned. The task goes on, and the program waits for it.
        Err(cancelled) => {
            println!("I have to go: {cancelled}");
            sleep(Duration::from_millis(500)).await;
            println!("Goodbye!");
        }
    }
    // Python's `finally`: whatever stands behind the `match`.
    println!("the speaker leaves");
}

async fn lecture() -> u32 {
    for sentence in 1..=100 {
        println!("sentence {sentence} begins");
        sleep(Duration::from_secs(1)).await;
        println!("sentence {sentence} ends");
    }
    100
}

struct Light;

impl Drop for Light {
    fn drop(&mut self) {
        println!("the light goes out");
    }
}
