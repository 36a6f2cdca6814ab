const COOPERATIVE: bool = true;

#[aiorun::main(run_forever = "no", cooperative = COOPERATIVE)]
async fn main() {}
