//! Numbers as the command line takes them: decimal, hexadecimal with `0x` or octal with a leading `0`, as strtoul(3)
//! with base 0 reads them, but all of the text, and never wrapped or cut to fit.

use std::fmt;
use std::ops::RangeInclusive;

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
