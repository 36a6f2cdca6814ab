//! A server of axum that answers every request it has begun with.
//!
//! Type `cargo run -p ecosystem --bin axum`, ask it something (`curl` and the address it prints, with
//! any path), and press Ctrl-C: idle connections are closed, requests in hand are answered, and the
//! program ends.

use std::io;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use ecosystem::Work;

#[aiorun::main]
async fn main() -> io::Result<()> {
    let router = Router::new()
        .route("/{request}", get(answer))
        .with_state(Work::counted());
    let listener = ecosystem::listen().await?;
    axum::serve(listener, router)
        .with_graceful_shutdown(aiorun::cancelled())
        .await
}

async fn answer(State(work): State<Work>, Path(request): Path<String>) -> String {
    work.answer(&request).await
}
