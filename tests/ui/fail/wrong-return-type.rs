struct Outcome;

#[aiorun::main]
async fn main() -> Option<Outcome> {
    None
}
