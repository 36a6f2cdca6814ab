//! Answers without an end, which end all the same.

use std::net::SocketAddr;

use futures::{SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::get;
use crate::program::Program;

const ADDRESS: &str = "127.0.0.5:0";

async fn start() -> (Program, SocketAddr) {
    let mut server = Program::start(env!("CARGO_BIN_EXE_sse_websocket"), ADDRESS);
    let address = server.wait_for("listening on ").await.parse();
    (server, address.expect("an address"))
}

/// The events that come next, as a text. `None` at the end of the stream.
async fn events(stream: &mut Incoming) -> Option<String> {
    let frame = stream.frame().await?.expect("a stream without an error");
    let data = frame.into_data().expect("no trailers");
    Some(String::from_utf8_lossy(&data).into_owned())
}

#[aiorun::test]
async fn a_stream_of_events_comes_to_its_end() {
    let (server, address) = start().await;
    let mut stream = get(address, "/ticks").await.into_body();
    while !events(&mut stream)
        .await
        .expect("it goes on")
        .contains("data: 3")
    {}
    server.signal(Signal::TERM);
    let mut last = String::new();
    while let Some(events) = events(&mut stream).await {
        last = events;
    }
    assert!(
        last.ends_with("event: end\ndata: the server stops\n\n"),
        "{last:?}"
    );
    server.finish().await.well();
}

/// A socket that has been answered once.
async fn socket(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = client_async("ws://localhost/echo", stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let echo = socket.next().await.expect("an answer").unwrap();
    assert_eq!(echo, Message::text("hello"));
    socket
}

#[aiorun::test]
async fn a_socket_is_told_goodbye() {
    let (server, address) = start().await;
    let mut socket = socket(address).await;
    server.signal(Signal::TERM);
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else {
        panic!("the server closes the socket");
    };
    assert_eq!(
        (frame.code, frame.reason.as_str()),
        (CloseCode::Away, "the server stops")
    );
    assert!(socket.next().await.is_none(), "that was the last message");
    server.finish().await.well();
}

#[aiorun::test]
async fn a_socket_whose_client_is_silent_does_not_hold_the_exit() {
    let (server, address) = start().await;
    // Nobody reads from it, so nobody answers to the goodbye.
    let socket = socket(address).await;
    server.signal(Signal::TERM);
    server.finish().await.well();
    drop(socket);
}

#[aiorun::test]
async fn a_stream_that_is_not_told_is_cut_at_the_limit() {
    let (server, address) = start().await;
    let stream = get(address, "/forever").await.into_body();
    server.signal(Signal::TERM);
    let ended = server.finish().await;
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let complaint = "1 task did not end within the limit";
    assert!(ended.stderr.contains(complaint), "{ended:#?}");
    // Of the server it is main that waits, in this file.
    assert!(ended.stderr.contains("main spawned at"), "{ended:#?}");
    assert!(ended.stderr.contains("sse_websocket.rs"), "{ended:#?}");
    let cut = stream.collect().await;
    assert!(cut.is_err(), "it had no end");
}
