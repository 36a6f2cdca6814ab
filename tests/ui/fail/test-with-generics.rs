#[aiorun::test]
async fn works<T>() {}

fn main() {}
