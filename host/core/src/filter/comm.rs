//! Names of threads, in the form in which programs compare them. Imports nothing of the crate.

use std::str::FromStr;

/// Bytes of a thread's name in the kernel, with the NUL at its end (`TASK_COMM_LEN` in `include/linux/sched.h`).
const NAME_SIZE: usize = 16;

/// The name of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadName([u8; NAME_SIZE]);

/// A name that no thread has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThreadNameError {
    /// It is empty.
    #[error("the name is empty; leave the option out to select packets of any process")]
    Empty,
    /// It is too long.
    #[error("a thread's name has at most {} bytes; the kernel cuts longer ones, see /proc/PID/comm", NAME_SIZE - 1)]
    TooLong,
    /// It has a NUL.
    #[error("a thread's name has no NUL")]
    Nul,
}

impl FromStr for ThreadName {
    type Err = ThreadNameError;

    fn from_str(text: &str) -> Result<ThreadName, ThreadNameError> {
        match text.as_bytes() {
            [] => Err(ThreadNameError::Empty),
            bytes if bytes.len() >= NAME_SIZE => Err(ThreadNameError::TooLong),
            bytes if bytes.contains(&0) => Err(ThreadNameError::Nul),
            bytes => Ok(ThreadName(std::array::from_fn(|at| {
                bytes.get(at).copied().unwrap_or(0)
            }))),
        }
    }
}

impl ThreadName {
    /// Returns the name as two words as they lie in memory.
    pub fn words(self) -> [u64; 2] {
        let (words, _) = self.0.as_chunks::<8>();
        [0, 1].map(|word| words.get(word).map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_padded_and_bounded() {
        let name: ThreadName = "kworker/0:1".parse().unwrap();
        assert_eq!(name.words().map(u64::to_ne_bytes).concat(), b"kworker/0:1\0\0\0\0\0");
        assert!("fifteen-letters".parse::<ThreadName>().is_ok());
        for (name, error) in [
            ("", ThreadNameError::Empty),
            ("sixteen-letters-", ThreadNameError::TooLong),
            ("a\0b", ThreadNameError::Nul),
        ] {
            assert_eq!(name.parse::<ThreadName>(), Err(error), "{name:?}");
        }
    }
}
