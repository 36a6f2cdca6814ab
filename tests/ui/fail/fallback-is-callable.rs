// What is called here is the repaired function: the one error is about the option.

mod server {
    #[aiorun::main(nmae = "server")]
    pub async fn serve<T: Clone>(_address: &str, _limit: T) -> Result<(), String> {
        Err("unreachable".to_owned())
    }
}

fn main() -> aiorun::Exit {
    server::serve("localhost", 5)
}
