//! The way from an attribute to its expansion, stage by stage.

use std::fmt;

use proc_macro2::TokenStream;
use quote::quote;

use crate::args::Args;
use crate::entry::Entry;
use crate::errors::Errors;
use crate::expand::Expansion;
use crate::fallback::fallback;
use crate::validate::validate;

/// Which of the two attributes is at work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Main,
    Test,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Main => "#[aiorun::main]",
            Role::Test => "#[aiorun::test]",
        })
    }
}

/// Writes what takes the place of the attribute and its item.
pub(crate) fn expand(role: Role, args: TokenStream, item: &TokenStream) -> TokenStream {
    let entry = match Entry::parse(role, item.clone()) {
        Ok(entry) => entry,
        Err(error) => return beside(item, &error),
    };
    let mut errors = Errors::default();
    let args = Args::parse(args, &mut errors);
    validate(role, &args, &entry, &mut errors);
    match errors.finish() {
        Ok(()) => Expansion::new(role, &args, &entry).tokens(),
        Err(error) => beside(&fallback(role, &args, entry), &error),
    }
}

fn beside(item: &TokenStream, error: &syn::Error) -> TokenStream {
    let errors = error.to_compile_error();
    quote!(#item #errors)
}
