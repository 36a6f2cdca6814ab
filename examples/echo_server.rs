//! An echo server that ends well.
//!
//! Type `cargo run --example echo_server`, then, in other terminals,
//! `cargo run --example echo_client` or `nc 127.0.0.1 8888`. Press Ctrl-C in the first one while
//! `nc` is connected: the log tells that the connections are cancelled and awaited, and the exit
//! code is 0. `--addr HOST:PORT` chooses another address; port 0 takes any that is free.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tracing::level_filters::LevelFilter;

#[aiorun::main]
async fn main() -> io::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();

    let listener = TcpListener::bind(address()?).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        // A failed connection is shown as an error; the server goes on.
        aiorun::task(format!("connection of {peer}")).spawn_fallible(echo(stream, peer));
    }
}

async fn echo(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let _goodbye = Goodbye(peer);
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read]).await?,
        }
    }
}

/// Destructors run when a connection ends, and when it is cancelled.
struct Goodbye(SocketAddr);

impl Drop for Goodbye {
    fn drop(&mut self) {
        println!("goodbye, {}", self.0);
    }
}

fn address() -> io::Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok("127.0.0.1:8888".to_owned()),
        ["--addr", address] => Ok(address.to_owned()),
        _ => Err(io::Error::other("usage: echo_server [--addr HOST:PORT]")),
    }
}
