//! The first bytes of packets that may still be selected.

use std::collections::{HashMap, VecDeque};

use crate::event::Capture;
use crate::seeded::Seeded;

/// Bytes of captures that are held back at most: those of packets whose events come so much later are forgotten.
const HELD: usize = 64 << 20;
/// Approximate memory per packet in the tables, besides its bytes.
const ENTRY: usize = 192;

/// Captures of packets without a selected event so far. A capture is near the first event of its packet, which need not
/// be selected, and a part of a recording must not contain other packets' bytes.
#[derive(Debug)]
pub(super) struct Held {
    captures: HashMap<u64, (Capture, Box<[u8]>), Seeded>,
    /// The packets in the order in which they came; some are gone.
    order: VecDeque<u64>,
    bytes: usize,
    most: usize,
}

impl Held {
    /// Creates an empty store with a memory limit in bytes.
    pub(super) fn new(memory: u64) -> Self {
        Held {
            captures: HashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            most: usize::try_from(memory).unwrap_or(usize::MAX).min(HELD),
        }
    }

    /// Keeps the first capture of a packet.
    pub(super) fn put(&mut self, capture: Capture, bytes: &[u8]) {
        if self.captures.contains_key(&capture.packet) {
            return;
        }
        self.bytes += ENTRY + bytes.len();
        self.captures.insert(capture.packet, (capture, bytes.into()));
        self.order.push_back(capture.packet);
        if self.order.len() > 2 * self.captures.len() + 64 {
            self.order.retain(|packet| self.captures.contains_key(packet));
        }
        while self.bytes > self.most {
            match self.order.pop_front() {
                Some(oldest) => drop(self.take(oldest)),
                None => break,
            }
        }
    }

    /// Returns the captures of a packet that was just selected.
    pub(super) fn take(&mut self, packet: u64) -> Option<(Capture, Box<[u8]>)> {
        let (capture, bytes) = self.captures.remove(&packet)?;
        self.bytes -= ENTRY + bytes.len();
        if self.captures.is_empty() {
            self.order.clear();
        }
        Some((capture, bytes))
    }
}
