#[aiorun::main(shutdown_delay = -0.5)]
async fn main() {}
