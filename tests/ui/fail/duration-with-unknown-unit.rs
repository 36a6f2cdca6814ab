#[aiorun::main(shutdown_timeout = "2 weeks")]
async fn main() {}
