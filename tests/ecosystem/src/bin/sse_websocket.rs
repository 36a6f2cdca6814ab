//! Answers that have no end of their own: a stream of events and a WebSocket, which end when the program
//! is told to stop, and one that does not.
//!
//! Type `cargo run -p ecosystem --bin sse_websocket`, follow `/ticks` at the address it prints, say with
//! `curl -N`, and press Ctrl-C: the stream comes to its end, and so does the program. Follow `/forever`
//! instead, and it takes the three seconds that are its limit.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use aiorun::{cancelled, catch_cancel, shield, stopping};
use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures::stream::{self, Stream, StreamExt as _};
use tokio::time::{sleep, timeout};

#[aiorun::main(shutdown_timeout = 3)]
async fn main() -> io::Result<()> {
    let router = Router::new()
        .route("/ticks", get(ticks))
        .route("/echo", get(echo))
        .route("/forever", get(forever));
    let listener = ecosystem::listen().await?;
    axum::serve(listener, router)
        .with_graceful_shutdown(cancelled())
        .await
}

/// Counts until the program is told to stop, and says so at the end.
async fn ticks() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::iter(1_u64..).then(async |tick| {
        sleep(Duration::from_millis(10)).await;
        Event::default().data(tick.to_string())
    });
    let farewell = stream::iter([Event::default().event("end").data("the server stops")]);
    Sse::new(ticks.take_until(stopping()).chain(farewell).map(Ok))
}

/// A socket is no business of the server's any more, so it gets a task that the shutdown knows.
async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |socket| {
        aiorun::task("socket").spawn(talk(socket));
    })
}

async fn talk(mut socket: WebSocket) {
    // Here the socket waits for its client, and here it is told to stop.
    while let Ok(message) = catch_cancel(socket.recv()).await {
        let Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) = message else {
            return;
        };
        if shield(socket.send(message)).await.is_err() {
            return;
        }
    }
    // A client that does not answer does not keep us.
    let _ = timeout(Duration::from_secs(1), say_goodbye(socket)).await;
}

async fn say_goodbye(mut socket: WebSocket) {
    let away = CloseFrame {
        code: close_code::AWAY,
        reason: "the server stops".into(),
    };
    if socket.send(Message::Close(Some(away))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

/// Nobody tells this one. The server waits for it, and the limit of the shutdown ends both.
async fn forever() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::pending())
}
