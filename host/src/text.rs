//! Bytes of text, appended to a buffer: numbers, padding, and names from outside made harmless.
//!
//! Every built-in sink writes through these few functions, because they run once or more per event: they append to a
//! buffer that is reused, and use neither allocation nor the `fmt` machinery.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::event::Function;

/// `0x` and 16 digits, so that identities and addresses of one output are all equally wide.
#[inline]
pub(crate) fn push_hex_wide(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&hex_wide(value));
}

/// `0x` and 16 digits.
#[inline]
pub(crate) fn hex_wide(value: u64) -> [u8; 18] {
    let mut digits = *b"0x0000000000000000";
    for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
        digits[2 + 2 * index..4 + 2 * index].copy_from_slice(&HEX_PAIRS[byte as usize]);
    }
    digits
}

/// `0x` and as many digits as the value needs.
#[inline]
pub(crate) fn push_hex(out: &mut Vec<u8>, value: u64) {
    let digits = hex_wide(value);
    let leading = (value.leading_zeros() / 4).min(15) as usize;
    out.extend_from_slice(b"0x");
    out.extend_from_slice(&digits[2 + leading..]);
}

/// Two hexadecimal digits.
#[inline]
pub(crate) fn push_hex_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&HEX_PAIRS[byte as usize]);
}

/// Decimal.
#[inline(always)]
pub(crate) fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    if value < 10_000 {
        let (digits, length) = up_to_four_digits(value as u32);
        let end = out.len() + length;
        out.extend_from_slice(&digits);
        return out.truncate(end);
    }
    push_long(out, value);
}

/// Apart, so that what is short need not make room for what this needs.
#[inline(never)]
fn push_long(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Decimal, with a minus sign if it needs one.
#[inline]
pub(crate) fn push_signed(out: &mut Vec<u8>, value: i64) {
    match u64::try_from(value) {
        Ok(value) => push_unsigned(out, value),
        Err(_) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

/// Decimal with at least three digits.
#[inline]
pub(crate) fn push_three_digits(out: &mut Vec<u8>, value: u64) {
    match value {
        0..1000 => out.extend_from_slice(&three_digits(value as u32)),
        _ => push_unsigned(out, value),
    }
}

/// The digits of a number below 1,000, zeros in front.
#[inline]
pub(crate) fn three_digits(value: u32) -> [u8; 3] {
    let [digits @ .., _] = SHORT[value as usize & 1023];
    digits
}

/// The digits of a number below 10,000 without zeros in front, and how many there are.
#[inline]
pub(crate) fn up_to_four_digits(value: u32) -> ([u8; 4], usize) {
    if value >= 1000 {
        return (four_digits(value), 4);
    }
    let short = SHORT[value as usize & 1023];
    let length = usize::from(short[3]);
    // They move to the front as one word.
    let digits = u32::from_le_bytes(short) >> (24 - 8 * length);
    (digits.to_le_bytes(), length)
}

/// Nine digits of a number below 1,000,000,000.
pub(crate) fn push_nine_digits(out: &mut Vec<u8>, value: u32) {
    out.push(b'0' + (value / LOW as u32 % 10) as u8);
    out.extend_from_slice(&eight_digits(value % LOW as u32));
}

/// The digits of a number below 10,000, made as [`eight_digits`] makes them.
#[inline]
fn four_digits(value: u32) -> [u8; 4] {
    let upper = (value * 10_486) >> 20;
    let pairs = upper | (value - 100 * upper) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f;
    let digits = tens | (pairs - 10 * tens) << 8;
    (digits | 0x3030_3030).to_le_bytes()
}

/// The digits of a number below 100,000,000.
///
/// All at once, in the lanes of one word: it is cut in halves, each half by 100, each quarter by 10. Dividing by 100 is
/// multiplying by 10486 / 2^20, by 10 multiplying by 103 / 2^10; both are exact for numbers of these sizes.
#[inline]
fn eight_digits(value: u32) -> [u8; 8] {
    let halves = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
    let upper = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = upper | (halves - 100 * upper) << 16;
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (quarters - 10 * tens) << 8;
    (digits | 0x3030_3030_3030_3030).to_le_bytes()
}

/// Writes timestamps. All but the last eight digits of one are mostly those of the timestamp before, and are kept.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The digits before the last eight, and how many there are; not of a timestamp that has no such digits.
    high: u64,
    text: [u8; 12],
    len: usize,
}

/// Where the kept digits end.
const LOW: u64 = 100_000_000;

impl Default for Clock {
    fn default() -> Self {
        Clock {
            high: 0,
            text: *b"            ",
            len: 0,
        }
    }
}

impl Clock {
    /// The timestamp in decimal.
    #[inline(always)]
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, timestamp: u64) {
        let mut text = [0; 20];
        match self.fill(&mut text, timestamp) {
            Some(length) => {
                let end = out.len() + length;
                out.extend_from_slice(&text);
                out.truncate(end);
            }
            None => push_unsigned(out, timestamp),
        }
    }

    /// Writes the timestamp in decimal to the beginning of `text`, and returns how many digits it has; what is behind
    /// them is filled up with spaces. Nothing is written if the timestamp is so small that it has no digits to keep.
    #[inline]
    pub(crate) fn fill(&mut self, text: &mut [u8; 20], timestamp: u64) -> Option<usize> {
        let high = timestamp / LOW;
        if high != self.high {
            self.keep(high);
        }
        if self.len == 0 {
            return None;
        }
        text[..12].copy_from_slice(&self.text);
        text[12..].fill(b' ');
        let end = self.len + 8;
        text[self.len..end].copy_from_slice(&eight_digits((timestamp % LOW) as u32));
        Some(end)
    }

    #[cold]
    fn keep(&mut self, high: u64) {
        *self = Clock::default();
        self.high = high;
        if high > 0 {
            let mut buffer = itoa::Buffer::new();
            let digits = buffer.format(high).as_bytes();
            self.len = digits.len();
            self.text[..self.len].copy_from_slice(digits);
        }
    }
}

/// Spaces.
#[inline]
pub(crate) fn push_spaces(out: &mut Vec<u8>, count: usize) {
    let end = out.len() + count;
    if count <= 64 {
        // A copy whose length the compiler knows costs less than a call.
        out.extend_from_slice(&[b' '; 64]);
    }
    out.resize(end, b' ');
}

/// Whether a character does something to a terminal, or to the order in which others are read: controls (C0, DEL, C1),
/// line and paragraph separators, and the marks that change the direction of the text. The one place that decides it.
#[inline]
pub(crate) fn steers(character: char) -> bool {
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
pub(crate) fn visible_lines(text: &str) -> Cow<'_, str> {
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

/// JSON whose strings may hold anything: outside of strings there is nothing but ASCII, and no control but spaces.
pub(crate) fn visible_json(json: &str) -> String {
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

/// A writer of text for people, on stdout: what steers a terminal is shown as [`visible_lines`] shows it, whoever wrote it.
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
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
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
fn push_character(out: &mut Vec<u8>, character: char) {
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

/// The two hexadecimal digits of every byte.
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

/// The three decimal digits of every number below 1000, and how many it has without zeros in front. It is longer so that
/// a mask, and not a check, keeps an index inside.
const SHORT: [[u8; 4]; 1024] = {
    let mut short = [[b'0', b'0', b'0', 1]; 1024];
    let mut number = 0;
    while number < 1000 {
        let digits = [number / 100, number / 10 % 10, number % 10];
        let length = 1 + (number >= 10) as u8 + (number >= 100) as u8;
        short[number] = [
            b'0' + digits[0] as u8,
            b'0' + digits[1] as u8,
            b'0' + digits[2] as u8,
            length,
        ];
        number += 1;
    }
    short
};

/// A text that is copied often. What is short is copied as a block of fixed size and cut, which costs less than a call
/// with its length.
#[derive(Debug)]
pub(crate) struct Snippet {
    block: [u8; 32],
    len: usize,
    rest: Vec<u8>,
}

impl Snippet {
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut block = [0; 32];
        let len = text.len().min(block.len());
        block[..len].copy_from_slice(&text[..len]);
        Snippet {
            block,
            len,
            rest: text[len..].to_vec(),
        }
    }

    #[inline]
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.block);
        out.truncate(end);
        if !self.rest.is_empty() {
            out.extend_from_slice(&self.rest);
        }
    }
}

/// As in [`Snippet`].
const BLOCK: usize = 96;

/// Text of every function, rendered once when the trace starts and copied per event.
///
/// One function more than there are stands for an index outside the table, which only a broken recording can hold.
#[derive(Debug, Default)]
pub(crate) struct FunctionTexts {
    /// The texts, and `BLOCK` bytes more so that a block can be read from the last one too.
    text: Vec<u8>,
    /// Where each function's text ends; it begins where the one before ends.
    ends: Vec<usize>,
}

impl FunctionTexts {
    /// Renders functions that are new by appending each to the buffer. The last, made up, is named `?` in module `?`.
    pub(crate) fn append(&mut self, new: &[Function], render: impl Fn(&mut Vec<u8>, &Function)) {
        let unknown = Function {
            name: "?".to_owned(),
            module: "?".to_owned(),
            address: 0,
        };
        if self.ends.len() > 1 {
            self.ends.pop();
        } else {
            self.ends = vec![0];
        }
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
        for function in new.iter().chain([&unknown]) {
            render(&mut self.text, function);
            self.ends.push(self.text.len());
        }
        self.text.resize(self.text.len() + BLOCK, 0);
    }

    /// How many functions there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len().saturating_sub(2)
    }

    /// Appends the text of the function with this index.
    #[inline]
    pub(crate) fn push(&self, out: &mut Vec<u8>, function: u32) {
        let last = self.ends.len().saturating_sub(2);
        let index = (function as usize).min(last);
        let Some(&[start, end]) = self.ends.get(index..index + 2) else {
            return;
        };
        match self.text[start..].first_chunk::<BLOCK>() {
            Some(block) if end - start <= BLOCK => {
                let length = out.len() + (end - start);
                out.extend_from_slice(block);
                out.truncate(length);
            }
            _ => out.extend_from_slice(&self.text[start..end]),
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
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for value in [0, 1, 9, 10, 0xf, 0x10, 0xff, 0x1234_5678_9abc_def0, u64::MAX] {
            assert_eq!(text(|out| push_hex_wide(out, value)), format!("{value:#018x}"));
            assert_eq!(text(|out| push_hex(out, value)), format!("{value:#x}"));
            assert_eq!(text(|out| push_unsigned(out, value)), format!("{value}"));
            assert_eq!(text(|out| push_signed(out, value as i64)), format!("{}", value as i64));
            assert_eq!(text(|out| push_three_digits(out, value)), format!("{value:03}"));
        }
        for value in 0..20_000 {
            assert_eq!(text(|out| push_unsigned(out, value)), format!("{value}"));
            assert_eq!(text(|out| push_three_digits(out, value)), format!("{value:03}"));
            assert_eq!(text(|out| push_nine_digits(out, value as u32)), format!("{value:09}"));
        }
        assert_eq!(text(|out| push_nine_digits(out, 123_456_789)), "123456789");
    }

    #[test]
    fn eight_digits_are_right_for_every_half() {
        // The halves do not influence each other, so each is tried with all its values beside the bounds of the other.
        for half in 0..10_000 {
            for number in [half, half + 99_990_000, half * 10_000, half * 10_000 + 9999] {
                assert_eq!(eight_digits(number), format!("{number:08}").as_bytes());
            }
        }
    }

    #[test]
    fn a_clock_may_jump_as_it_likes() {
        let mut clock = Clock::default();
        let times = [
            0,
            5,
            LOW - 1,
            LOW,
            LOW + 7,
            3,
            12 * LOW,
            u64::MAX,
            464_048_546_191_357,
            u64::MAX,
            0,
        ];
        for time in times {
            assert_eq!(text(|out| clock.push(out, time)), time.to_string());
        }
    }

    #[test]
    fn spaces_are_as_many_as_asked_for() {
        for count in [0, 1, 63, 64, 65, 1000] {
            assert_eq!(text(|out| push_spaces(out, count)), " ".repeat(count));
        }
    }

    #[test]
    fn a_snippet_is_its_text_however_long() {
        for length in [0, 1, 31, 32, 33, 100] {
            let name = "n".repeat(length);
            assert_eq!(text(|out| Snippet::new(name.as_bytes()).push(out)), name);
        }
    }

    #[test]
    fn a_functions_text_is_its_own_however_long() {
        let functions = ["a", "", &"b".repeat(BLOCK), &"c".repeat(BLOCK + 1), "d"].map(|name| Function {
            name: name.to_owned(),
            module: "m".to_owned(),
            address: 0,
        });
        let mut texts = FunctionTexts::default();
        for new in functions.chunks(2) {
            texts.append(new, |out, function| push_visible(out, &function.name));
        }
        assert_eq!(texts.len(), functions.len());
        for (index, function) in functions.iter().enumerate() {
            assert_eq!(text(|out| texts.push(out, index as u32)), function.name);
        }
        assert_eq!(text(|out| texts.push(out, 5)), "?");
        assert_eq!(text(|out| texts.push(out, u32::MAX)), "?");
        assert_eq!(text(|out| FunctionTexts::default().push(out, 0)), "");
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
    fn what_is_printed_for_people_cannot_steer_their_terminal() {
        let mut terminal = Terminal::new(Vec::new());
        terminal.write_all("C:\\x\t\x1b[2J\u{202e}\n".as_bytes()).unwrap();
        terminal.write_all(b"a\xffb").unwrap();
        assert_eq!(
            String::from_utf8(terminal.0).unwrap(),
            "C:\\x\t\\x1b[2J\\u{202e}\na\\xffb"
        );
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
