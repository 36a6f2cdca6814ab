//! A server of hyper for HTTP/1 and HTTP/2 that answers every request it has begun with.
//!
//! Type `cargo run -p ecosystem --bin hyper`, ask it something (`curl` and the address it prints, with
//! any path; `--http2-prior-knowledge` for HTTP/2), and press Ctrl-C.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use aiorun::{Executor, catch_cancel};
use ecosystem::Work;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;

#[aiorun::main]
async fn main() -> io::Result<()> {
    let work = Work::counted();
    let listener = ecosystem::listen().await?;
    // HTTP/2 has a task for every request: with this executor they are tasks like all others.
    let http = auto::Builder::new(Executor::named("request"));
    let connections = GracefulShutdown::new();
    // The outer error is the cancellation.
    while let Ok(accepted) = catch_cancel(listener.accept()).await {
        let (stream, peer) = accepted?;
        let work = work.clone();
        let service = service_fn(move |request| answer(work.clone(), request));
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection.into_owned());
        // Told by what watches it, and never cut.
        aiorun::task(format!("connection of {peer}"))
            .cooperative()
            .spawn(async move { note(peer, connection.await) });
    }
    // Nobody gets in any more. Connections that are idle are closed, others with their last answer.
    drop(listener);
    connections.shutdown().await;
    Ok(())
}

async fn answer(work: Work, request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let request = request.uri().path().trim_start_matches('/');
    Ok(Response::new(work.answer(request).await))
}

/// A client that hangs up is no failure of the server.
fn note(peer: SocketAddr, end: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = end {
        println!("{peer}: {error}");
    }
}
