//! A function and its options to the code that runs it. Everything was checked before: this cannot fail.
//!
//! The user's function is nested in one of the same name that builds the runtime and calls it:
//! so its tokens stay as they are, and errors in it are reported where they are. What is generated
//! is resolved by absolute paths, and its variables are invisible to the user's code.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::{
    FnArg, GenericParam, Generics, Pat, PatIdent, PatType, ReturnType, Signature, Token, Type,
};

use crate::args::Args;
use crate::attribute::Role;
use crate::entry::Entry;
use crate::runtime::{Runtime, here, imported};

pub(crate) struct Expansion<'a> {
    role: Role,
    args: &'a Args,
    entry: &'a Entry,
    runtime: Runtime,
}

impl<'a> Expansion<'a> {
    pub(crate) fn new(role: Role, args: &'a Args, entry: &'a Entry) -> Self {
        Expansion {
            role,
            args,
            entry,
            runtime: Runtime::new(args.runtime_crate()),
        }
    }

    pub(crate) fn tokens(&self) -> TokenStream {
        let (import, nested) = (self.runtime.import(), self.nested());
        let run = match self.role {
            Role::Main => self.main(),
            Role::Test => self.test(),
        };
        self.outer(&quote_spanned!(here()=> #import #nested #run))
    }

    fn main(&self) -> TokenStream {
        let (runtime, options, run) = (&self.runtime, self.options(), self.run());
        quote_spanned! {here()=>
            let builder = &mut #runtime::Builder::new();
            #(#options)*
            #run
        }
    }

    fn test(&self) -> TokenStream {
        let (runtime, builder, run) = (&self.runtime, self.test_builder(), self.run());
        let timeout = runtime.limit(self.args.test_timeout());
        let semicolon = self.output().is_none().then(|| Token![;](here()));
        quote_spanned! {here()=>
            #builder
            #runtime::__private::test(builder, #timeout, move |builder: &mut #runtime::Builder| { #run })
            #semicolon
        }
    }

    fn test_builder(&self) -> TokenStream {
        let runtime = &self.runtime;
        let options = self.options();
        if options.is_empty() {
            return quote_spanned!(here()=> let builder = #runtime::__private::test_builder(););
        }
        quote_spanned! {here()=>
            let mut builder = #runtime::__private::test_builder();
            {
                let builder = &mut builder;
                #(#options)*
            }
        }
    }

    /// The function that the item becomes: the user's name and attributes around `body`.
    pub(crate) fn outer(&self, body: &TokenStream) -> TokenStream {
        let Entry {
            attrs, vis, sig, ..
        } = self.entry;
        let arrow = |ty| ReturnType::Type(Token![->](here()), Box::new(Type::Verbatim(ty)));
        let sig = Signature {
            asyncness: None,
            generics: self.generics(),
            inputs: self.inputs().map(FnArg::Typed).collect(),
            output: self.output().map_or(ReturnType::Default, arrow),
            ..sig.clone()
        };
        let test = quote_spanned!(here()=> #[::core::prelude::v1::test]);
        let test = (self.role == Role::Test).then_some(test);
        quote_spanned!(here()=> #(#attrs)* #test #vis #sig { #body })
    }

    /// What `outer` returns. That of a test is needed only where the user's function returns something.
    fn output(&self) -> Option<TokenStream> {
        let path = self.runtime.path();
        match self.role {
            Role::Main => Some(quote_spanned!(here()=> #path::Exit)),
            Role::Test => {
                let code = |_| quote_spanned!(here()=> #path::__private::ExitCode);
                self.entry.returned().map(code)
            }
        }
    }

    /// The user's function as it was written. It has to be async, but neither to await nor to be `Send`.
    pub(crate) fn nested(&self) -> TokenStream {
        let Entry { sig, body, .. } = self.entry;
        quote_spanned! {here()=>
            #[allow(clippy::future_not_send, clippy::unused_async)]
            #sig #body
        }
    }

    /// The user's generics. The lifetimes are marked as generated: lints about lifetimes must not see
    /// those that only the user's return type needed.
    fn generics(&self) -> Generics {
        let mut generics = self.entry.sig.generics.clone();
        for param in generics.lifetimes_mut() {
            let span = param.lifetime.span().resolved_at(here());
            param.lifetime.set_span(span);
        }
        generics
    }

    /// What `outer` takes: the user's types, each under a name that can be passed on.
    fn inputs(&self) -> impl Iterator<Item = PatType> {
        let args = self.entry.sig.inputs.iter().filter_map(|arg| match arg {
            FnArg::Typed(arg) => Some(arg),
            FnArg::Receiver(_) => None,
        });
        args.enumerate().map(|(i, arg)| PatType {
            attrs: Vec::new(),
            pat: Box::new(Pat::Verbatim(name(&arg.pat, i).into_token_stream())),
            ..arg.clone()
        })
    }

    /// A statement for each option, in the user's order.
    fn options(&self) -> Vec<TokenStream> {
        let given = self.args.builder_options();
        let given = given.map(|(name, value)| self.runtime.option(name, value));
        given.chain(self.implied()).collect()
    }

    /// A test stops on unhandled errors unless it handles them itself.
    fn implied(&self) -> Option<TokenStream> {
        let given = |name| self.args.get(name).is_some();
        let implied = self.role == Role::Test
            && given("unhandled_error_handler")
            && !given("stop_on_unhandled_errors");
        implied.then(|| quote_spanned!(here()=> builder.stop_on_unhandled_errors(false);))
    }

    /// Calls the function and runs what it returns, on a worker thread if it can be sent there.
    fn run(&self) -> TokenStream {
        let (runtime, call) = (&self.runtime, self.call());
        let (start, _) = self.returned_ends();
        if !self.entry.is_plain() {
            return quote_spanned!(start=> builder.run(#call));
        }
        let blamed = imported(start);
        let reported = quote_spanned!(start=> #blamed::__private::reported);
        quote_spanned! {here()=>
            let main = #reported(#call);
            {
                use #runtime::__private::{LocalEntry as _, SendEntry as _};
                (&&#runtime::__private::probe(&main)).entry().run(builder, main)
            }
        }
    }

    /// The call of the user's function. It is put where the return type is, which is to blame if
    /// what is returned does not fit.
    fn call(&self) -> TokenStream {
        let (start, end) = self.returned_ends();
        let Signature {
            ident, generics, ..
        } = &self.entry.sig;
        let mut callee = ident.clone();
        callee.set_span(ident.span().located_at(start));
        let types = generics
            .params
            .iter()
            .filter_map(generic_argument)
            .collect::<Vec<_>>();
        let turbofish = (!types.is_empty()).then(|| quote_spanned!(start=> ::<#(#types),*>));
        let names = self.inputs().map(|input| input.pat);
        let mut args = Group::new(Delimiter::Parenthesis, quote_spanned!(end=> #(#names),*));
        args.set_span(ident.span().located_at(end));
        quote_spanned!(start=> #callee #turbofish #args)
    }

    /// Where the return type begins and ends; where there is none, the function's name.
    fn returned_ends(&self) -> (Span, Span) {
        let tokens = match self.entry.returned() {
            Some(ty) => ty.to_token_stream(),
            None => self.entry.sig.ident.to_token_stream(),
        };
        let mut spans = tokens
            .into_iter()
            .map(|token| here().located_at(token.span()));
        let start = spans.next().unwrap_or_else(here);
        (start, spans.last().unwrap_or(start))
    }
}

/// The name under which the outer function takes its argument number `i`: the user's own, so that
/// options may use it, but not one that says it is unused.
fn name(pat: &Pat, i: usize) -> Ident {
    match pat {
        Pat::Ident(PatIdent {
            by_ref: None,
            ident,
            subpat: None,
            ..
        }) if !ident.to_string().starts_with('_') => ident.clone(),
        _ => format_ident!("arg{i}", span = here()),
    }
}

/// What stands for the parameter in a turbofish. Lifetimes are always inferred.
fn generic_argument(param: &GenericParam) -> Option<&Ident> {
    match param {
        GenericParam::Lifetime(_) => None,
        GenericParam::Type(param) => Some(&param.ident),
        GenericParam::Const(param) => Some(&param.ident),
    }
}
