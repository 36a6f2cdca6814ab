//! A program that is only `#[aiorun::main]`.

#![deny(
    warnings,
    clippy::all,
    clippy::nursery,
    clippy::pedantic,
    clippy::missing_docs_in_private_items
)]

use lint_consumer as _;

#[aiorun::main(run_forever = false)]
async fn main() {}
