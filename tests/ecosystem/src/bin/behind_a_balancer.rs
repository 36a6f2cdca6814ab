//! A server behind a load balancer, that refuses nobody and interrupts nobody.
//!
//! Type `cargo run -p ecosystem --bin behind_a_balancer`, ask it for `/ready` at the address it prints,
//! and press Ctrl-C: for ten seconds everything is served as before, but `/ready` says no, so that the
//! balancer sends everybody elsewhere. Another Ctrl-C ends the delay, and the server leaves.

use std::io;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use ecosystem::Work;

#[aiorun::main(shutdown_delay = 10)]
async fn main() -> io::Result<()> {
    let router = Router::new()
        .route("/ready", get(ready))
        .route("/{request}", get(answer))
        .with_state(Work::counted());
    let listener = ecosystem::listen().await?;
    axum::serve(listener, router)
        .with_graceful_shutdown(aiorun::cancelled())
        .await
}

/// True from the signal on, where `cancelled()` is of the end of the delay.
async fn ready() -> StatusCode {
    if aiorun::is_stopping() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

async fn answer(State(work): State<Work>, Path(request): Path<String>) -> String {
    work.answer(&request).await
}
