//! Formats names, numbers and field values as `ipft` itself does.
//!
//! Each function returns a value for a format string: `write!(out, "{}", text::visible(&function.name))`.

use std::fmt::{self, Display, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::fields::Value;
use crate::trace::{Field, Format, Kind, Member};

/// Formats with a closure.
pub(crate) struct Show<F>(pub(crate) F);

impl<F: Fn(&mut Formatter<'_>) -> fmt::Result> Display for Show<F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// Makes a name or text from outside safe for a terminal: characters that could move the cursor, colour the screen or
/// reorder the line (control characters, bidirectional overrides) are escaped. The backslash is doubled, so that an
/// escape cannot be forged. Width and alignment are respected, with one column per character.
pub fn visible(text: &str) -> impl Display + '_ {
    Show(
        move |f: &mut Formatter<'_>| match (f.width(), text.chars().any(is_escaped)) {
            (None, false) => f.write_str(text),
            (None, true) => text.chars().try_for_each(|character| push_visible(f, character)),
            (Some(_), false) => f.pad(text),
            (Some(_), true) => {
                let mut escaped = String::new();
                text.chars()
                    .try_for_each(|character| push_visible(&mut escaped, character))?;
                f.pad(&escaped)
            }
        },
    )
}

/// Like [`visible`], for bytes that should be UTF-8; invalid ones are shown as `\xff`.
pub fn visible_bytes(bytes: &[u8]) -> impl Display + '_ {
    Show(move |f: &mut Formatter<'_>| {
        for chunk in bytes.utf8_chunks() {
            visible(chunk.valid()).fmt(f)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    })
}

/// Escapes a text from outside for an XML or HTML document, between tags or in a quoted attribute: like [`visible`],
/// since XML cannot hold control characters, and with entities for `<`, `>`, `&` and quotes.
pub fn xml(text: &str) -> impl Display + '_ {
    Show(move |f: &mut Formatter<'_>| {
        text.chars().try_for_each(|character| match character {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            // These two are not XML characters.
            '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}'),
            _ => push_visible(f, character),
        })
    })
}

/// Like [`visible`], for callers that escape XML themselves: replaces the two characters that XML cannot represent.
pub fn visible_in_xml(text: &str) -> String {
    visible(text).to_string().replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

/// Formats a JSON string with its quotes. Characters that are harmful in a terminal, or in a script of an HTML page
/// (`<`, and the line separators), are escaped.
pub fn json(text: &str) -> impl Display + '_ {
    Show(move |f: &mut Formatter<'_>| {
        f.write_char('"')?;
        push_json(f, text)?;
        f.write_char('"')
    })
}

fn push_json(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|character| match character {
        '"' => f.write_str("\\\""),
        '\\' => f.write_str("\\\\"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '<' | '\u{2028}' | '\u{2029}' => {
            write!(f, "\\u{:04x}", character as u32)
        }
        _ => f.write_char(character),
    })
}

/// Like [`json`], for bytes that should be UTF-8; an invalid sequence becomes U+FFFD.
pub fn json_bytes(bytes: &[u8]) -> impl Display + '_ {
    Show(move |f: &mut Formatter<'_>| {
        f.write_char('"')?;
        for chunk in bytes.utf8_chunks() {
            push_json(f, chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char('\u{fffd}')?;
            }
        }
        f.write_char('"')
    })
}

/// Returns whether [`visible`] escapes the character.
fn is_escaped(character: char) -> bool {
    matches!(character,
        '\\' | '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}')
}

fn push_visible(out: &mut impl Write, character: char) -> fmt::Result {
    match character {
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\0'..='\x7f' if is_escaped(character) => write!(out, "\\x{:02x}", character as u32),
        _ if is_escaped(character) => write!(out, "\\u{{{:x}}}", character as u32),
        _ => out.write_char(character),
    }
}

/// Formats an identity or address: `0x` and 16 digits.
pub fn hex(value: u64) -> impl Display {
    Show(move |f: &mut Formatter<'_>| write!(f, "{value:#018x}"))
}

/// Formats nanoseconds as microseconds, as in the function graph: `1234.348 us`.
pub fn microseconds(nanoseconds: u64) -> impl Display {
    Show(move |f: &mut Formatter<'_>| padded(f, format_args!("{}.{:03} us", nanoseconds / 1000, nanoseconds % 1000)))
}

/// Formats nanoseconds for people, with three to six digits: `980 ns`, `1.234 us`, `12.345 ms`, `61.000 s`.
pub fn duration(nanoseconds: u64) -> impl Display {
    Show(move |f: &mut Formatter<'_>| {
        let (unit, name) = match nanoseconds {
            0..1_000 => return padded(f, format_args!("{nanoseconds} ns")),
            1_000..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let thousandths = nanoseconds / (unit / 1000);
        padded(
            f,
            format_args!("{}.{:03} {name}", thousandths / 1000, thousandths % 1000),
        )
    })
}

/// Formats nanoseconds as seconds: `12.000000345`.
pub fn seconds(nanoseconds: i64) -> impl Display {
    Show(move |f: &mut Formatter<'_>| {
        let sign = if nanoseconds < 0 { "-" } else { "" };
        let nanoseconds = nanoseconds.unsigned_abs();
        padded(
            f,
            format_args!(
                "{sign}{}.{:09}",
                nanoseconds / 1_000_000_000,
                nanoseconds % 1_000_000_000
            ),
        )
    })
}

/// Formats a number with thousands separators: `12,034`.
pub fn count(value: u64) -> impl Display {
    Show(move |f: &mut Formatter<'_>| {
        let digits = value.to_string();
        let mut text = String::with_capacity(26);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    })
}

/// Formats a part of a whole, in per cent: `99.98 %`. Only the whole is 100, and only nothing is 0.
pub fn percent(part: u64, whole: u64) -> impl Display {
    Show(move |f: &mut Formatter<'_>| {
        let hundredths = match (part, whole) {
            (0, _) | (_, 0) => 0,
            _ if part >= whole => 10_000,
            _ => ((u128::from(part) * 10_000 + u128::from(whole) / 2) / u128::from(whole)).clamp(1, 9_999),
        };
        padded(f, format_args!("{}.{:02} %", hundredths / 100, hundredths % 100))
    })
}

/// Writes with the requested width.
fn padded(f: &mut Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    match f.width() {
        None => f.write_fmt(text),
        Some(_) => f.pad(&text.to_string()),
    }
}

/// Formats a value as text, by its field.
pub(crate) fn value(f: &mut Formatter<'_>, field: Option<&Field>, value: Value<'_>) -> fmt::Result {
    match (field.map(|field| (field, field.format)), value) {
        (Some((_, Format::Ktime)), Value::Signed(value)) => seconds(value).fmt(f),
        (Some((field, Format::Enum)), Value::Unsigned(_) | Value::Signed(_)) => match member_of(field, value) {
            Some(member) => visible(&member.name).fmt(f),
            None => f.write_str("<none>"),
        },
        (Some((field, Format::Flags)), Value::Unsigned(value)) => {
            let mut first = true;
            let unknown = flags(field, value, |name| {
                if !std::mem::take(&mut first) {
                    f.write_char('|')?;
                }
                visible(name).fmt(f)
            })?;
            match (unknown, first) {
                (0, true) => f.write_str("<none>"),
                (0, false) => Ok(()),
                (_, true) => write!(f, "{unknown:#x}"),
                (_, false) => write!(f, "|{unknown:#x}"),
            }
        }
        (Some((field, Format::Symbol)), Value::Unsigned(address)) => match symbol(&field.members, address) {
            Some((name, 0)) => visible(name).fmt(f),
            Some((name, distance)) => write!(f, "{}+{distance:#x}", visible(name)),
            None => write!(f, "{address:#x}"),
        },
        (Some((field, format)), Value::Unsigned(value)) if is_hex(field, format) => write!(f, "{value:#x}"),
        (_, Value::Unsigned(value)) => write!(f, "{value}"),
        (_, Value::Signed(value)) => write!(f, "{value}"),
        (_, Value::Bool(value)) => write!(f, "{value}"),
        (_, Value::Float(value)) => float(f, value),
        (_, Value::Text(bytes)) => visible_bytes(bytes).fmt(f),
        (field, Value::Bytes(bytes)) => match (field.map(|(_, format)| format), bytes) {
            (Some(Format::Ipv4), &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).fmt(f),
            (Some(Format::Ipv6), _) => match <[u8; 16]>::try_from(bytes) {
                Ok(octets) => Ipv6Addr::from(octets).fmt(f),
                Err(_) => digits(f, bytes, ""),
            },
            (Some(Format::Ip), _) => match <[u8; 16]>::try_from(bytes) {
                Ok(octets) => Ipv6Addr::from(octets).to_canonical().fmt(f),
                Err(_) => digits(f, bytes, ""),
            },
            (Some(Format::Mac), _) => digits(f, bytes, ":"),
            _ => digits(f, bytes, ""),
        },
    }
}

/// Formats a value as JSON of the fitting type; the same as in `ipft -o jsonl`.
pub(crate) fn json_value(f: &mut Formatter<'_>, field: Option<&Field>, value: Value<'_>) -> fmt::Result {
    match (field.map(|field| (field, field.format)), value) {
        (Some((_, Format::Ktime)), Value::Signed(value)) => write!(f, "{value}"),
        (Some((field, Format::Enum)), Value::Unsigned(_) | Value::Signed(_)) => {
            match (member_of(field, value), value) {
                (Some(member), _) => json(&member.name).fmt(f),
                (None, Value::Signed(value)) => write!(f, "{value}"),
                (None, value) => write!(f, "{}", value.as_u64().unwrap_or_default()),
            }
        }
        (Some((field, Format::Flags)), Value::Unsigned(value)) => {
            f.write_char('[')?;
            let mut first = true;
            let unknown = flags(field, value, |name| {
                if !std::mem::take(&mut first) {
                    f.write_char(',')?;
                }
                json(name).fmt(f)
            })?;
            match (unknown, first) {
                (0, _) => f.write_char(']'),
                (_, true) => write!(f, "\"{unknown:#x}\"]"),
                (_, false) => write!(f, ",\"{unknown:#x}\"]"),
            }
        }
        (Some((field, format)), Value::Unsigned(_)) if format == Format::Symbol || is_hex(field, format) => {
            let text = Show(|f: &mut Formatter<'_>| self::value(f, Some(field), value)).to_string();
            // The text is safe for a terminal, and JSON has its own escapes.
            match symbol(&field.members, value.as_u64().unwrap_or_default()).filter(|_| format == Format::Symbol) {
                Some((name, 0)) => json(name).fmt(f),
                Some((name, distance)) => json(&format!("{name}+{distance:#x}")).fmt(f),
                None => json(&text).fmt(f),
            }
        }
        (_, Value::Unsigned(value)) => write!(f, "{value}"),
        (_, Value::Signed(value)) => write!(f, "{value}"),
        (_, Value::Bool(value)) => write!(f, "{value}"),
        (_, Value::Float(value)) if value.is_finite() => write!(f, "{value:?}"),
        (_, Value::Float(value)) => write!(f, "\"{}\"", word(value)),
        (_, Value::Text(bytes)) => json_bytes(bytes).fmt(f),
        (_, Value::Bytes(_)) => {
            f.write_char('"')?;
            self::value(f, field, value)?;
            f.write_char('"')
        }
    }
}

fn is_hex(field: &Field, format: Format) -> bool {
    format == Format::Hex || format == Format::Plain && field.kind == Kind::Pointer
}

/// Returns the member with the value, both cut to the field's width.
fn member_of<'a>(field: &'a Field, value: Value<'_>) -> Option<&'a Member> {
    let mask = field.mask();
    let value = match value {
        Value::Signed(value) => value as u64,
        value => value.as_u64()?,
    };
    field.members.iter().find(|member| (member.value ^ value) & mask == 0)
}

/// Calls `name` with each member whose bits are all set, and returns the bits without a member.
fn flags<'a>(field: &'a Field, value: u64, mut name: impl FnMut(&'a str) -> fmt::Result) -> Result<u64, fmt::Error> {
    let mut known = 0;
    for member in &field.members {
        // A member that is zero names the absence of flags.
        let bits = member.value & field.mask();
        if bits != 0 && value & bits == bits {
            name(&member.name)?;
            known |= bits;
        }
    }
    Ok(value & !known)
}

/// The largest distance from a symbol: an address further away is in no named object.
const FARTHEST: u64 = 16 << 20;

/// Returns the last symbol at or before the address, and the offset from it.
fn symbol(symbols: &[Member], address: u64) -> Option<(&str, u64)> {
    let after = symbols.partition_point(|symbol| symbol.value <= address);
    let symbol = &symbols[after.checked_sub(1)?];
    // In an unsorted list the symbol found might begin after the address.
    let distance = address.checked_sub(symbol.value)?;
    (distance <= FARTHEST).then_some((&symbol.name, distance))
}

fn digits(f: &mut Formatter<'_>, bytes: &[u8], separator: &str) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn word(value: f64) -> &'static str {
    match (value.is_nan(), value > 0.0) {
        (true, _) => "nan",
        (false, true) => "inf",
        (false, false) => "-inf",
    }
}

/// Formats a float like Lua: `%.14g`, with `.0` appended to integers.
fn float(f: &mut Formatter<'_>, value: f64) -> fmt::Result {
    if !value.is_finite() {
        return f.write_str(word(value));
    }
    let scientific = format!("{:.13e}", value.abs());
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return f.write_str(&scientific);
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value.is_sign_negative() {
        f.write_char('-')?;
    }
    match exponent {
        -4..14 => {
            let fixed = format!("{:.*}", (13 - exponent) as usize, value.abs());
            let short = fixed.trim_end_matches('0');
            match short.ends_with('.') || !short.contains('.') {
                true => write!(f, "{}.0", short.trim_end_matches('.')),
                false => f.write_str(short),
            }
        }
        _ => {
            f.write_str(mantissa.trim_end_matches('0').trim_end_matches('.'))?;
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(f, "e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_are_escaped_unforgeably() {
        let name = "a\\b\x1b[2J\u{9b}\u{202e}\n\r\t\x7f\0é😀";
        assert_eq!(
            visible(name).to_string(),
            "a\\\\b\\x1b[2J\\u{9b}\\u{202e}\\n\\r\\t\\x7f\\x00é😀"
        );
        assert_eq!(
            format!("{:>4}|{:<8}|", visible("a"), visible("\x1b")),
            "   a|\\x1b    |"
        );
        assert_eq!(visible_bytes(b"a\xff\xfe\n").to_string(), "a\\xff\\xfe\\n");
    }

    #[test]
    fn names_cannot_break_out_of_documents() {
        assert_eq!(
            xml("</text><script a='\"'>&\x1b\u{ffff}").to_string(),
            "&lt;/text&gt;&lt;script a=&#39;&quot;&#39;&gt;&amp;\\x1b\u{fffd}"
        );
        assert_eq!(
            json("</script>\"\\\u{2028}\x1b\u{9b}\n").to_string(),
            r#""\u003c/script>\"\\\u2028\u001b\u009b\n""#
        );
        assert_eq!(json_bytes(b"a\xff\xffb").to_string(), "\"a\u{fffd}\u{fffd}b\"");
    }

    #[test]
    fn numbers_are_formatted_for_people() {
        assert_eq!(microseconds(1_234_348).to_string(), "1234.348 us");
        assert_eq!(
            [0, 999, 1_000, 999_999, 12_345_678, 61_000_000_000].map(|value| duration(value).to_string()),
            ["0 ns", "999 ns", "1.000 us", "999.999 us", "12.345 ms", "61.000 s"]
        );
        assert_eq!(
            [0, 12, 999, 1_000, 12_034, 1_234_567].map(|value| count(value).to_string()),
            ["0", "12", "999", "1,000", "12,034", "1,234,567"]
        );
        assert_eq!(format!("{:>8}|{:<8}|", count(1000), duration(5)), "   1,000|5 ns    |");
        assert_eq!(
            [
                (12_034, 12_037),
                (0, 5),
                (5, 5),
                (1, u64::MAX),
                (u64::MAX - 1, u64::MAX),
                (1, 0)
            ]
            .map(|(part, whole)| percent(part, whole).to_string()),
            ["99.98 %", "0.00 %", "100.00 %", "0.01 %", "99.99 %", "0.00 %"]
        );
        assert_eq!(seconds(i64::MIN).to_string(), "-9223372036.854775808");
        assert_eq!(hex(0xab).to_string(), "0x00000000000000ab");
    }

    #[test]
    fn floats_are_formatted_like_lua() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (2.0, "2.0"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.3"),
            (-1.5e300, "-1.5e+300"),
            (1e14, "1e+14"),
            (12_345_678_901_234.0, "12345678901234.0"),
            (99_999_999_999_999.5, "1e+14"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (5e-324, "4.9406564584125e-324"),
            (f64::NAN, "nan"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(Show(|f: &mut Formatter<'_>| float(f, value)).to_string(), expected);
        }
    }
}
