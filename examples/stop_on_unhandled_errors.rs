//! A failure that nobody looks at stops the program.
//!
//! Type `cargo run --example stop_on_unhandled_errors; echo $?`. One second later you see the error
//! of the task `price feed` with the place where it was started, and the exit code 1. Without the
//! option the error is shown as well, and the program goes on.

use std::time::Duration;

use tokio::time::sleep;

#[aiorun::main(stop_on_unhandled_errors)]
async fn main() {
    // Nobody awaits it.
    aiorun::task("price feed").spawn_fallible(follow_prices());

    // This failure is awaited: it is seen, and stops nothing.
    let number = aiorun::spawn_fallible(async { "fourty-two".parse::<u32>() });
    if let Ok(Err(error)) = number.await {
        println!("no number: {error}");
    }
}

async fn follow_prices() -> Result<(), String> {
    sleep(Duration::from_secs(1)).await;
    Err("the exchange has closed the connection".into())
}
