//! What a scenario is told, and the pieces that scenarios are made of.

use std::future::pending;
use std::process::{ExitCode, Termination};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use aiorun::{Builder, Flavor};
use tracing::level_filters::LevelFilter;

/// The variable that makes this executable a child: the name of the scenario.
pub(crate) const SCENARIO: &str = "AIORUN_SCENARIO";
/// The flavour of the runtime.
pub(crate) const FLAVOR: &str = "AIORUN_FLAVOR";
/// Which form of the scenario.
pub(crate) const VARIANT: &str = "AIORUN_VARIANT";
/// Set where the log goes to standard error.
pub(crate) const LOG: &str = "AIORUN_LOG";

pub(crate) const ALL_FLAVORS: [Flavor; 3] =
    [Flavor::MultiThread, Flavor::CurrentThread, Flavor::Local];
/// Those with the one thread that calls `run`.
pub(crate) const SINGLE_THREADED: [Flavor; 2] = [Flavor::CurrentThread, Flavor::Local];

/// For ever, in these scenarios.
pub(crate) const AGES: Duration = Duration::from_secs(1000);

pub(crate) fn flavor_name(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::CurrentThread => "current_thread",
        Flavor::Local => "local",
        _ => "multi_thread",
    }
}

/// What the parent asks for.
pub(crate) struct Scene {
    pub(crate) flavor: Flavor,
    pub(crate) variant: String,
}

impl Scene {
    /// The scenario this process is to play, if it is a child; shows the log if that is wanted.
    pub(crate) fn asked_for() -> Option<(String, Self)> {
        let name = std::env::var(SCENARIO).ok()?;
        #[cfg(target_os = "linux")]
        die_with_the_parent();
        let flavor = std::env::var(FLAVOR)
            .unwrap_or_default()
            .parse()
            .expect("a flavour");
        let variant = std::env::var(VARIANT).unwrap_or_default();
        if std::env::var_os(LOG).is_some() {
            tracing_subscriber::fmt()
                .with_max_level(LevelFilter::DEBUG)
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .without_time()
                .init();
        }
        Some((name, Self { flavor, variant }))
    }

    /// A builder of the flavour that was asked for; two workers where there are workers.
    pub(crate) fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.flavor(self.flavor);
        if self.flavor == Flavor::MultiThread {
            builder.worker_threads(2);
        }
        builder
    }

    /// Runs with nothing but the flavour.
    pub(crate) fn run<F>(&self, main: F) -> ExitCode
    where
        F: Future,
        F::Output: Termination,
    {
        self.builder().run(main).report()
    }

    pub(crate) fn is(&self, variant: &str) -> bool {
        self.variant == variant
    }
}

/// Nothing is left behind when somebody ends the suite half-way.
#[cfg(target_os = "linux")]
fn die_with_the_parent() {
    use rustix::process::{Signal, set_parent_process_death_signal};
    // At worst the child lives on.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

/// Tells the parent that it may go on.
pub(crate) fn ready() {
    println!("READY");
}

/// Waits for ever.
pub(crate) async fn idle() {
    pending::<()>().await;
}

/// Tells the parent that it may go on, and waits for ever.
pub(crate) async fn ready_and_idle() {
    ready();
    idle().await;
}

/// Waits on this thread, which is no worker, until a task has begun, though another one holds a worker.
///
/// One more may have looked for work in vain and be about to sleep when the task comes. tokio does not
/// wake it then, for the first is awake, and will look. So it is rung for.
pub(crate) fn ring_until(has_begun: &mpsc::Receiver<()>) {
    let runtime = tokio::runtime::Handle::current();
    while has_begun.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
        runtime.spawn(async {});
    }
}

/// Waits for the end of a task, and drops its handle.
pub(crate) async fn outlive<T>(task: aiorun::JoinHandle<T>) {
    while !task.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Blocks its thread.
pub(crate) fn block() {
    thread::sleep(AGES);
}

/// Keeps its thread busy.
pub(crate) fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

/// Says something when it is dropped.
pub(crate) struct Farewell(pub(crate) &'static str);

impl Drop for Farewell {
    fn drop(&mut self) {
        println!("{}", self.0);
    }
}
