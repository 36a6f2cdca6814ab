//! What the measurements have in common.

pub mod contender;
#[cfg(feature = "peers")]
pub mod peer;
pub mod workload;
