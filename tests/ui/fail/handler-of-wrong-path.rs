#[aiorun::main(shutdown_handler = decide, unhandled_error_handler = note)]
async fn main() {}

fn decide(_: &aiorun::Signal) {}

async fn note(_: u8) {}
