#[aiorun::main(flavor("local"), run_forever = false)]
async fn main() {}
