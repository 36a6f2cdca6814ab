//! Standard error without its lock, which a stuck thread may hold, and without waiting for whoever
//! reads it beyond a given moment.

use std::fmt;
use std::time::Instant;

/// Writes a text; what is not written by `until` is lost.
pub(crate) fn write(text: &[u8], until: Instant) {
    Stderr::open(until).write(text);
}

/// Standard error up to a moment, with a buffer for what is formatted into it, for it allocates
/// nothing.
pub(crate) struct Writer {
    stderr: Stderr,
    buffer: [u8; Writer::SIZE],
    filled: usize,
}

impl Writer {
    const SIZE: usize = 512;

    pub(crate) fn new(until: Instant) -> Self {
        Self {
            stderr: Stderr::open(until),
            buffer: [0; Self::SIZE],
            filled: 0,
        }
    }

    pub(crate) fn flush(&mut self) {
        self.stderr.write(&self.buffer[..self.filled]);
        self.filled = 0;
    }
}

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.filled == Self::SIZE {
                self.flush();
            }
            let fits = rest.len().min(Self::SIZE - self.filled);
            let (now, later) = rest.split_at(fits);
            self.buffer[self.filled..][..fits].copy_from_slice(now);
            self.filled += fits;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(unix)]
use self::unix::Stderr;

#[cfg(unix)]
mod unix {
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{FileType, Mode, OFlags, fstat, open};
    use rustix::io::Errno;
    use rustix::net::{SendFlags, send};

    pub(super) struct Stderr {
        until: Instant,
        way: Way,
    }

    /// How to write without blocking.
    enum Way {
        /// The same pipe or terminal once more, with a mode of its own: that of file descriptor 2 is
        /// shared with everybody who has it, in other processes too.
        Reopened(OwnedFd),
        /// A socket can be told so each time; a service manager may have given us one.
        Socket,
        /// Nothing that others can fill, or nothing that can be helped.
        Plain,
    }

    impl Stderr {
        pub(super) fn open(until: Instant) -> Self {
            let kind = fstat(fd()).map(|status| FileType::from_raw_mode(status.st_mode));
            let way = match kind {
                Ok(FileType::Socket) => Way::Socket,
                Ok(FileType::Fifo | FileType::CharacterDevice) => {
                    let flags =
                        OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                    // Linux has this file, and opens anew what it leads to.
                    let reopened = open("/proc/self/fd/2", flags, Mode::empty());
                    reopened.map_or(Way::Plain, Way::Reopened)
                }
                _ => Way::Plain,
            };
            Self { until, way }
        }

        pub(super) fn write(&mut self, mut text: &[u8]) {
            while !text.is_empty() && self.is_writable() {
                match self.write_some(text) {
                    Ok(0) => return,
                    Ok(written) => text = &text[written..],
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(_) => return,
                }
            }
        }

        fn write_some(&self, text: &[u8]) -> Result<usize, Errno> {
            /// Where a pipe is writable, this many bytes fit: `PIPE_BUF` of POSIX.
            const AT_ONCE: usize = 512;
            match &self.way {
                Way::Reopened(fd) => rustix::io::write(fd, text),
                Way::Socket => send(fd(), text, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
                Way::Plain => rustix::io::write(fd(), &text[..text.len().min(AT_ONCE)]),
            }
        }

        /// Waits until it takes something. `false` when the time is over.
        fn is_writable(&self) -> bool {
            loop {
                let left = self.until.saturating_duration_since(Instant::now());
                let Ok(left) = Timespec::try_from(left) else {
                    return false;
                };
                let fd = match &self.way {
                    Way::Reopened(fd) => PollFd::new(fd, PollFlags::OUT),
                    Way::Socket | Way::Plain => PollFd::from_borrowed_fd(fd(), PollFlags::OUT),
                };
                match poll(&mut [fd], Some(&left)) {
                    Ok(0) => return false,
                    Err(Errno::INTR) => {}
                    Ok(_) => return true,
                    Err(_) => return false,
                }
            }
        }
    }

    /// File descriptor 2 is there for as long as the process, open or not.
    fn fd() -> BorrowedFd<'static> {
        rustix::stdio::stderr()
    }
}

#[cfg(not(unix))]
struct Stderr;

#[cfg(not(unix))]
impl Stderr {
    fn open(_: Instant) -> Self {
        Self
    }

    fn write(&mut self, text: &[u8]) {
        use std::io::Write as _;
        let _ = std::io::stderr().write_all(text);
    }
}
