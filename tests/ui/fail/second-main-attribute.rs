#[aiorun::main]
#[tokio::main]
async fn main() {}
