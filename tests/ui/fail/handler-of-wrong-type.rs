#[aiorun::main(shutdown_handler = |signal, handle| handle.stop())]
async fn main() {}
