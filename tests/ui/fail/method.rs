struct Server;

impl Server {
    #[aiorun::main]
    async fn serve(&self) {}
}

fn main() {
    let _ = Server.serve();
}
