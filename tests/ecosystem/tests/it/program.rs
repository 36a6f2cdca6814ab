//! A program of this package that runs as a child.

use std::ffi::OsStr;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aiorun::JoinHandle;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// Long enough for a signal to be more than an echo of the one before.
const AGAIN: Duration = Duration::from_millis(600);

/// Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: JoinHandle<()>,
    /// What was read of its standard error.
    complaints: watch::Receiver<String>,
    /// What was read of its standard output.
    lines: Vec<String>,
}

impl Program {
    pub(crate) fn start(path: &str, argument: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        command
            .arg(argument)
            .kill_on_drop(true)
            .stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a program that can be started");
        let stdout = child.stdout.take().expect("its standard output");
        let stderr = child.stderr.take().expect("its standard error");
        let (tell, complaints) = watch::channel(String::new());
        let stderr = aiorun::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Some(line) = lines.next_line().await.expect("a line of text") {
                tell.send_modify(|text| {
                    text.push_str(&line);
                    text.push('\n');
                });
            }
        });
        Self {
            child,
            stdout: BufReader::new(stdout).lines(),
            stderr,
            complaints,
            lines: Vec::new(),
        }
    }

    /// The next line that it says. `None` when it has ended.
    pub(crate) async fn line(&mut self) -> Option<&str> {
        let line = self.stdout.next_line().await.expect("a line of text")?;
        self.lines.push(line);
        self.lines.last().map(String::as_str)
    }

    /// Waits for a line that begins like this; returns the rest of it.
    pub(crate) async fn wait_for(&mut self, begin: &str) -> String {
        while let Some(line) = self.line().await {
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.to_owned();
            }
        }
        panic!("it never said {begin:?}, but {:?}", self.lines);
    }

    /// Waits until its standard error has this somewhere.
    pub(crate) async fn complains(&mut self, of: &str) {
        let complaint = self.complaints.wait_for(|text| text.contains(of)).await;
        assert!(complaint.is_ok(), "it never said {of:?}");
    }

    /// It has not been waited for, so the number is its own.
    fn pid(&self) -> Pid {
        let id = self.child.id().expect("it was not waited for");
        Pid::from_raw(id.cast_signed()).expect("a number")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is ours");
    }

    /// Waits for its end.
    pub(crate) async fn finish(mut self) -> Ended {
        while self.line().await.is_some() {}
        self.stderr.await.expect("standard error was read");
        Ended {
            // At last, so that its number is its own until then.
            status: self.child.wait().await.expect("a child"),
            lines: self.lines,
            stderr: self.complaints.borrow().clone(),
        }
    }

    /// As [`Program::finish`], with a signal now and then for as long as it takes.
    pub(crate) async fn signal_until_it_ends(self, signal: Signal) -> Ended {
        let pid = self.pid();
        let mut end = pin!(self.finish());
        loop {
            match timeout(AGAIN, &mut end).await {
                Ok(ended) => return ended,
                Err(_) => kill_process(pid, signal).expect("it is ours"),
            }
        }
    }
}

/// A program that has ended: how, and what it had said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) lines: Vec<String>,
    pub(crate) stderr: String,
}

impl Ended {
    /// Successfully, and without a warning: one would come after five seconds of waiting.
    #[track_caller]
    pub(crate) fn well(&self) -> &Self {
        assert!(self.status.success() && self.stderr.is_empty(), "{self:#?}");
        self
    }

    /// The number behind `name=` in the only line that has it.
    #[track_caller]
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let words = self.lines.iter().flat_map(|line| line.split(' '));
        let mut figures = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let figure = figures.next().and_then(|figure| figure.parse().ok());
        assert!(figure.is_some() && figures.next().is_none(), "{self:#?}");
        figure.unwrap_or_default()
    }
}
