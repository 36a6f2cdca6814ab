//! The programs of this package as child processes, under load, with a signal in the middle.
//!
//! Of servers this is counted: a request is *begun* when the server's handler has it, and whatever was
//! begun has to be answered, completely, to the client that asked. Both sides count, and the numbers have
//! to agree; no request is sent twice, so if they do, each one that was begun was answered. A request that
//! the server never began with is not lost: its connection was refused, or it was on its way, in the queue
//! of a socket that nobody accepts from any more or over an idle connection that was just being closed, and
//! a client may ask again elsewhere. Before the signal not even that may happen. Where clients are told
//! before the server stops (`behind_a_balancer`), it may not happen at all.
//!
//! Of databases: what was taken in hand is booked before the program ends, what was acknowledged is there
//! for ever, and nothing is there by half, even after SIGKILL.

mod client;
mod cluster;
mod ledger;
mod program;
mod server;
mod stream;
mod tokens;
