//! Patterns of device names, in the form in which programs compare them. Imports nothing of the crate.

use std::str::FromStr;

/// Bytes of a device's name in the kernel, with the NUL at its end (`IFNAMSIZ` in `include/uapi/linux/if.h`).
const NAME_SIZE: usize = 16;

/// A pattern of device names: a name, in which `?` is any byte, and which may end with `*` for any rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DevicePattern {
    name: [u8; NAME_SIZE],
    mask: [u8; NAME_SIZE],
    /// Bytes that the name must have at its last `?`.
    present: [u8; NAME_SIZE],
}

/// A pattern that no device's name can match, or that programs cannot compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevicePatternError {
    /// It is empty.
    #[error("the name is empty; leave the option out to select packets at any device")]
    Empty,
    /// It is too long.
    #[error("a device's name has at most {} bytes", NAME_SIZE - 1)]
    TooLong,
    /// It has a byte that is in no name.
    #[error("a device's name has no spaces, slashes, colons or control characters")]
    Byte,
    /// It has a `*` that is not its end.
    #[error("a `*` can only be the last character")]
    Star,
    /// It fixes no character.
    #[error("it fixes no character of the name; leave the option out to select packets at any device")]
    All,
}

impl FromStr for DevicePattern {
    type Err = DevicePatternError;

    fn from_str(text: &str) -> Result<DevicePattern, DevicePatternError> {
        let (fixed, open) = match text.strip_suffix('*') {
            Some(fixed) => (fixed.as_bytes(), true),
            None => (text.as_bytes(), false),
        };
        match fixed {
            [] if open => return Err(DevicePatternError::All),
            [] => return Err(DevicePatternError::Empty),
            [b'?', rest @ ..] if open && rest.iter().all(|byte| *byte == b'?') => return Err(DevicePatternError::All),
            _ if fixed.len() >= NAME_SIZE => return Err(DevicePatternError::TooLong),
            _ if fixed.contains(&b'*') => return Err(DevicePatternError::Star),
            // As dev_valid_name() in net/core/dev.c.
            _ if fixed.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f | b'/' | b':')) => {
                return Err(DevicePatternError::Byte);
            }
            _ => {}
        }
        let mut pattern = DevicePattern::default();
        for (at, byte) in fixed.iter().enumerate() {
            match byte {
                b'?' => pattern.present = std::array::from_fn(|other| if other == at { 0xff } else { 0 }),
                byte => (pattern.name[at], pattern.mask[at]) = (*byte, 0xff),
            }
        }
        if !open {
            pattern.mask[fixed.len()..].fill(0xff);
        }
        Ok(pattern)
    }
}

impl DevicePattern {
    /// Returns the bytes of a name that match after masking.
    pub fn name(&self) -> [u64; 2] {
        words(self.name)
    }

    /// Returns the mask.
    pub fn mask(&self) -> [u64; 2] {
        words(self.mask)
    }

    /// Returns the bits of which one must be set in a name, in each word that has some: it is long enough.
    pub fn present(&self) -> [u64; 2] {
        words(self.present)
    }
}

/// Two words as they lie in memory.
fn words(bytes: [u8; NAME_SIZE]) -> [u64; 2] {
    let (low, high) = bytes.split_at(NAME_SIZE / 2);
    [low, high].map(|half| {
        let mut word = [0; 8];
        word.copy_from_slice(half);
        u64::from_ne_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares as `is_at_place()` in `bpf/src/filter/select.h` does.
    fn matches(pattern: &str, name: &str) -> bool {
        let pattern: DevicePattern = pattern.parse().unwrap();
        let mut bytes = [0; NAME_SIZE];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let name = words(bytes);
        (0..2).all(|word| {
            name[word] & pattern.mask()[word] == pattern.name()[word]
                && (name[word] & pattern.present()[word] == 0) == (pattern.present()[word] == 0)
        })
    }

    #[test]
    fn patterns_match_as_a_shell_would() {
        for (pattern, matching, others) in [
            ("eth0", &["eth0"][..], &["eth", "eth01", "veth0", ""][..]),
            (
                "eth*",
                &["eth", "eth0", "eth0.100", "eth012345678901"],
                &["et", "veth0"],
            ),
            ("eth?", &["eth0", "ethx"], &["eth", "eth10"]),
            ("?th?", &["eth0"], &["eth", "th0"]),
            ("e?*", &["et", "eth0"], &["e"]),
            ("abcdefghi?klmno", &["abcdefghijklmno"], &["abcdefghij", "abcdefghi"]),
        ] {
            for name in matching {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in others {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn impossible_patterns_are_refused() {
        for (pattern, error) in [
            ("", DevicePatternError::Empty),
            ("*", DevicePatternError::All),
            ("?*", DevicePatternError::All),
            ("abcdefghijklmnop", DevicePatternError::TooLong),
            ("a*b", DevicePatternError::Star),
            ("a**", DevicePatternError::Star),
            ("a b", DevicePatternError::Byte),
            ("a/b", DevicePatternError::Byte),
            ("a:1", DevicePatternError::Byte),
        ] {
            assert_eq!(pattern.parse::<DevicePattern>(), Err(error), "{pattern}");
        }
    }
}
