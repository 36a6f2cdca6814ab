//! Literals that say how long: `60`, `0.5`, `"1m30s"`.

use std::time::Duration;

use syn::{Lit, LitFloat, LitInt};

use crate::spelling;

/// From large to small: the order in which the parts of a duration are written.
const UNITS: [(&str, u128); 10] = [
    ("d", 24 * 60 * 60 * SECOND),
    ("h", 60 * 60 * SECOND),
    ("min", 60 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];
const SECOND: u128 = 1_000_000_000;
const TOO_LONG: &str = "the duration is too long";

/// Reads a number of seconds or a string with units; the error is a message.
///
/// Yields `None` for a literal of any other sort.
pub(crate) fn read(literal: &Lit) -> Option<Result<Duration, String>> {
    match literal {
        Lit::Int(seconds) => Some(read_int(seconds)),
        Lit::Float(seconds) => Some(read_float(seconds)),
        Lit::Str(text) => Some(parse(&text.value())),
        _ => None,
    }
}

fn read_int(seconds: &LitInt) -> Result<Duration, String> {
    refuse_suffix(seconds.suffix(), &seconds.to_string())?;
    let seconds = seconds.base10_parse().map_err(|_| TOO_LONG)?;
    Ok(Duration::from_secs(seconds))
}

fn read_float(seconds: &LitFloat) -> Result<Duration, String> {
    refuse_suffix(seconds.suffix(), &seconds.to_string())?;
    let seconds = seconds.base10_parse().map_err(|_| TOO_LONG)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| TOO_LONG.to_owned())
}

fn refuse_suffix(suffix: &str, literal: &str) -> Result<(), String> {
    if suffix.is_empty() {
        Ok(())
    } else if parse(literal).is_ok() {
        Err(format!(
            "a duration with a unit is a string: `\"{literal}\"`"
        ))
    } else {
        Err(format!(
            "a number of seconds has no suffix, but this has `{suffix}`"
        ))
    }
}

/// Reads numbers with units, large units first.
fn parse(text: &str) -> Result<Duration, String> {
    let (mut rest, mut total, mut last) = (text.trim(), 0, u128::MAX);
    if rest.is_empty() {
        return Err(malformed(text));
    }
    while !rest.is_empty() {
        let (number, tail) = split(rest, |letter| letter.is_ascii_digit() || letter == '.');
        let (unit, tail) = split(tail, char::is_alphabetic);
        if number.is_empty() {
            return Err(malformed(text));
        }
        let scale = scale(number, unit)?;
        if scale >= last {
            return Err(format!(
                "`{unit}` in `{text}` comes too late: large units first, each once"
            ));
        }
        total += nanos(number, scale)?;
        (rest, last) = (tail, scale);
    }
    let seconds = u64::try_from(total / SECOND).map_err(|_| TOO_LONG)?;
    let nanos = u32::try_from(total % SECOND).map_err(|_| TOO_LONG)?;
    Ok(Duration::new(seconds, nanos))
}

/// Splits where `belongs` ends, and takes the spaces away there.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|letter| !belongs(letter)).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn malformed(text: &str) -> String {
    format!("`{text}` is not a duration: expected numbers with units, as in `500ms` or `1m30s`")
}

/// How many nanoseconds the unit has.
fn scale(number: &str, unit: &str) -> Result<u128, String> {
    let names = UNITS.into_iter().map(|(name, _)| name);
    let names = names.filter(|name| name.is_ascii());
    let known = UNITS.into_iter().find(|(name, _)| *name == unit);
    known.map(|(_, scale)| scale).ok_or_else(|| match unit {
        "" => format!(
            "`{number}` has no unit: expected {}",
            spelling::choice(names)
        ),
        _ => format!("unknown unit `{unit}`: {}", spelling::advice(unit, names)),
    })
}

fn nanos(number: &str, scale: u128) -> Result<u128, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let bad = || format!("`{number}` is not a number");
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| TOO_LONG)?;
    let digits = u32::try_from(fraction.len()).map_err(|_| bad())?;
    let tenths = 10_u128.checked_pow(digits);
    let fraction = fraction
        .parse::<u128>()
        .ok()
        .and_then(|digits| digits.checked_mul(scale));
    match (fraction, tenths) {
        (Some(fraction), Some(tenths)) if fraction % tenths == 0 => {
            Ok(u128::from(whole) * scale + fraction / tenths)
        }
        _ => Err(format!("`{number}` is finer than a nanosecond")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use syn::{Lit, parse_str};

    fn read(literal: &str) -> Result<Duration, String> {
        super::read(&parse_str::<Lit>(literal).unwrap()).unwrap()
    }

    #[test]
    fn numbers_are_seconds() {
        assert_eq!(read("60"), Ok(Duration::from_secs(60)));
        assert_eq!(read("1_000"), Ok(Duration::from_secs(1000)));
        assert_eq!(read("0"), Ok(Duration::ZERO));
        assert_eq!(read("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(read("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(read("1e3"), Ok(Duration::from_secs(1000)));
    }

    #[test]
    fn strings_have_units() {
        for (text, nanos) in [
            ("0s", 0),
            ("7ns", 7),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("7μs", 7_000),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            (" 1 min  30 s ", 90_000_000_000),
            ("2h 0.5m", 7_230_000_000_000),
            ("1d", 86_400_000_000_000),
        ] {
            assert_eq!(
                super::parse(text),
                Ok(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_longest() {
        assert_eq!(
            read("18446744073709551615"),
            Ok(Duration::from_secs(u64::MAX))
        );
        let longest = "18446744073709551615s 999ms 999us 999ns";
        assert_eq!(super::parse(longest), Ok(Duration::MAX));
        let too_long = Err("the duration is too long".to_owned());
        assert_eq!(read("18446744073709551616"), too_long);
        assert_eq!(read("1e20"), too_long);
        assert_eq!(super::parse("18446744073709551615s 1000ms"), too_long);
        assert_eq!(super::parse("18446744073709551616ns"), too_long);
        assert_eq!(super::parse("18446744073709551615d"), too_long);
    }

    #[test]
    fn what_is_none() {
        for (text, expected) in [
            ("", "`` is not a duration"),
            ("  ", "is not a duration"),
            ("soon", "`soon` is not a duration"),
            ("-5s", "`-5s` is not a duration"),
            ("5s!", "`5s!` is not a duration"),
            ("60", "`60` has no unit: expected `d`, `h`"),
            ("60S", "unknown unit `S`: did you mean `s`?"),
            ("60sec", "unknown unit `sec`: expected"),
            ("1.2.3s", "`1.2.3` is not a number"),
            (".5s", "`.5` is not a number"),
            ("5.s", "`5.` is not a number"),
            ("30s1m", "`m` in `30s1m` comes too late"),
            ("1m1min", "`min` in `1m1min` comes too late"),
            ("0.5ns", "`0.5` is finer than a nanosecond"),
            (
                "0.00000000000000000000000000000000000001s",
                "is finer than a nanosecond",
            ),
            (
                "0.99999999999999999999999999999999999999999999s",
                "is finer than a nanosecond",
            ),
        ] {
            let message = super::parse(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn literals_with_suffix() {
        let quoted = "a duration with a unit is a string: `\"1m30s\"`";
        assert_eq!(read("1m30s").unwrap_err(), quoted);
        assert_eq!(
            read("0.5s").unwrap_err(),
            "a duration with a unit is a string: `\"0.5s\"`"
        );
        let suffix = "a number of seconds has no suffix, but this has `u64`";
        assert_eq!(read("60u64").unwrap_err(), suffix);
    }
}
