#[aiorun::main]
async fn main<T>()
where
    T: Default,
{
    let _ = T::default();
}
