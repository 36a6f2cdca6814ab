#[aiorun::main]
async fn main(threads: usize, name: &str) {
    println!("{threads} {name}");
}
