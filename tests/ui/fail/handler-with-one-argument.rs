#[aiorun::main(shutdown_handler = |signal| aiorun::SignalAction::Stop)]
async fn main() {}
