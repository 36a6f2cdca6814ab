#[aiorun::main]
async fn main() {
    sreve().await;
}
