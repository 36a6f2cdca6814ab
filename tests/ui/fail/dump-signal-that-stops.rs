#[aiorun::main(dump_signal = "SIGTERM")]
async fn main() {}
