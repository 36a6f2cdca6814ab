#[aiorun::main]
async fn serve(_address: Address) {}

fn main() {}
