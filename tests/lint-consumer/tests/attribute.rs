//! Functions under `#[aiorun::test]`.

#![deny(
    warnings,
    clippy::all,
    clippy::nursery,
    clippy::pedantic,
    missing_docs,
    unused
)]

use std::process::ExitCode;
use std::time::Duration;

use lint_consumer as _;

const LIMIT: Duration = Duration::from_secs(5);

#[aiorun::test]
async fn nothing() {}

#[aiorun::test(flavor = "multi_thread", worker_threads = 2, test_timeout = 5)]
async fn something() {
    std::future::ready(()).await;
}

#[aiorun::test(flavor = "local", test_timeout = LIMIT, unhandled_error_handler = |_| ())]
async fn fallible() -> Result<(), Box<dyn std::error::Error>> {
    let _: u8 = "5".parse()?;
    Ok(())
}

#[aiorun::test]
async fn code() -> ExitCode {
    std::future::ready(ExitCode::SUCCESS).await
}

#[aiorun::test]
#[should_panic(expected = "as it should")]
async fn panics() {
    std::future::ready(()).await;
    panic!("as it should");
}

#[aiorun::test]
#[ignore = "only to see that it is ignored"]
async fn ignored() {
    panic!("not ignored");
}
