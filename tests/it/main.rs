//! The public interface, from inside: whole runs, tasks, shutdowns, failures, and the test
//! attribute. No real signal and, but for limits that have to expire, no real clock:
//! `Handle::raise` stands in for the kernel.

#![cfg(all(feature = "macros", feature = "multi-thread", feature = "signals"))]

mod attribute;
mod auto_traits;
mod bare;
mod callback;
mod cancel_everywhere;
mod cancellation;
mod catch_cancel;
mod checkpoint;
mod cooperative;
mod delay;
mod dump;
#[cfg(feature = "hyper")]
mod executor;
mod exit_code;
mod failure;
mod group;
mod handler;
mod hook;
mod inert;
mod join;
mod life;
mod limit;
mod newcomer;
mod options;
mod owner;
mod paused;
mod question_mark;
mod race;
mod repeat;
mod request;
mod section;
mod server;
mod shield;
mod shutdown;
mod shutdown_phase;
mod stop;
mod supervise;
mod task;
mod testing;
#[expect(unreachable_pub, reason = "another package has it too")]
mod text;
#[cfg(feature = "tokio-util")]
mod token;
mod trial;
mod verdict;
mod waker;
