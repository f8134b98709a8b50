//! A packet's connection in words, from the built-in fields of `--show ct`, which are found by their names.
//!
//! ```text
//! ct new
//! ct established assured
//! DNAT 10.0.0.2:80 > 172.17.0.2:8080
//! ct related to 10.0.0.1:4000 > 10.0.0.2:53 udp
//! ```
//!
//! Most packets have the addresses of their connection, which are in the heading, so only those of another one are
//! shown.

use super::super::fields::Fields;
use super::super::tuple::{array, push_address};
use super::group::Group;
use crate::event::Schema;
use crate::text::*;

/// Bits of the status that are shown, and their words. Those of NAT are shown by what NAT does.
const STATUS: [(u32, &str); 6] = [
    (1, "expected"),
    (1 << 3, "confirmed"),
    (1 << 2, "assured"),
    (1 << 9, "dying"),
    (1 << 11, "template"),
    (1 << 14, "offload"),
];

const SNAT: u32 = 1 << 4;
const DNAT: u32 = 1 << 5;

/// Values of the state.
const RELATED: u8 = 2;
const RELATED_REPLY: u8 = 5;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

const NAMES: [(&str, u32); 13] = [
    ("ct_state", 1),
    ("ct_status", 4),
    ("ct_proto", 1),
    ("ct_zone", 2),
    ("ct_mark", 4),
    ("ct_saddr", 16),
    ("ct_daddr", 16),
    ("ct_sport", 2),
    ("ct_dport", 2),
    ("ct_nat_saddr", 16),
    ("ct_nat_daddr", 16),
    ("ct_nat_sport", 2),
    ("ct_nat_dport", 2),
];

/// Bytes that the fields take together, at most: they are remembered of each packet.
const MOST: usize = 128;

/// Where the fields are.
#[derive(Clone, Debug)]
pub(super) struct CtFields {
    pub(super) group: Group<13>,
    /// Offsets of the fields in the group's bytes.
    state: usize,
    status: usize,
    original: PairFields,
    nat: PairFields,
    proto: usize,
    zone: usize,
    mark: usize,
    /// The indices of the fields `ct_state` and `ct_proto` in the schema, for their names.
    state_index: usize,
    proto_index: usize,
}

/// Offsets of two addresses and their ports.
#[derive(Clone, Copy, Debug)]
struct PairFields {
    saddr: usize,
    daddr: usize,
    sport: usize,
    dport: usize,
}

/// A connection as it was at one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ct {
    /// 0: the packet has none.
    state: u8,
    status: u32,
    original: Pair,
    nat: Pair,
    proto: u8,
    zone: u16,
    mark: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    saddr: [u8; 16],
    daddr: [u8; 16],
    sport: u16,
    dport: u16,
}

impl CtFields {
    /// Finds them; `None` if the trace does not have all of them.
    pub(super) fn new(schema: &Schema) -> Option<Self> {
        let group = Group::find(schema, &NAMES, MOST)?;
        let [state, status, proto, zone, mark, original @ .., _, _, _, _] = group.offsets;
        let nat = *group.offsets.last_chunk()?;
        let pair = |[saddr, daddr, sport, dport]: [usize; 4]| PairFields {
            saddr,
            daddr,
            sport,
            dport,
        };
        let index = |name: &str| schema.fields.iter().position(|field| field.name == name);
        Some(CtFields {
            group,
            state,
            status,
            original: pair(original),
            nat: pair(nat),
            proto,
            zone,
            mark,
            state_index: index("ct_state")?,
            proto_index: index("ct_proto")?,
        })
    }

    /// Appends what has changed since `before`, each change after a call of `next`. `before` has the length
    /// [`Group::bytes`], and zeros before the first event.
    pub(super) fn push_changes(
        &self,
        out: &mut Vec<u8>,
        before: &mut [u8],
        prefix: &[u8],
        fields: &Fields,
        mut next: impl FnMut(&mut Vec<u8>),
    ) {
        let Some(bytes) = self.group.changed(before, prefix) else {
            return;
        };
        let (old, new) = (self.read(before), self.read(bytes));
        before.copy_from_slice(bytes);
        // It is the other connection that is shown next, if another one follows.
        if new.state == 0 {
            return;
        }
        if (new.state, new.shown_status()) != (old.state, old.shown_status()) {
            next(out);
            out.extend_from_slice(b"ct ");
            fields.push_value(out, self.state_index, prefix);
            for (bit, word) in STATUS {
                if new.status & bit != 0 {
                    out.push(b' ');
                    out.extend_from_slice(word.as_bytes());
                }
            }
            if matches!(new.state, RELATED | RELATED_REPLY) {
                out.extend_from_slice(b" to ");
                push_address(out, &new.original.saddr, new.port(new.original.sport));
                out.extend_from_slice(b" > ");
                push_address(out, &new.original.daddr, new.port(new.original.dport));
                out.push(b' ');
                fields.push_value(out, self.proto_index, prefix);
            }
        }
        if new.zone != old.zone {
            next(out);
            out.extend_from_slice(b"ct zone ");
            push_unsigned(out, u64::from(new.zone));
        }
        if new.mark != old.mark {
            next(out);
            out.extend_from_slice(b"ct mark ");
            match new.mark {
                0 => out.push(b'0'),
                mark => push_hex(out, u64::from(mark)),
            }
        }
        if (new.original, new.nat) == (old.original, old.nat) {
            return;
        }
        let (from, to) = (&new.original, &new.nat);
        for (bit, word, old, into, ports) in [
            (DNAT, "DNAT ", &from.daddr, &to.daddr, (from.dport, to.dport)),
            (SNAT, "SNAT ", &from.saddr, &to.saddr, (from.sport, to.sport)),
        ] {
            if new.status & bit != 0 && (old != into || ports.0 != ports.1) {
                next(out);
                out.extend_from_slice(word.as_bytes());
                push_address(out, old, new.port(ports.0));
                out.extend_from_slice(b" > ");
                push_address(out, into, new.port(ports.1));
            }
        }
    }

    fn read(&self, bytes: &[u8]) -> Ct {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let pair = |fields: PairFields| Pair {
            saddr: array(bytes, fields.saddr),
            daddr: array(bytes, fields.daddr),
            sport: u16::from_be_bytes(array(bytes, fields.sport)),
            dport: u16::from_be_bytes(array(bytes, fields.dport)),
        };
        Ct {
            state: byte(self.state),
            status: u32::from_ne_bytes(array(bytes, self.status)),
            original: pair(self.original),
            nat: pair(self.nat),
            proto: byte(self.proto),
            zone: u16::from_ne_bytes(array(bytes, self.zone)),
            mark: u32::from_ne_bytes(array(bytes, self.mark)),
        }
    }
}

impl Ct {
    fn shown_status(&self) -> u32 {
        let bits = STATUS.iter().fold(0, |bits, (bit, _)| bits | bit);
        self.status & bits
    }

    /// Returns a port, if the protocol has ports.
    fn port(&self, port: u16) -> Option<u16> {
        matches!(self.proto, TCP | UDP | SCTP).then_some(port)
    }
}
