//! The options of an attribute: tokens to [`Args`].

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Ident, Path, Token};

use crate::errors::Errors;
use crate::spelling;
use crate::value::{Choice, Kind, Length, Param, Params, Value};

/// Every option there is. All but `crate` and `test_timeout` are methods of the runtime's `Builder`.
const OPTIONS: [(&str, Kind); 22] = [
    ("flavor", Kind::Choice(&FLAVORS)),
    ("worker_threads", Kind::Count),
    ("thread_stack_size", Kind::Count),
    ("executor_workers", Kind::Count),
    ("run_forever", Kind::Switch),
    ("cooperative", Kind::Flag),
    ("stop_on_unhandled_errors", Kind::Flag),
    ("shutdown_timeout", Kind::Limit),
    ("timeout_task_shutdown", Kind::Limit),
    ("timeout_executor_shutdown", Kind::Limit),
    ("shutdown_delay", Kind::Length),
    ("shutdown_callback", Kind::Function(&CALLBACK)),
    ("shutdown_handler", Kind::Function(&SHUTDOWN_HANDLER)),
    ("unhandled_error_handler", Kind::Function(&ERROR_HANDLER)),
    ("signals", Kind::Signals),
    ("repeat_signal", Kind::Choice(&REPEATS)),
    ("signal_exit_status", Kind::Choice(&STATUSES)),
    ("dump_signal", Kind::Signal),
    ("start_paused", Kind::Flag),
    ("test_timeout", Kind::Length),
    ("name", Kind::Text),
    ("crate", Kind::Crate),
];

const FLAVORS: Choice = Choice {
    ty: "Flavor",
    words: &[
        ("multi_thread", "MultiThread"),
        ("current_thread", "CurrentThread"),
        ("local", "Local"),
    ],
};
const REPEATS: Choice = Choice {
    ty: "RepeatSignal",
    words: &[
        ("auto", "Auto"),
        ("ignore", "Ignore"),
        ("abort", "Abort"),
        ("exit", "Exit"),
    ],
};
const STATUSES: Choice = Choice {
    ty: "SignalExitStatus",
    words: &[("success", "Success"), ("signal", "Signal")],
};

const CALLBACK: Params = Params {
    needed: 0,
    types: &[Param::Owned("Handle")],
};
const SHUTDOWN_HANDLER: Params = Params {
    needed: 2,
    types: &[Param::Owned("Signal"), Param::Borrowed("Handle")],
};
const ERROR_HANDLER: Params = Params {
    needed: 1,
    types: &[Param::Borrowed("UnhandledError")],
};

/// Options of the Python package and of tokio's attributes, and what there is instead.
const FOREIGN: [(&str, &str); 6] = [
    ("use_uvloop", "choose the runtime with `flavor`"),
    ("loop", "choose the runtime with `flavor`"),
    (
        "executor",
        "set its number of threads with `executor_workers`",
    ),
    ("max_blocking_threads", "its name is `executor_workers`"),
    ("core_threads", "its name is `worker_threads`"),
    ("unhandled_panic", "use `stop_on_unhandled_errors`"),
];

/// The options that were given, in their order, each once.
#[derive(Default)]
pub(crate) struct Args(Vec<Setting>);

/// An option as it was given; without a value, if that was wrong.
pub(crate) struct Setting {
    pub(crate) name: Ident,
    pub(crate) value: Option<Value>,
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Args::default();
        let parser = |input: ParseStream| {
            while !input.is_empty() {
                let read = args.read_next(input, errors);
                if errors.keep(read).is_none() {
                    skip(input);
                }
            }
            Ok(())
        };
        let read = parser.parse2(tokens);
        errors.keep(read);
        args
    }

    /// Reads one option and the comma behind it. An error is returned if it leaves the option half
    /// read; others go to `errors`.
    fn read_next(&mut self, input: ParseStream, errors: &mut Errors) -> syn::Result<()> {
        let name = read_name(input)?;
        let kind = self.kind(&name)?;
        let (value, rest) = match read_value(&name, input) {
            Ok(given) => (errors.keep(kind.read(&name, given)), read_comma(input)),
            Err(error) => (None, Err(error)),
        };
        self.0.push(Setting { name, value });
        rest
    }

    fn kind(&self, name: &Ident) -> syn::Result<Kind> {
        let word = name.to_string();
        let Some((_, kind)) = OPTIONS.into_iter().find(|(known, _)| *known == word) else {
            let message = format!("unknown option `{word}`: {}", advice(&word));
            return Err(syn::Error::new_spanned(name, message));
        };
        if self.get(&word).is_some() {
            let message = format!("`{word}` is given twice");
            return Err(syn::Error::new_spanned(name, message));
        }
        Ok(kind)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Setting> {
        debug_assert!(
            OPTIONS.iter().any(|(known, _)| *known == name),
            "{name} is an option"
        );
        self.0.iter().find(|setting| setting.name == name)
    }

    /// The path of the runtime crate, if it goes by another name.
    pub(crate) fn runtime_crate(&self) -> Option<&Path> {
        match &self.get("crate")?.value {
            Some(Value::Crate(path)) => Some(path),
            _ => None,
        }
    }

    pub(crate) fn test_timeout(&self) -> Option<(&Ident, &Length)> {
        match self.get("test_timeout")? {
            Setting {
                name,
                value: Some(Value::Length(length)),
            } => Some((name, length)),
            _ => None,
        }
    }

    /// The options that are methods of the runtime's `Builder`.
    pub(crate) fn builder_options(&self) -> impl Iterator<Item = (&Ident, &Value)> {
        let of_builder = |name: &Ident| name != "crate" && name != "test_timeout";
        let given = self
            .0
            .iter()
            .filter(move |setting| of_builder(&setting.name));
        given.filter_map(|setting| Some((&setting.name, setting.value.as_ref()?)))
    }
}

fn read_name(input: ParseStream) -> syn::Result<Ident> {
    let name = input.call(Ident::parse_any);
    name.map_err(|error| syn::Error::new(error.span(), "expected the name of an option"))
}

/// What to write instead of an unknown option.
fn advice(word: &str) -> String {
    match FOREIGN.into_iter().find(|(foreign, _)| *foreign == word) {
        Some((_, instead)) => instead.to_owned(),
        None => spelling::advice(word, OPTIONS.iter().map(|(known, _)| *known)),
    }
}

/// Reads what follows the name of an option, which may be nothing.
fn read_value(name: &Ident, input: ParseStream) -> syn::Result<Option<Expr>> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(None);
    }
    let message = format!("expected `=` and a value after `{name}`");
    let equals = input.parse::<Token![=]>();
    equals.map_err(|error| syn::Error::new(error.span(), message))?;
    input.parse().map(Some)
}

fn read_comma(input: ParseStream) -> syn::Result<()> {
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok(())
}

/// Skips what is left of an option, to behind the comma after which the next one seems to begin.
fn skip(input: ParseStream) {
    while !input.is_empty() {
        let is_comma = input.peek(Token![,]);
        let _ = input.parse::<TokenTree>();
        if is_comma && begins_option(input) {
            break;
        }
    }
}

fn begins_option(input: ParseStream) -> bool {
    let ahead = input.fork();
    let named = ahead.call(Ident::parse_any).is_ok();
    named && (ahead.is_empty() || ahead.peek(Token![,]) || ahead.peek(Token![=]))
}
