#[aiorun::main(flavor = local)]
async fn main() {}
