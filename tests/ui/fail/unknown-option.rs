#[aiorun::main(graceful = true)]
async fn main() {}
