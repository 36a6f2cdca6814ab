#[aiorun::main(shutdown_timeout = None)]
async fn main() {}
