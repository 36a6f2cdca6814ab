//! A cluster of PostgreSQL in a temporary directory, for one test.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Set where nothing may be left out.
const COMPLETE: &str = "ECOSYSTEM_COMPLETE";
/// Whose the cluster is where we are root, which PostgreSQL refuses to be.
const USERS: [&str; 2] = ["postgres", "nobody"];

pub(crate) struct Cluster {
    server: tokio::process::Child,
    directory: TempDir,
}

impl Cluster {
    /// Starts one, and waits until it is ready. `None` where PostgreSQL is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os(COMPLETE).is_none(),
                "there is no PostgreSQL"
            );
            let _ = io::stderr().write_all(b"SKIPPED: PostgreSQL is not installed\n");
            return None;
        };
        let directory = TempDir::new().expect("a directory");
        let owner = owner();
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group)).expect("we are root");
        }
        let data = directory.path().join("data");
        let command = |name| {
            let mut command = Command::new(programs.join(name));
            command.arg("-D").arg(&data).current_dir(directory.path());
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let mut init = command("initdb");
        init.args([
            "--auth=trust",
            "--username=aiorun",
            "--no-sync",
            "--encoding=UTF8",
        ]);
        let made = init.args(["--locale=C"]).output().expect("initdb");
        assert!(made.status.success(), "{made:?}");

        let mut server = command("postgres");
        server
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "listen_addresses="]);
        server.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = tokio::process::Command::from(server);
        let mut server = server.kill_on_drop(true).spawn().expect("postgres");
        let log = server.stderr.take().expect("the log");
        let mut log = BufReader::new(log).lines();
        let mut said = Vec::new();
        loop {
            let line = log.next_line().await.expect("a text");
            let line = line.unwrap_or_else(|| panic!("it does not start: {said:#?}"));
            if line.contains("ready to accept connections") {
                break;
            }
            said.push(line);
        }
        // Somebody has to read what it says.
        aiorun::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Some(Self { server, directory })
    }

    /// What a client connects to: a socket in the directory, where there is no port to be taken.
    pub(crate) fn url(&self) -> String {
        let directory = self.directory.path().display();
        format!("postgres://aiorun@localhost/postgres?host={directory}")
    }

    /// Ends it, with all of its processes.
    pub(crate) async fn stop(mut self) {
        let pid = self
            .server
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.expect("it runs"), Signal::INT).expect("it is ours");
        let status = self.server.wait().await.expect("a child");
        assert!(status.success(), "{status}");
    }
}

/// Where Debian has them, the newest first, or wherever the path leads.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions.sort_by_key(number);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let anywhere = std::env::split_paths(&path).collect::<Vec<_>>();
    let places = versions.iter().rev().map(|version| version.join("bin"));
    let has_both = |place: &Path| place.join("initdb").exists() && place.join("postgres").exists();
    places.chain(anywhere).find(|place| has_both(place))
}

/// User and group that the cluster is to have, if not ours.
fn owner() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let table = fs::read_to_string("/etc/passwd").expect("a table of users");
    let user = |name| table.lines().find_map(|line| numbers(line, name));
    Some(
        USERS
            .into_iter()
            .find_map(user)
            .expect("a user for PostgreSQL"),
    )
}

/// User and group of a line of that table, if it has this name.
fn numbers(line: &str, name: &str) -> Option<(u32, u32)> {
    match line.split(':').collect::<Vec<_>>()[..] {
        [first, _, user, group, ..] if first == name => {
            Some((user.parse().ok()?, group.parse().ok()?))
        }
        _ => None,
    }
}
