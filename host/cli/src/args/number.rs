//! Numbers on the command line: decimal, hexadecimal with `0x` or octal with a leading `0`, like strtoul(3) with base
//! 0, but all of the text, and never wrapped or truncated. Some accept a unit. Times are only decimal: 010 seconds are
//! ten.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::StopAfter;

/// Maximum characters of a time. The library that parses times sums their parts without overflow checks near the
/// maximum of seconds, which takes more characters to write.
const LONGEST_TIME: usize = 24;

/// How a range of accepted values is written.
#[derive(Clone, Copy)]
pub(super) enum Show {
    Decimal,
    Hex,
}

/// Reads `text` as a number within `range`. The error says which values are accepted.
pub(super) fn parse(text: &str, range: RangeInclusive<u64>, show: Show) -> Result<u64, String> {
    let accepted = || {
        format!(
            "accepted: {}, in decimal, hex (0x...) or octal (0...)",
            Shown(&range, show)
        )
    };
    match read(text) {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(0) => Err(format!("zero is not allowed; {}", accepted())),
        Ok(_) | Err(Unreadable::TooLarge | Unreadable::Negative) => Err(format!("out of range; {}", accepted())),
        Err(Unreadable::NotOctal) => Err(format!(
            "not a number: a leading 0 means octal, which has no digit 8 or 9; {}",
            accepted()
        )),
        Err(Unreadable::NotANumber) => Err(format!("not a number; {}", accepted())),
    }
}

/// Reads a number of bytes, with an optional suffix K, M or G (powers of 1024). `None` if it is not one or does not
/// fit.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        _ => (text, 0),
    };
    read(digits).ok()?.checked_mul(1 << shift)
}

/// Reads a time, in seconds if it has no unit. It is not 0.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = match read_duration(text) {
        Ok(Duration::ZERO) => Err("zero is not allowed".into()),
        duration => duration,
    };
    duration.map_err(|why| format!("{why}; accepted: seconds, as 10 or 0.5, or with units, as 500ms, 90s, 5m, 1h30m"))
}

/// Reads a time as [`parse_duration`] does, which may be 0. The error is only the reason.
pub(super) fn read_duration(text: &str) -> Result<Duration, String> {
    if text.len() > LONGEST_TIME {
        return Err("not a time: too long".into());
    }
    let seconds;
    let with_unit = if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        seconds = format!("{text}s");
        &seconds
    } else {
        text
    };
    humantime::parse_duration(with_unit).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => "out of range".into(),
        humantime::DurationError::UnknownUnit { unit, .. } if !unit.is_empty() => {
            format!("not a time: '{unit}' is no unit")
        }
        _ => "not a time".into(),
    })
}

/// Reads a number of events or packets; without a word behind it, of events. It is not 0.
pub(super) fn parse_stop_after(text: &str) -> Result<StopAfter, String> {
    let before = |several: &str, one: &str| text.strip_suffix(several).or_else(|| text.strip_suffix(one));
    let (digits, unit): (_, fn(u64) -> StopAfter) = match before("packets", "packet") {
        Some(digits) => (digits, StopAfter::Packets),
        None => (before("events", "event").unwrap_or(text), StopAfter::Events),
    };
    match read(digits.trim_end()) {
        Ok(0) => Err("zero is not allowed; accepted: 1 and more, as 1000events or 10packets".into()),
        Ok(number) => Ok(unit(number)),
        Err(Unreadable::TooLarge | Unreadable::Negative) => {
            Err("out of range; accepted: 1 and more, as 1000events or 10packets".into())
        }
        Err(Unreadable::NotANumber | Unreadable::NotOctal) => {
            Err("not a number of events or packets; accepted: as 1000events or 10packets; 1000 means events".into())
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    NotANumber,
    NotOctal,
    Negative,
    TooLarge,
}

fn read(text: &str) -> Result<u64, Unreadable> {
    let text = text.trim_start();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        (hex, 16)
    } else if unsigned.len() > 1 && unsigned.starts_with('0') {
        (&unsigned[1..], 8)
    } else {
        (unsigned, 10)
    };
    // from_str_radix would take a second sign.
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Unreadable::NotANumber);
    }
    match u64::from_str_radix(digits, radix) {
        Ok(_) if negative => Err(Unreadable::Negative),
        Ok(number) => Ok(number),
        Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => Err(Unreadable::TooLarge),
        Err(_) if radix == 8 && digits.bytes().all(|digit| digit.is_ascii_digit()) => Err(Unreadable::NotOctal),
        Err(_) => Err(Unreadable::NotANumber),
    }
}

struct Shown<'a>(&'a RangeInclusive<u64>, Show);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Show::Decimal => write!(f, "{} to {}", self.0.start(), self.0.end()),
            Show::Hex => write!(f, "{} to {:#x}", self.0.start(), self.0.end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_all_three_bases() {
        for (text, number) in [
            ("1", 1),
            ("0", 0),
            ("00", 0),
            ("010", 8),
            ("0x10", 16),
            ("0XdeadBEEF", 0xdead_beef),
            ("3735928559", 0xdead_beef),
            ("+7", 7),
            (" 7", 7),
            ("0xffffffffffffffff", u64::MAX),
            ("01777777777777777777777", u64::MAX),
        ] {
            assert_eq!(read(text), Ok(number), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_entirely_a_number_is_refused() {
        for text in [
            "", " ", "banana", "0x", "0xg", "1x", "1 ", "++1", "+-1", "--1", "-", "1_000", "1e3", "\u{661}", "0b1",
        ] {
            assert_eq!(read(text), Err(Unreadable::NotANumber), "{text:?}");
        }
        for text in ["08", "019"] {
            assert_eq!(read(text), Err(Unreadable::NotOctal), "{text:?}");
        }
        for text in [
            "18446744073709551616",
            "0x1ffffffffffffffff",
            "99999999999999999999999999999999999999999999999",
        ] {
            assert_eq!(read(text), Err(Unreadable::TooLarge), "{text:?}");
        }
        for text in ["-1", "-0x1", "-0"] {
            assert_eq!(read(text), Err(Unreadable::Negative), "{text:?}");
        }
    }

    #[test]
    fn times_are_seconds_or_have_units() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("010", 10_000),
            ("0.5", 500),
            ("10s", 10_000),
            ("1.5s", 1_500),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2 days", 172_800_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "not a time"),
            (".", "not a time"),
            ("1.", "not a time"),
            ("1.2.3", "not a time"),
            ("-5", "not a time"),
            ("5 apples", "'apples' is no unit"),
            ("0x10", "'x' is no unit"),
            ("1e3", "'e' is no unit"),
            ("s", "not a time"),
            ("0", "zero"),
            ("0.0", "zero"),
            ("0s", "zero"),
            ("0.0000000001", "out of range"),
            ("99999999999999999999", "out of range"),
            ("18446744073709551615y", "out of range"),
            ("18446744073709551615s999999999ns1ns", "too long"),
            ("\u{661}", "not a time"),
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(why) && error.contains("1h30m"), "{text:?}: {error}");
        }
    }

    #[test]
    fn amounts_are_of_events_or_packets() {
        for (text, amount) in [
            ("1000", StopAfter::Events(1000)),
            ("1000events", StopAfter::Events(1000)),
            ("1event", StopAfter::Events(1)),
            ("10packets", StopAfter::Packets(10)),
            ("1packet", StopAfter::Packets(1)),
            ("10 packets", StopAfter::Packets(10)),
            ("0x10events", StopAfter::Events(16)),
            ("18446744073709551615", StopAfter::Events(u64::MAX)),
        ] {
            assert_eq!(parse_stop_after(text), Ok(amount), "{text:?}");
        }
        for (text, why) in [
            ("0", "zero"),
            ("0packets", "zero"),
            ("-1", "out of range"),
            ("18446744073709551616events", "out of range"),
            ("", "not a number"),
            ("packets", "not a number"),
            ("10bytes", "not a number"),
            ("1eventss", "not a number"),
            ("1.5packets", "not a number"),
            ("10packetsevents", "not a number"),
        ] {
            let error = parse_stop_after(text).expect_err(text);
            assert!(error.contains(why) && error.contains("10packets"), "{text:?}: {error}");
        }
    }

    #[test]
    fn sizes_take_a_binary_suffix() {
        for (text, size) in [
            ("4096", 4096),
            ("64K", 65536),
            ("64k", 65536),
            ("32M", 32 << 20),
            ("1G", 1 << 30),
            ("0x10m", 16 << 20),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text:?}");
        }
        for text in ["", "K", "1T", "1KK", "1KiB", "-1M", "17179869184G", "1.5M", "\u{b5}"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }
}
