#[aiorun::main(crate = "nowhere::aiorun", run_forever = false, shutdown_timeout = 5)]
async fn main() {}
