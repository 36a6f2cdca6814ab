#[aiorun::main]
struct Main;

#[aiorun::test]
mod tests {}

fn main() {}
