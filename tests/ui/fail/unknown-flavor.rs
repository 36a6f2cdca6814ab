#[aiorun::main(flavor = "single")]
async fn main() {}
