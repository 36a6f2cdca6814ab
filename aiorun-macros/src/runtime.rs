//! The runtime crate as generated code names it: its path, and the options as calls of its `Builder`.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::{Expr, ExprClosure, Pat, Path, Token};

use crate::signal::Signal;
use crate::value::{Length, Param, Params, Value};

/// Where generated tokens are: at the attribute, with variables that the user's code does not see.
pub(crate) fn here() -> Span {
    Span::mixed_site()
}

/// The name of the imported crate at `place`: errors about what is named with it are reported there.
pub(crate) fn imported(place: Span) -> Ident {
    Ident::new("__aiorun", here().located_at(place))
}

/// The runtime crate. Its tokens are the name that it is imported by.
pub(crate) struct Runtime {
    path: TokenStream,
}

impl ToTokens for Runtime {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        imported(here()).to_tokens(tokens);
    }
}

impl Runtime {
    pub(crate) fn new(path: Option<&Path>) -> Self {
        let given = path.map(ToTokens::to_token_stream);
        Runtime {
            path: given.unwrap_or_else(|| quote_spanned!(here()=> ::aiorun)),
        }
    }

    /// The path as the user gave it, for where nothing can be imported.
    pub(crate) fn path(&self) -> &TokenStream {
        &self.path
    }

    /// The import. With it, a wrong path is one error and not one for each of its uses.
    pub(crate) fn import(&self) -> TokenStream {
        let path = &self.path;
        quote_spanned!(here()=> use #path as #self;)
    }

    /// The call of the method of `builder` that has the name of the option.
    pub(crate) fn option(&self, name: &Ident, value: &Value) -> TokenStream {
        let value = self.value(name, value);
        let mut method = name.clone();
        method.set_span(here().located_at(name.span()));
        quote_spanned!(here()=> builder.#method(#value);)
    }

    fn value(&self, name: &Ident, value: &Value) -> TokenStream {
        match value {
            Value::Choice { ty, variant, .. } => {
                let (ty, variant) = (Ident::new(ty, here()), Ident::new(variant, here()));
                quote_spanned!(here()=> #self::#ty::#variant)
            }
            Value::Count(expr) | Value::Text(expr) => expr.to_token_stream(),
            Value::Switch(switch) => switch.to_token_stream(),
            Value::Length(length) => self.length(length),
            Value::Limit(limit) => self.limit(limit.as_ref().map(|length| (name, length))),
            Value::Function { function, params } => self.function(function, params),
            Value::Signals(signals) => self.signals(signals),
            Value::Signal(signal) => self.signal(signal),
            Value::Crate(path) => path.to_token_stream(),
        }
    }

    /// The duration that the option of this name was given, or no duration.
    pub(crate) fn limit(&self, given: Option<(&Ident, &Length)>) -> TokenStream {
        let option = quote_spanned!(here()=> #self::__private::Option);
        let Some((name, length)) = given else {
            return quote_spanned!(here()=> #option::None);
        };
        let value = self.length(length);
        if let Length::Known(_) = length {
            return quote_spanned!(here()=> #option::Some(#value));
        }
        let place = here().located_at(name.span());
        let runtime = imported(place);
        let duration = quote_spanned!(place=> #runtime::__private::Duration);
        quote_spanned!(here()=> { let limit: #duration = #value; #option::Some(limit) })
    }

    fn length(&self, length: &Length) -> TokenStream {
        match length {
            Length::Known(length) => {
                let seconds = Literal::u64_unsuffixed(length.as_secs());
                let nanos = Literal::u32_unsuffixed(length.subsec_nanos());
                quote_spanned!(here()=> #self::__private::Duration::new(#seconds, #nanos))
            }
            Length::Expr(expr) => expr.to_token_stream(),
        }
    }

    fn signals(&self, signals: &[Signal]) -> TokenStream {
        if signals.is_empty() {
            return quote_spanned!(here()=> [] as [#self::Signal; 0]);
        }
        let signals = signals.iter().map(|signal| self.signal(signal));
        quote_spanned!(here()=> [#(#signals),*])
    }

    fn signal(&self, signal: &Signal) -> TokenStream {
        let constant = Ident::new(signal.constant(), here());
        quote_spanned!(here()=> #self::Signal::#constant)
    }

    fn function(&self, function: &Expr, params: &Params) -> TokenStream {
        match function {
            Expr::Closure(closure) => self.closure(closure, params),
            path => path.to_token_stream(),
        }
    }

    /// Gives each parameter its type where the user left it to be inferred, which the compiler
    /// cannot do through the traits by which the runtime crate accepts functions.
    fn closure(&self, closure: &ExprClosure, params: &Params) -> TokenStream {
        let mut closure = closure.clone();
        for (input, param) in closure.inputs.iter_mut().zip(params.types) {
            if !matches!(input, Pat::Type(_)) {
                let ty = self.param(param);
                *input = Pat::Verbatim(quote_spanned!(here()=> #input: #ty));
            }
        }
        closure.into_token_stream()
    }

    fn param(&self, param: &Param) -> TokenStream {
        let (borrow, ty) = match param {
            Param::Owned(ty) => (None, ty),
            Param::Borrowed(ty) => (Some(Token![&](here())), ty),
        };
        let ty = Ident::new(ty, here());
        quote_spanned!(here()=> #borrow #self::#ty)
    }
}
