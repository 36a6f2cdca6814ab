//! Whatever is written at an attribute, Rust comes out, and nothing panics. `fuzz/` looks for texts where
//! it does not; those that it has found interesting are tried here.

use proc_macro2::TokenStream;
use syn::{File, Item, ItemFn};

use crate::attribute::{Role, expand};

/// Tries the options of the first line on the item in the others; on a main where there are none.
pub(crate) fn check(text: &str) {
    let (options, item) = text
        .split_once('\n')
        .unwrap_or((text, "async fn main() {}"));
    let (Ok(options), Ok(item)) = (options.parse::<TokenStream>(), item.parse::<TokenStream>())
    else {
        return;
    };
    for role in [Role::Main, Role::Test] {
        let expansion = expand(role, options.clone(), &item);
        let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
            // What is wrong in a body is for the compiler to say, where it is.
            let body = item.clone().into_iter().last().map(|body| body.to_string());
            let is_kept = body.is_some_and(|body| expansion.to_string().contains(&body));
            assert!(is_kept || is_refused(&expansion), "{role}: {expansion}");
            continue;
        };
        let is_method = function.sig.receiver().is_some();
        if is_method || function.sig.asyncness.is_none() {
            assert!(is_refused(&expansion), "{role}: {expansion}");
        }
        if is_method {
            // It is no item by itself.
            continue;
        }
        let expanded = syn::parse2::<File>(expansion.clone())
            .unwrap_or_else(|error| panic!("{role}: {error} in {expansion}"));
        let defined = expanded
            .items
            .iter()
            .any(|item| matches!(item, Item::Fn(outer) if outer.sig.ident == function.sig.ident));
        assert!(defined, "{role}: who calls it finds nothing in {expansion}");
    }
}

fn is_refused(expansion: &TokenStream) -> bool {
    expansion.to_string().contains("compile_error")
}
