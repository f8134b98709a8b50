//! Of which packets others were made, until their journeys are printed. Imports `event`.

use super::recent::Recent;
use crate::event::Event;

/// The birth of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    /// The packet that it was made of.
    pub(super) parent: u64,
    /// The function that made it, or [`crate::event::NO_FUNCTION`].
    pub(super) function: u32,
}

/// Births of packets that are not printed yet.
#[derive(Debug, Default)]
pub(super) struct Births(Recent<Birth>);

impl Births {
    /// Remembers a birth. `waiting` is the number of packets that are still to be printed.
    pub(super) fn add(&mut self, event: &Event, waiting: usize) {
        let birth = Birth {
            parent: event.spare,
            function: event.function,
        };
        self.0.add(event.packet, birth, waiting);
    }

    /// Returns whether none is remembered.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the birth of a packet, and forgets it.
    pub(super) fn take(&mut self, packet: u64) -> Option<Birth> {
        self.0.take(packet)
    }
}
