//! Decodes a record into an event or a capture.
//!
//! If a program cannot store the function's index, the record has its address, and the index is looked up here: one
//! multiplication and, almost always, one comparison. A function that begins with `endbr64` has two addresses: its own,
//! and that of the following instruction, where ftrace attaches. Which of them the kernel lists, and which one a
//! program sees at run time, depends on the kernel and on the privileges; so the table takes both.

use std::collections::HashSet;

use ipft_bpf::wire;

use crate::event::{
    Batch, Capture, Decision, Event, EventKind, Link, NO_FUNCTION, Outcome, TcVerdict, Verdict, XdpVerdict,
};

/// Maps the function words of records to functions. Backends that can give each function a number send its index in the
/// function table, which is small; others send its address, which is in the upper half of all numbers.
#[derive(Clone, Debug, Default)]
pub struct FunctionIds {
    count: u32,
    addresses: AddressTable,
}

/// The probed addresses and their functions' indexes: open addressing, at most half full.
#[derive(Clone, Debug)]
struct AddressTable {
    slots: Vec<(u64, u32)>,
    shift: u32,
    used: usize,
    /// Functions that were attached; the rest was learnt later.
    reported: HashSet<u64>,
}

/// Bytes of `endbr64`. No two functions that ftrace can patch are that near.
const ENDBR: u64 = 4;

/// Bytes of ftrace's NOP, behind which a kprobe may be.
const NOP: u64 = 5;

impl AddressTable {
    /// Adds a probed address. Address 0 is invalid.
    fn tell(&mut self, address: u64, index: u32) {
        if address != 0 {
            self.reported.insert(address);
            self.insert(address, index);
        }
    }

    fn insert(&mut self, address: u64, index: u32) {
        if (self.used + 1) * 2 > self.slots.len() {
            let size = self.slots.len() * 2;
            let before = std::mem::replace(&mut self.slots, vec![(0, 0); size]);
            self.shift -= 1;
            self.used = 0;
            for (address, index) in before.into_iter().filter(|(address, _)| *address != 0) {
                self.insert(address, index);
            }
        }
        let mut slot = self.slot(address);
        while self.slots[slot].0 != 0 && self.slots[slot].0 != address {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.used += usize::from(self.slots[slot].0 == 0);
        self.slots[slot] = (address, index);
    }

    /// Learns the other address of a function.
    #[cold]
    fn learn(&mut self, address: u64) -> Option<u32> {
        let others = [
            address.wrapping_sub(NOP),
            address.wrapping_sub(ENDBR + NOP),
            address.wrapping_add(ENDBR),
            address.wrapping_sub(ENDBR),
        ];
        let reported = others.into_iter().find(|other| self.reported.contains(other))?;
        let index = self.get(reported)?;
        if address != 0 {
            self.insert(address, index);
        }
        Some(index)
    }

    /// Fibonacci hashing: the odd number nearest to 2^64 divided by the golden ratio.
    fn slot(&self, address: u64) -> usize {
        (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn get(&self, address: u64) -> Option<u32> {
        let mut slot = self.slot(address);
        loop {
            match self.slots[slot] {
                (0, _) => return None,
                (found, index) if found == address => return Some(index),
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }
}

impl Default for AddressTable {
    fn default() -> Self {
        AddressTable {
            slots: vec![(0, 0); 2],
            shift: 63,
            used: 0,
            reported: HashSet::new(),
        }
    }
}

impl FunctionIds {
    /// The words of functions with these addresses, in the order of the function table.
    pub fn new(addresses: impl IntoIterator<Item = u64>) -> Self {
        let mut ids = FunctionIds::default();
        ids.add(addresses);
        ids
    }

    /// Adds functions that were appended to the function table.
    fn add(&mut self, addresses: impl IntoIterator<Item = u64>) {
        for address in addresses {
            self.addresses.tell(address, self.count);
            self.count = self.count.saturating_add(1);
        }
    }

    #[inline]
    fn index(&self, word: u64) -> Option<u32> {
        if word < u64::from(self.count) {
            return Some(word as u32);
        }
        self.addresses.get(word)
    }

    /// The index where the word was not met before.
    #[cold]
    fn learn(&mut self, word: u64) -> Option<u32> {
        self.addresses.learn(word)
    }
}

/// Where the kernel dropped a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DropPlace {
    /// The return address that the kernel tells.
    pub location: u64,
    /// All return addresses, the innermost first; 0 where there are none.
    pub frames: [u64; wire::FRAMES],
}

/// What kind of thing decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeciderKind {
    /// A base chain of nf_tables.
    Nft,
    /// A table of iptables or ip6tables.
    Iptables,
    /// A program of generic XDP: its identifier is in [`Decider::priority`].
    Xdp,
    /// The filters of a qdisc: the class that they found is in [`Decider::priority`].
    TcFilters,
    /// Actions of a filter: their number is in [`Decider::priority`].
    TcActions,
}

/// What decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decider {
    /// What it is.
    pub kind: DeciderKind,
    /// `NFPROTO_*`.
    pub family: u8,
    /// Number of the hook in the family; of traffic control [`wire::TC_INGRESS`] or the other way.
    pub hook: u8,
    /// Priority of the hook, or what the kind says.
    pub priority: i32,
    /// Name of the table, filled up with zeros; of others that of the program, or the kind of the qdisc or action.
    pub table: [u8; wire::DECIDER_NAME],
    /// Name of the chain, filled up with zeros; of others that of the device.
    pub chain: [u8; wire::DECIDER_NAME],
}

/// Decodes the records of one trace.
#[derive(Debug)]
pub struct Decoder {
    functions: FunctionIds,
    /// Number of bytes to keep after an entry: built-in fields, and then an extension's. Returns have none.
    payload_size: usize,
    /// Records that were none of ours: too short, or of a function that is not in the table.
    undecodable: u64,
    /// The drops of the batch: the event's index in it, and the place.
    drops: Vec<(usize, DropPlace)>,
    /// The decisions of the batch: the event's index in it, and what decided.
    decisions: Vec<(usize, Decider)>,
}

impl Decoder {
    /// A decoder that keeps so many bytes of what follows an entry.
    pub fn new(functions: FunctionIds, payload_size: usize) -> Self {
        Decoder {
            functions,
            payload_size,
            undecodable: 0,
            drops: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// Returns the events of the batch that are drops, by their index in it, and forgets them.
    pub fn take_drops(&mut self) -> Vec<(usize, DropPlace)> {
        std::mem::take(&mut self.drops)
    }

    /// Returns the events of the batch that are decisions, by their index in it, and forgets them.
    pub fn take_decisions(&mut self) -> Vec<(usize, Decider)> {
        std::mem::take(&mut self.decisions)
    }

    /// Sorts the events of a batch by time. Its drops and decisions stay those.
    pub fn sort(&mut self, batch: &mut Batch) {
        if !self.drops.is_empty() || !self.decisions.is_empty() {
            let mut order: Vec<usize> = (0..batch.events.len()).collect();
            order.sort_by_key(|at| batch.events[*at].timestamp);
            let mut places = vec![0; order.len()];
            for (to, from) in order.into_iter().enumerate() {
                places[from] = to;
            }
            let drops = self.drops.iter_mut().map(|(at, _)| at);
            let decisions = self.decisions.iter_mut().map(|(at, _)| at);
            for at in drops.chain(decisions) {
                *at = places.get(*at).copied().unwrap_or(*at);
            }
        }
        batch.events.sort_by_key(|event| event.timestamp);
    }

    /// Returns the index of the function with this address, if it is in the function table.
    pub fn function_at(&mut self, address: u64) -> Option<u32> {
        let known = self.functions.index(address);
        known.or_else(|| self.functions.learn(address))
    }

    /// Returns the number of functions in the table.
    pub fn functions(&self) -> u32 {
        self.functions.count
    }

    /// Functions with these addresses were appended to the function table.
    pub fn add_functions(&mut self, addresses: impl IntoIterator<Item = u64>) {
        self.functions.add(addresses);
    }

    /// Returns how many records could not be decoded.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Appends the record's event or capture to the batch. Each source calls it in one place, where a call would cost a
    /// fifth more per event.
    #[inline(always)]
    pub fn decode(&mut self, record: &[u8], batch: &mut Batch) {
        let Some(event) = wire::Event::parse(record) else {
            self.undecodable += 1;
            return;
        };
        match self.functions.index(event.function) {
            Some(function) if self.payload_size == 0 => batch.events.push(event_of(&event, function)),
            Some(function) => self.push_with_payload(function, record, batch),
            None => self.decode_unknown(record, batch),
        }
    }

    /// Appends the record's event and, if it is an entry, its payload. It parses the record again, since an event that
    /// is passed on would be written to memory for every record, also without payloads.
    #[inline(never)]
    fn push_with_payload(&mut self, function: u32, record: &[u8], batch: &mut Batch) {
        let Some(event) = wire::Event::parse(record) else {
            return;
        };
        let mut event = event_of(&event, function);
        event.payload_offset = batch.payload.len() as u32;
        if event.kind == EventKind::ENTRY {
            match record.get(wire::EVENT_SIZE..wire::EVENT_SIZE + self.payload_size) {
                Some(payload) => batch.payload.extend_from_slice(payload),
                None => {
                    self.undecodable += 1;
                    return;
                }
            }
            event.payload_len = self.payload_size as u32;
        }
        batch.events.push(event);
    }

    /// Handles a record that names no function that is known: a capture, a birth, an end, a decision, or another
    /// address of a function. All are rare, so that they are looked for only here.
    #[cold]
    #[inline(never)]
    fn decode_unknown(&mut self, record: &[u8], batch: &mut Batch) {
        let word = wire::Event::parse(record).map(|event| event.function);
        let decoded = match word {
            Some(wire::CAPTURE) => capture(record, batch),
            Some(wire::BORN) => self.birth(record, batch),
            Some(wire::ENDED) => self.end(record, batch),
            Some(wire::DECIDED) => self.decision(record, batch),
            Some(word) => (self.functions.learn(word)).map(|function| self.push_with_payload(function, record, batch)),
            None => None,
        };
        self.undecodable += u64::from(decoded.is_none());
    }

    /// Appends the birth of a packet. The function that made it may not be traced.
    fn birth(&mut self, record: &[u8], batch: &mut Batch) -> Option<()> {
        let birth = wire::Birth::parse(record)?;
        let function = self.function_at(birth.function);
        batch.events.push(Event {
            kind: EventKind::BORN,
            spare: birth.parent,
            ..event_of(&birth.event, function.unwrap_or(NO_FUNCTION))
        });
        Some(())
    }

    /// Appends the end of a packet, and before it that it became part of another one. Which function dropped it is
    /// known later, from [`Decoder::take_drops`], and with that whether a packet that is part of another one was
    /// dropped.
    fn end(&mut self, record: &[u8], batch: &mut Batch) -> Option<()> {
        let ended = wire::Ended::parse(record)?;
        let dropped = match ended.dropped {
            0 => None,
            _ => Some(wire::Dropped::parse(record)?),
        };
        if ended.into != 0 {
            batch.events.push(Event {
                kind: EventKind::JOINED,
                spare: ended.into,
                ..event_of(&ended.event, NO_FUNCTION)
            });
        }
        let outcome = match dropped {
            None if ended.into != 0 => Outcome::Joined,
            None => Outcome::Released,
            Some(dropped) => {
                if ended.dropped == wire::DROP_ALONE {
                    self.push_alone(&ended.event, record, batch)?;
                }
                let place = DropPlace {
                    location: dropped.location,
                    frames: dropped.frames,
                };
                self.drops.push((batch.events.len(), place));
                Outcome::Dropped { reason: ended.reason }
            }
        };
        batch.events.push(Event {
            kind: EventKind::ENDED,
            spare: outcome.to_word(),
            ..event_of(&ended.event, NO_FUNCTION)
        });
        Some(())
    }

    /// Appends a decision about a packet. The function is known later, from [`Decoder::take_decisions`].
    fn decision(&mut self, record: &[u8], batch: &mut Batch) -> Option<()> {
        let decided = wire::Decided::parse(record)?;
        let verdict = decided.verdict;
        let (kind, decision) = match decided.decider {
            wire::DECIDER_NFT => (DeciderKind::Nft, Decision::Netfilter(Verdict::of_hook(verdict)?)),
            wire::DECIDER_IPTABLES => (DeciderKind::Iptables, Decision::Netfilter(Verdict::of_hook(verdict)?)),
            wire::DECIDER_XDP => (DeciderKind::Xdp, Decision::Xdp(XdpVerdict::of_program(verdict))),
            wire::DECIDER_TC_FILTERS => (DeciderKind::TcFilters, Decision::Tc(TcVerdict::of_action(verdict)?)),
            wire::DECIDER_TC_ACTIONS => (DeciderKind::TcActions, Decision::Tc(TcVerdict::of_action(verdict)?)),
            _ => return None,
        };
        let decider = Decider {
            kind,
            family: decided.family,
            hook: decided.hook,
            priority: decided.priority,
            table: decided.table,
            chain: decided.chain,
        };
        self.decisions.push((batch.events.len(), decider));
        batch.events.push(Event {
            kind: EventKind::DECIDED,
            spare: decision.to_word(),
            ..event_of(&decided.event, NO_FUNCTION)
        });
        Some(())
    }

    /// Appends the entry that a dropped packet has which was not seen before, with its fields. The function is known
    /// later, as that of the drop.
    fn push_alone(&mut self, event: &wire::Event, record: &[u8], batch: &mut Batch) -> Option<()> {
        let payload = record.get(wire::DROPPED_SIZE..)?;
        let payload = &payload[..payload.len().min(self.payload_size)];
        batch.events.push(Event {
            payload_offset: batch.payload.len() as u32,
            payload_len: self.payload_size as u32,
            ..event_of(event, NO_FUNCTION)
        });
        batch.payload.extend_from_slice(payload);
        // An extension sees no drops: its fields are empty.
        let missing = self.payload_size - payload.len();
        batch.payload.resize(batch.payload.len() + missing, 0);
        Some(())
    }
}

/// Returns the event of a record, without a payload.
#[inline(always)]
fn event_of(event: &wire::Event, function: u32) -> Event {
    let kind = match event.cpu_and_kind & wire::RETURN {
        0 => EventKind::ENTRY,
        _ => EventKind::RETURN,
    };
    Event {
        packet: event.packet,
        skb: event.skb,
        timestamp: event.timestamp,
        entry_timestamp: 0,
        function,
        cpu: event.cpu_and_kind & !wire::RETURN,
        kind,
        thread: event.thread,
        payload_offset: 0,
        payload_len: 0,
        spare: 0,
    }
}

/// Appends the record's capture to the batch; `None` if it contradicts itself.
#[cold]
fn capture(record: &[u8], batch: &mut Batch) -> Option<()> {
    let (capture, bytes) = wire::Capture::parse(record)?;
    let link = match capture.link {
        wire::LINK_ETHERNET => Link::Ethernet,
        wire::LINK_IP => Link::Ip,
        _ => return None,
    };
    if capture.captured > capture.length || capture.captured > wire::MAX_RECORD_BYTES {
        return None;
    }
    batch.captures.push(Capture {
        packet: capture.packet,
        timestamp: capture.timestamp,
        link,
        length: capture.length,
        offset: u32::try_from(batch.captured.len()).ok()?,
        captured_len: capture.captured,
    });
    batch.captured.extend_from_slice(bytes);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(function: u64, cpu_and_kind: u32) -> Vec<u8> {
        [1u64, 2, 3, function]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .chain(cpu_and_kind.to_ne_bytes())
            .chain(7u32.to_ne_bytes())
            .collect()
    }

    #[test]
    fn an_address_finds_its_function_among_thousands() {
        let address = |index: u64| 0xffff_ffff_8100_0000 + index * 16;
        let table = FunctionIds::new((0..5000).map(address)).addresses;
        for index in 0..5000 {
            assert_eq!(table.get(address(index)), Some(index as u32));
        }
        assert_eq!(table.get(address(1) + 4), None);
        assert_eq!(table.get(0), None);
    }

    #[test]
    fn a_function_is_found_around_endbr64_and_the_nop() {
        let address = |index: u64| 0xffff_ffff_8100_0000 + index * 16;
        let (mark, nop) = (ENDBR as i64, NOP as i64);
        for shift in [mark, -mark, nop, mark + nop] {
            let mut decoder = Decoder::new(FunctionIds::new((0..5000).map(address)), 0);
            let mut batch = Batch::default();
            for _ in 0..2 {
                batch.clear();
                for index in 0..5000 {
                    decoder.decode(&record(address(index).wrapping_add_signed(shift), 0), &mut batch);
                    decoder.decode(&record(address(index), 0), &mut batch);
                }
                let functions: Vec<u32> = batch.events.iter().map(|event| event.function).collect();
                assert!(functions.iter().copied().eq((0..5000).flat_map(|index| [index, index])));
            }
            for other in [address(7) + 8, address(7) + 6, address(0) - 8, u64::MAX - 3] {
                decoder.decode(&record(other, 0), &mut batch);
            }
            assert_eq!(decoder.undecodable(), 4);
        }
    }

    #[test]
    fn words_of_mixed_backends_name_the_same_functions() {
        let address = |index: u64| 0xffff_ffff_8100_0000 + index * 16;
        let mut decoder = Decoder::new(FunctionIds::new((0..3).map(address)), 0);
        let mut batch = Batch::default();
        decoder.decode(&record(address(4), 0), &mut batch);
        decoder.decode(&record(4, 0), &mut batch);
        assert_eq!(decoder.undecodable(), 2);
        decoder.add_functions([0, address(4)]);
        for word in [2, address(2), 3, 4, address(4)] {
            decoder.decode(&record(word, 0), &mut batch);
        }
        let functions: Vec<u32> = batch.events.iter().map(|event| event.function).collect();
        assert_eq!(functions, [2, 2, 3, 4, 4]);
        assert_eq!(decoder.undecodable(), 2);
    }

    #[test]
    fn a_record_becomes_an_event_with_its_cpu_and_kind() {
        let mut decoder = Decoder::new(FunctionIds::new([0; 10]), 0);
        let mut batch = Batch::default();
        decoder.decode(&record(9, 3 | wire::RETURN), &mut batch);
        let event = batch.events[0];
        assert_eq!((event.packet, event.skb, event.timestamp), (1, 2, 3));
        assert_eq!(
            (event.function, event.cpu, event.kind, event.thread),
            (9, 3, EventKind::RETURN, 7)
        );
    }

    #[test]
    fn only_entries_keep_trailing_bytes() {
        let mut decoder = Decoder::new(FunctionIds::new([0; 10]), 4);
        let mut batch = Batch::default();
        let mut entry = record(9, 3);
        entry.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        decoder.decode(&entry, &mut batch);
        decoder.decode(&record(9, 3 | wire::RETURN), &mut batch);
        assert_eq!(batch.payload_of(&batch.events[0]), [1, 2, 3, 4]);
        assert!(batch.payload_of(&batch.events[1]).is_empty());
        assert_eq!(decoder.undecodable(), 0);
    }

    #[test]
    fn an_unknown_record_is_counted_and_not_delivered() {
        let mut decoder = Decoder::new(FunctionIds::new([0; 10]), 0);
        let mut batch = Batch::default();
        decoder.decode(&record(10, 0), &mut batch);
        decoder.decode(&record(0, 0)[..39], &mut batch);
        let mut with_payload = Decoder::new(FunctionIds::new([0; 10]), 64);
        with_payload.decode(&record(0, 0), &mut batch);
        assert!(batch.events.is_empty());
        assert_eq!((decoder.undecodable(), with_payload.undecodable()), (2, 1));
    }

    /// The end of a packet, as `wire.h` lays it out.
    fn ended(dropped: u32, reason: u32) -> Vec<u8> {
        ended_in(dropped, reason, 0)
    }

    /// That of one that became part of another one.
    fn ended_in(dropped: u32, reason: u32, into: u64) -> Vec<u8> {
        let mut record = record(wire::ENDED, 3);
        record.extend([dropped, reason].iter().flat_map(|half| half.to_ne_bytes()));
        record.extend(into.to_ne_bytes());
        record
    }

    #[test]
    fn a_drop_is_found_where_sorting_has_put_it() {
        let mut decoder = Decoder::new(FunctionIds::new([0; 10]), 8);
        let mut batch = Batch::default();
        let mut dropped = ended(1, 12);
        dropped.extend((1..=1 + wire::FRAMES as u64).flat_map(u64::to_ne_bytes));
        decoder.decode(&ended(0, 0), &mut batch);
        decoder.decode(&dropped, &mut batch);
        decoder.decode(&ended(0, 0), &mut batch);
        for (event, timestamp) in batch.events.iter_mut().zip([20, 30, 10]) {
            event.timestamp = timestamp;
        }
        decoder.sort(&mut batch);
        let times: Vec<u64> = batch.events.iter().map(|event| event.timestamp).collect();
        let places: Vec<usize> = decoder.take_drops().iter().map(|(at, _)| *at).collect();
        assert_eq!((times, places), (vec![10, 20, 30], vec![2]));
    }

    #[test]
    fn a_decision_names_what_decided() {
        let mut decoder = Decoder::new(FunctionIds::new([0; 10]), 8);
        let mut batch = Batch::default();
        let mut decided = record(wire::DECIDED, 3);
        decided.extend((1_u32 << 16 | 2).to_ne_bytes());
        decided.extend((-100_i32).to_ne_bytes());
        decided.extend([wire::DECIDER_NFT, 1, 2, 0, 0, 0, 0, 0]);
        let name = |text: &[u8]| {
            let mut name = [b'x'; wire::DECIDER_NAME];
            name[..text.len()].copy_from_slice(text);
            name
        };
        decided.extend(name(b"filter\0"));
        decided.extend(name(b"forward\0"));
        decoder.decode(&decided, &mut batch);
        let [event] = batch.events[..] else {
            panic!("one decision: {batch:?}");
        };
        assert_eq!(
            (event.kind, event.packet, event.cpu, event.thread),
            (EventKind::DECIDED, 1, 3, 7)
        );
        assert_eq!(event.decision(), Some(Decision::Netfilter(Verdict::Drop)));
        let [(0, decider)] = decoder.take_decisions()[..] else {
            panic!("the first event");
        };
        let filled = |text: &[u8]| {
            let mut name = [0; wire::DECIDER_NAME];
            name[..text.len()].copy_from_slice(text);
            name
        };
        let expected = Decider {
            kind: DeciderKind::Nft,
            family: 1,
            hook: 2,
            priority: -100,
            table: filled(b"filter"),
            chain: filled(b"forward"),
        };
        assert_eq!(decider, expected);
        assert_eq!(decoder.take_decisions(), []);
        // What is cut, or unknown, is none.
        decoder.decode(&decided[..decided.len() - 1], &mut batch);
        for (at, byte) in [(wire::EVENT_SIZE, 9), (wire::EVENT_SIZE + 8, 7)] {
            let mut unknown = decided.clone();
            unknown[at] = byte;
            decoder.decode(&unknown, &mut batch);
        }
        assert_eq!((batch.events.len(), decoder.undecodable()), (1, 3));
    }

    #[test]
    fn the_end_of_a_part_names_the_whole_before_it() {
        let mut decoder = Decoder::new(FunctionIds::new([0; 10]), 8);
        let mut batch = Batch::default();
        decoder.decode(&ended_in(0, 0, 99), &mut batch);
        let mut dropped = ended_in(1, 12, 98);
        dropped.extend((1..=1 + wire::FRAMES as u64).flat_map(u64::to_ne_bytes));
        decoder.decode(&dropped, &mut batch);
        let found: Vec<(EventKind, u64)> = batch.events.iter().map(|event| (event.kind, event.spare)).collect();
        let drop = Outcome::Dropped { reason: 12 };
        assert_eq!(
            found,
            [
                (EventKind::JOINED, 99),
                (EventKind::ENDED, Outcome::Joined.to_word()),
                (EventKind::JOINED, 98),
                (EventKind::ENDED, drop.to_word()),
            ]
        );
        let [(at, _)] = decoder.take_drops()[..] else {
            panic!("one was dropped");
        };
        assert_eq!(at, 3);
        // A record that is cut leaves nothing.
        decoder.decode(&dropped[..64], &mut batch);
        assert_eq!((batch.events.len(), decoder.undecodable()), (4, 1));
    }

    #[test]
    fn an_end_becomes_an_event_with_its_outcome() {
        for payload in [0, 8] {
            let mut decoder = Decoder::new(FunctionIds::new([0; 10]), payload);
            let mut batch = Batch::default();
            decoder.decode(&ended(0, 0), &mut batch);
            let mut dropped = ended(1, 12);
            dropped.extend((1..=1 + wire::FRAMES as u64).flat_map(u64::to_ne_bytes));
            decoder.decode(&dropped, &mut batch);
            let outcomes: Vec<Option<Outcome>> = batch.events.iter().map(Event::outcome).collect();
            assert_eq!(
                outcomes,
                [Some(Outcome::Released), Some(Outcome::Dropped { reason: 12 })]
            );
            assert!(
                batch
                    .events
                    .iter()
                    .all(|event| event.function == NO_FUNCTION && event.packet == 1)
            );
            let [(at, place)] = decoder.take_drops()[..] else {
                panic!("one was dropped");
            };
            assert_eq!(
                (at, place.location, place.frames[0], place.frames[wire::FRAMES - 1]),
                (1, 1, 2, 1 + wire::FRAMES as u64)
            );
            assert_eq!(decoder.take_drops(), []);
            // Cut within its frames.
            decoder.decode(&dropped[..64], &mut batch);
            assert_eq!((batch.events.len(), decoder.undecodable()), (2, 1));
        }
    }

    /// A capture, as `wire.h` lays it out.
    fn captured(length: u32, captured: u32, link: u32, bytes: &[u8]) -> Vec<u8> {
        let mut record = 7u64.to_ne_bytes().to_vec();
        record.extend(length.to_ne_bytes());
        record.extend(captured.to_ne_bytes());
        record.extend(99u64.to_ne_bytes());
        record.extend(u64::MAX.to_ne_bytes());
        record.extend(link.to_ne_bytes());
        record.extend([0xee; 4]);
        record.extend(bytes);
        record
    }

    /// Both ways in which a decoder knows functions.
    fn decoders() -> [Decoder; 2] {
        let addresses: [&[u64]; 2] = [&[0; 100], &[0xffff_ffff_8100_0000]];
        addresses.map(|addresses| Decoder::new(FunctionIds::new(addresses.iter().copied()), 64))
    }

    #[test]
    fn first_bytes_become_captures_beside_events() {
        for mut decoder in decoders() {
            let mut batch = Batch::default();
            // The program reserves more bytes than there were.
            decoder.decode(&captured(3, 3, wire::LINK_ETHERNET, b"abc\0\0\0\0\0"), &mut batch);
            decoder.decode(&captured(1500, 4, wire::LINK_IP, b"wxyz"), &mut batch);
            decoder.decode(&captured(60, 0, wire::LINK_IP, b""), &mut batch);
            assert_eq!(decoder.undecodable(), 0);
            assert!(batch.events.is_empty() && batch.payload.is_empty());
            let read: Vec<_> = batch
                .captures
                .iter()
                .map(|capture| (capture.link, capture.length, batch.bytes_of(capture)))
                .collect();
            assert_eq!(
                read,
                [
                    (Link::Ethernet, 3, b"abc".as_slice()),
                    (Link::Ip, 1500, b"wxyz"),
                    (Link::Ip, 60, b"")
                ]
            );
            assert_eq!((batch.captures[1].packet, batch.captures[1].timestamp), (7, 99));
        }
    }

    #[test]
    fn an_inconsistent_capture_is_counted_and_dropped() {
        let whole = captured(4, 4, wire::LINK_IP, b"wxyz");
        let most = wire::MAX_RECORD_BYTES;
        let mut bad = vec![
            captured(3, 4, wire::LINK_IP, b"wxyz"),
            captured(4, 4, 2, b"wxyz"),
            captured(4, u32::MAX, wire::LINK_IP, b"wxyz"),
            captured(u32::MAX, most + 1, wire::LINK_IP, &vec![0; most as usize + 1]),
        ];
        bad.extend((0..whole.len()).map(|length| whole[..length].to_vec()));
        for mut decoder in decoders() {
            let mut batch = Batch::default();
            for record in &bad {
                decoder.decode(record, &mut batch);
            }
            assert_eq!(decoder.undecodable(), bad.len() as u64);
            assert!(batch.is_empty() && batch.captured.is_empty());
        }
    }

    #[test]
    fn any_bytes_at_all_are_decoded_or_counted() {
        let mut state = 1u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for mut decoder in decoders() {
            let mut batch = Batch::default();
            for count in 1..20_000 {
                let mut record: Vec<u8> = (0..random() % 80).map(|_| random() as u8).collect();
                // Most of them come near to a capture.
                if count % 4 != 0 && record.len() >= wire::CAPTURE_SIZE {
                    record[24..32].fill(0xff);
                    for (place, below) in [(8, 64), (12, 48), (32, 3)] {
                        record[place..place + 4].copy_from_slice(&((random() % below) as u32).to_ne_bytes());
                    }
                }
                decoder.decode(&record, &mut batch);
                let kept = batch.events.len() + batch.captures.len();
                assert_eq!(kept as u64 + decoder.undecodable(), count);
            }
            let bytes: usize = batch.captures.iter().map(|capture| batch.bytes_of(capture).len()).sum();
            assert_eq!(bytes, batch.captured.len());
            let good = batch.captures.len();
            assert!(good > 1000, "{good} captures are too few to have tried anything");
        }
    }
}
