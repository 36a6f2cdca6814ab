const THREADS: u32 = 4;

#[aiorun::main(worker_threads = THREADS)]
async fn main() {}
