#[aiorun::main(run_forever = true, cooperative, run_forever = false)]
async fn main() {}
