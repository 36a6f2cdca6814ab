//! Pages that are longer than the documentation of one item.
//!
//! - [`cancellation`]: how a task is told to end, and what it can do about it.
//! - [`diagnosing`]: what a program that does not stop is waiting for, and in which line.

#[doc = include_str!("docs/cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("docs/diagnosing.md")]
pub mod diagnosing {}
