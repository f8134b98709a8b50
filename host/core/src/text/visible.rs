//! The sanitizer: escapes text from outside for a terminal. The only place that decides which characters. Imports
//! nothing of the crate but the numbers beside it.

use std::borrow::Cow;
use std::io::{self, Write};

use super::numbers::push_hex_byte;

/// Returns whether a character does something to a terminal, or to the order in which others are read: controls (C0,
/// DEL, C1), line and paragraph separators, and the marks that change the direction of the text. The one place that
/// decides it.
#[inline]
pub fn steers(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// A message, which may have several lines and tabs, with everything else that steers a terminal shown as an escape. A
/// backslash stays as it is: messages have paths in them, and users copy those.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    let escaped = |character| steers(character) && !matches!(character, '\n' | '\t');
    if !text.chars().any(escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = Vec::with_capacity(text.len() + 16);
    for character in text.chars() {
        if escaped(character) {
            push_escape(&mut shown, character);
        } else {
            push_character(&mut shown, character);
        }
    }
    Cow::Owned(String::from_utf8_lossy(&shown).into_owned())
}

/// A writer of text for people, on stdout: terminal control characters are escaped like in [`visible_lines`], whatever
/// their origin.
#[derive(Debug)]
pub struct Terminal<W>(W);

impl<W: Write> Terminal<W> {
    /// One that writes there.
    pub fn new(writer: W) -> Self {
        Terminal(writer)
    }
}

impl<W: Write> Write for Terminal<W> {
    /// Takes all of the bytes, which are whole characters: those of a text that is formatted are.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for chunk in bytes.utf8_chunks() {
            self.0.write_all(visible_lines(chunk.valid()).as_bytes())?;
            for byte in chunk.invalid() {
                write!(self.0, "\\x{byte:02x}")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// As [`push_visible`], as a string.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|character| steers(character) || character == '\\') {
        return Cow::Borrowed(text);
    }
    let mut shown = Vec::with_capacity(text.len() + 16);
    push_visible(&mut shown, text);
    Cow::Owned(String::from_utf8_lossy(&shown).into_owned())
}

/// A name or text from outside, made fit for a terminal: what could move the cursor, colour the screen or reorder the
/// line (control characters, bidirectional overrides) is shown as an escape. The backslash is doubled, so that an
/// escape cannot be forged.
pub(crate) fn push_visible(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.extend_from_slice(b"\\\\"),
            _ if steers(character) => push_escape(out, character),
            _ => push_character(out, character),
        }
    }
}

#[inline]
pub(super) fn push_character(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// A character that [`steers`], as `\n`, `\x1b` or `\u{202e}`.
#[cold]
fn push_escape(out: &mut Vec<u8>, character: char) {
    match character {
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\0'..='\x7f' => {
            out.extend_from_slice(b"\\x");
            push_hex_byte(out, character as u8);
        }
        _ => {
            out.extend_from_slice(b"\\u{");
            let code = character as u32;
            if code > 0xff {
                push_hex_byte(out, (code >> 8) as u8);
            }
            push_hex_byte(out, code as u8);
            out.push(b'}');
        }
    }
}

/// As [`push_visible`], of bytes that should be UTF-8; those that are not are shown as `\xff`.
pub(crate) fn push_visible_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        push_visible(out, chunk.valid());
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\x");
            push_hex_byte(out, *byte);
        }
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
    fn a_message_keeps_its_lines_and_its_backslashes() {
        let shown = visible_lines("cannot read C:\\x\n\tno \x1b[2J\u{202e}\r");
        assert_eq!(shown, "cannot read C:\\x\n\tno \\x1b[2J\\u{202e}\\r");
        assert_eq!(visible("a\nb\\"), "a\\nb\\\\");
    }

    #[test]
    fn text_for_people_has_no_terminal_controls() {
        let mut terminal = Terminal::new(Vec::new());
        terminal.write_all("C:\\x\t\x1b[2J\u{202e}\n".as_bytes()).unwrap();
        terminal.write_all(b"a\xffb").unwrap();
        assert_eq!(
            String::from_utf8(terminal.0).unwrap(),
            "C:\\x\t\\x1b[2J\\u{202e}\na\\xffb"
        );
    }
}
