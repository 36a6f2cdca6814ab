struct Failure;

#[aiorun::main]
async fn main() -> Result<(), Failure> {
    Err(Failure)
}
