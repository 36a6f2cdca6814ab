//! Blocking jobs, and a shutdown that lets all of them end.
//!
//! Type `cargo run --example executor` and press Ctrl-C at once. Two threads work on six jobs of half
//! a second each: main is cancelled at once, and the program ends when the last job is done, those
//! that had not begun included.

use std::thread;
use std::time::Duration;

#[aiorun::main(executor_workers = 2)]
async fn main() {
    let jobs: Vec<_> = (1..=6)
        .map(|number| {
            aiorun::task(format!("job {number}")).spawn_blocking(move || {
                thread::sleep(Duration::from_millis(500));
                println!("job {number} is done");
                number
            })
        })
        .collect();
    println!("six jobs are on their way");

    let mut sum = 0;
    for job in jobs {
        sum += job.await.unwrap_or(0);
    }
    println!("the sum is {sum}, press Ctrl-C");
}
