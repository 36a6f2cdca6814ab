//! Services for each tenant, as a group: one leaves, and the others go on.
//!
//! Type `cargo run --example tenants`: after a second bob's services are stopped, alone, and what is left
//! is listed. Then press Ctrl-C: the other tenants end first, and the ledger when it has heard of all.

use std::time::Duration;

use aiorun::{Group, catch_cancel};
use tokio::sync::mpsc;
use tokio::time::sleep;

#[aiorun::main]
async fn main() {
    let (entries, book) = mpsc::channel(8);
    // Cancelled when all tenants have ended, for they are of phase 0.
    aiorun::task("ledger").shutdown_phase(1).spawn(ledger(book));
    let tenants = aiorun::group("tenants");
    let [_, bob, _] = ["ann", "bob", "eve"].map(|name| {
        let tenant = tenants.group(name);
        serve(&tenant, entries.clone());
        tenant
    });
    sleep(Duration::from_secs(1)).await;
    let report = bob.shutdown(Duration::from_secs(5)).await;
    println!("{} has left: {}", bob.name(), report.tasks);
    for task in tenants.tasks() {
        println!("still there: {task}");
    }
}

/// Starts the services of one tenant.
fn serve(tenant: &Group, entries: mpsc::Sender<String>) {
    let (orders, mut queue) = mpsc::channel(8);
    tenant.task("shop").spawn(async move {
        for order in 1_u32.. {
            // It fails when there is no packer any more.
            if orders.send(order).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    let name = tenant.name().to_owned();
    tenant.task("packer").spawn(async move {
        while let Ok(Some(order)) = catch_cancel(queue.recv()).await {
            let _ = entries.send(format!("{name} packed order {order}")).await;
        }
        let _ = entries.send(format!("{name} closed the shop")).await;
    });
}

/// Writes down what all tenants tell it, to the last word.
async fn ledger(mut book: mpsc::Receiver<String>) {
    while let Ok(Some(entry)) = catch_cancel(book.recv()).await {
        println!("{entry}");
    }
    // Nobody is left to add to it.
    while let Ok(entry) = book.try_recv() {
        println!("{entry}");
    }
    println!("the ledger is closed");
}
