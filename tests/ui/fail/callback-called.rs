async fn stop() {}

#[aiorun::main(shutdown_callback = stop())]
async fn main() {}
