#[aiorun::main]
async fn main() {
    let answer = 42;
    answer
}
