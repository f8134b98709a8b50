//! Reads the kernel's long text files line by line, fast and with little memory.
//!
//! `/proc/kallsyms` has 200,000 lines and start-up has milliseconds: a line is lent from the buffer that it was read
//! into, and nothing is copied but the piece of a line that a read cut off.

use std::io::{self, Read};

/// No line of these files is nearly as long; one that is longer than this makes the file unreadable.
const BUFFER: usize = 64 << 10;

/// Hands every line to `each`, without its newline.
pub(super) fn for_each_line(mut source: impl Read, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut held = 0;
    loop {
        let free = buffer.get_mut(held..).unwrap_or_default();
        if free.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of more than 64 KiB"));
        }
        let read = match source.read(free) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filled = &buffer[..held + read];
        if read == 0 {
            if !filled.is_empty() {
                each(filled);
            }
            return Ok(());
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', filled) {
            each(&filled[start..end]);
            start = end + 1;
        }
        held = filled.len() - start;
        buffer.copy_within(start..start + held, 0);
    }
}

/// Reads the hexadecimal number that a line begins with, `0x` before it or not, and the rest behind it. Numbers of
/// more than 16 digits are none.
pub(super) fn hexadecimal(line: &[u8]) -> Option<(u64, &[u8])> {
    let digits = line.strip_prefix(b"0x").unwrap_or(line);
    let mut value = 0u64;
    for (index, byte) in digits.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ if index == 0 => return None,
            _ => return Some((value, &digits[index..])),
        };
        if index == 16 {
            return None;
        }
        value = value << 4 | u64::from(digit);
    }
    (!digits.is_empty()).then_some((value, &[]))
}
