//! A child that has ended: what it said, and how it ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::child::shown;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// A line that the child wrote.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) stream: Stream,
    pub(crate) at: Instant,
    pub(crate) text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.stream, self.text.escape_debug())
    }
}

/// Each check returns the child again, and fails with everything that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// How long it took from the last signal, or else from the start.
    pub(crate) took: Duration,
    /// As `took`, from the first signal.
    pub(crate) lasted: Duration,
    pub(crate) told: Instant,
    pub(crate) lines: Vec<Line>,
}

impl Ended {
    #[track_caller]
    fn check(&self, right: bool, what: impl fmt::Display) -> &Self {
        let Self {
            status,
            took,
            lines,
            ..
        } = self;
        assert!(
            right,
            "{what}; {status} after {took:?}, it said:\n{}",
            shown(lines)
        );
        self
    }

    /// It ended by itself, with this code.
    #[track_caller]
    pub(crate) fn exited(&self, code: i32) -> &Self {
        self.check(
            self.status.code() == Some(code),
            format_args!("expected exit code {code}"),
        )
    }

    /// A signal ended it.
    #[track_caller]
    pub(crate) fn killed_by(&self, signal: i32) -> &Self {
        let right = self.status.signal() == Some(signal);
        self.check(right, format_args!("expected its end by signal {signal}"))
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines
            .iter()
            .filter(|line| line.text.contains(text))
            .count()
    }

    /// The first line with this text.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> &Line {
        self.says(text);
        self.lines
            .iter()
            .find(|line| line.text.contains(text))
            .expect("it was said")
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        self.check(self.count(text) > 0, format_args!("{text:?} is missing"))
    }

    #[track_caller]
    pub(crate) fn says_once(&self, text: &str) -> &Self {
        self.says_times(1, text)
    }

    #[track_caller]
    pub(crate) fn says_times(&self, times: usize, text: &str) -> &Self {
        let count = self.count(text);
        self.check(
            count == times,
            format_args!("{text:?} {count} times, expected {times}"),
        )
    }

    #[track_caller]
    pub(crate) fn never_says(&self, text: &str) -> &Self {
        self.says_times(0, text)
    }

    /// One and the same line has all of this.
    #[track_caller]
    pub(crate) fn says_in_a_line(&self, texts: &[&str]) -> &Self {
        let has_all = |line: &Line| texts.iter().all(|text| line.text.contains(text));
        self.check(
            self.lines.iter().any(has_all),
            format_args!("no line with {texts:?}"),
        )
    }

    /// Nothing on standard error.
    #[track_caller]
    pub(crate) fn complains_not(&self) -> &Self {
        let silent = self.lines.iter().all(|line| line.stream == Stream::Out);
        self.check(silent, "expected nothing on standard error")
    }

    /// These come in this order. All on the same stream: two pipes have no common order.
    #[track_caller]
    pub(crate) fn in_order(&self, texts: &[&str]) -> &Self {
        let stream = self.line(texts[0]).stream;
        let mut lines = self.lines.iter().filter(|line| line.stream == stream);
        for text in texts {
            let found = lines.any(|line| line.text.contains(text));
            self.check(
                found,
                format_args!("{text:?} is missing or not in the order {texts:?}"),
            );
        }
        self
    }

    #[track_caller]
    pub(crate) fn within(&self, most: Duration) -> &Self {
        self.check(
            self.took <= most,
            format_args!("expected its end within {most:?}"),
        )
    }

    #[track_caller]
    pub(crate) fn not_before(&self, least: Duration) -> &Self {
        self.check(
            self.took >= least,
            format_args!("expected its end after {least:?} or later"),
        )
    }

    /// As [`Ended::not_before`], from the first signal: how long the tests take to send the next one
    /// does not matter.
    #[track_caller]
    pub(crate) fn lasts(&self, least: Duration) -> &Self {
        self.check(
            self.lasted >= least,
            format_args!(
                "expected its end {least:?} after the first signal or later, not after {:?}",
                self.lasted
            ),
        )
    }

    /// The number behind `name=` in the first line that has one.
    #[track_caller]
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let key = format!("{name}=");
        let line = self.line(&key);
        let word = line
            .text
            .split_whitespace()
            .find_map(|word| word.strip_prefix(&key));
        let number = word.and_then(|word| word.parse().ok());
        self.check(number.is_some(), format_args!("no figure {name}"));
        number.unwrap_or_default()
    }

    /// As [`Ended::figure`], for several.
    #[track_caller]
    pub(crate) fn figures<const N: usize>(&self, expected: [(&str, u64); N]) -> &Self {
        for (name, expected) in expected {
            let number = self.figure(name);
            self.check(
                number == expected,
                format_args!("{name}={number}, expected {expected}"),
            );
        }
        self
    }
}
