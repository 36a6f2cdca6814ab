#[aiorun::main(shutdown_timeout = "60")]
async fn main() {}
