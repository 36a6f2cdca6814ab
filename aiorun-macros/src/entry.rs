//! The function under the attribute: tokens to [`Entry`].

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, ReturnType, Signature, Type, Visibility};

use crate::attribute::Role;

/// A function item. Its body is kept as it was written and never read.
pub(crate) struct Entry {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Entry {
    /// Reads an item that the compiler has found well-formed: an error means it is no function.
    pub(crate) fn parse(role: Role, item: TokenStream) -> syn::Result<Self> {
        let misplaced = |error: syn::Error| {
            let message = format!("`{role}` belongs on an `async fn` with a body");
            syn::Error::new(error.span(), message)
        };
        let parser = |input: ParseStream| {
            Ok(Entry {
                attrs: input.call(Attribute::parse_outer)?,
                vis: input.parse()?,
                sig: input.parse()?,
                body: read_body(input)?,
            })
        };
        parser.parse2(item).map_err(misplaced)
    }

    /// Whether the name makes it the main function of a program.
    pub(crate) fn is_main(&self) -> bool {
        self.sig.ident == "main"
    }

    /// Whether it has neither arguments nor generics.
    pub(crate) fn is_plain(&self) -> bool {
        self.sig.inputs.is_empty() && self.sig.generics.params.is_empty()
    }

    /// The return type, if it is one worth writing.
    pub(crate) fn returned(&self) -> Option<&Type> {
        match &self.sig.output {
            ReturnType::Type(_, ty) if !is_unit(ty) => Some(ty),
            _ => None,
        }
    }
}

fn read_body(input: ParseStream) -> syn::Result<Group> {
    let missing = input.error("expected a body");
    braces(input.parse()?).ok_or(missing)
}

/// The block, taken out of the invisible brackets that a macro puts around what it was given.
fn braces(tree: TokenTree) -> Option<Group> {
    match tree {
        TokenTree::Group(group) => match group.delimiter() {
            Delimiter::Brace => Some(group),
            Delimiter::None => group.stream().into_iter().next().and_then(braces),
            _ => None,
        },
        _ => None,
    }
}

fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}
