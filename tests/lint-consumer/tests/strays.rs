//! The list of `aiorun.clippy.toml`, in the hands of a user: clippy refuses a program for it.

use std::path::Path;
use std::process::{Command, Output};

/// What clippy says to the program, with that configuration.
fn clippy(configuration: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("clippy.toml"), configuration).expect("a file");
    let mut command = Command::new(env!("CARGO"));
    let words =
        "clippy --quiet --no-deps -p lint-consumer --example strays -- -D warnings --cfg strays";
    command.args(words.split(' '));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("CLIPPY_CONF_DIR", directory.path());
    command.output().expect("cargo is there")
}

#[test]
fn a_program_with_strays_is_refused() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../aiorun.clippy.toml");
    let output = clippy(&std::fs::read_to_string(file).expect("the file to copy"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for (method, times, instead) in [
        ("tokio::spawn", 2, "aiorun::spawn"),
        ("tokio::task::spawn_local", 1, "aiorun::spawn_local"),
        ("tokio::task::spawn_blocking", 1, "aiorun::spawn_blocking"),
    ] {
        let refused = format!("use of a disallowed method `{method}`");
        assert_eq!(said.matches(&refused).count(), times, "{said}");
        let reason = format!("not awaited at shutdown: use `{instead}`");
        assert_eq!(said.matches(&reason).count(), times, "{said}");
    }
    assert_eq!(said.matches("use of a disallowed").count(), 4, "{said}");
}

#[test]
fn without_the_list_it_passes() {
    let output = clippy("");
    assert!(output.status.success(), "{output:?}");
}
