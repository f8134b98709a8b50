//! Formats self-describing values, the tail of a payload, as text and as JSON.
//!
//! Names are escaped once each, when a batch first brings them. Per event nothing is left but to copy them and write
//! the values; [`super::fields`] writes the fixed fields in front of them.

use std::io::Write;

use super::fields::Style;
use super::texts::Snippet;
use crate::event::{Value, Values};
use crate::text::*;

/// The names that were seen so far, escaped.
#[derive(Debug)]
pub(super) struct Tagged {
    style: Style,
    labels: Vec<Snippet>,
    /// For a name that the list does not have, which only a broken recording can hold.
    unknown: Snippet,
}

impl Tagged {
    pub(super) fn new(style: Style) -> Self {
        Tagged {
            style,
            labels: Vec::new(),
            unknown: label("?", style),
        }
    }

    /// Takes the names that are new. The list only grows.
    #[inline]
    pub(super) fn learn(&mut self, names: &[String]) {
        for name in names.get(self.labels.len()..).unwrap_or_default() {
            self.labels.push(label(name, self.style));
        }
    }

    /// Appends the values. `open` says whether other fields of the event come before them; the result, whether now some
    /// do, so that they are to be closed.
    pub(super) fn push(&self, out: &mut Vec<u8>, values: Values<'_>, mut open: bool) -> bool {
        for (name, value) in values {
            if !std::mem::replace(&mut open, true) {
                self.style.open(out);
            } else if self.style == Style::JsonTyped {
                out.push(b',');
            }
            self.push_one(out, name, value);
        }
        open
    }

    /// Appends one value and its label.
    #[inline]
    pub(super) fn push_one(&self, out: &mut Vec<u8>, name: u32, value: Value<'_>) {
        self.labels.get(name as usize).unwrap_or(&self.unknown).push(out);
        match self.style {
            Style::Text | Style::Words => match value {
                Value::Integer(value) => push_signed(out, value),
                Value::Float(value) => push_float(out, value),
                Value::Text(bytes) => push_visible_bytes(out, bytes),
            },
            Style::JsonText => {
                match value {
                    Value::Integer(value) => push_signed(out, value),
                    Value::Float(value) => push_float(out, value),
                    Value::Text(bytes) => push_json_escaped_bytes(out, bytes),
                }
                out.push(b'"');
            }
            Style::JsonTyped => match value {
                Value::Integer(value) => push_signed(out, value),
                Value::Float(value) => push_json_float(out, value),
                Value::Text(bytes) => {
                    out.push(b'"');
                    push_json_escaped_bytes(out, bytes);
                    out.push(b'"');
                }
            },
        }
    }
}

/// Text before a value, without the comma that separates typed ones.
fn label(name: &str, style: Style) -> Snippet {
    let mut text = Vec::new();
    match style {
        Style::Text => {
            text.push(b' ');
            push_visible(&mut text, name);
            text.extend_from_slice(b": ");
        }
        Style::Words => {
            push_visible(&mut text, name);
            text.push(b' ');
        }
        Style::JsonText => {
            text.push(b',');
            push_json_string(&mut text, name);
            text.extend_from_slice(b":\"");
        }
        Style::JsonTyped => {
            push_json_string(&mut text, name);
            text.push(b':');
        }
    }
    Snippet::new(&text)
}

/// The digits that Lua shows of a number.
const DIGITS: usize = 14;

/// As Lua prints a float: `%.14g`, and `.0` behind what would read as an integer. `inf`, `-inf` and `nan` are words.
///
/// The standard library's formatting finds the digits, since doing so right is long; it allocates nothing.
fn push_float(out: &mut Vec<u8>, value: f64) {
    if push_word(out, value) {
        return;
    }
    // `-1.2345678901234e-300` is the longest.
    let mut buffer = [0; 32];
    let mut rest = &mut buffer[..];
    if write!(rest, "{:.*e}", DIGITS - 1, value.abs()).is_err() {
        return;
    }
    let unused = rest.len();
    let text = &buffer[..buffer.len() - unused];
    let Some((mantissa, exponent)) = std::str::from_utf8(text).ok().and_then(|text| text.split_once('e')) else {
        return;
    };
    let Ok(exponent) = exponent.parse::<i32>() else {
        return;
    };
    let mut digits = [b'0'; DIGITS];
    for (digit, byte) in digits.iter_mut().zip(mantissa.bytes().filter(|byte| *byte != b'.')) {
        *digit = byte;
    }
    let significant = digits
        .iter()
        .rposition(|digit| *digit != b'0')
        .map_or(1, |last| last + 1);
    if value.is_sign_negative() {
        out.push(b'-');
    }
    match exponent {
        0..14 => {
            let point = exponent as usize + 1;
            out.extend_from_slice(&digits[..point]);
            out.push(b'.');
            if significant > point {
                out.extend_from_slice(&digits[point..significant]);
            } else {
                out.push(b'0');
            }
        }
        -4..0 => {
            out.extend_from_slice(b"0.");
            out.extend_from_slice(&b"000"[..(-exponent - 1) as usize]);
            out.extend_from_slice(&digits[..significant]);
        }
        _ => {
            out.push(digits[0]);
            if significant > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..significant]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            push_unsigned(out, u64::from(exponent.unsigned_abs()));
        }
    }
}

/// The shortest number that is read as this one again. What is no number in JSON is a string: it tells more than null.
fn push_json_float(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    if push_word(out, value) {
        out.push(b'"');
    } else {
        out.pop();
        // Writing to memory cannot fail.
        let _ = write!(out, "{value:?}");
    }
}

/// Writes a value that has no digits, and says whether it is one.
fn push_word(out: &mut Vec<u8>, value: f64) -> bool {
    if value.is_finite() {
        return false;
    }
    out.extend_from_slice(match (value.is_nan(), value > 0.0) {
        (true, _) => b"nan",
        (false, true) => b"inf",
        (false, false) => b"-inf",
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// Floats of every kind: powers, their neighbours, and patterns of bits.
    fn floats() -> Vec<f64> {
        let mut floats = vec![
            0.0,
            -0.0,
            0.1,
            1.5,
            -2.25,
            1e14,
            99_999_999_999_999.5,
            f64::MIN_POSITIVE,
            f64::MAX,
            5e-324,
        ];
        for exponent in -320..=308 {
            let power: f64 = format!("1e{exponent}").parse().unwrap();
            floats.extend([
                power,
                -power,
                power * 1.234_567_890_123_456_7,
                power * 9.999_999_999_999_99,
            ]);
        }
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            floats.push(f64::from_bits(bits));
        }
        floats
    }

    #[test]
    fn a_float_reads_as_lua_prints_it() {
        let lua = mlua::Lua::new();
        let tostring: mlua::Function = lua.globals().get("tostring").unwrap();
        for value in floats() {
            let expected: String = tostring.call(value).unwrap();
            // Lua says `-nan` or `nan`, as the C library does.
            let expected = if value.is_nan() { "nan".to_owned() } else { expected };
            assert_eq!(text(|out| push_float(out, value)), expected);
        }
    }

    #[test]
    fn non_finite_floats_are_strings_in_json() {
        for value in floats() {
            let written = text(|out| push_json_float(out, value));
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            if value.is_finite() {
                assert_eq!(written.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{written}");
                assert!(read.is_number());
            } else {
                assert!(read.is_string(), "{written}");
            }
        }
        assert_eq!(text(|out| push_json_float(out, f64::NEG_INFINITY)), "\"-inf\"");
        assert_eq!(text(|out| push_json_float(out, f64::NAN)), "\"nan\"");
    }

    #[test]
    fn a_name_that_never_came_is_a_question_mark() {
        let mut payload = Vec::new();
        Value::Integer(-3).push(&mut payload, 1);
        Value::Text(b"a\"\x1b").push(&mut payload, 0);
        Value::Float(2.0).push(&mut payload, 9);
        for (style, expected) in [
            (Style::Text, " ( b\\x1b: -3 a: a\"\\x1b ?: 2.0"),
            (Style::JsonText, r#","b\u001b":"-3","a":"a\"\u001b","?":"2.0""#),
            (Style::JsonTyped, r#","fields":{"b\u001b":-3,"a":"a\"\u001b","?":2.0"#),
        ] {
            let mut tagged = Tagged::new(style);
            tagged.learn(&["a".to_owned()]);
            tagged.learn(&["a".to_owned(), "b\x1b".to_owned()]);
            tagged.learn(&[]);
            assert_eq!(
                text(|out| assert!(tagged.push(out, Values::new(&payload), false))),
                expected
            );
            assert_eq!(text(|out| assert!(!tagged.push(out, Values::new(&[]), false))), "");
            assert_eq!(text(|out| assert!(tagged.push(out, Values::new(&[]), true))), "");
        }
    }
}
