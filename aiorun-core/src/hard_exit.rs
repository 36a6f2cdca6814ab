//! The way out when the thread that should close the runtime is stuck.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::signals;
use crate::task::TaskInfo;

/// The exit code of a program whose thread was stuck: `EX_SOFTWARE` of BSD's `sysexits.h`.
const CODE: u8 = 70;
/// How long the text may take to be written, say into a full pipe.
const WRITING: Duration = Duration::from_secs(1);

/// Names what is left on standard error, and leaves the process: no destructor runs, no lock of
/// anybody else is taken, for a stuck thread may hold it.
pub(crate) fn leave(left: &[TaskInfo]) -> ! {
    let mut text = String::from(
        "aiorun: error: the thread that runs the program is stuck, leaving the process\n",
    );
    for task in left {
        let _ = writeln!(text, "  {task}");
    }
    write(text.as_bytes(), Instant::now() + WRITING);
    signals::leave(CODE)
}

/// Writes to standard error without its lock, and without blocking beyond `until`.
#[cfg(unix)]
fn write(mut text: &[u8], until: Instant) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    /// Where a pipe is writable, this many bytes fit: `PIPE_BUF` of POSIX.
    const AT_ONCE: usize = 512;
    // Safe: file descriptor 2 is there for as long as the process, open or not.
    let stderr = rustix::stdio::stderr();
    while !text.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let Ok(left) = Timespec::try_from(left) else {
            return;
        };
        let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        match rustix::io::write(stderr, &text[..text.len().min(AT_ONCE)]) {
            Ok(0) => return,
            Ok(written) => text = &text[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}

#[cfg(not(unix))]
fn write(text: &[u8], _: Instant) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text);
}
