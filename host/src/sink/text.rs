//! Bytes of text, appended to a buffer: numbers, padding, and names from outside made harmless.
//!
//! Every built-in sink writes through these few functions, because they run once or more per event: they append to a
//! buffer that is reused, and use neither allocation nor the `fmt` machinery.

/// `0x` and 16 digits, so that identities and addresses of one output are all equally wide.
pub(super) fn push_hex_wide(out: &mut Vec<u8>, value: u64) {
    let mut digits = *b"0x0000000000000000";
    for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
        digits[2 + 2 * index..4 + 2 * index].copy_from_slice(&HEX_PAIRS[byte as usize]);
    }
    out.extend_from_slice(&digits);
}

/// `0x` and as many digits as the value needs.
pub(super) fn push_hex(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 16];
    for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
        digits[2 * index..2 * index + 2].copy_from_slice(&HEX_PAIRS[byte as usize]);
    }
    let leading = (value.leading_zeros() / 4).min(15) as usize;
    out.extend_from_slice(b"0x");
    out.extend_from_slice(&digits[leading..]);
}

/// Two hexadecimal digits.
pub(super) fn push_hex_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&HEX_PAIRS[byte as usize]);
}

/// Decimal.
pub(super) fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Decimal, with a minus sign if it needs one.
pub(super) fn push_signed(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Decimal with at least `width` digits, zeros in front.
pub(super) fn push_zero_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value).as_bytes();
    const ZEROS: [u8; 20] = [b'0'; 20];
    out.extend_from_slice(&ZEROS[..width.saturating_sub(digits.len()).min(ZEROS.len())]);
    out.extend_from_slice(digits);
}

/// Spaces.
pub(super) fn push_spaces(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, b' ');
}

/// A name or text from outside, made fit for a terminal: what could move the cursor, colour the screen or reorder the
/// line (control characters, bidirectional overrides) is shown as an escape. The backslash is doubled, so that an
/// escape cannot be forged.
pub(super) fn push_visible(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\x1f' | '\x7f' => {
                out.extend_from_slice(b"\\x");
                push_hex_byte(out, character as u8);
            }
            // C1 controls, line and paragraph separators, and the marks that change the direction of the text.
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                out.extend_from_slice(b"\\u{");
                let code = character as u32;
                if code > 0xff {
                    push_hex_byte(out, (code >> 8) as u8);
                }
                push_hex_byte(out, code as u8);
                out.push(b'}');
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// As [`push_visible`], of bytes that should be UTF-8; those that are not are shown as `\xff`.
pub(super) fn push_visible_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        push_visible(out, chunk.valid());
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\x");
            push_hex_byte(out, *byte);
        }
    }
}

/// The inside of a JSON string.
pub(super) fn push_json_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // DEL needs no escape in JSON, but JSON is read in terminals too.
            0..=0x1f | 0x7f => {
                out.extend_from_slice(b"\\u00");
                push_hex_byte(out, byte);
            }
            _ => out.push(byte),
        }
    }
}

/// As [`push_json_escaped`], of bytes that should be UTF-8; a sequence that is not becomes U+FFFD, because a JSON
/// string cannot hold it.
pub(super) fn push_json_escaped_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        push_json_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// A JSON string.
pub(super) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_json_escaped(out, text);
    out.push(b'"');
}

/// The two digits of every byte.
const HEX_PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Text of every function, rendered once when the trace starts and copied per event.
///
/// One function more than there are stands for an index outside the table, which only a broken recording can hold.
#[derive(Debug, Default)]
pub(super) struct FunctionTexts {
    text: Vec<u8>,
    /// Where each function's text ends; it begins where the one before ends.
    ends: Vec<usize>,
}

impl FunctionTexts {
    /// Renders each function by appending to the buffer. The last, made up, is named `?` in module `?`.
    pub(super) fn new(
        functions: &[crate::event::Function],
        render: impl Fn(&mut Vec<u8>, &crate::event::Function),
    ) -> Self {
        let unknown = crate::event::Function {
            name: "?".to_owned(),
            module: "?".to_owned(),
            address: 0,
        };
        let mut texts = FunctionTexts::default();
        for function in functions.iter().chain([&unknown]) {
            render(&mut texts.text, function);
            texts.ends.push(texts.text.len());
        }
        texts
    }

    /// The text of the function with this index.
    pub(super) fn of(&self, function: u32) -> &[u8] {
        let index = (function as usize).min(self.ends.len().saturating_sub(1));
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let end = self.ends.get(index).copied().unwrap_or_default();
        &self.text[start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for value in [0, 1, 9, 10, 0xf, 0x10, 0xff, 0x1234_5678_9abc_def0, u64::MAX] {
            assert_eq!(text(|out| push_hex_wide(out, value)), format!("{value:#018x}"));
            assert_eq!(text(|out| push_hex(out, value)), format!("{value:#x}"));
            assert_eq!(text(|out| push_unsigned(out, value)), format!("{value}"));
            assert_eq!(text(|out| push_signed(out, value as i64)), format!("{}", value as i64));
            assert_eq!(text(|out| push_zero_padded(out, value, 3)), format!("{value:03}"));
        }
    }

    #[test]
    fn no_control_character_reaches_a_terminal() {
        let hostile: String = ('\0'..='\u{9f}').chain(['\u{202e}', '\u{2067}', '\u{61c}']).collect();
        let shown = text(|out| push_visible(out, &hostile));
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert!(shown.starts_with("\\x00\\x01"), "{shown}");
        assert!(shown.ends_with("\\u{9f}\\u{202e}\\u{2067}\\u{061c}"), "{shown}");
        assert_eq!(text(|out| push_visible(out, "a\\n\nß")), "a\\\\n\\nß");
        assert_eq!(text(|out| push_visible_bytes(out, b"a\xff\x1bb")), "a\\xff\\x1bb");
    }

    #[test]
    fn a_json_string_survives_whatever_it_holds() {
        let hostile: String = ('\0'..='\u{ff}').chain(['\u{2028}', '😀']).collect();
        let written = text(|out| push_json_string(out, &hostile));
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), hostile);
        assert_eq!(text(|out| push_json_escaped_bytes(out, b"a\xffb\"")), "a\u{fffd}b\\\"");
    }
}
