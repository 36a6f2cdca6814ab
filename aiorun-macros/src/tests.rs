//! Tests of the whole way from an attribute to its expansion.

mod expansions;
mod messages;
