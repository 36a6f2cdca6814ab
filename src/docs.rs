//! Pages that are longer than the documentation of one item.
//!
//! - [`cancellation`]: how a task is told to end, and what it can do about it.

#[doc = include_str!("docs/cancellation.md")]
pub mod cancellation {}
