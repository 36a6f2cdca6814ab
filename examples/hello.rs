//! The smallest program: main starts a task and returns, and the program runs on.
//!
//! Type `cargo run --example hello`: you see `hello from a task`. Press Ctrl-C, and the program ends
//! with the exit code 0.

#[aiorun::main]
async fn main() {
    aiorun::spawn(async { println!("hello from a task") });
}
