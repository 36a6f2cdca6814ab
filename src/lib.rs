//! The starting point of an async Rust application.

pub use aiorun_core::*;
#[cfg(feature = "macros")]
pub use aiorun_macros::{main, test};
