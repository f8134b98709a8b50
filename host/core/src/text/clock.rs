//! Formats timestamps. Imports nothing of the crate but the numbers beside it.

use super::numbers::{LOW, eight_digits, push_unsigned};

/// Writes timestamps. All but the last eight digits of one are mostly those of the timestamp before, and are kept.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The digits before the last eight, and how many there are; not of a timestamp that has no such digits.
    high: u64,
    text: [u8; 12],
    len: usize,
}

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

    /// Writes the last eight digits of the timestamp into a text that has the timestamp before at `start`. Returns
    /// whether that is enough: the other digits are the same.
    #[inline(always)]
    pub(crate) fn refill<const N: usize>(&self, text: &mut [u8; N], start: usize, timestamp: u64) -> bool {
        if timestamp / LOW != self.high || self.len == 0 {
            return false;
        }
        match text[start..].get_mut(self.len..self.len + 8) {
            Some(digits) => digits.copy_from_slice(&eight_digits((timestamp % LOW) as u32)),
            None => return false,
        }
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
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
}
