const MINUTE: u64 = 60;

#[aiorun::main(shutdown_timeout = 2 * MINUTE, shutdown_delay = MINUTE)]
async fn main() {}
