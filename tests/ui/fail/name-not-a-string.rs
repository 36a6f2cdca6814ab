#[aiorun::main(name = 5)]
async fn main() {}
