//! Every option in every form it may take.

use std::time::Duration;

use aiorun::{Handle, Signal, SignalAction, UnhandledError};

const THREADS: usize = 2;
const LIMIT: Duration = Duration::from_secs(5);

mod callbacks {
    use super::{Handle, Signal, SignalAction, UnhandledError};

    pub fn blocking() {}
    pub async fn fallible(_: Handle) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
    pub fn decide(_: Signal, _: &Handle) -> SignalAction {
        SignalAction::Ignore
    }
    pub fn note(_: &UnhandledError) {}
}

#[aiorun::main(
    flavor = "multi_thread",
    worker_threads = 2,
    thread_stack_size = 4 * 1024 * 1024,
    executor_workers = THREADS + 1,
    run_forever = false,
    cooperative = true,
    stop_on_unhandled_errors = true,
    shutdown_timeout = 5,
    timeout_task_shutdown = 0.5,
    timeout_executor_shutdown = "1m 30s",
    shutdown_delay = "10ms",
    shutdown_callback = callbacks::blocking,
    shutdown_handler = callbacks::decide,
    signals = ["SIGINT", "SIGHUP"],
    repeat_signal = "auto",
    signal_exit_status = "signal",
    dump_signal = "SIGUSR1",
    start_paused = false,
    name = "options",
    crate = "::aiorun",
)]
async fn all() {}

#[aiorun::main(
    flavor = "current_thread",
    run_forever = false,
    cooperative,
    stop_on_unhandled_errors = false,
    shutdown_timeout = "none",
    timeout_task_shutdown = LIMIT / 2,
    timeout_executor_shutdown = LIMIT,
    shutdown_delay = Duration::from_millis(1),
    shutdown_callback = async |handle| handle.stop(),
    shutdown_handler = |signal, handle| {
        handle.stop();
        if signal == Signal::INT { SignalAction::Stop } else { SignalAction::Ignore }
    },
    unhandled_error_handler = |error| eprintln!("{error:?}"),
    signals = [],
    repeat_signal = "ignore",
    signal_exit_status = "success",
    name = format!("options {}", 2),
)]
async fn others() {}

#[aiorun::main(
    flavor = "local",
    run_forever = false,
    shutdown_callback = move |handle: Handle| handle.stop(),
    shutdown_handler = |_, _: &Handle| SignalAction::Stop,
    unhandled_error_handler = callbacks::note,
    repeat_signal = "abort",
)]
async fn closures() {}

#[aiorun::main(run_forever = false, shutdown_callback = callbacks::fallible, repeat_signal = "exit")]
async fn fallible() {}

#[aiorun::main(run_forever = false, shutdown_callback = || async { Err::<(), _>("failed") })]
async fn failing() {}

#[aiorun::main(run_forever = false, shutdown_callback = async || {})]
async fn no_argument() {}

fn main() {
    for run in [all, others, closures, fallible, no_argument] {
        let exit = run();
        assert!(exit.is_success(), "{exit:?}");
    }
    assert!(!failing().is_success());
}
