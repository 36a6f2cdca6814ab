//! Names of signals.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::LitStr;

use crate::spelling;

const NAMES: [&str; 16] = [
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH", "SIGIO",
];
const UNCATCHABLE: [&str; 2] = ["SIGKILL", "SIGSTOP"];
const FAULTS: [&str; 5] = ["SIGSEGV", "SIGILL", "SIGFPE", "SIGBUS", "SIGABRT"];

/// A signal that somebody can send to ask for something; its tokens are the literal that names it.
pub(crate) struct Signal {
    pub(crate) name: &'static str,
    pub(crate) literal: LitStr,
}

impl Signal {
    pub(crate) fn read(literal: LitStr) -> syn::Result<Self> {
        let word = literal.value();
        match NAMES.into_iter().find(|name| *name == word) {
            Some(name) => Ok(Signal { name, literal }),
            None => Err(syn::Error::new_spanned(literal, refusal(&word))),
        }
    }

    /// The name of the associated constant of `aiorun::Signal`.
    pub(crate) fn constant(&self) -> &'static str {
        &self.name["SIG".len()..]
    }
}

impl ToTokens for Signal {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.literal.to_tokens(tokens);
    }
}

fn refusal(word: &str) -> String {
    let upper = word.to_uppercase();
    let full = format!("SIG{}", upper.trim_start_matches("SIG"));
    if UNCATCHABLE.contains(&full.as_str()) {
        format!("`{full}` cannot be caught")
    } else if FAULTS.contains(&full.as_str()) {
        format!("`{full}` is a fault of the program, not a request to it")
    } else if NAMES.contains(&full.as_str()) {
        format!("unknown signal `{word}`: did you mean `{full}`?")
    } else {
        format!("unknown signal `{word}`: {}", spelling::advice(word, NAMES))
    }
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn refusals() {
        for (word, expected) in [
            ("INT", "unknown signal `INT`: did you mean `SIGINT`?"),
            ("term", "unknown signal `term`: did you mean `SIGTERM`?"),
            ("sighup", "unknown signal `sighup`: did you mean `SIGHUP`?"),
            (
                "SIGUSR3",
                "unknown signal `SIGUSR3`: did you mean `SIGUSR1`?",
            ),
            (
                "Ctrl-C",
                "unknown signal `Ctrl-C`: expected `SIGHUP`, `SIGINT`, ",
            ),
            ("SIGKILL", "`SIGKILL` cannot be caught"),
            ("kill", "`SIGKILL` cannot be caught"),
            (
                "SIGBUS",
                "`SIGBUS` is a fault of the program, not a request to it",
            ),
        ] {
            let message = refusal(word);
            assert!(message.starts_with(expected), "{word}: {message}");
        }
    }
}
