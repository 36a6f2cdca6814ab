//! Messages as they are collected.

use quote::quote;
use syn::{File, Item, LitStr};

use crate::attribute::{Role, expand};

#[test]
fn messages_about_names() {
    for (options, expected) in [
        (
            "flavour",
            "unknown option `flavour`: did you mean `flavor`?",
        ),
        ("Flavor", "unknown option `Flavor`: did you mean `flavor`?"),
        (
            "worker-threads = 1",
            "unknown option `worker`: expected `flavor`, `worker_threads`, ",
        ),
        (
            "loop = uvloop",
            "unknown option `loop`: choose the runtime with `flavor`",
        ),
        (
            "flavor",
            "`flavor` needs a value: `\"multi_thread\"`, `\"current_thread\"` or `\"local\"`",
        ),
        ("flavor =", "expected an expression"),
        ("flavor = , cooperative", "expected an expression"),
        ("flavor(local)", "expected `=` and a value after `flavor`"),
        (
            "flavor: \"local\"",
            "expected `=` and a value after `flavor`",
        ),
    ] {
        assert_messages(Role::Main, options, &[expected]);
    }
}

#[test]
fn messages_about_choices_and_numbers() {
    for (options, expected) in [
        ("flavor = local", "`flavor` takes `\"multi_thread\"`, "),
        (
            "flavor = \"Local\"",
            "unknown value `Local` of `flavor`: did you mean `local`?",
        ),
        (
            "flavor = \"single\"",
            "unknown value `single` of `flavor`: expected `multi_thread`, ",
        ),
        ("flavor = \"local\" cooperative", "expected `,`"),
        ("\"local\"", "expected the name of an option"),
        (
            "cooperative, cooperative = false",
            "`cooperative` is given twice",
        ),
        ("cooperative = 1", "`cooperative` takes `true` or `false`"),
        (
            "run_forever",
            "`run_forever` needs a value: `true` or `false`",
        ),
        (
            "run_forever = FOREVER",
            "`run_forever` takes `true` or `false`",
        ),
        (
            "worker_threads = 0",
            "`worker_threads` takes an integer of at least 1",
        ),
        (
            "worker_threads = -1",
            "`worker_threads` takes an integer of at least 1",
        ),
        (
            "worker_threads = 4u8",
            "`worker_threads` takes an integer of at least 1",
        ),
        (
            "worker_threads = 1.5",
            "`worker_threads` takes an integer of at least 1",
        ),
        (
            "worker_threads = 18446744073709551616",
            "`worker_threads` takes an integer of at least",
        ),
    ] {
        assert_messages(Role::Main, options, &[expected]);
    }
}

#[test]
fn messages_about_durations_and_functions() {
    for (options, expected) in [
        (
            "shutdown_timeout = true",
            "`shutdown_timeout` takes a duration: a number of seconds",
        ),
        ("shutdown_timeout = None", "write `\"none\"` for no limit"),
        (
            "shutdown_timeout = \"None\"",
            "write `\"none\"` for no limit",
        ),
        ("shutdown_timeout = -5", "a duration cannot be negative"),
        (
            "shutdown_timeout = 60s",
            "a duration with a unit is a string: `\"60s\"`",
        ),
        ("shutdown_delay = \"none\"", "`none` is not a duration"),
        (
            "shutdown_callback = \"stop\"",
            "`shutdown_callback` takes a function: a path or a closure",
        ),
        (
            "shutdown_callback = async {}",
            "`shutdown_callback` takes a function: a path or a closure",
        ),
        (
            "shutdown_callback = |a, b| {}",
            "a closure for `shutdown_callback` takes at most 1 argument",
        ),
        (
            "shutdown_handler = |a, b, c| {}",
            "a closure for `shutdown_handler` takes 2 arguments",
        ),
    ] {
        assert_messages(Role::Main, options, &[expected]);
    }
}

#[test]
fn messages_about_signals_and_paths() {
    for (options, expected) in [
        ("signals = \"SIGINT\"", "`signals` takes a list of names"),
        (
            "signals = [1]",
            "expected the name of a signal, as in `\"SIGTERM\"`",
        ),
        (
            "signals = [\"INT\"]",
            "unknown signal `INT`: did you mean `SIGINT`?",
        ),
        (
            "signals = [\"SIGHUP\", \"SIGHUP\"]",
            "`SIGHUP` is in the list already",
        ),
        (
            "dump_signal = 10",
            "`dump_signal` takes the name of a signal, as in `\"SIGUSR1\"`",
        ),
        (
            "dump_signal = \"SIGTERM\"",
            "`SIGTERM` already stops the program: choose another, or set `signals`",
        ),
        (
            "signals = [\"SIGHUP\"], dump_signal = \"SIGHUP\"",
            "`SIGHUP` already stops the program: choose another",
        ),
        (
            "name = 5",
            "`name` takes a string, or an expression that becomes one",
        ),
        ("crate = 5", "`crate` takes the path of the crate `aiorun`"),
        (
            "crate = \"a b\"",
            "`crate` takes the path of the crate `aiorun`",
        ),
    ] {
        assert_messages(Role::Main, options, &[expected]);
    }
}

#[test]
fn messages_about_contradictions() {
    for (options, expected) in [
        (
            "start_paused",
            "`start_paused` needs `flavor = \"current_thread\"` or `flavor = \"local\"`",
        ),
        (
            "flavor = \"local\", worker_threads = 1",
            "`worker_threads` needs `flavor = \"multi_thread\"`",
        ),
        (
            "test_timeout = 1",
            "`test_timeout` is an option of `#[aiorun::test]` only",
        ),
        (
            "unhandled_error_handler = f, stop_on_unhandled_errors",
            "`unhandled_error_handler` excludes `stop_on_unhandled_errors`",
        ),
    ] {
        assert_messages(Role::Main, options, &[expected]);
    }
}

#[test]
fn several_messages() {
    assert_messages(
        Role::Main,
        "flavor = \"loca\", start_paused, worker_threads = 0, cooperatve = |a, b| c, name = 1 2, signals = [\"INT\", 1]",
        &[
            "unknown value `loca`",
            "`worker_threads` takes",
            "unknown option `cooperatve`: did you mean `cooperative`?",
            "`name` takes a string",
            "expected `,`",
            "unknown signal `INT`",
            "expected the name of a signal",
        ],
    );
}

#[test]
fn messages_of_tests() {
    assert_messages(
        Role::Test,
        "worker_threads = 2",
        &["needs `flavor = \"multi_thread\"`"],
    );
    assert_messages(
        Role::Test,
        "start_paused, flavor = \"multi_thread\"",
        &["`start_paused` needs"],
    );
    assert_messages(
        Role::Test,
        "test_timeout = \"none\"",
        &["`none` is not a duration"],
    );
}

#[test]
fn no_messages() {
    for options in [
        "",
        "cooperative,",
        "run_forever = true, worker_threads = num_cpus::get() * 2",
        "start_paused = false",
        "flavor = \"local\", start_paused = true",
        "stop_on_unhandled_errors = false, unhandled_error_handler = |_| {}",
        "signals = [\"SIGHUP\"], dump_signal = \"SIGINT\"",
        "shutdown_callback = callbacks::<A, B>(1), name = format!(\"{a}, {b}\")",
        "shutdown_timeout = LIMIT, shutdown_delay = Duration::from_secs(1)",
        "crate = crate::aiorun",
    ] {
        assert_messages(Role::Main, options, &[]);
    }
    for options in [
        "start_paused",
        "dump_signal = \"SIGINT\"",
        "test_timeout = \"2m\"",
    ] {
        assert_messages(Role::Test, options, &[]);
    }
}

/// Asserts how the messages begin or go on, in their order.
fn assert_messages(role: Role, options: &str, expected: &[&str]) {
    let item = quote! {
        async fn started() {}
    };
    let file: File = syn::parse2(expand(role, options.parse().unwrap(), &item)).unwrap();
    let errors = file.items.into_iter().filter_map(|item| match item {
        Item::Macro(error) => Some(error.mac.parse_body::<LitStr>().unwrap().value()),
        _ => None,
    });
    let errors: Vec<_> = errors.collect();
    let as_expected = errors
        .iter()
        .zip(expected)
        .all(|(error, part)| error.contains(part));
    assert!(
        as_expected && errors.len() == expected.len(),
        "{options}: {errors:#?}"
    );
}
