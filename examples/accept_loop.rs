//! A server that stops accepting when it is cancelled, and lets its connections finish what they do.
//!
//! Type `cargo run --example accept_loop` and, in another terminal, `nc 127.0.0.1 8888`. Send a line
//! and press Ctrl-C in the first terminal at once: nobody gets in any more, the line is still
//! answered, the connection says goodbye, and then the program ends. An address may be given as an
//! argument: `127.0.0.1:0` takes any port that is free.

use std::io;
use std::time::Duration;

use aiorun::{catch_cancel, shield};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

#[aiorun::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8888")).await?;
    println!("listening on {}", listener.local_addr()?);

    // Two errors are possible: the outer is the cancellation, the inner is that of `accept`.
    while let Ok(accepted) = catch_cancel(listener.accept()).await {
        let (stream, peer) = accepted?;
        // A task of its own has a cancellation of its own, which says nothing about main's.
        aiorun::task(format!("connection of {peer}")).spawn_fallible(serve(stream));
    }
    drop(listener);
    println!("nobody gets in any more");
    Ok(())
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    // A connection that waits for its client is cancelled there.
    while let Ok(line) = catch_cancel(lines.next_line()).await {
        let Some(line) = line? else { return Ok(()) };
        // One that works for its client is not. It is cancelled when it waits for the next line.
        shield(answer(&line, &mut writer)).await?;
    }
    writer.write_all(b"goodbye\n").await
}

async fn answer(line: &str, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    println!("working on {line}");
    sleep(Duration::from_secs(1)).await;
    let answer: String = line.chars().rev().collect();
    writer.write_all(format!("{answer}\n").as_bytes()).await
}
