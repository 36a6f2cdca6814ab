#[aiorun::main(flavor = "curent_thread")]
async fn main() {}
