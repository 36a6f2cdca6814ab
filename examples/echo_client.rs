//! A client of `echo_server`: it sends one message, prints the answer and stops itself.
//!
//! Type `cargo run --example echo_server` in one terminal and
//! `cargo run --example echo_client` in another. You see `the server says: hello`, and the program
//! ends by itself. `--addr HOST:PORT` chooses another address.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[aiorun::main]
async fn main() -> io::Result<()> {
    let mut stream = TcpStream::connect(address()?).await?;
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    println!("the server says: {}", String::from_utf8_lossy(&answer));

    // Without this line the program would go on until Ctrl-C.
    aiorun::stop();
    Ok(())
}

fn address() -> io::Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok("127.0.0.1:8888".to_owned()),
        ["--addr", address] => Ok(address.to_owned()),
        _ => Err(io::Error::other("usage: echo_client [--addr HOST:PORT]")),
    }
}
