#[aiorun::main(shutdown_timout = 60)]
async fn main() {}
