//! How a packet ended: the spare word of an event of the kind [`super::EventKind::ENDED`]. Imports nothing.

/// How a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was consumed, or released in order; nothing more is known.
    Released,
    /// The kernel dropped it.
    Dropped {
        /// The kernel's reason, which [`super::Trace::drop_reason`] names; 0 if the kernel tells none.
        reason: u32,
    },
    /// A socket, or a protocol of the kernel such as ICMP, took it, and released it in order.
    Delivered,
    /// The driver of a device took it, and released it when it was sent.
    Sent,
    /// As [`Outcome::Sent`], and it, or the packet that it was made of, was received from a device before.
    Forwarded,
    /// It became part of another packet, which the event of the kind [`super::EventKind::JOINED`] before this one
    /// names.
    Joined,
}

impl Outcome {
    /// In the spare word of an event: the packet was dropped.
    pub const DROPPED: u64 = 1 << 32;

    const DELIVERED: u64 = 2 << 32;
    const SENT: u64 = 4 << 32;
    const FORWARDED: u64 = 6 << 32;
    const JOINED: u64 = 8 << 32;
    /// The bits of the outcomes other than drops. Further values are of later versions.
    const OTHERS: u64 = 0xe << 32;

    /// Returns the outcome that a spare word says.
    pub const fn of_word(spare: u64) -> Outcome {
        if spare & Outcome::DROPPED != 0 {
            return Outcome::Dropped { reason: spare as u32 };
        }
        match spare & Outcome::OTHERS {
            Outcome::DELIVERED => Outcome::Delivered,
            Outcome::SENT => Outcome::Sent,
            Outcome::FORWARDED => Outcome::Forwarded,
            Outcome::JOINED => Outcome::Joined,
            _ => Outcome::Released,
        }
    }

    /// Returns the spare word of an event.
    pub const fn to_word(self) -> u64 {
        match self {
            Outcome::Released => 0,
            Outcome::Dropped { reason } => Outcome::DROPPED | reason as u64,
            Outcome::Delivered => Outcome::DELIVERED,
            Outcome::Sent => Outcome::SENT,
            Outcome::Forwarded => Outcome::FORWARDED,
            Outcome::Joined => Outcome::JOINED,
        }
    }

    /// The word that all outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Released => "released",
            Outcome::Dropped { .. } => "dropped",
            Outcome::Delivered => "delivered",
            Outcome::Sent => "sent",
            Outcome::Forwarded => "forwarded",
            Outcome::Joined => "joined",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_the_outcome() {
        use Outcome::{Delivered, Forwarded, Joined, Released, Sent};
        let outcomes = [0, 12, u32::MAX].map(|reason| Outcome::Dropped { reason });
        for outcome in outcomes
            .into_iter()
            .chain([Released, Delivered, Sent, Forwarded, Joined])
        {
            assert_eq!(Outcome::of_word(outcome.to_word()), outcome);
        }
        // Bits of later versions.
        assert_eq!(Outcome::of_word(1 << 40 | 7), Outcome::Released);
        assert_eq!(Outcome::of_word(10 << 32), Outcome::Released);
        assert_eq!(Outcome::of_word(3 << 32 | 7), Outcome::Dropped { reason: 7 });
    }
}
