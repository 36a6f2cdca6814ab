#[aiorun::main(repeat_signal = "kill", signal_exit_status = "signals")]
async fn main() {}
