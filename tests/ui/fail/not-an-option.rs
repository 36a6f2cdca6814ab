#[aiorun::main("local")]
async fn main() {}
