#[aiorun::main]
async fn main() {
    aiorun::spawn(async { println!("hello from a task") });
}
