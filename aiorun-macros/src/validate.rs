//! What is wrong only together: options with each other, with the attribute, and the function's signature.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::{Attribute, FnArg, Safety, Signature};

use crate::args::{Args, Setting};
use crate::attribute::Role;
use crate::entry::Entry;
use crate::errors::Errors;
use crate::signal::Signal;
use crate::value::Value;

/// Puts everything that is wrong into `errors`.
pub(crate) fn validate(role: Role, args: &Args, entry: &Entry, errors: &mut Errors) {
    flavor(role, args, errors);
    unhandled_errors(args, errors);
    dump_signal(role, args, errors);
    test_timeout(role, args, errors);
    attributes(role, &entry.attrs, errors);
    modifiers(&entry.sig, errors);
    arguments(role, entry, errors);
    generics(role, entry, errors);
}

fn flavor(role: Role, args: &Args, errors: &mut Errors) {
    let multi_thread = match args.get("flavor").map(|flavor| &flavor.value) {
        Some(Some(Value::Choice { word, .. })) => *word == "multi_thread",
        Some(_) => return,
        None => role == Role::Main,
    };
    if let Some(Setting { name, .. }) = args.get("worker_threads").filter(|_| !multi_thread) {
        errors.at(name, format!("`{name}` needs `flavor = \"multi_thread\"`"));
    }
    if let Some(name) = switched_on(args, "start_paused").filter(|_| multi_thread) {
        let message = "needs `flavor = \"current_thread\"` or `flavor = \"local\"`";
        errors.at(name, format!("`{name}` {message}"));
    }
}

fn unhandled_errors(args: &Args, errors: &mut Errors) {
    let handler = args.get("unhandled_error_handler");
    if let (Some(handler), Some(stop)) = (handler, switched_on(args, "stop_on_unhandled_errors")) {
        let name = &handler.name;
        errors.at(
            name,
            format!("`{name}` excludes `{stop}`: give one of them"),
        );
    }
}

/// The name of a switch, if it was given and is on.
fn switched_on<'a>(args: &'a Args, name: &str) -> Option<&'a Ident> {
    let setting = args.get(name)?;
    let on = matches!(&setting.value, Some(Value::Switch(switch)) if switch.value);
    on.then_some(&setting.name)
}

fn dump_signal(role: Role, args: &Args, errors: &mut Errors) {
    let Some(Setting {
        value: Some(Value::Signal(dump)),
        ..
    }) = args.get("dump_signal")
    else {
        return;
    };
    let (stops, remedy) = match args.get("signals").map(|signals| &signals.value) {
        Some(Some(Value::Signals(signals))) => (listed(signals, dump), "choose another"),
        Some(_) => return,
        None => (
            role == Role::Main && is_default(dump),
            "choose another, or set `signals`",
        ),
    };
    if stops {
        let message = format!("`{}` already stops the program: {remedy}", dump.name);
        errors.at(dump, message);
    }
}

fn listed(signals: &[Signal], signal: &Signal) -> bool {
    signals.iter().any(|listed| listed.name == signal.name)
}

fn is_default(signal: &Signal) -> bool {
    matches!(signal.name, "SIGINT" | "SIGTERM")
}

fn test_timeout(role: Role, args: &Args, errors: &mut Errors) {
    if let Some(Setting { name, .. }) = args.get("test_timeout").filter(|_| role == Role::Main) {
        errors.at(
            name,
            format!("`{name}` is an option of `{}` only", Role::Test),
        );
    }
}

fn attributes(role: Role, attrs: &[Attribute], errors: &mut Errors) {
    for attr in attrs.iter().filter(|attr| is_rival(role, attr)) {
        errors.at(
            attr,
            format!("`{role}` does the work of this attribute: remove it"),
        );
    }
}

/// Whether this is another attribute that would start the same function.
pub(crate) fn is_rival(role: Role, attr: &Attribute) -> bool {
    let last = attr.path().segments.last();
    last.is_some_and(|last| match role {
        Role::Main => last.ident == "main",
        Role::Test => last.ident == "test",
    })
}

fn modifiers(sig: &Signature, errors: &mut Errors) {
    if sig.asyncness.is_none() {
        errors.at(
            sig.fn_token,
            format!("`{}` must be an `async fn`", sig.ident),
        );
    }
    let unsafety = match &sig.safety {
        Safety::Unsafe(token) => Some(token.to_token_stream()),
        Safety::Safe(token) => Some(token.to_token_stream()),
        Safety::Default => None,
    };
    let constness = sig.constness.map(ToTokens::into_token_stream);
    let abi = sig.abi.as_ref().map(ToTokens::to_token_stream);
    for modifier in [constness, unsafety, abi].into_iter().flatten() {
        errors.at(&modifier, format!("the function cannot be `{modifier}`"));
    }
}

fn arguments(role: Role, entry: &Entry, errors: &mut Errors) {
    let sig = &entry.sig;
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "the function cannot be variadic");
    }
    if let Some(receiver) = sig.receiver() {
        errors.at(
            receiver,
            format!("`{role}` cannot run a method: remove `self`"),
        );
    } else if role == Role::Main && entry.is_main() && !sig.inputs.is_empty() {
        errors.at(&sig.inputs, "the function `main` takes no arguments");
    }
    for arg in &sig.inputs {
        if let FnArg::Typed(arg) = arg {
            conditions(&arg.attrs, errors);
        }
    }
}

/// An argument is passed on where nothing can be left out.
fn conditions(attrs: &[Attribute], errors: &mut Errors) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("cfg")) {
        errors.at(attr, "an argument cannot be conditional");
    }
}

fn generics(role: Role, entry: &Entry, errors: &mut Errors) {
    let generics = &entry.sig.generics;
    let who = match role {
        Role::Test => "a test",
        Role::Main if entry.is_main() => "the function `main`",
        Role::Main => return,
    };
    if !generics.params.is_empty() {
        errors.at(&generics.params, format!("{who} has no generic parameters"));
    } else if let Some(clause) = &generics.where_clause {
        errors.at(clause, format!("{who} has no `where` clause"));
    }
}
