//! The option `crate` tells where `aiorun` is.

#![no_implicit_prelude]

mod framework {
    pub use ::aiorun as runner;
}

use framework::runner as other;

mod aiorun {}

#[other::main(crate = "other", run_forever = false, signals = [], shutdown_timeout = "none")]
async fn quoted() {}

#[other::main(crate = framework::runner, run_forever = false, shutdown_delay = 0)]
async fn bare() {}

macro_rules! entry {
    ($name:ident, $forever:literal, $limit:expr, $signal:literal, $body:block) => {
        #[other::main(crate = $crate::framework::runner, run_forever = $forever, shutdown_timeout = $limit, signals = [$signal])]
        async fn $name() $body
    };
}

entry!(generated, false, 5, "SIGHUP", {});

fn main() {
    let _ = (quoted(), bare(), generated());
}
