//! Makes an event of a record.
//!
//! Where a program could not carry the function's index, the record has its address, and the index is looked up here:
//! one multiplication and, almost always, one comparison.

use ipft_bpf::wire;

use crate::event::{Batch, Event, EventKind};

/// What a record's function word is.
#[derive(Clone, Debug)]
pub enum FunctionIds {
    /// The index in the function table, below this number.
    Index(u32),
    /// An address that was probed.
    Address(AddressTable),
}

/// The probed addresses and their functions' indexes: open addressing, at most half full.
#[derive(Clone, Debug)]
pub struct AddressTable {
    slots: Vec<(u64, u32)>,
    shift: u32,
}

impl AddressTable {
    /// A table of these. The address 0 is nobody's.
    pub fn new(addresses: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let addresses: Vec<_> = addresses.into_iter().filter(|(address, _)| *address != 0).collect();
        let size = (addresses.len() * 2).next_power_of_two().max(2);
        let mut table = AddressTable {
            slots: vec![(0, 0); size],
            shift: 64 - size.trailing_zeros(),
        };
        for (address, index) in addresses {
            let mut slot = table.slot(address);
            while table.slots[slot].0 != 0 && table.slots[slot].0 != address {
                slot = (slot + 1) & (size - 1);
            }
            table.slots[slot] = (address, index);
        }
        table
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

impl FunctionIds {
    fn index(&self, word: u64) -> Option<u32> {
        match self {
            FunctionIds::Index(count) => u32::try_from(word).ok().filter(|index| index < count),
            FunctionIds::Address(table) => table.get(word),
        }
    }
}

/// Decodes the records of one trace.
#[derive(Debug)]
pub struct Decoder {
    functions: FunctionIds,
    /// How many of the bytes that follow an entry are kept. Nothing follows a return.
    payload_size: usize,
    /// Records that were no event of ours: too short, or of a function that is not in the table.
    undecodable: u64,
}

impl Decoder {
    /// A decoder that keeps so many bytes of what follows an entry.
    pub fn new(functions: FunctionIds, payload_size: usize) -> Self {
        Decoder {
            functions,
            payload_size,
            undecodable: 0,
        }
    }

    /// How many records could not be decoded.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Appends the record's event to the batch.
    #[inline]
    pub fn decode(&mut self, record: &[u8], batch: &mut Batch) {
        let Some(event) = wire::Event::parse(record) else {
            self.undecodable += 1;
            return;
        };
        let Some(function) = self.functions.index(event.function) else {
            self.undecodable += 1;
            return;
        };
        let kind = if event.cpu_and_kind & wire::RETURN == 0 {
            EventKind::Entry
        } else {
            EventKind::Return
        };
        let payload_offset = batch.payload.len() as u32;
        let payload_size = match kind {
            EventKind::Entry => self.payload_size,
            EventKind::Return => 0,
        };
        if payload_size > 0 {
            match record.get(wire::EVENT_SIZE..wire::EVENT_SIZE + payload_size) {
                Some(payload) => batch.payload.extend_from_slice(payload),
                None => {
                    self.undecodable += 1;
                    return;
                }
            }
        }
        batch.events.push(Event {
            packet: event.packet,
            skb: event.skb,
            timestamp: event.timestamp,
            entry_timestamp: 0,
            function,
            cpu: event.cpu_and_kind & !wire::RETURN,
            kind,
            thread: event.thread,
            payload_offset,
            payload_len: payload_size as u32,
            spare: 0,
        });
    }
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
        let table = AddressTable::new((0..5000).map(|index| (address(index), index as u32)));
        for index in 0..5000 {
            assert_eq!(table.get(address(index)), Some(index as u32));
        }
        assert_eq!(table.get(address(1) + 4), None);
        assert_eq!(table.get(0), None);
    }

    #[test]
    fn a_record_becomes_an_event_with_its_cpu_and_kind() {
        let mut decoder = Decoder::new(FunctionIds::Index(10), 0);
        let mut batch = Batch::default();
        decoder.decode(&record(9, 3 | wire::RETURN), &mut batch);
        let event = batch.events[0];
        assert_eq!((event.packet, event.skb, event.timestamp), (1, 2, 3));
        assert_eq!(
            (event.function, event.cpu, event.kind, event.thread),
            (9, 3, EventKind::Return, 7)
        );
    }

    #[test]
    fn what_follows_an_entry_is_kept_and_nothing_follows_a_return() {
        let mut decoder = Decoder::new(FunctionIds::Index(10), 4);
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
    fn a_record_that_is_no_event_of_ours_is_counted_and_not_delivered() {
        let mut decoder = Decoder::new(FunctionIds::Index(10), 0);
        let mut batch = Batch::default();
        decoder.decode(&record(10, 0), &mut batch);
        decoder.decode(&record(0, 0)[..39], &mut batch);
        let mut with_payload = Decoder::new(FunctionIds::Index(10), 64);
        with_payload.decode(&record(0, 0), &mut batch);
        assert!(batch.events.is_empty());
        assert_eq!((decoder.undecodable(), with_payload.undecodable()), (2, 1));
    }
}
