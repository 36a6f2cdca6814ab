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
mod unix;

#[cfg(unix)]
use self::unix::Stderr;

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
