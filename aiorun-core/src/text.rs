//! Text for terminals and logs: what comes from outside must not be able to steer them.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// Shows a text with its control characters escaped.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(is_steering) {
            match part.char_indices().next_back() {
                Some((at, last)) if is_steering(last) => {
                    write!(f, "{}{}", &part[..at], last.escape_default())?;
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Control characters, and those that reorder or hide what stands around them.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// As [`Printable`], with line breaks kept: for messages of several lines.
pub(crate) struct PrintableLines<'a>(pub(crate) &'a str);

impl fmt::Display for PrintableLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.lines().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            Printable(line).fmt(f)?;
        }
        Ok(())
    }
}

/// Shows a duration as a person says it: `3s`, `2m 5s`, `150ms`.
pub(crate) struct Short(pub(crate) Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fine = self.0.saturating_add(Duration::from_micros(500));
        let secs = self.0.saturating_add(Duration::from_millis(500)).as_secs();
        let mut text = Brief::default();
        match secs {
            _ if fine.as_secs() == 0 => write!(text, "{}ms", fine.subsec_millis()),
            ..10 => {
                let tenths = tenths(self.0);
                write!(text, "{}.{}s", tenths / 10, tenths % 10)
            }
            10..60 => write!(text, "{secs}s"),
            60..3600 => write!(text, "{}m {}s", secs / 60, secs % 60),
            3600..86400 => write!(text, "{}h {}m", secs / 3600, secs / 60 % 60),
            _ => write!(text, "{}d {}h", secs / 86400, secs / 3600 % 24),
        }?;
        f.pad(text.as_str())
    }
}

/// The nearest tenth of a second, the even one of two, as floating-point numbers are shown; which
/// would bring the code for all of them into every program.
fn tenths(duration: Duration) -> u64 {
    const TENTH: u32 = 100_000_000;
    let (whole, rest) = (
        duration.as_secs() * 10 + u64::from(duration.subsec_nanos() / TENTH),
        duration.subsec_nanos() % TENTH,
    );
    let up = 2 * rest > TENTH || 2 * rest == TENTH && whole % 2 == 1;
    whole + u64::from(up)
}

/// A few ASCII characters, without an allocation.
#[derive(Default)]
struct Brief {
    text: [u8; 32],
    length: usize,
}

impl Brief {
    fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Write for Brief {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.text.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Shows a number of things: `1 task`, `2 tasks`.
pub(crate) struct Count(pub(crate) usize, pub(crate) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}{}",
            self.0,
            self.1,
            if self.0 == 1 { "" } else { "s" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_a_terminal() {
        let shown = Printable("a\u{1b}[31mred\u{7}\nline\u{202e}x").to_string();
        assert_eq!(shown, "a\\u{1b}[31mred\\u{7}\\nline\\u{202e}x");
        assert_eq!(
            PrintableLines("one\u{1b}\ntwo").to_string(),
            "one\\u{1b}\ntwo"
        );
        assert_eq!(
            Printable("größer than \"that\"").to_string(),
            "größer than \"that\""
        );
    }

    #[test]
    fn durations_are_short() {
        let show = |millis| Short(Duration::from_millis(millis)).to_string();
        assert_eq!(show(150), "150ms");
        assert_eq!(show(3_250), "3.2s");
        assert_eq!(show(999), "999ms");
        assert_eq!(show(9_960), "10s");
        assert_eq!(show(12_000), "12s");
        assert_eq!(show(59_990), "1m 0s");
        assert_eq!(show(125_000), "2m 5s");
        assert_eq!(show(7_500_000), "2h 5m");
        assert_eq!(show(200_000_000), "2d 7h");
    }
}
