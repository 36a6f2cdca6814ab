#[aiorun::main(shutdown_timeout = 60s)]
async fn main() {}
