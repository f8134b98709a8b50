//! Pseudo-random numbers from a seed, so that a failure can be repeated.

/// xorshift64.
pub struct Random(u64);

impl Random {
    /// Starts a sequence; the seed is not 0.
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// Returns 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.bits() >> 11) % end
    }

    /// Returns true in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a byte.
    pub fn byte(&mut self) -> u8 {
        (self.bits() >> 24) as u8
    }

    /// Returns one of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
