fn stop(_: u8) {}

#[aiorun::main(shutdown_callback = stop)]
async fn main() {}
