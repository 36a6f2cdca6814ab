//! Writing to a file descriptor without ever blocking in a write.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::write;

pub(super) struct Stderr<F = io::Stderr> {
    fd: F,
    way: Way,
    until: Instant,
}

/// How to write without blocking. To look whether there is room first is not enough, as others may
/// fill it before we write.
enum Way {
    /// The same pipe or terminal once more, with a mode of its own: that of the file descriptor is
    /// shared with everybody who has it, in other processes too.
    Reopened(OwnedFd),
    /// A socket can be told so each time; a service manager may have given us one.
    Socket,
    /// Nothing that others can fill, or nothing that can be helped.
    Plain,
}

impl Stderr {
    pub(super) fn open(until: Instant) -> Self {
        // For its number only, which takes no lock.
        Self::on(io::stderr(), until)
    }
}

impl<F: AsFd> Stderr<F> {
    fn on(fd: F, until: Instant) -> Self {
        let kind =
            fstat(&fd).map(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT);
        let way = match kind {
            Ok(SFlag::S_IFSOCK) => Way::Socket,
            Ok(SFlag::S_IFIFO | SFlag::S_IFCHR) => {
                reopen(fd.as_fd()).map_or(Way::Plain, Way::Reopened)
            }
            _ => Way::Plain,
        };
        Self { fd, way, until }
    }

    pub(super) fn write(&mut self, mut text: &[u8]) {
        while !text.is_empty() && self.is_writable() {
            match self.write_some(text) {
                Ok(0) => return,
                Ok(written) => text = &text[written..],
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => return,
            }
        }
    }

    fn write_some(&self, text: &[u8]) -> Result<usize, Errno> {
        /// Where a pipe is writable, this many bytes fit: `PIPE_BUF` of POSIX.
        const AT_ONCE: usize = 512;
        // Not there on Apple's systems, where Rust's runtime ignores the signal all the same.
        #[cfg(target_vendor = "apple")]
        const QUIETLY: MsgFlags = MsgFlags::MSG_DONTWAIT;
        #[cfg(not(target_vendor = "apple"))]
        const QUIETLY: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);
        match &self.way {
            Way::Reopened(fd) => write(fd, text),
            Way::Socket => send(self.fd.as_fd().as_raw_fd(), text, QUIETLY),
            Way::Plain => write(&self.fd, &text[..text.len().min(AT_ONCE)]),
        }
    }

    /// Waits until it takes something. `false` when the time is over.
    fn is_writable(&self) -> bool {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            // Whole milliseconds, and the last one not cut off.
            let left = PollTimeout::try_from(left + Duration::from_micros(999));
            let left = left.unwrap_or(PollTimeout::MAX);
            let fd = match &self.way {
                Way::Reopened(fd) => fd.as_fd(),
                Way::Socket | Way::Plain => self.fd.as_fd(),
            };
            match poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], left) {
                Ok(0) => return false,
                Err(Errno::EINTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Opens what the file descriptor leads to once more: Linux has a file for that.
fn reopen(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut name = [0; 32];
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(path(fd.as_raw_fd(), &mut name), flags, Mode::empty())
}

/// `/proc/self/fd/2`, without an allocation.
fn path(fd: i32, name: &mut [u8; 32]) -> &str {
    use std::io::Write as _;
    let mut rest = &mut name[..];
    let written = write!(rest, "/proc/self/fd/{fd}");
    let left = rest.len();
    let length = name.len() - left;
    match (written, str::from_utf8(&name[..length])) {
        (Ok(()), Ok(path)) => path,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::kept::keep;

    /// For as long as the process, as standard error is.
    fn kept(fd: impl Into<OwnedFd>) -> BorrowedFd<'static> {
        keep(fd.into()).as_fd()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[test]
    fn a_full_pipe_blocks_no_write() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let fd = kept(writer);
        let mut stderr = Stderr::on(fd, soon());
        while stderr.write_some(&[b'.'; 4096]).is_ok() {}
        assert_eq!(stderr.write_some(b"x"), Err(Errno::EAGAIN));
        // The mode of the file descriptor itself is as it was.
        let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
        // It waits for as long as it may.
        stderr.write(b"lost");
        assert!(Instant::now() >= stderr.until);
        // A read makes room.
        stderr.until = Instant::now() + Duration::from_secs(60);
        reader.read_exact(&mut [0; 8192]).unwrap();
        stderr.write(b"found");
        let mut rest = vec![0; 1 << 20];
        let read = reader.read(&mut rest).unwrap();
        assert!(rest[..read].ends_with(b"found"));
    }

    #[test]
    fn a_full_socket_blocks_no_write() {
        let (_reader, writer) = UnixStream::pair().unwrap();
        let mut stderr = Stderr::on(kept(writer), soon());
        while stderr.write_some(&[b'.'; 4096]).is_ok() {}
        assert_eq!(stderr.write_some(b"x"), Err(Errno::EAGAIN));
        stderr.write(b"lost");
        assert!(Instant::now() >= stderr.until);
    }

    #[test]
    fn a_file_is_written_on() {
        let path = std::env::temp_dir().join(format!("aiorun-stderr-{}", std::process::id()));
        let mut file = std::fs::File::options();
        let mut file = file
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"before ").unwrap();
        let mut stderr = Stderr::on(kept(file.try_clone().unwrap()), soon());
        stderr.until += Duration::from_secs(60);
        stderr.write(&[b'x'; 2000]);
        file.write_all(b" after").unwrap();
        file.rewind().unwrap();
        let text = std::io::read_to_string(file).unwrap();
        assert_eq!(text, format!("before {} after", "x".repeat(2000)));
    }

    #[test]
    fn what_nobody_reads_any_more_is_given_up() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut stderr = Stderr::on(kept(writer), Instant::now() + Duration::from_secs(600));
        stderr.write(b"lost");
        let closed = kept(std::fs::File::open("/dev/null").unwrap());
        let mut stderr = Stderr::on(closed, Instant::now() + Duration::from_secs(600));
        stderr.write(b"it is open for reading only, or opened anew");
    }
}
