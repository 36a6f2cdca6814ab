//! A server for Kubernetes; the manifest and the Dockerfile are beside it.
//!
//! Type `cargo run --example kubernetes`, ask for `/ready` at the address it prints, and press Ctrl-C:
//! for ten seconds everything is served as before, but `/ready` says no. Another Ctrl-C ends the delay,
//! and the server leaves. An address may be given as an argument.

use std::io;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

#[aiorun::main(
    shutdown_delay = 10,
    timeout_task_shutdown = 20,
    timeout_executor_shutdown = 10,
    shutdown_timeout = 45
)]
async fn main() -> io::Result<()> {
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/ready", get(ready));
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("0.0.0.0:8080")).await?;
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
