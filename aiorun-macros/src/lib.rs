//! The attributes of the crate `aiorun`: use them as `#[aiorun::main]` and `#[aiorun::test]`.
//!
//! An attribute goes one way through the stages, each a module of that name:
//! tokens are read into `args` and `entry`, `validate` compares the two, and `expand` writes
//! calls of `aiorun::Builder`. Whatever is wrong is collected in `errors`; if anything was, the
//! `fallback` is written instead. The crate knows syntax only: what an option means and which
//! value it has when it is not given is the business of the runtime crate.

#![expect(
    missing_docs,
    reason = "the documentation stands at the re-exports in the facade"
)]

mod args;
mod attribute;
mod duration;
mod entry;
mod errors;
mod expand;
mod fallback;
mod runtime;
mod signal;
mod spelling;
#[cfg(test)]
mod tests;
mod validate;
mod value;

use attribute::Role;
use proc_macro::TokenStream;

// The program's main function.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    attribute::expand(Role::Main, args.into(), &item.into()).into()
}

// A test.
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    attribute::expand(Role::Test, args.into(), &item.into()).into()
}
