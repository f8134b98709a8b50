//! Names a packet by its addresses, from the built-in fields of `--show tuple`, which are found by their names.
//!
//! ```text
//! 10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1
//! [fe80::1]:546 > [ff02::1:2]:547 udp
//! 10.0.0.1 > 10.0.0.2 udp frag 1480+
//! ```

use super::fields::{Fields, push_ipv4, push_ipv6};
use crate::event::{Field, Schema};
use crate::text::*;

/// More fragments follow.
const MORE: u16 = 0x2000;
/// The fragment's offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Offsets of the fields in a payload. The first ones are needed, each other may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct TupleFields {
    saddr: usize,
    daddr: usize,
    ethertype: usize,
    proto: usize,
    /// The index of the field `proto` in the schema, for its names.
    proto_index: usize,
    ports: Option<(usize, usize)>,
    tcp_flags: Option<usize>,
    seq: Option<usize>,
    ack: Option<usize>,
    icmp: Option<(usize, usize)>,
    echo: Option<(usize, usize)>,
    frag: Option<usize>,
}

/// The names of the fields that become part of a heading.
const NAMES: [&str; 14] = [
    "saddr",
    "daddr",
    "sport",
    "dport",
    "ethertype",
    "proto",
    "tcp_flags",
    "seq",
    "ack",
    "icmp_type",
    "icmp_code",
    "frag",
    "icmp_id",
    "icmp_seq",
];

/// The addresses of a packet as the kernel saw them at one function. All zero: the packet had no network header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tuple {
    saddr: [u8; 16],
    daddr: [u8; 16],
    ethertype: u16,
    proto: u8,
    frag: u16,
    transport: Transport,
}

/// What the header behind IP says; all zero if it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Transport {
    sport: u16,
    dport: u16,
    tcp_flags: u8,
    seq: u32,
    ack: u32,
    icmp_type: u8,
    icmp_code: u8,
    icmp_id: u16,
    icmp_seq: u16,
}

/// What the packets of one flow share: addresses, ports and protocol, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    saddr: [u8; 16],
    daddr: [u8; 16],
    sport: u16,
    dport: u16,
    ethertype: u16,
    proto: u8,
}

#[cfg(test)]
impl FlowKey {
    /// Returns one that differs from others by this port.
    pub(super) fn test(port: u16) -> Self {
        Tuple {
            ethertype: IPV4,
            proto: UDP,
            transport: Transport {
                sport: port,
                ..Transport::default()
            },
            ..Tuple::default()
        }
        .flow()
    }
}

/// Returns the offset of the built-in field with this name, if it has this size.
pub(super) fn builtin(schema: &Schema, name: &str, size: u32) -> Option<usize> {
    find(schema, name, size).map(|(_, field)| field.offset as usize)
}

fn find<'a>(schema: &'a Schema, name: &str, size: u32) -> Option<(usize, &'a Field)> {
    let mut fields = schema.fields.iter().enumerate();
    fields.find(|(_, field)| {
        let end = u64::from(field.offset) + u64::from(field.size);
        let builtin = end <= u64::from(schema.builtin.min(schema.size));
        field.name == name && field.size == size && field.bits.is_none() && builtin
    })
}

impl TupleFields {
    /// Finds them; `None` if the trace does not have the addresses.
    pub(super) fn new(schema: &Schema) -> Option<Self> {
        let at = |name, size| builtin(schema, name, size);
        Some(TupleFields {
            saddr: at("saddr", 16)?,
            daddr: at("daddr", 16)?,
            ethertype: at("ethertype", 2)?,
            proto: at("proto", 1)?,
            proto_index: find(schema, "proto", 1)?.0,
            ports: at("sport", 2).zip(at("dport", 2)),
            tcp_flags: at("tcp_flags", 1),
            seq: at("seq", 4),
            ack: at("ack", 4),
            icmp: at("icmp_type", 1).zip(at("icmp_code", 1)),
            echo: at("icmp_id", 2).zip(at("icmp_seq", 2)),
            frag: at("frag", 2),
        })
    }

    /// Returns whether the field is one of them.
    pub(super) fn has(&self, field: &Field, schema: &Schema) -> bool {
        NAMES.contains(&field.name.as_str()) && builtin(schema, &field.name, field.size) == Some(field.offset as usize)
    }

    /// Reads them; `None` if the packet had no network header.
    #[inline]
    pub(super) fn read(&self, prefix: &[u8]) -> Option<Tuple> {
        let ethertype = u16::from_ne_bytes(array(prefix, self.ethertype));
        let saddr: [u8; 16] = array(prefix, self.saddr);
        let daddr: [u8; 16] = array(prefix, self.daddr);
        if ethertype == 0 && saddr == [0; 16] && daddr == [0; 16] {
            return None;
        }
        let byte = |at: usize| prefix.get(at).copied().unwrap_or(0);
        let be16 = |at| u16::from_be_bytes(array(prefix, at));
        let u16 = |at| u16::from_ne_bytes(array(prefix, at));
        let u32 = |at: Option<usize>| at.map_or(0, |at| u32::from_ne_bytes(array(prefix, at)));
        let (sport, dport) = self.ports.map_or((0, 0), |(from, to)| (be16(from), be16(to)));
        let (icmp_type, icmp_code) = self.icmp.map_or((0, 0), |(kind, code)| (byte(kind), byte(code)));
        let (icmp_id, icmp_seq) = self.echo.map_or((0, 0), |(id, seq)| (u16(id), u16(seq)));
        Some(Tuple {
            saddr,
            daddr,
            ethertype,
            proto: byte(self.proto),
            frag: self.frag.map_or(0, u16),
            transport: Transport {
                sport,
                dport,
                tcp_flags: self.tcp_flags.map_or(0, byte),
                seq: u32(self.seq),
                ack: u32(self.ack),
                icmp_type,
                icmp_code,
                icmp_id,
                icmp_seq,
            },
        })
    }

    /// Appends the words that name a packet. `prefix` has the fields that the tuple was read from.
    pub(super) fn push(&self, out: &mut Vec<u8>, tuple: &Tuple, fields: &Fields, prefix: &[u8]) {
        let is_ip = matches!(tuple.ethertype, IPV4 | IPV6);
        let transport = &tuple.transport;
        let headed = tuple.is_headed();
        self.push_ends(out, tuple, fields, prefix);
        if !is_ip {
            return;
        }
        if headed {
            match tuple.proto {
                ICMP => transport.push_icmp(out, icmp_name(transport.icmp_type, transport.icmp_code), 8, 0),
                ICMPV6 => transport.push_icmp(out, icmp6_name(transport.icmp_type, transport.icmp_code), 128, 129),
                TCP => transport.push_tcp(out),
                _ => {}
            }
        }
        if tuple.frag & (MORE | OFFSET) != 0 {
            out.extend_from_slice(b" frag ");
            push_fragment(out, tuple.frag);
        }
    }

    /// Appends the words that name a flow.
    pub(super) fn push_flow(&self, out: &mut Vec<u8>, flow: &FlowKey, fields: &Fields) {
        let tuple = Tuple {
            saddr: flow.saddr,
            daddr: flow.daddr,
            ethertype: flow.ethertype,
            proto: flow.proto,
            frag: 0,
            transport: Transport {
                sport: flow.sport,
                dport: flow.dport,
                ..Transport::default()
            },
        };
        // The name of the protocol is read from a payload.
        let mut prefix = vec![0; self.proto + 1];
        prefix[self.proto] = flow.proto;
        self.push_ends(out, &tuple, fields, &prefix);
    }

    /// Appends addresses, ports and protocol.
    fn push_ends(&self, out: &mut Vec<u8>, tuple: &Tuple, fields: &Fields, prefix: &[u8]) {
        let is_ip = matches!(tuple.ethertype, IPV4 | IPV6);
        let transport = &tuple.transport;
        let ports = tuple.is_headed() && matches!(tuple.proto, TCP | UDP | SCTP);
        if is_ip || tuple.saddr != [0; 16] || tuple.daddr != [0; 16] {
            push_address(out, &tuple.saddr, ports.then_some(transport.sport));
            out.extend_from_slice(b" > ");
            push_address(out, &tuple.daddr, ports.then_some(transport.dport));
            out.push(b' ');
        }
        if !is_ip {
            return push_ethertype(out, tuple.ethertype);
        }
        match tuple.proto {
            ICMP => out.extend_from_slice(b"icmp"),
            TCP => out.extend_from_slice(b"tcp"),
            UDP => out.extend_from_slice(b"udp"),
            ICMPV6 => out.extend_from_slice(b"icmp6"),
            SCTP => out.extend_from_slice(b"sctp"),
            proto => {
                let start = out.len();
                fields.push_value(out, self.proto_index, prefix);
                let named = out[start..].first().is_some_and(u8::is_ascii_alphanumeric);
                if !named || out[start..].iter().all(u8::is_ascii_digit) {
                    out.truncate(start);
                    out.extend_from_slice(b"protocol ");
                    push_unsigned(out, u64::from(proto));
                }
            }
        }
    }
}

impl Tuple {
    /// Returns whether the header behind IP was read. Only the first fragment has it.
    fn is_headed(&self) -> bool {
        self.frag & OFFSET == 0 && self.transport != Transport::default()
    }

    /// Returns the packet's flow. Its ports are 0 where they are not known.
    pub(super) fn flow(&self) -> FlowKey {
        let has_ports = matches!(self.proto, TCP | UDP | SCTP);
        FlowKey {
            saddr: self.saddr,
            daddr: self.daddr,
            sport: if has_ports { self.transport.sport } else { 0 },
            dport: if has_ports { self.transport.dport } else { 0 },
            ethertype: self.ethertype,
            proto: self.proto,
        }
    }

    /// Returns whether ports may still come: the protocol has them, and the header behind IP could not be read yet.
    pub(super) fn lacks_ports(&self) -> bool {
        let is_ip = matches!(self.ethertype, IPV4 | IPV6);
        is_ip && matches!(self.proto, TCP | UDP | SCTP) && self.frag & OFFSET == 0 && !self.is_headed()
    }

    /// Takes over what this tuple does not know from the one before it: not every function sees the header behind IP.
    pub(super) fn complete(&mut self, before: &Tuple) {
        if self.transport == Transport::default() && self.is_like(before) {
            self.transport = before.transport;
        }
    }

    /// Returns whether the outermost headers are of the same protocols; otherwise others are outermost now.
    fn is_like(&self, before: &Tuple) -> bool {
        (self.ethertype, self.proto) == (before.ethertype, before.proto)
    }

    /// Appends what is different from the tuple before, each after a call of `next`. Returns false if so much is that
    /// the packet is to be named anew.
    pub(super) fn push_changes(&self, out: &mut Vec<u8>, before: &Tuple, mut next: impl FnMut(&mut Vec<u8>)) -> bool {
        let (now, then) = (&self.transport, &before.transport);
        if !self.is_like(before) || (now.icmp_type, now.icmp_code) != (then.icmp_type, then.icmp_code) {
            return false;
        }
        for (name, address, old) in [
            ("src ", &self.saddr, &before.saddr),
            ("dst ", &self.daddr, &before.daddr),
        ] {
            if address != old {
                next(out);
                out.extend_from_slice(name.as_bytes());
                push_address(out, old, None);
                out.extend_from_slice(b" > ");
                push_address(out, address, None);
            }
        }
        let number = |out: &mut Vec<u8>, value: u32| push_unsigned(out, u64::from(value));
        for (name, value, old) in [
            ("sport ", u32::from(now.sport), u32::from(then.sport)),
            ("dport ", u32::from(now.dport), u32::from(then.dport)),
            ("id ", u32::from(now.icmp_id), u32::from(then.icmp_id)),
            ("seq ", u32::from(now.icmp_seq), u32::from(then.icmp_seq)),
            ("seq ", now.seq, then.seq),
            ("ack ", now.ack, then.ack),
        ] {
            if value != old {
                next(out);
                out.extend_from_slice(name.as_bytes());
                number(out, old);
                out.extend_from_slice(b" > ");
                number(out, value);
            }
        }
        if now.tcp_flags != then.tcp_flags {
            next(out);
            out.extend_from_slice(b"flags ");
            push_tcp_flags(out, then.tcp_flags);
            out.extend_from_slice(b" > ");
            push_tcp_flags(out, now.tcp_flags);
        }
        if self.frag & (MORE | OFFSET) != before.frag & (MORE | OFFSET) {
            next(out);
            out.extend_from_slice(b"frag ");
            push_fragment(out, self.frag);
        }
        true
    }
}

impl Transport {
    /// ` SYN|ACK seq 1 ack 2`
    fn push_tcp(&self, out: &mut Vec<u8>) {
        if self.tcp_flags != 0 {
            out.push(b' ');
            push_tcp_flags(out, self.tcp_flags);
        }
        out.extend_from_slice(b" seq ");
        push_unsigned(out, u64::from(self.seq));
        if self.tcp_flags & 0x10 != 0 {
            out.extend_from_slice(b" ack ");
            push_unsigned(out, u64::from(self.ack));
        }
    }

    /// ` echo request id 7 seq 1`, ` type 40 code 1`
    fn push_icmp(&self, out: &mut Vec<u8>, name: Option<&str>, request: u8, reply: u8) {
        match name {
            Some(name) => {
                out.push(b' ');
                out.extend_from_slice(name.as_bytes());
            }
            None => {
                out.extend_from_slice(b" type ");
                push_unsigned(out, u64::from(self.icmp_type));
                out.extend_from_slice(b" code ");
                push_unsigned(out, u64::from(self.icmp_code));
            }
        }
        if self.icmp_type == request || self.icmp_type == reply {
            out.extend_from_slice(b" id ");
            push_unsigned(out, u64::from(self.icmp_id));
            out.extend_from_slice(b" seq ");
            push_unsigned(out, u64::from(self.icmp_seq));
        }
    }
}

/// The bytes of a field; zeros outside the payload.
#[inline]
pub(super) fn array<const N: usize>(prefix: &[u8], at: usize) -> [u8; N] {
    prefix
        .get(at..)
        .and_then(|rest| rest.first_chunk().copied())
        .unwrap_or([0; N])
}

/// An address, with a port if there is one: IPv4 addresses come mapped into IPv6.
pub(super) fn push_address(out: &mut Vec<u8>, address: &[u8; 16], port: Option<u16>) {
    let mapped = address[..10] == [0; 10] && address[10..12] == [0xff; 2];
    match (mapped, port) {
        (true, _) => push_ipv4(out, &address[12..]),
        (false, None) => push_ipv6(out, address),
        (false, Some(_)) => {
            out.push(b'[');
            push_ipv6(out, address);
            out.push(b']');
        }
    }
    if let Some(port) = port {
        out.push(b':');
        push_unsigned(out, u64::from(port));
    }
}

/// `1480+`: the offset in bytes, and a plus if more fragments follow.
fn push_fragment(out: &mut Vec<u8>, frag: u16) {
    push_unsigned(out, 8 * u64::from(frag & OFFSET));
    if frag & MORE != 0 {
        out.push(b'+');
    }
}

/// `SYN|ACK`
fn push_tcp_flags(out: &mut Vec<u8>, flags: u8) {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    if flags == 0 {
        out.extend_from_slice(b"none");
    }
    let mut first = true;
    for (bit, name) in NAMES.iter().enumerate() {
        if flags >> bit & 1 == 1 {
            if !std::mem::take(&mut first) {
                out.push(b'|');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }
}

fn push_ethertype(out: &mut Vec<u8>, ethertype: u16) {
    let name = match ethertype {
        ARP => "arp",
        0x8035 => "rarp",
        0x8100 | 0x88a8 => "vlan",
        0x8847 | 0x8848 => "mpls",
        0x8863 | 0x8864 => "pppoe",
        0x888e => "eapol",
        0x88cc => "lldp",
        _ => {
            out.extend_from_slice(b"ethertype ");
            return push_hex(out, u64::from(ethertype));
        }
    };
    out.extend_from_slice(name.as_bytes());
}

/// The message of ICMP with this type and code, where it has a common name.
fn icmp_name(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (0, _) => "echo reply",
        (8, _) => "echo request",
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 9 | 10 | 13) => "administratively prohibited",
        (5, _) => "redirect",
        (9, _) => "router advertisement",
        (10, _) => "router solicitation",
        (11, 0) => "time to live exceeded",
        (11, 1) => "reassembly time exceeded",
        (12, _) => "parameter problem",
        _ => return None,
    })
}

/// As [`icmp_name`], of ICMPv6.
fn icmp6_name(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (128, _) => "echo request",
        (129, _) => "echo reply",
        (1, 0) => "no route to destination",
        (1, 1) => "administratively prohibited",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded",
        (3, 1) => "reassembly time exceeded",
        (4, _) => "parameter problem",
        (130, _) => "multicast listener query",
        (131 | 143, _) => "multicast listener report",
        (132, _) => "multicast listener done",
        (133, _) => "router solicitation",
        (134, _) => "router advertisement",
        (135, _) => "neighbor solicitation",
        (136, _) => "neighbor advertisement",
        (137, _) => "redirect",
        _ => return None,
    })
}
