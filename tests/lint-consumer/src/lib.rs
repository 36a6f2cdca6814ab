//! Functions under `#[aiorun::main]` in a library, as others see them.

#![deny(
    warnings,
    deprecated_safe,
    future_incompatible,
    keyword_idents,
    let_underscore,
    nonstandard_style,
    refining_impl_trait,
    rust_2018_idioms,
    rust_2021_compatibility,
    rust_2024_compatibility,
    unused
)]
#![deny(
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    impl_trait_redundant_captures,
    meta_variable_misuse,
    missing_debug_implementations,
    missing_docs,
    redundant_imports,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unit_bindings,
    unnameable_types,
    unreachable_pub,
    unsafe_code,
    unused_crate_dependencies,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications,
    unused_results,
    variant_size_differences
)]
#![deny(
    clippy::all,
    clippy::cargo,
    clippy::nursery,
    clippy::pedantic,
    clippy::restriction
)]
#![allow(
    clippy::blanket_clippy_restriction_lints,
    clippy::implicit_return,
    clippy::missing_inline_in_public_items,
    clippy::missing_trait_methods,
    clippy::question_mark_used,
    clippy::redundant_pub_crate,
    clippy::single_call_fn,
    reason = "about how this crate is written, and at odds with each other"
)]
#![allow(
    clippy::cargo_common_metadata,
    clippy::multiple_crate_versions,
    reason = "about other crates"
)]

use core::fmt::Debug;
use core::future::{pending, ready};
use core::time::Duration;

// Those of `tests/strays.rs`.
#[cfg(test)]
use {tempfile as _, tokio as _};

/// Long enough.
const LIMIT: Duration = Duration::from_secs(90);

/// Does nothing.
#[aiorun::main]
pub async fn nothing() {}

/// Awaits something.
#[aiorun::main(flavor = "current_thread")]
pub async fn something() {
    ready(()).await;
}

/// Takes a lifetime that only its return type needs, and patterns.
///
/// # Errors
///
/// When there is nothing.
#[aiorun::main(worker_threads = threads)]
pub async fn arguments<'text>(
    threads: usize,
    text: &'text str,
    _name: &str,
    (first, second): (u8, u8),
    mut sum: u8,
    _: u8,
    _unused: u8,
) -> Result<(), &'text str> {
    let _: usize = threads;
    sum = sum.saturating_add(first).saturating_add(second);
    if sum == 0 { Err(text) } else { Ok(()) }
}

/// Takes anything.
#[aiorun::main(flavor = "local", signals = [])]
pub async fn generic<T, F, const N: usize>(items: [T; N], show: F)
where
    T: Clone + Debug,
    F: Fn(&T) -> String,
{
    for item in &items {
        drop(show(item));
        ready(()).await;
    }
    drop(items);
}

/// Takes every option.
#[aiorun::main(
    flavor = "multi_thread",
    worker_threads = 2,
    thread_stack_size = 0x0040_0000,
    executor_workers = 4,
    run_forever = false,
    cooperative,
    stop_on_unhandled_errors = false,
    shutdown_timeout = "1m30s",
    timeout_task_shutdown = LIMIT,
    timeout_executor_shutdown = "none",
    shutdown_delay = LIMIT,
    shutdown_callback = async |handle| handle.stop(),
    shutdown_handler = |_, handle| {
        handle.stop();
        aiorun::SignalAction::Stop
    },
    unhandled_error_handler = drop_error,
    signals = ["SIGHUP", "SIGTERM"],
    repeat_signal = "ignore",
    signal_exit_status = "signal",
    dump_signal = "SIGUSR1",
    start_paused = false,
    name = "consumer"
)]
pub async fn options() -> Result<(), String> {
    ready(()).await;
    Ok(())
}

/// Never returns.
#[aiorun::main]
pub async fn forever() -> ! {
    pending().await
}

/// Needs no more than this.
const fn drop_error(_: &aiorun::UnhandledError) {}

/// Takes a lifetime that only its return type needs.
///
/// # Errors
///
/// Never.
#[aiorun::main]
pub async fn returned<'text>() -> Result<(), &'text str> {
    Ok(())
}
