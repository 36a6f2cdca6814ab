#[aiorun::test]
fn works() {}

fn main() {}
