#[aiorun::main]
async fn main() -> Result<(), String> {
    let one: u8 = "one";
    if one == 1 {
        return Err(1);
    }
    Ok("done")
}
