//! A service that gets nobody new, finishes what it has, and then closes its pool.
//!
//! Type `cargo run --example readiness`, ask for `/order` and `/ready`, and press Ctrl-C: for two seconds
//! orders are taken, but `/ready` says no. Then the server ends, the packer when all is packed, and the
//! pool is closed. An address may be given.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

#[aiorun::main(shutdown_delay = 2, shutdown_timeout = 30)]
async fn main() -> io::Result<()> {
    // Stands for a pool of connections to a database.
    let pool = Arc::new(Semaphore::new(4));
    aiorun::on_exit("close the pool", close(Arc::clone(&pool)));
    let (orders, queue) = mpsc::channel(100);
    // It ends when the server has, and with it all who may order.
    aiorun::task("packer").protected().spawn(pack(queue, pool));
    let router = Router::new()
        .route("/order", get(order))
        .route("/ready", get(ready))
        .with_state(orders);
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, router)
        .with_graceful_shutdown(aiorun::cancelled())
        .await
}

/// From the signal on nobody new is to be sent here.
async fn ready() -> StatusCode {
    if aiorun::is_stopping() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

async fn order(State(orders): State<mpsc::Sender<()>>) -> StatusCode {
    let ordered = orders.send(()).await;
    ordered.map_or(StatusCode::INTERNAL_SERVER_ERROR, |()| StatusCode::ACCEPTED)
}

async fn pack(mut orders: mpsc::Receiver<()>, pool: Arc<Semaphore>) {
    while let Some(()) = orders.recv().await {
        let _connection = pool.acquire().await.expect("it is closed after us");
        sleep(Duration::from_millis(50)).await;
        println!("packed");
    }
}

async fn close(pool: Arc<Semaphore>) {
    let _all = pool.acquire_many(4).await;
    pool.close();
    println!("the pool is closed");
}
