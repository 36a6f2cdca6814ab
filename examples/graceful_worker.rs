//! A worker that finishes what it has in hand and gives back what it has not begun.
//!
//! Type `cargo run --example graceful_worker` and press Ctrl-C at once: the order that is being
//! packed is packed to its end, and the others go back to the shop they came from. None is lost and
//! none is half packed.

use std::time::Duration;

use aiorun::{catch_cancel, shield};
use tokio::sync::mpsc;
use tokio::time::sleep;

#[aiorun::main]
async fn main() {
    let (orders, queue) = mpsc::channel(10);
    let (returns, returned) = mpsc::channel(10);
    // The shop is open for as long as somebody may bring an order back.
    aiorun::shutdown_waits_for(shop(orders, returned));
    aiorun::task("packer").spawn(packer(queue, returns));
}

async fn packer(mut queue: mpsc::Receiver<u32>, returns: mpsc::Sender<u32>) {
    // Here a cancellation is received, and only here: either there is an order, or there is an
    // `Err`, and never is an order taken and lost. If Ctrl-C was pressed while the packer packed,
    // the next round yields `Err` without a look at the queue, however many orders wait there.
    while let Ok(order) = catch_cancel(queue.recv()).await {
        match order {
            // The awaits in `pack` are left alone until it is done.
            Some(order) => shield(pack(order)).await,
            None => return,
        }
    }
    // This cleanup must succeed, whoever else cancels the task.
    shield(give_back(queue, returns)).await;
}

async fn pack(order: u32) {
    println!("packing order {order}");
    sleep(Duration::from_millis(500)).await;
    println!("order {order} is packed");
}

async fn give_back(mut queue: mpsc::Receiver<u32>, returns: mpsc::Sender<u32>) {
    queue.close();
    while let Some(order) = queue.recv().await {
        // It fails when there is no shop any more.
        let _ = returns.send(order).await;
    }
}

async fn shop(orders: mpsc::Sender<u32>, mut returned: mpsc::Receiver<u32>) {
    for order in 1..=10 {
        // It fails when there is no packer any more.
        let _ = orders.send(order).await;
    }
    while let Some(order) = returned.recv().await {
        println!("the shop has order {order} again");
    }
    println!("the shop closes");
}
