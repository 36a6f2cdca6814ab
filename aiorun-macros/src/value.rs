//! What an option takes, and what it was given.

use std::time::Duration;

use quote::{ToTokens, quote};
use syn::{Expr, ExprClosure, ExprLit, Ident, Lit, LitBool, LitStr, Path, UnOp};

use crate::duration;
use crate::errors::Errors;
use crate::signal::Signal;
use crate::spelling;

/// The sort of value that an option takes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// One of some words, each a variant of an enum of the runtime crate.
    Choice(&'static Choice),
    /// An integer of at least 1.
    Count,
    /// `true` or `false`.
    Switch,
    /// As `Switch`; the bare name of the option is `true`.
    Flag,
    /// A duration.
    Length,
    /// A duration or `"none"`.
    Limit,
    /// A path or a closure.
    Function(&'static Params),
    /// A list of names of signals.
    Signals,
    /// The name of a signal.
    Signal,
    /// Anything that becomes a `String`.
    Text,
    /// The path of a crate.
    Crate,
}

/// An enum of the runtime crate, and the word for each of its variants.
pub(crate) struct Choice {
    pub(crate) ty: &'static str,
    pub(crate) words: &'static [(&'static str, &'static str)],
}

/// The parameters of a closure, of which it may leave out those beyond `needed`.
pub(crate) struct Params {
    pub(crate) needed: usize,
    pub(crate) types: &'static [Param],
}

/// The type of a parameter, by its name in the runtime crate.
pub(crate) enum Param {
    Owned(&'static str),
    Borrowed(&'static str),
}

/// A value that was read and found right.
pub(crate) enum Value {
    Choice {
        ty: &'static str,
        word: &'static str,
        variant: &'static str,
    },
    Count(Expr),
    Switch(LitBool),
    Length(Length),
    Limit(Option<Length>),
    Function {
        function: Expr,
        params: &'static Params,
    },
    Signals(Vec<Signal>),
    Signal(Signal),
    Text(Expr),
    Crate(Path),
}

/// A duration: known now, or only when the program runs.
pub(crate) enum Length {
    Known(Duration),
    Expr(Expr),
}

impl Kind {
    /// Reads the value given to the option `name`.
    pub(crate) fn read(self, name: &Ident, value: Option<Expr>) -> syn::Result<Value> {
        match value {
            Some(value) => self.read_expr(name, ungrouped(&value)),
            None if matches!(self, Kind::Flag) => {
                Ok(Value::Switch(LitBool::new(true, name.span())))
            }
            None => {
                let message = format!("`{name}` needs a value: {}", self.allowed());
                Err(syn::Error::new_spanned(name, message))
            }
        }
    }

    fn read_expr(self, name: &Ident, value: &Expr) -> syn::Result<Value> {
        let read = match self {
            Kind::Choice(choice) => choice.read(name, value)?,
            Kind::Count => read_count(value),
            Kind::Switch | Kind::Flag => read_switch(value),
            Kind::Length => read_length(value)?.map(Value::Length),
            Kind::Limit => read_limit(value)?,
            Kind::Function(params) => params.read(name, value)?,
            Kind::Signals => read_signals(value)?,
            Kind::Signal => read_signal(value)?.map(Value::Signal),
            Kind::Text => read_text(value),
            Kind::Crate => read_crate(value).map(Value::Crate),
        };
        let message = || format!("`{name}` takes {}", self.allowed());
        read.ok_or_else(|| syn::Error::new_spanned(value, message()))
    }

    /// What may be given, for a message.
    fn allowed(self) -> String {
        let allowed = match self {
            Kind::Choice(choice) => return spelling::choice(choice.quoted()),
            Kind::Count => "an integer of at least 1, or an expression of type `usize`",
            Kind::Switch | Kind::Flag => "`true` or `false`",
            Kind::Length => LENGTH,
            Kind::Limit => return format!("{LENGTH}, or `\"none\"`"),
            Kind::Function(_) => "a function: a path or a closure",
            Kind::Signals => "a list of names, as in `[\"SIGINT\", \"SIGTERM\"]`, or `[]`",
            Kind::Signal => "the name of a signal, as in `\"SIGUSR1\"`",
            Kind::Text => "a string, or an expression that becomes one",
            Kind::Crate => "the path of the crate `aiorun`, as in `\"my::aiorun\"`",
        };
        allowed.to_owned()
    }
}

const LENGTH: &str = "a duration: a number of seconds (`60`, `0.5`), a string with units (`\"1m30s\"`) \
                      or an expression of type `Duration`";

impl Choice {
    fn words(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.words.iter().map(|(word, _)| *word)
    }

    fn quoted(&self) -> impl Iterator<Item = String> {
        self.words().map(|word| format!("\"{word}\""))
    }

    fn read(&self, name: &Ident, value: &Expr) -> syn::Result<Option<Value>> {
        let Some(literal) = string(value) else {
            return Ok(None);
        };
        let given = literal.value();
        let Some(&(word, variant)) = self.words.iter().find(|(word, _)| *word == given) else {
            let advice = spelling::advice(&given, self.words());
            let message = format!("unknown value `{given}` of `{name}`: {advice}");
            return Err(syn::Error::new_spanned(literal, message));
        };
        Ok(Some(Value::Choice {
            ty: self.ty,
            word,
            variant,
        }))
    }
}

impl Params {
    fn read(&'static self, name: &Ident, value: &Expr) -> syn::Result<Option<Value>> {
        if let Expr::Closure(closure) = value {
            self.check(name, closure)?;
        }
        let fits = !matches!(value, Expr::Lit(_) | Expr::Async(_)) && !is_negative(value);
        Ok(fits.then(|| Value::Function {
            function: value.clone(),
            params: self,
        }))
    }

    fn check(&self, name: &Ident, closure: &ExprClosure) -> syn::Result<()> {
        let ExprClosure {
            inputs_begin,
            inputs,
            inputs_end,
            ..
        } = closure;
        let wrong = match inputs.iter().nth(self.types.len()) {
            Some(extra) => extra.to_token_stream(),
            None if inputs.len() < self.needed => quote!(#inputs_begin #inputs #inputs_end),
            None => return Ok(()),
        };
        let message = format!("a closure for `{name}` takes {}", self.count());
        Err(syn::Error::new_spanned(wrong, message))
    }

    fn count(&self) -> String {
        let most = self.types.len();
        let limit = if self.needed < most { "at most " } else { "" };
        let plural = if most == 1 { "" } else { "s" };
        format!("{limit}{most} argument{plural}")
    }
}

fn read_count(value: &Expr) -> Option<Value> {
    let fits = match literal(value) {
        Some(Lit::Int(count)) => {
            matches!(count.suffix(), "" | "usize") && matches!(count.base10_parse::<u64>(), Ok(1..))
        }
        Some(_) => false,
        None => !is_negative(value),
    };
    fits.then(|| Value::Count(value.clone()))
}

fn read_switch(value: &Expr) -> Option<Value> {
    match literal(value)? {
        Lit::Bool(switch) => Some(Value::Switch(switch.clone())),
        _ => None,
    }
}

fn read_length(value: &Expr) -> syn::Result<Option<Length>> {
    if is_negative(value) {
        let message = "a duration cannot be negative";
        return Err(syn::Error::new_spanned(value, message));
    }
    let Some(literal) = literal(value) else {
        return Ok(Some(Length::Expr(value.clone())));
    };
    match duration::read(literal) {
        Some(Ok(length)) => Ok(Some(Length::Known(length))),
        Some(Err(message)) => Err(syn::Error::new_spanned(literal, message)),
        None => Ok(None),
    }
}

fn read_limit(value: &Expr) -> syn::Result<Option<Value>> {
    let word = match value {
        Expr::Path(path) => path.path.get_ident().map(Ident::to_string),
        value => string(value).map(LitStr::value),
    };
    match word.as_deref() {
        Some("none") if string(value).is_some() => Ok(Some(Value::Limit(None))),
        Some("none" | "None") => {
            let message = "write `\"none\"` for no limit";
            Err(syn::Error::new_spanned(value, message))
        }
        _ => Ok(read_length(value)?.map(|length| Value::Limit(Some(length)))),
    }
}

fn read_signals(value: &Expr) -> syn::Result<Option<Value>> {
    let Expr::Array(list) = value else {
        return Ok(None);
    };
    let mut errors = Errors::default();
    let mut signals: Vec<Signal> = Vec::new();
    for element in &list.elems {
        match errors.keep(read_signal(element)) {
            Some(Some(signal)) if signals.iter().any(|earlier| earlier.name == signal.name) => {
                errors.at(&signal, format!("`{}` is in the list already", signal.name));
            }
            Some(Some(signal)) => signals.push(signal),
            Some(None) => errors.at(
                element,
                "expected the name of a signal, as in `\"SIGTERM\"`",
            ),
            None => {}
        }
    }
    errors.finish().map(|()| Some(Value::Signals(signals)))
}

fn read_signal(value: &Expr) -> syn::Result<Option<Signal>> {
    string(value).cloned().map(Signal::read).transpose()
}

fn read_text(value: &Expr) -> Option<Value> {
    let fits = matches!(literal(value), None | Some(Lit::Str(_))) && !is_negative(value);
    fits.then(|| Value::Text(value.clone()))
}

fn read_crate(value: &Expr) -> Option<Path> {
    match value {
        Expr::Path(path) if path.qself.is_none() => Some(path.path.clone()),
        value => string(value)?.parse_with(Path::parse_mod_style).ok(),
    }
}

/// The expression without the invisible brackets that a macro puts around what it was given.
fn ungrouped(value: &Expr) -> &Expr {
    match value {
        Expr::Group(group) => ungrouped(&group.expr),
        value => value,
    }
}

fn literal(value: &Expr) -> Option<&Lit> {
    match ungrouped(value) {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    }
}

fn string(value: &Expr) -> Option<&LitStr> {
    match literal(value)? {
        Lit::Str(text) => Some(text),
        _ => None,
    }
}

fn is_negative(value: &Expr) -> bool {
    matches!(value, Expr::Unary(minus)
        if matches!(minus.op, UnOp::Neg(_)) && literal(&minus.expr).is_some())
}
