//! Everything on one thread, with tasks that need not be `Send`.
//!
//! Type `cargo run --example current_thread` and press Ctrl-C after a few seconds: two tasks count
//! together, in one `Rc<Cell<u32>>`, and main's thread is the only one that they ever run on. With
//! `flavor = "current_thread"` it is the same, and only `spawn_local` is missing.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use tokio::time::sleep;

#[aiorun::main(flavor = "local")]
async fn main() {
    let counter = Rc::new(Cell::new(0));
    let home = thread::current().id();
    for name in ["tick", "tock"] {
        let counter = Rc::clone(&counter);
        aiorun::task(name).spawn_local(async move {
            loop {
                counter.set(counter.get() + 1);
                let at_home = thread::current().id() == home;
                println!("{name} {}, on main's thread: {at_home}", counter.get());
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
}
