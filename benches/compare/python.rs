//! The Python package, in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An interpreter that has it.
#[derive(Debug)]
pub(crate) struct Python {
    interpreter: PathBuf,
    /// Which versions these are.
    pub(crate) versions: String,
}

/// Says the versions, and fails where one is missing.
const VERSIONS: &str = "import platform, importlib.metadata as m; \
    print('Python', platform.python_version() + ', aiorun', m.version('aiorun') + ', uvloop', m.version('uvloop'))";

impl Python {
    /// Makes the environment in a directory.
    ///
    /// # Errors
    ///
    /// When there is no Python, or the packages cannot be had.
    pub(crate) fn install(directory: &Path) -> Result<Self, String> {
        let environment = directory.join("python");
        let interpreter = environment.join("bin/python");
        output(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        let packages = ["-m", "pip", "install", "--quiet", "aiorun", "uvloop"];
        output(Command::new(&interpreter).args(packages))?;
        let versions = output(Command::new(&interpreter).args(["-c", VERSIONS]))?;
        Ok(Self {
            interpreter,
            versions: versions.trim().to_owned(),
        })
    }

    /// One measurement; lacks its arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/compare/measure.py"));
        command
    }
}

/// What a command writes.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program}: {}: {error}", output.status))
    }
}
