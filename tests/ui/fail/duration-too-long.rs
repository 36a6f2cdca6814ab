#[aiorun::main(shutdown_timeout = 18446744073709551616)]
async fn main() {}
