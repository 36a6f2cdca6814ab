//! What is written at `#[aiorun::main]` and `#[aiorun::test]`, and beneath them.
#![no_main]

use libfuzzer_sys::fuzz_target;

// A crate of procedural macros has nothing to call from outside.
#[path = "../../aiorun-macros/src/args.rs"]
mod args;
#[path = "../../aiorun-macros/src/attribute.rs"]
mod attribute;
#[path = "../../aiorun-macros/src/duration.rs"]
mod duration;
#[path = "../../aiorun-macros/src/entry.rs"]
mod entry;
#[path = "../../aiorun-macros/src/errors.rs"]
mod errors;
#[path = "../../aiorun-macros/src/expand.rs"]
mod expand;
#[path = "../../aiorun-macros/src/fallback.rs"]
mod fallback;
#[path = "../../aiorun-macros/src/runtime.rs"]
mod runtime;
#[path = "../../aiorun-macros/src/signal.rs"]
mod signal;
#[path = "../../aiorun-macros/src/spelling.rs"]
mod spelling;
#[path = "../../aiorun-macros/src/validate.rs"]
mod validate;
#[path = "../../aiorun-macros/src/value.rs"]
mod value;

#[path = "../../aiorun-macros/src/tests/any_text.rs"]
mod any_text;

fuzz_target!(|text: &str| any_text::check(text));
