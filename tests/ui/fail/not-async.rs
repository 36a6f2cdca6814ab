#[aiorun::main]
fn main() -> Result<(), String> {
    let one: u8 = 1;
    Ok(drop(one))
}
