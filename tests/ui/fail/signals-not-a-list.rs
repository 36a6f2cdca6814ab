#[aiorun::main(signals = "SIGINT")]
async fn main() {}
