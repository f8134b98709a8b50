//! The packets that `ipft top` remembers, with their events: those of which something was seen last, as far as memory
//! goes. Imports `event` and `seeded`.
//!
//! A packet is shared until it changes: a view that stands still keeps the packets that it shows at little cost. The
//! memory of a packet that is forgotten is used for the next one, so that a steady flow takes no new memory.

use std::sync::Arc;

use hashbrown::HashMap;

use super::super::ages::{Aged, Ages, NONE, Neighbours};
use super::super::ends::End;
use super::counts::drop_key;
use crate::event::{Event, NO_FUNCTION, Outcome};
use crate::seeded::Seeded;
use crate::sink::tuple::FlowKey;

/// Packets, at most: what a view can sort and search ten times a second.
pub(super) const MOST: usize = 1 << 14;
/// Events of a packet, at most.
const MOST_EVENTS: usize = 4096;
/// A packet that is forgotten leaves room for so many events to the next one, at most.
const REUSED: usize = 256;

/// A packet and its events.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    pub(super) number: u64,
    pub(super) identity: u64,
    pub(super) first: u64,
    /// Functions that it entered.
    pub(super) calls: u64,
    /// The last function that was entered and frees nothing, or [`NO_FUNCTION`].
    pub(super) function: u32,
    pub(super) end: Option<(End, u32)>,
    /// Number and identity of the packet that it became part of.
    pub(super) whole: Option<(u64, u64)>,
    pub(super) flow: Option<FlowKey>,
    pub(super) len: Option<u32>,
    /// It was made of another one, with which it is counted.
    pub(super) is_child: bool,
    /// The ranges of the events' payloads are in `payload`.
    pub(super) events: Vec<Event>,
    pub(super) payload: Vec<u8>,
    /// Events for which there was no room.
    pub(super) unkept: u64,
    /// The numbers of the packets that its events name.
    pub(super) numbers: Vec<(u64, u64)>,
}

impl Packet {
    /// Returns its number in the trace.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the number of functions that it entered.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Returns its flow, or that of the packet that it was made of.
    pub fn flow(&self) -> Option<FlowKey> {
        self.flow
    }

    /// Returns the row of drops in which it is counted, if the kernel dropped it: as [`super::DropCount::key`].
    pub fn drop_key(&self) -> Option<u64> {
        match self.end {
            Some((end, function)) => match end.outcome {
                Outcome::Dropped { reason } => Some(drop_key(reason, function)),
                _ => None,
            },
            None => None,
        }
    }

    /// Returns a number that changes with each event of the packet.
    pub fn version(&self) -> u64 {
        self.events.len() as u64 + self.unkept
    }

    /// Returns the payload of one of its events.
    pub(super) fn payload_of(&self, event: &Event) -> &[u8] {
        event.payload_in(&self.payload)
    }

    /// Keeps an event; false if there is no room. A payload that is the same as before takes no more.
    fn push(&mut self, event: &Event, payload: &[u8]) -> bool {
        if self.events.len() >= MOST_EVENTS {
            self.unkept += 1;
            return false;
        }
        let before = self.events.last().map(|last| (last.payload_offset, last.payload_len));
        let (offset, len) = match before {
            Some((offset, len)) if self.payload.get(offset as usize..(offset + len) as usize) == Some(payload) => {
                (offset, len)
            }
            _ => {
                let offset = self.payload.len() as u32;
                self.payload.extend_from_slice(payload);
                (offset, payload.len() as u32)
            }
        };
        self.events.push(Event {
            payload_offset: offset,
            payload_len: len,
            ..*event
        });
        true
    }

    /// Bytes that it takes.
    fn bytes(&self) -> usize {
        size_of::<Packet>()
            + size_of::<Place>()
            + self.events.capacity() * size_of::<Event>()
            + self.payload.capacity()
            + self.numbers.capacity() * size_of::<(u64, u64)>()
    }

    /// Begins anew, in the same memory.
    fn reset(&mut self, number: u64, event: &Event) {
        self.events.clear();
        self.payload.clear();
        self.numbers.clear();
        self.events.shrink_to(REUSED);
        self.payload.shrink_to(REUSED * 64);
        *self = Packet {
            events: std::mem::take(&mut self.events),
            payload: std::mem::take(&mut self.payload),
            numbers: std::mem::take(&mut self.numbers),
            ..Packet::new(number, event)
        };
    }

    fn new(number: u64, event: &Event) -> Self {
        Packet {
            number,
            identity: event.packet,
            first: event.timestamp,
            function: NO_FUNCTION,
            ..Packet::default()
        }
    }

    /// Gives back the memory of its events.
    fn release(&mut self) {
        (self.events, self.payload, self.numbers) = Default::default();
    }
}

/// Where a packet is, in a list of those that were seen last.
#[derive(Clone, Debug)]
struct Place {
    packet: Arc<Packet>,
    /// The packet's number; 0 if it was forgotten.
    number: u64,
    neighbours: Neighbours,
}

impl Aged for Place {
    fn neighbours(&mut self) -> &mut Neighbours {
        &mut self.neighbours
    }
}

/// The packets, by identity.
#[derive(Clone, Debug)]
pub(super) struct Packets {
    table: HashMap<u64, u32, Seeded>,
    places: Vec<Place>,
    /// Places of packets that were forgotten, with their memory.
    unused: Vec<u32>,
    /// Those whose memory was given back.
    empty: Vec<u32>,
    ages: Ages,
    /// The packet of the event before, and its place.
    recent: (u64, u32),
    /// Bytes of all places.
    bytes: usize,
    limit: usize,
    /// Packets so far.
    pub(super) numbered: u64,
    /// Packets that were forgotten.
    pub(super) forgotten: u64,
}

impl Packets {
    /// None yet, in at most so many bytes.
    pub(super) fn within(limit: usize) -> Self {
        Packets {
            table: HashMap::default(),
            places: Vec::new(),
            unused: Vec::new(),
            empty: Vec::new(),
            ages: Ages::default(),
            recent: (0, NONE),
            bytes: 0,
            limit,
            numbered: 0,
            forgotten: 0,
        }
    }

    /// Returns the place of a packet that is known.
    #[inline]
    pub(super) fn find(&mut self, identity: u64) -> Option<u32> {
        if self.recent.0 == identity && self.recent.1 != NONE {
            return Some(self.recent.1);
        }
        let place = *self.table.get(&identity)?;
        self.ages.unlink(&mut self.places, place);
        self.ages.link(&mut self.places, place);
        self.recent = (identity, place);
        Some(place)
    }

    /// Returns the place of the event's packet, which gets a number if it is new.
    #[inline]
    pub(super) fn find_or_add(&mut self, event: &Event) -> u32 {
        match self.find(event.packet) {
            Some(place) => place,
            None => self.add(event),
        }
    }

    fn add(&mut self, event: &Event) -> u32 {
        self.shrink();
        self.numbered += 1;
        let place = match self.unused.pop().or_else(|| self.empty.pop()) {
            Some(place) => {
                let packet = &mut self.places[place as usize].packet;
                self.bytes = self.bytes.saturating_sub(packet.bytes());
                match Arc::get_mut(packet) {
                    Some(packet) => packet.reset(self.numbered, event),
                    // A view that stands still has it.
                    None => *packet = Arc::new(Packet::new(self.numbered, event)),
                }
                place
            }
            None => {
                self.places.push(Place {
                    packet: Arc::new(Packet::new(self.numbered, event)),
                    number: 0,
                    neighbours: Neighbours::default(),
                });
                (self.places.len() - 1) as u32
            }
        };
        let this = &mut self.places[place as usize];
        this.number = self.numbered;
        self.bytes += this.packet.bytes();
        self.ages.link(&mut self.places, place);
        self.table.insert(event.packet, place);
        self.recent = (event.packet, place);
        place
    }

    /// Returns the packet at this place.
    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&Packet> {
        self.places.get(place as usize).map(|place| &*place.packet)
    }

    /// Keeps an event of the packet at this place, and the number of another packet that it names. Returns the packet.
    #[inline]
    pub(super) fn push(
        &mut self,
        place: u32,
        event: &Event,
        payload: &[u8],
        other: Option<(u64, u64)>,
    ) -> Option<&mut Packet> {
        let packet = self.places.get_mut(place as usize)?;
        let packet = Arc::make_mut(&mut packet.packet);
        let before = packet.bytes();
        if packet.push(event, payload)
            && let Some(other) = other
        {
            packet.numbers.push(other);
        }
        self.bytes = (self.bytes + packet.bytes()).saturating_sub(before);
        Some(packet)
    }

    /// Forgets the packets that are too many, but never the one that was seen last.
    pub(super) fn shrink(&mut self) {
        while self.table.len() >= MOST && self.forget_oldest() {}
        while self.bytes > self.limit {
            match self.unused.pop() {
                Some(place) => self.give_back(place),
                None if self.forget_oldest() => {}
                None => return,
            }
        }
    }

    /// Returns false if there is only one packet.
    fn forget_oldest(&mut self) -> bool {
        if self.ages.has_one_at_most() {
            return false;
        }
        let place = self.ages.oldest();
        self.ages.unlink(&mut self.places, place);
        let this = &mut self.places[place as usize];
        this.number = 0;
        self.table.remove(&this.packet.identity);
        self.unused.push(place);
        self.forgotten += 1;
        self.recent = (0, NONE);
        true
    }

    /// Gives back the memory of a packet that was forgotten.
    fn give_back(&mut self, place: u32) {
        let packet = &mut self.places[place as usize].packet;
        let before = packet.bytes();
        match Arc::get_mut(packet) {
            Some(packet) => packet.release(),
            None => *packet = Arc::new(Packet::default()),
        }
        self.bytes = (self.bytes + packet.bytes()).saturating_sub(before);
        self.empty.push(place);
    }

    /// Returns all packets with their numbers, in any order. The packets themselves are all over the memory.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Packet)> {
        let places = self.places.iter().filter(|place| place.number != 0);
        places.map(|place| (place.number, &*place.packet))
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

    fn add(packets: &mut Packets, identity: u64) {
        let event = event(identity);
        let place = packets.find_or_add(&event);
        packets.push(place, &event, &[1; 100], None);
        packets.shrink();
    }

    #[test]
    fn the_packet_seen_longest_ago_is_forgotten() {
        let mut packets = Packets::within(usize::MAX);
        for identity in 1..=MOST as u64 {
            add(&mut packets, identity);
        }
        add(&mut packets, 2);
        add(&mut packets, 1_000_000);
        assert_eq!((packets.forgotten, packets.find(1), packets.find(3)), (2, None, None));
        assert!(packets.find(2).is_some() && packets.find(4).is_some());
        assert_eq!(packets.iter().count(), MOST - 1);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        const LIMIT: usize = 1 << 20;
        let mut packets = Packets::within(LIMIT);
        for round in 0..20_000u64 {
            add(&mut packets, 1 + round);
            // One packet has many events.
            add(&mut packets, 1_000_000);
            assert!(packets.bytes <= LIMIT, "{} after {round}", packets.bytes);
        }
        let sum: usize = packets.places.iter().map(|place| place.packet.bytes()).sum();
        assert_eq!(sum, packets.bytes);
        let place = packets.find(1_000_000).unwrap();
        let packet = packets.get(place).unwrap();
        assert_eq!(
            (packet.events.len(), packet.unkept),
            (MOST_EVENTS, 20_000 - MOST_EVENTS as u64)
        );
        assert_eq!(packet.payload.len(), 100, "equal payloads are kept once");
    }

    #[test]
    fn a_copy_keeps_what_the_original_forgets() {
        let mut packets = Packets::within(usize::MAX);
        add(&mut packets, 7);
        let mut copy = packets.clone();
        for identity in 100..100 + 2 * MOST as u64 {
            add(&mut packets, identity);
        }
        assert_eq!(packets.find(7), None);
        let place = copy.find(7).unwrap();
        assert_eq!(copy.get(place).unwrap().events.len(), 1);
    }
}
