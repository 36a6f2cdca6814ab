#[aiorun::main(test_timeout = 5)]
async fn main() {}
