#[aiorun::main]
async fn main() {
    let name = String::from("main");
    drop(name);
    println!("{name}");
}
