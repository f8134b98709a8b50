//! The keys of a terminal, from the bytes that it sends. Imports nothing.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    /// With the control key, as its lower-case letter.
    Control(char),
    Enter,
    Escape,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Bytes of a sequence, at most; what is longer is no key.
const LONGEST: usize = 16;

/// Finds keys in bytes, which may come in pieces.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pending: Vec<u8>,
}

impl Keys {
    /// Takes bytes, and calls `take` for each key.
    pub(super) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Key)) {
        for byte in bytes {
            self.pending.push(*byte);
            match parse(&self.pending) {
                Parsed::Key(key) => take(key),
                Parsed::Nothing => {}
                Parsed::Incomplete if self.pending.len() < LONGEST => continue,
                Parsed::Incomplete => {}
            }
            self.pending.clear();
        }
    }

    /// Nothing came for a while: an escape that began nothing is the key.
    pub(super) fn pause(&mut self, mut take: impl FnMut(Key)) {
        if self.pending.first() == Some(&0x1b) {
            take(Key::Escape);
        }
        self.pending.clear();
    }

    /// Returns whether a key has begun.
    pub(super) fn are_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Key(Key),
    Incomplete,
    /// A whole sequence that is none of the keys.
    Nothing,
}

fn parse(bytes: &[u8]) -> Parsed {
    match bytes {
        [0x1b] => Parsed::Incomplete,
        // CSI, and SS3 of a keypad in application mode.
        [0x1b, b'[', rest @ ..] => sequence(rest),
        [0x1b, b'O'] => Parsed::Incomplete,
        [0x1b, b'O', last] => named(*last).map_or(Parsed::Nothing, Parsed::Key),
        // A key with Alt.
        [0x1b, ..] => Parsed::Nothing,
        [b'\r' | b'\n'] => Parsed::Key(Key::Enter),
        [b'\t'] => Parsed::Key(Key::Tab),
        [0x7f | 0x08] => Parsed::Key(Key::Backspace),
        [letter @ 1..=26] => Parsed::Key(Key::Control((letter - 1 + b'a') as char)),
        [0..=0x1f] => Parsed::Nothing,
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text
                .chars()
                .next()
                .map_or(Parsed::Nothing, |char| Parsed::Key(Key::Char(char))),
            Err(error) if error.error_len().is_none() => Parsed::Incomplete,
            Err(_) => Parsed::Nothing,
        },
    }
}

fn sequence(rest: &[u8]) -> Parsed {
    let Some((last, parameters)) = rest.split_last() else {
        return Parsed::Incomplete;
    };
    if !(0x40..=0x7e).contains(last) {
        return Parsed::Incomplete;
    }
    let number = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    let key = match (last, number) {
        (b'Z', _) => Some(Key::BackTab),
        (b'~', b"1" | b"7") => Some(Key::Home),
        (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        (last, _) => named(*last),
    };
    key.map_or(Parsed::Nothing, Parsed::Key)
}

fn named(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'F' => Key::End,
        b'H' => Key::Home,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pieces: &[&[u8]]) -> Vec<Key> {
        let (mut keys, mut found) = (Keys::default(), Vec::new());
        for piece in pieces {
            keys.feed(piece, |key| found.push(key));
        }
        keys.pause(|key| found.push(key));
        found
    }

    #[test]
    fn sequences_are_keys_also_in_pieces() {
        let expected = [Key::Up, Key::PageDown, Key::Home, Key::End, Key::BackTab, Key::Down];
        assert_eq!(keys(&[b"\x1b[A\x1b[6~\x1b[H\x1bOF\x1b[Z\x1b[1;5B"]), expected);
        assert_eq!(keys(&[b"\x1b", b"[", b"6", b"~q"]), [Key::PageDown, Key::Char('q')]);
    }

    #[test]
    fn lone_escape_is_a_key_after_a_pause() {
        assert_eq!(keys(&[b"\x1b"]), [Key::Escape]);
        assert_eq!(keys(&[b"a\x1b["]), [Key::Char('a'), Key::Escape]);
    }

    #[test]
    fn characters_and_controls_are_keys() {
        assert_eq!(
            keys(&[b"\x03\r\t\x7f", "\u{e4}".as_bytes(), &[0xe2, 0x82], &[0xac]]),
            [
                Key::Control('c'),
                Key::Enter,
                Key::Tab,
                Key::Backspace,
                Key::Char('\u{e4}'),
                Key::Char('\u{20ac}')
            ]
        );
    }

    #[test]
    fn what_is_no_key_is_passed_over() {
        assert_eq!(
            keys(&[&[0xff, 0xc0, b'a'], b"\x1b[200~\x1bxq"]),
            [Key::Char('a'), Key::Char('q')]
        );
        let mut long = b"\x1b[".to_vec();
        long.extend_from_slice(&[b'1'; 100]);
        long.push(b'q');
        assert!(keys(&[&long]).len() < 100);
    }
}
