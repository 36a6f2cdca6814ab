//! A child process: how it is started, listened to, signalled and, at the latest by a watchdog,
//! ended.

use std::io::{BufRead as _, BufReader, PipeReader, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use aiorun::Flavor;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGQUIT};
use signal_hook::flag::register_conditional_default;

use crate::ended::{Ended, Line, Stream};
use crate::scene::{FLAVOR, LOG, SCENARIO, VARIANT, flavor_name};

/// A shell starts what it runs in the background with these two ignored, and a child would inherit
/// that. It does not inherit a handler.
pub(crate) fn begin_with_defaults() {
    for signal in [SIGINT, SIGQUIT] {
        register_conditional_default(signal, Arc::new(AtomicBool::new(true))).unwrap();
    }
}

/// When a child counts as hanging.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a child has to answer before it is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the child is asked whether it has ended.
const TICK: Duration = Duration::from_millis(2);

/// What is to be started, any number of times.
#[derive(Clone)]
pub(crate) struct Program {
    path: PathBuf,
    before: Vec<String>,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
    flavor: Flavor,
    open_stdin: bool,
    stderr: Stderr,
}

/// Where a child's standard error leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stderr {
    /// To us.
    Read,
    /// Into a pipe whose reader is gone.
    Unheard,
    /// Into a pipe that is full, and that nobody reads.
    Full,
    /// Into a pipe that is full, and of which somebody takes a little now and then, for some seconds.
    Slow,
    /// As `Full`, with a socket, such as service managers give to their services.
    FullSocket,
}

impl Program {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            before: Vec::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
            flavor: Flavor::MultiThread,
            open_stdin: false,
            stderr: Stderr::Read,
        }
    }

    /// This executable as the player of a scenario.
    pub(crate) fn scenario(name: &str, flavor: Flavor) -> Self {
        let path = std::env::current_exe().expect("this executable has a path");
        let mut program = Self {
            flavor,
            ..Self::new(path)
        };
        program.variables.push((SCENARIO, name.to_owned()));
        program
            .variables
            .push((FLAVOR, flavor_name(flavor).to_owned()));
        program
    }

    /// An example of this package, started by what `AIORUN_UNDER` says, if that is set.
    pub(crate) fn example(path: PathBuf, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let under = std::env::var("AIORUN_UNDER").unwrap_or_default();
        Self {
            before: under.split_whitespace().map(str::to_owned).collect(),
            arguments,
            ..Self::new(path)
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same from another file.
    pub(crate) fn at(&self, path: PathBuf) -> Self {
        Self {
            path,
            ..self.clone()
        }
    }

    pub(crate) fn is_multi_thread(&self) -> bool {
        self.flavor == Flavor::MultiThread
    }

    /// Another form of the scenario.
    pub(crate) fn variant(&self, variant: &str) -> Self {
        self.with(VARIANT, variant)
    }

    /// With a variable in its environment.
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut program = self.clone();
        program.variables.push((name, value.to_owned()));
        program
    }

    /// With the log on standard error, debug lines too.
    pub(crate) fn logging(&self) -> Self {
        self.with(LOG, "debug")
    }

    /// With a standard input that is open and silent.
    pub(crate) fn with_open_stdin(&self) -> Self {
        Self {
            open_stdin: true,
            ..self.clone()
        }
    }

    /// With a standard error that we do not read.
    pub(crate) fn with_stderr(&self, stderr: Stderr) -> Self {
        Self {
            stderr,
            ..self.clone()
        }
    }

    /// With standard output and error in one, as in a terminal.
    pub(crate) fn in_one_stream(&self) -> Self {
        self.started_by(&["sh", "-c", "exec \"$0\" \"$@\" 2>&1"])
    }

    /// With a standard error that is closed.
    pub(crate) fn without_stderr(&self) -> Self {
        self.started_by(&["sh", "-c", "exec \"$0\" \"$@\" 2>&-"])
    }

    /// Started by another program.
    pub(crate) fn started_by(&self, words: &[&str]) -> Self {
        let before = words.iter().map(ToString::to_string).collect();
        Self {
            before,
            ..self.clone()
        }
    }

    pub(crate) fn start(&self) -> Child {
        let mut command = self.command();
        let unread = match self.stderr {
            Stderr::Read => None,
            Stderr::Unheard => {
                drop(full_pipe(&mut command));
                None
            }
            Stderr::Full => Some(full_pipe(&mut command)),
            Stderr::Slow => {
                drain_slowly(full_pipe(&mut command));
                None
            }
            Stderr::FullSocket => Some(full_socket(&mut command)),
        };
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Child::new(process, unread)
    }

    /// Starts it and waits for it to get ready.
    pub(crate) fn start_ready(&self) -> Child {
        let child = self.start();
        child.wait_for("READY");
        child
    }

    /// Starts it and waits for its end.
    pub(crate) fn run(&self) -> Ended {
        self.start().finish()
    }

    /// Starts it, and tells it to stop when it is ready.
    pub(crate) fn stop_by(&self, signal: Signal) -> Ended {
        let mut child = self.start_ready();
        child.signal(signal);
        child.finish()
    }

    fn command(&self) -> Command {
        let mut command = match self.before.split_first() {
            None => Command::new(&self.path),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.path);
                command
            }
        };
        command.args(&self.arguments);
        for variable in ["RUST_LOG", "RUST_BACKTRACE", SCENARIO, FLAVOR, VARIANT, LOG] {
            command.env_remove(variable);
        }
        // The tests may be run by a service.
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(if self.open_stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A pipe that takes no more becomes the command's standard error.
fn full_pipe(command: &mut Command) -> OwnedFd {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let size = rustix::pipe::fcntl_getpipe_size(&writer).expect("a pipe has a size");
    writer
        .write_all(&vec![b'.'; size])
        .expect("a pipe takes as much as it holds");
    command.stderr(writer);
    reader.into()
}

/// As [`full_pipe`], with a socket.
fn full_socket(command: &mut Command) -> OwnedFd {
    let (reader, mut writer) = UnixStream::pair().expect("two sockets");
    writer.set_nonblocking(true).expect("a socket can do that");
    while writer.write(&[b'.'; 1024]).is_ok() {}
    writer.set_nonblocking(false).expect("and this");
    command.stderr(OwnedFd::from(writer));
    reader.into()
}

/// Takes a little now and then, for which those who want to write compete, and in the end no more.
fn drain_slowly(reader: OwnedFd) {
    thread::spawn(move || {
        let mut reader = PipeReader::from(reader);
        let mut page = [0; 4096];
        for _ in 0..40 {
            thread::sleep(Duration::from_millis(80));
            if reader.read(&mut page).is_ok_and(|read| read == 0) {
                return;
            }
        }
        thread::park();
    });
}

/// A child that runs. Dropped, it is killed.
pub(crate) struct Child {
    process: std::process::Child,
    record: Arc<Record>,
    stdin: Option<ChildStdin>,
    unread: Option<OwnedFd>,
    /// When it was told to do something for the first time.
    first_told: Option<Instant>,
    /// When it was told to do something for the last time.
    told: Instant,
    until: Instant,
}

/// What it has said so far.
#[derive(Default)]
struct Record {
    lines: Mutex<(Vec<Line>, usize)>,
    changed: Condvar,
}

impl Child {
    fn new(mut process: std::process::Child, unread: Option<OwnedFd>) -> Self {
        let record = Arc::new(Record::default());
        let stdout = process
            .stdout
            .take()
            .map(|it| (Stream::Out, Box::new(it) as Box<_>));
        let stderr = process
            .stderr
            .take()
            .map(|it| (Stream::Err, Box::new(it) as Box<_>));
        for (stream, pipe) in [stdout, stderr].into_iter().flatten() {
            record.listen(stream, pipe);
        }
        let stdin = process.stdin.take();
        let now = Instant::now();
        Self {
            process,
            record,
            stdin,
            unread,
            first_told: None,
            told: now,
            until: now + PATIENCE,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Waits for a line with this text; returns the line.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let mut lines = self.record.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| line.text.contains(text)) {
                return line.text.clone();
            }
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.1 == 0 {
                let said = shown(&lines.0);
                drop(lines);
                panic!("the child never said {text:?}; it said:\n{said}");
            }
            lines = self.record.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Sends a signal again and again until it says this: a snapshot may come too early.
    pub(crate) fn signal_until_it_says(&mut self, signal: Signal, text: &str) {
        while !self.has_said(text) && Instant::now() < self.until {
            self.signal(signal);
            thread::sleep(AGAIN);
        }
        self.wait_for(text);
    }

    /// Waits until it has said so many lines, or for long enough.
    pub(crate) fn wait_for_lines(&self, count: usize) {
        while self.count() < count && Instant::now() < self.until {
            thread::sleep(TICK);
        }
    }

    /// How many lines it has said so far.
    pub(crate) fn count(&self) -> usize {
        self.record.lines.lock().unwrap().0.len()
    }

    fn has_said(&self, text: &str) -> bool {
        let lines = self.record.lines.lock().unwrap();
        lines.0.iter().any(|line| line.text.contains(text))
    }

    /// Waits until it has a handler for the signal. Returns at once where the system does not tell.
    pub(crate) fn wait_until_it_catches(&self, signal: Signal) {
        let status = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let bit = 1_u64 << (signal.as_raw() - 1);
        let caught = |status: &str| {
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        };
        while Instant::now() < self.until {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            if caught(&status).is_none_or(|mask| mask & bit != 0) {
                return;
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.signal_to(self.pid(), signal);
    }

    /// Sends a signal to a process that the child has started.
    pub(crate) fn signal_to(&mut self, pid: Pid, signal: Signal) {
        self.told = Instant::now();
        self.first_told.get_or_insert(self.told);
        // It may have ended by now.
        let _ = kill_process(pid, signal);
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Ended {
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("the child is ours") {
                break status;
            }
            if Instant::now() > self.until {
                let said = shown(&self.record.lines.lock().unwrap().0);
                panic!("the child hangs; it said:\n{said}");
            }
            thread::sleep(TICK);
        };
        let took = self.told.elapsed();
        let lasted = self.first_told.unwrap_or(self.told).elapsed();
        drop((self.stdin.take(), self.unread.take()));
        Ended {
            status,
            took,
            lasted,
            told: self.told,
            lines: self.record.at_the_end(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Record {
    fn listen(self: &Arc<Self>, stream: Stream, pipe: Box<dyn Read + Send>) {
        self.lines.lock().unwrap().1 += 1;
        let record = Arc::clone(self);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line)
                    .trim_end_matches('\n')
                    .to_owned();
                record.lines.lock().unwrap().0.push(Line {
                    stream,
                    at: Instant::now(),
                    text,
                });
                record.changed.notify_all();
                line.clear();
            }
            record.lines.lock().unwrap().1 -= 1;
            record.changed.notify_all();
        });
    }

    /// Everything it said, when its pipes are closed.
    fn at_the_end(&self) -> Vec<Line> {
        let lines = self.lines.lock().unwrap();
        let open = |lines: &mut (Vec<Line>, usize)| lines.1 > 0;
        let (lines, _) = self
            .changed
            .wait_timeout_while(lines, PATIENCE, open)
            .unwrap();
        lines.0.clone()
    }
}

/// What was said, for the message of a failed test.
pub(crate) fn shown(lines: &[Line]) -> String {
    lines
        .iter()
        .fold(String::new(), |text, line| text + &format!("  {line}\n"))
}
