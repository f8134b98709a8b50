//! The packets whose journeys go on: a table of bounded size, from which the oldest are forgotten.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::super::waits::Queued;
use super::ages::{Aged, Ages, NONE, Neighbours};
use super::calls;
use super::shown::Shown;
use crate::event::{Event, NO_FUNCTION};
use crate::seeded::Seeded;

/// Packets that are kept, at most.
const MOST: usize = 1 << 16;
/// Bytes that all packets together remember of their fields, at most, unless a few packets take more.
const MOST_BYTES: usize = 32 << 20;
/// Packets that are kept in any case.
const LEAST: usize = 64;
/// Packets that have ended and are kept, since functions that free them, and returns, are still to come.
const ENDED: usize = 4096;

/// The packet that another was made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    pub(super) identity: u64,
    /// Its number, 0 if it was not known.
    pub(super) number: u64,
    /// The function that made the other, or [`NO_FUNCTION`].
    pub(super) function: u32,
}

/// What is known of a packet.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) identity: u64,
    /// Its number in the output; 0 if the place is not in use.
    pub(super) number: u64,
    /// The number of the packet that its family began with.
    pub(super) root: u64,
    pub(super) parent: Option<Parent>,
    /// Timestamp of the first event.
    pub(super) first: u64,
    /// Timestamp of the last line.
    pub(super) last: u64,
    /// The CPU of the last line.
    pub(super) cpu: u32,
    /// The last function that was entered and frees nothing, or [`NO_FUNCTION`].
    pub(super) function: u32,
    pub(super) headed: bool,
    pub(super) ended: bool,
    pub(super) shown: Shown,
    pub(super) queued: Queued,
    /// The last open call: see [`calls`].
    pub(super) calls: u32,
    /// The packet's first and last item in the batch.
    pub(super) items: Option<(u32, u32)>,
    neighbours: Neighbours,
}

impl Aged for Packet {
    fn neighbours(&mut self) -> &mut Neighbours {
        &mut self.neighbours
    }
}

/// The packets.
#[derive(Debug)]
pub(super) struct Live {
    places: HashMap<u64, u32, Seeded>,
    packets: Vec<Packet>,
    unused: Vec<u32>,
    ages: Ages,
    /// Packets that have ended, with their numbers.
    ended: VecDeque<(u32, u64)>,
    /// What all packets remember of their fields, `stride` bytes each.
    bytes: Vec<u8>,
    stride: usize,
    most: usize,
    /// Packets so far.
    pub(super) numbered: u64,
    /// The packet of the event before, and its place.
    recent: (u64, u32),
}

impl Default for Live {
    fn default() -> Self {
        Live::new(0)
    }
}

impl Live {
    /// A table of packets that remember so many bytes each.
    pub(super) fn new(stride: usize) -> Self {
        let most = MOST_BYTES.checked_div(stride).unwrap_or(MOST).clamp(LEAST, MOST);
        Live {
            places: HashMap::default(),
            packets: Vec::new(),
            unused: Vec::new(),
            ages: Ages::default(),
            ended: VecDeque::new(),
            bytes: Vec::new(),
            stride,
            most,
            numbered: 0,
            recent: (0, NONE),
        }
    }

    /// Returns the place of a packet that is known.
    #[inline]
    pub(super) fn find(&mut self, identity: u64) -> Option<u32> {
        if self.recent.0 == identity && self.recent.1 != NONE {
            return Some(self.recent.1);
        }
        let place = *self.places.get(&identity)?;
        self.recent = (identity, place);
        Some(place)
    }

    /// Returns the place of the event's packet, which gets a number if it is new.
    #[inline]
    pub(super) fn find_or_add(&mut self, event: &Event) -> u32 {
        match self.find(event.packet) {
            Some(place) => place,
            None => self.add(event.packet, event.timestamp),
        }
    }

    /// Adds a packet with this number, whose first event came at this time.
    pub(super) fn add_numbered(&mut self, identity: u64, number: u64, first: u64) -> u32 {
        self.numbered = number.saturating_sub(1);
        self.add(identity, first)
    }

    fn add(&mut self, identity: u64, first: u64) -> u32 {
        self.numbered += 1;
        let packet = Packet {
            identity,
            number: self.numbered,
            root: self.numbered,
            parent: None,
            first,
            last: first,
            cpu: NONE,
            function: NO_FUNCTION,
            headed: false,
            ended: false,
            shown: Shown::default(),
            queued: Queued::default(),
            calls: calls::NONE,
            items: None,
            neighbours: Neighbours::default(),
        };
        let place = match self.unused.pop() {
            Some(place) => {
                self.packets[place as usize] = packet;
                place
            }
            None => {
                self.packets.push(packet);
                self.bytes.resize(self.packets.len() * self.stride, 0);
                (self.packets.len() - 1) as u32
            }
        };
        self.ages.link(&mut self.packets, place);
        self.places.insert(identity, place);
        self.recent = (identity, place);
        place
    }

    /// Returns the packet at this place, and what it remembers of its fields.
    pub(super) fn at(&mut self, place: u32) -> Option<(&mut Packet, &mut [u8])> {
        let start = place as usize * self.stride;
        let bytes = self.bytes.get_mut(start..start + self.stride)?;
        Some((self.packets.get_mut(place as usize)?, bytes))
    }

    /// Returns the packet at this place.
    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&Packet> {
        self.packets.get(place as usize)
    }

    /// Notes that a packet has ended.
    pub(super) fn end(&mut self, place: u32) {
        if let Some(packet) = self.packets.get(place as usize) {
            self.ended.push_back((place, packet.number));
        }
    }

    /// Forgets the packets that are too many, and calls `forgotten` for each.
    pub(super) fn shrink(&mut self, mut forgotten: impl FnMut(&mut Packet)) {
        while self.ended.len() > ENDED {
            let Some((place, number)) = self.ended.pop_front() else {
                return;
            };
            if self
                .packets
                .get(place as usize)
                .is_some_and(|packet| packet.number == number)
            {
                self.forget(place, &mut forgotten);
            }
        }
        while self.places.len() > self.most {
            self.forget(self.ages.oldest(), &mut forgotten);
        }
    }

    fn forget(&mut self, place: u32, forgotten: &mut impl FnMut(&mut Packet)) {
        let Some(packet) = self.packets.get_mut(place as usize) else {
            return;
        };
        forgotten(packet);
        packet.number = 0;
        self.places.remove(&packet.identity);
        self.ages.unlink(&mut self.packets, place);
        self.unused.push(place);
        self.recent = (0, NONE);
    }

    /// Returns the places of all packets, the oldest first.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        let place = |place: u32| (place != NONE).then_some(place);
        std::iter::successors(place(self.ages.oldest()), move |at| {
            place(self.packets.get(*at as usize)?.neighbours.newer())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    fn event(packet: u64) -> Event {
        Event {
            packet,
            skb: 0,
            timestamp: packet,
            entry_timestamp: 0,
            function: 0,
            cpu: 0,
            kind: EventKind::ENTRY,
            thread: 0,
            payload_offset: 0,
            payload_len: 0,
            spare: 0,
        }
    }

    #[test]
    fn the_oldest_packets_are_forgotten() {
        let mut live = Live::new(MOST_BYTES / 100);
        assert_eq!(live.most, 100);
        for packet in 1..=300 {
            live.find_or_add(&event(packet));
            live.shrink(|_| {});
        }
        assert_eq!((live.places.len(), live.packets.len()), (100, 101));
        assert_eq!((live.find(200), live.find(201).is_some()), (None, true));
        let numbers: Vec<u64> = live.places().map(|place| live.packets[place as usize].number).collect();
        assert_eq!(numbers, (201..=300).collect::<Vec<_>>());
        // A packet that comes back has a new number.
        let place = live.find_or_add(&event(7));
        assert_eq!(live.get(place).unwrap().number, 301);
    }

    #[test]
    fn packets_that_ended_are_forgotten_first() {
        let mut live = Live::new(0);
        let first = live.find_or_add(&event(1_000_000));
        let mut forgotten = 0;
        for packet in 1..=3 * ENDED as u64 {
            let place = live.find_or_add(&event(packet));
            live.end(place);
            live.shrink(|_| forgotten += 1);
        }
        assert_eq!(forgotten, 2 * ENDED);
        assert_eq!(live.packets.len(), ENDED + 2);
        assert_eq!(live.find(1_000_000), Some(first));
        assert_eq!(live.places().count(), ENDED + 1);
    }
}
