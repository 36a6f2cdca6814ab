//! Whatever `fn main` may return, the functions under the attribute may.

use std::convert::Infallible;
use std::error::Error;
use std::process::{ExitCode, Termination};

#[aiorun::main(run_forever = false)]
async fn nothing() {}

#[aiorun::main(run_forever = false)]
async fn unit() -> () {}

#[aiorun::main(run_forever = false)]
async fn result() -> Result<(), Box<dyn Error>> {
    "5".parse::<u8>()?;
    Ok(())
}

#[aiorun::main(run_forever = false)]
async fn code() -> ExitCode {
    ExitCode::SUCCESS
}

#[aiorun::main(run_forever = false)]
async fn nested() -> Result<ExitCode, Infallible> {
    Ok(ExitCode::SUCCESS)
}

#[aiorun::main(run_forever = false)]
async fn opaque() -> impl Termination {
    ExitCode::SUCCESS
}

#[aiorun::main(run_forever = false)]
async fn opaque_of_argument(code: &u8) -> impl Termination {
    ExitCode::from(*code)
}

#[aiorun::main]
async fn never() -> ! {
    std::process::exit(0)
}

fn main() {
    for run in [nothing, unit, result, code, nested, opaque] {
        let exit: aiorun::Exit = run();
        assert!(exit.is_success());
    }
    assert!(!opaque_of_argument(&5).is_success());
    let _ = never();
}
