#[aiorun::main(shutdown_timeout = "a minute")]
async fn main() {}
