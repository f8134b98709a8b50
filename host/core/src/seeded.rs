//! A hasher for keys that come from outside: from a recording, or from packets.
//!
//! The author of a file could choose packets that collide in a known hash, and a table would then search all of them
//! for each. So each process chooses the two numbers of this hash at random. It is a multiplication to 128 bits whose
//! halves are joined, as in the fallback hashers of `ahash` and `foldhash`, and as fast as a fixed hash. It imports
//! nothing of the crate, and any module may import it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// Builds the hasher of this process.
#[derive(Clone, Copy)]
pub(crate) struct Seeded {
    start: u64,
    factor: u64,
}

/// See [`Seeded`].
#[derive(Clone, Copy)]
pub(crate) struct SeededHasher {
    state: u64,
    factor: u64,
}

/// 2^64 divided by the golden ratio: its bits have no pattern.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies to 128 bits and joins the halves.
#[inline]
fn joined(word: u64, factor: u64) -> u64 {
    let product = u128::from(word) * u128::from(factor);
    product as u64 ^ (product >> 64) as u64
}

impl Default for Seeded {
    fn default() -> Self {
        static SEED: OnceLock<Seeded> = OnceLock::new();
        *SEED.get_or_init(|| {
            // The standard library asks the kernel for its keys.
            let random = RandomState::new();
            Seeded {
                start: random.hash_one(0_u64),
                // Odd, so that no two words become the same in the lower half.
                factor: random.hash_one(1_u64) | 1,
            }
        })
    }
}

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    #[inline]
    fn build_hasher(&self) -> SeededHasher {
        SeededHasher {
            state: self.start,
            factor: self.factor,
        }
    }
}

impl Hasher for SeededHasher {
    /// Joins all bits of the state once more. A table looks at the lowest bits, and a fifth of all factors leave many
    /// of those equal for keys at equal distances.
    #[inline]
    fn finish(&self) -> u64 {
        joined(self.state, SPREAD)
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.state = joined(self.state ^ word, self.factor);
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last));
        self.write_u64(bytes.len() as u64);
    }
}

impl std::fmt::Debug for Seeded {
    /// Without the numbers, which are secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Seeded")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Different values in the bits of the hashes that a table of some size looks at, for the worst of some seeds.
    fn places(words: impl Iterator<Item = u64> + Clone) -> usize {
        let seeds = (1..=50_u64).map(|seed| Seeded {
            start: joined(seed, 0xd6e8_feb8_6659_fd93),
            factor: joined(seed, 0xa076_1d64_78bd_642f) | 1,
        });
        let worst = seeds
            .chain([Seeded::default()])
            .map(|hasher| places_of(hasher, words.clone()))
            .min();
        worst.unwrap_or_default()
    }

    fn places_of(hasher: Seeded, words: impl Iterator<Item = u64>) -> usize {
        let places: HashSet<u64> = words.map(|word| hasher.hash_one(word) & 0xffff).collect();
        places.len()
    }

    #[test]
    fn words_of_equal_fixed_hash_are_spread() {
        // Multiplication by this and a rotation is what rustc-hash does.
        let factor = 0xf135_7aea_2e62_a9c5_u64;
        let mut inverse = 1_u64;
        for _ in 0..6 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(factor.wrapping_mul(inverse)));
        }
        assert_eq!(factor.wrapping_mul(inverse), 1);
        let word = |number: u64| (number << 32 | 0x12345).rotate_right(26).wrapping_mul(inverse);
        assert!(places((1..20_000).map(word)) > 15_000);
    }

    #[test]
    fn words_that_differ_in_few_bits_are_spread() {
        assert!(places(0..20_000) > 15_000);
        assert!(places((0..20_000).map(|number| number << 44)) > 15_000);
        assert!(places((0..20_000).map(|number| number << 10)) > 15_000);
    }

    #[test]
    fn equal_keys_have_equal_hashes_and_lengths_count() {
        assert_eq!(
            Seeded::default().hash_one((1_u64, 2_u32)),
            Seeded::default().hash_one((1_u64, 2_u32))
        );
        let hash = |bytes: &[u8]| Seeded::default().hash_one(bytes);
        assert_ne!(hash(b"a"), hash(b"a\0"));
        assert_ne!(hash(b"12345678"), hash(b"12345678\0"));
    }
}
