//! How a packet ended: the spare word of an event of the kind [`super::EventKind::ENDED`]. Imports nothing.

/// How a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was consumed, or released in order.
    Released,
    /// The kernel dropped it.
    Dropped {
        /// The kernel's reason, which [`super::Trace::drop_reason`] names; 0 if the kernel tells none.
        reason: u32,
    },
}

impl Outcome {
    /// In the spare word of an event: the packet was dropped.
    pub const DROPPED: u64 = 1 << 32;

    /// Returns the outcome that a spare word says.
    pub const fn of_word(spare: u64) -> Outcome {
        match spare & Outcome::DROPPED {
            0 => Outcome::Released,
            _ => Outcome::Dropped { reason: spare as u32 },
        }
    }

    /// Returns the spare word of an event.
    pub const fn to_word(self) -> u64 {
        match self {
            Outcome::Released => 0,
            Outcome::Dropped { reason } => Outcome::DROPPED | reason as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_the_outcome() {
        let outcomes = [0, 12, u32::MAX].map(|reason| Outcome::Dropped { reason });
        for outcome in outcomes.into_iter().chain([Outcome::Released]) {
            assert_eq!(Outcome::of_word(outcome.to_word()), outcome);
        }
        // Bits of later versions.
        assert_eq!(Outcome::of_word(1 << 40 | 7), Outcome::Released);
        assert_eq!(Outcome::of_word(3 << 32 | 7), Outcome::Dropped { reason: 7 });
    }
}
