#[aiorun::main(flavor = "locale", run_forever = 0)]
async fn main() {}
