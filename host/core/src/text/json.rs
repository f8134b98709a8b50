//! Formats JSON strings. Imports nothing of the crate but the sanitizer and the numbers beside it.

use super::numbers::push_hex_byte;
use super::visible::{push_character, steers};

/// The inside of a JSON string.
pub(crate) fn push_json_escaped(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            // JSON asks for the C0 controls only, but it is read in terminals too.
            _ if steers(character) => push_json_escape(out, character),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// A character that [`steers`], all of which have four digits at most.
#[cold]
fn push_json_escape(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(b"\\u");
    push_hex_byte(out, (character as u32 >> 8) as u8);
    push_hex_byte(out, character as u8);
}

/// As [`push_json_escaped`], of bytes that should be UTF-8; a sequence that is not becomes U+FFFD, because a JSON
/// string cannot hold it.
pub(crate) fn push_json_escaped_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        push_json_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// A JSON string.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_json_escaped(out, text);
    out.push(b'"');
}

/// JSON whose strings may hold anything: outside of strings there is nothing but ASCII, and no control but spaces.
pub fn visible_json(json: &str) -> String {
    let mut shown = Vec::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | '\t' => shown.push(character as u8),
            _ if steers(character) => push_json_escape(&mut shown, character),
            _ => push_character(&mut shown, character),
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
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
    fn json_of_others_stays_the_same_value_and_shows_all() {
        let value = serde_json::json!({ "a\u{202e}\n": "\u{7f}\u{9b}\"\\ß\t" });
        let shown = visible_json(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(
            !shown.chars().any(|character| steers(character) && character != '\n'),
            "{shown}"
        );
    }

    #[test]
    fn a_json_string_survives_whatever_it_holds() {
        let hostile: String = ('\0'..='\u{ff}')
            .chain('\u{2000}'..='\u{20ff}')
            .chain(['\u{61c}', '😀'])
            .collect();
        let written = text(|out| push_json_string(out, &hostile));
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), hostile);
        assert!(!written.chars().any(steers), "{written}");
        assert_eq!(text(|out| push_json_escaped_bytes(out, b"a\xffb\"")), "a\u{fffd}b\\\"");
    }
}
