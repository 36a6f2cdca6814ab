//! Small programs: how long they build, and how large they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::python::output;

/// A program that says hello and ends when a signal comes.
#[derive(Debug)]
struct Program {
    name: &'static str,
    /// With `ROOT` for the directory of aiorun.
    dependencies: &'static str,
    main: &'static str,
}

const PROGRAMS: [Program; 3] = [
    Program {
        name: "tokio",
        dependencies: r#"tokio = { version = "1", features = ["rt-multi-thread", "macros", "signal", "time"] }"#,
        main: r#"
            use tokio::signal::unix::{SignalKind, signal};

            #[tokio::main]
            async fn main() -> std::io::Result<()> {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                let task = tokio::spawn(async { println!("hello from a task") });
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                task.abort();
                Ok(())
            }
        "#,
    },
    Program {
        name: "aiorun",
        dependencies: r#"aiorun = { path = "ROOT" }"#,
        main: r#"
            #[aiorun::main]
            async fn main() {
                aiorun::spawn(async { println!("hello from a task") });
            }
        "#,
    },
    Program {
        name: "tokio-graceful-shutdown",
        dependencies: r#"
            tokio = { version = "1", features = ["rt-multi-thread", "macros", "signal", "time"] }
            tokio-graceful-shutdown = "0.20"
        "#,
        main: r#"
            use std::{convert::Infallible, time::Duration};
            use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};

            #[tokio::main]
            async fn main() {
                let top = Toplevel::new(async |handle: &mut SubsystemHandle| {
                    handle.start(SubsystemBuilder::new("hello", async |_: &mut SubsystemHandle| {
                        println!("hello from a task");
                        Ok::<_, Infallible>(())
                    }));
                    handle.on_shutdown_requested().await;
                });
                let ended = top.catch_signals().handle_shutdown_requests(Duration::from_secs(60));
                ended.await.expect("nothing fails");
            }
        "#,
    },
];

/// What is known of one program.
#[derive(Debug)]
pub(crate) struct Hello {
    pub(crate) name: &'static str,
    /// Besides itself.
    pub(crate) crates: usize,
    /// Seconds, of a build from nothing.
    pub(crate) dev: f64,
    pub(crate) release: f64,
    /// Of the stripped executable.
    pub(crate) bytes: u64,
}

/// Builds them all, below a directory.
///
/// # Errors
///
/// When cargo fails.
pub(crate) fn measure(directory: &Path) -> Result<Vec<Hello>, String> {
    let programs = PROGRAMS
        .iter()
        .filter(|program| cfg!(feature = "peers") || program.name != "tokio-graceful-shutdown");
    let mut hellos = Vec::new();
    for program in programs {
        let place = directory.join(program.name);
        program.write(&place).map_err(|error| error.to_string())?;
        eprintln!("building hello for {}", program.name);
        let (release, executable) = build(&place, "release")?;
        hellos.push(Hello {
            name: program.name,
            crates: crates(&place)?,
            dev: f64::INFINITY,
            release,
            bytes: fs::metadata(executable)
                .map_err(|error| error.to_string())?
                .len(),
        });
    }
    // In turns, so that a slow minute is everybody's.
    for _ in 0..3 {
        for hello in &mut hellos {
            let (took, _) = build(&directory.join(hello.name), "dev")?;
            hello.dev = hello.dev.min(took);
        }
    }
    Ok(hellos)
}

impl Program {
    fn write(&self, place: &Path) -> std::io::Result<()> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let manifest = format!(
            "[package]\nname = \"hello\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{}\n\n\
             [profile.release]\nlto = \"thin\"\ncodegen-units = 1\nstrip = true\n",
            self.dependencies.replace("ROOT", root)
        );
        fs::create_dir_all(place.join("src"))?;
        fs::write(place.join("Cargo.toml"), manifest)?;
        fs::write(place.join("src/main.rs"), self.main)?;
        // The versions that everything else was measured with; they are on this machine.
        fs::copy(Path::new(root).join("Cargo.lock"), place.join("Cargo.lock"))?;
        Ok(())
    }
}

fn cargo(place: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(place).env_remove("CARGO_TARGET_DIR");
    command
}

/// Builds from nothing: how many seconds that takes, and where the executable is.
fn build(place: &Path, profile: &str) -> Result<(f64, PathBuf), String> {
    let target = place.join("target");
    if target.exists() {
        fs::remove_dir_all(&target).map_err(|error| error.to_string())?;
    }
    let arguments = ["build", "--quiet", "--offline", "--profile", profile];
    let began = Instant::now();
    output(cargo(place).args(arguments))?;
    let took = began.elapsed().as_secs_f64();
    Ok((took, target.join(profile).join("hello")))
}

fn crates(place: &Path) -> Result<usize, String> {
    let arguments = ["tree", "--offline", "--prefix", "none", "--no-dedupe"];
    let tree = output(
        cargo(place)
            .args(arguments)
            .args(["--edges", "normal,build"]),
    )?;
    let names: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    Ok(names.len() - 1)
}
