//! Pages that are longer than the documentation of one item, in an order to read them in.
//!
//! - [`quick_start`]: from an empty directory to a program that stops well.
//! - [`cancellation`]: how a task is told to end, and what it can do about it.
//! - [`testing`]: how a test learns what a program does when it stops.
//! - [`diagnosing`]: what a program that does not stop is waiting for, and in which line.
//! - [`servers`]: how a server ends without losing a request.
//! - [`databases`]: how a program leaves its database in order.
//! - [`deployment`]: how a program gets on with systemd, Kubernetes, and its own child processes.
//! - [`groups`]: how a program stops in order, and how a part of it stops alone.
//! - [`migrating`]: how a program with tokens and trackers comes here.
//! - [`from_tokio_graceful_shutdown`]: how one with its subsystems does.
//! - [`from_python`]: what people know from the Python package, and where it is here.
//! - [`faq`]: what people ask.

#[doc = include_str!("docs/quick_start.md")]
pub mod quick_start {}

#[doc = include_str!("docs/cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("docs/testing.md")]
pub mod testing {}

#[doc = include_str!("docs/diagnosing.md")]
pub mod diagnosing {}

#[doc = include_str!("docs/servers.md")]
pub mod servers {}

#[doc = include_str!("docs/databases.md")]
pub mod databases {}

#[doc = include_str!("docs/deployment.md")]
pub mod deployment {}

#[doc = include_str!("docs/groups.md")]
pub mod groups {}

#[cfg(feature = "tokio-util")]
#[doc = include_str!("docs/migrating.md")]
pub mod migrating {}

#[doc = include_str!("docs/from_tokio_graceful_shutdown.md")]
pub mod from_tokio_graceful_shutdown {}

#[doc = include_str!("docs/from_python.md")]
pub mod from_python {}

#[doc = include_str!("docs/faq.md")]
pub mod faq {}
