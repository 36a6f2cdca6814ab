#[aiorun::test]
#[test]
async fn works() {}

#[aiorun::test]
#[tokio::test]
async fn works_too() {}

fn main() {}
