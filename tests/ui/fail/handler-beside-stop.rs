#[aiorun::main(stop_on_unhandled_errors, unhandled_error_handler = |_| {})]
async fn main() {}
