#[aiorun::main]
async fn serve(_address: &str) -> Vec<u8> {
    Vec::new()
}

fn main() {
    let _ = serve("localhost");
}
