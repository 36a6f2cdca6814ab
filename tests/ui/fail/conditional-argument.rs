#[aiorun::main]
async fn serve(#[cfg(windows)] _pipe: &str, _address: &str) {}

fn main() {}
