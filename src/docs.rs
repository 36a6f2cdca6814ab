//! Pages that are longer than the documentation of one item.
//!
//! - [`cancellation`]: how a task is told to end, and what it can do about it.
//! - [`diagnosing`]: what a program that does not stop is waiting for, and in which line.
//! - [`servers`]: how a server ends without losing a request.
//! - [`databases`]: how a program leaves its database in order.
//! - [`deployment`]: how a program gets on with systemd, Kubernetes, and its own child processes.
//! - [`migrating`]: how a program with tokens and trackers comes here.

#[doc = include_str!("docs/cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("docs/diagnosing.md")]
pub mod diagnosing {}

#[doc = include_str!("docs/servers.md")]
pub mod servers {}

#[doc = include_str!("docs/databases.md")]
pub mod databases {}

#[doc = include_str!("docs/deployment.md")]
pub mod deployment {}
#[cfg(feature = "tokio-util")]
#[doc = include_str!("docs/migrating.md")]
pub mod migrating {}
