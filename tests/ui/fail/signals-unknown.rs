#[aiorun::main(signals = ["INT", "SIGTERN", "Ctrl-C"])]
async fn main() {}
