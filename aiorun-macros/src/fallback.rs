//! What is written beside errors: a function that can be called like the one that was meant, with
//! the user's body inside, so that the compiler adds no errors of its own to ours.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::{Generics, Safety, Signature, Token};

use crate::args::Args;
use crate::attribute::Role;
use crate::entry::Entry;
use crate::expand::Expansion;
use crate::validate::is_rival;

pub(crate) fn fallback(role: Role, args: &Args, mut entry: Entry) -> TokenStream {
    entry.attrs.retain(|attr| !is_rival(role, attr));
    if entry.sig.receiver().is_some() {
        return method(&entry);
    }
    entry.sig = repaired(entry.sig);
    let nested = Expansion::new(role, args, &entry).nested();
    if role == Role::Test || entry.is_main() {
        entry.sig.generics = Generics::default();
        entry.sig.inputs.clear();
    }
    let body =
        quote_spanned!(Span::mixed_site()=> #[allow(dead_code)] #nested ::core::unreachable!());
    Expansion::new(role, args, &entry).outer(&body)
}

/// A method stays one: a function nested in it could not take `self`.
fn method(entry: &Entry) -> TokenStream {
    let Entry {
        attrs,
        vis,
        sig,
        body,
    } = entry;
    quote_spanned!(Span::mixed_site()=> #(#attrs)* #vis #sig #body)
}

fn repaired(sig: Signature) -> Signature {
    Signature {
        constness: None,
        asyncness: sig
            .asyncness
            .or_else(|| Some(Token![async](sig.fn_token.span))),
        safety: Safety::Default,
        abi: None,
        variadic: None,
        ..sig
    }
}
