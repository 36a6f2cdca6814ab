//! A service of systemd; its unit file is beside it.
//!
//! Type `socat -u UNIX-RECV:/tmp/notify -` to listen in the place of systemd and, in another terminal,
//! `NOTIFY_SOCKET=/tmp/notify cargo run --example systemd`. Press Ctrl-C there: you see that the
//! service is ready, that it stops, that it asks for the time that this takes, and what it waits for,
//! which is the end of the order in hand.

use std::time::Duration;

use aiorun::{catch_cancel, shield};
use tokio::time::sleep;

#[aiorun::main(shutdown_timeout = 120)]
async fn main() {
    println!("the shop is being swept");
    sleep(Duration::from_millis(200)).await;
    aiorun::task("worker").critical().spawn(work());
    // Until here systemd waits before it starts what needs us.
    aiorun::ready();
    println!("the shop is open");
}

async fn work() {
    while catch_cancel(sleep(Duration::from_millis(100)))
        .await
        .is_ok()
    {
        shield(pack()).await;
    }
}

async fn pack() {
    println!("packing an order");
    sleep(Duration::from_secs(1)).await;
    println!("an order is packed");
}
