//! The service manager: what it is told of a run, in the protocol of systemd's `sd_notify`.
//!
//! The control thread tells it, which nobody can hold up, and it does not wait for an answer: what
//! finds no room in the manager's socket is told later, as things are then.

#[cfg(all(target_os = "linux", feature = "systemd"))]
#[path = "manager/systemd.rs"]
mod backend;
#[cfg(not(all(target_os = "linux", feature = "systemd")))]
#[path = "manager/none.rs"]
mod backend;

pub(crate) use backend::Manager;
