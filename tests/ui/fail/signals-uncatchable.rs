#[aiorun::main(signals = ["SIGINT", "SIGKILL"], dump_signal = "SIGSEGV")]
async fn main() {}
