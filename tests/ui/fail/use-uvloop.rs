#[aiorun::main(use_uvloop = true)]
async fn main() {}
