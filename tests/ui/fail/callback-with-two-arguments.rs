#[aiorun::main(shutdown_callback = |handle, signal| {})]
async fn main() {}
