//! What the measurements have in common.

pub mod contender;
pub mod gauge;
#[cfg(feature = "peers")]
pub mod peer;
pub mod sample;
pub mod workload;
