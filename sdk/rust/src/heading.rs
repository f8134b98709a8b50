//! Names packets by their addresses, as `ipft -o text` does: `10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 84 B`.
//!
//! The words come from the built-in fields of `--show tuple,len`, which traces that follow packets have, and others if
//! the user wants them.

use std::fmt::Write;
use std::net::Ipv6Addr;

use crate::fields::split;
use crate::trace::{Field, Format, Kind, Trace};

/// More fragments follow.
const MORE: u16 = 0x2000;
/// The fragment's offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// The names of TCP's flags, from the lowest bit on.
const TCP_FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/// The fields of a trace that give packets a name.
///
/// ```
/// # use ipft_plugin::{Batch, Error, Headings, Output, Plugin, Summary, Trace};
/// # use std::io::Write;
/// # #[derive(Default)]
/// # struct Names { headings: Option<Headings> }
/// impl Plugin for Names {
///     fn events(&mut self, batch: &Batch, out: &mut Output) -> Result<(), Error> {
///         let headings = self.headings.get_or_insert_with(|| Headings::new(batch.trace));
///         for event in batch.events.iter().filter(|event| event.is_entry()) {
///             if let Some(heading) = headings.of(batch.trace, batch.payload_of(event)) {
///                 writeln!(out, "{heading}")?;
///             }
///         }
///         Ok(())
///     }
///
///     fn finish(&mut self, _trace: &Trace, _summary: &Summary, _out: &mut Output) -> Result<(), Error> {
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Headings {
    tuple: Option<Tuple>,
    len: Option<usize>,
}

/// Offsets of the fields in a payload. The first ones are needed, each other may be missing.
#[derive(Clone, Debug)]
struct Tuple {
    saddr: usize,
    daddr: usize,
    ethertype: usize,
    /// With the names of protocols.
    proto: Field,
    ports: Option<(usize, usize)>,
    tcp_flags: Option<usize>,
    seq: Option<usize>,
    ack: Option<usize>,
    icmp: Option<(usize, usize)>,
    echo: Option<(usize, usize)>,
    frag: Option<usize>,
}

impl Tuple {
    fn new(trace: &Trace) -> Option<Self> {
        let field = |name: &str, size: u32| {
            let is_it = |field: &&Field| field.name == name && field.size == size && field.bit_width == 0;
            trace.fields.iter().find(is_it)
        };
        let at = |name, size| field(name, size).map(|field| field.offset as usize);
        let address = |name| field(name, 16).filter(|field| field.format == Format::Ip);
        Some(Tuple {
            saddr: address("saddr")?.offset as usize,
            daddr: address("daddr")?.offset as usize,
            ethertype: at("ethertype", 2)?,
            proto: field("proto", 1)?.clone(),
            ports: at("sport", 2).zip(at("dport", 2)),
            tcp_flags: at("tcp_flags", 1),
            seq: at("seq", 4),
            ack: at("ack", 4),
            icmp: at("icmp_type", 1).zip(at("icmp_code", 1)),
            echo: at("icmp_id", 2).zip(at("icmp_seq", 2)),
            frag: at("frag", 2),
        })
    }
}

/// What the header behind IP says; all zero if it could not be read.
#[derive(Default, PartialEq)]
struct Transport {
    sport: u16,
    dport: u16,
    tcp_flags: u8,
    seq: u32,
    ack: u32,
    icmp: (u8, u8),
    echo: (u16, u16),
}

impl Headings {
    /// Finds the fields. A trace without them gives no packet a heading.
    pub fn new(trace: &Trace) -> Self {
        let len = |field: &&Field| field.name == "len" && field.size == 4 && field.kind == Kind::Unsigned;
        Headings {
            tuple: Tuple::new(trace),
            len: trace.fields.iter().find(len).map(|field| field.offset as usize),
        }
    }

    /// Returns whether packets of this trace can have a heading.
    pub fn are_there(&self) -> bool {
        self.tuple.is_some()
    }

    /// Returns the heading that the payload of an event gives; `None` if the function saw no network header. It has
    /// nothing that harms a terminal.
    pub fn of(&self, trace: &Trace, payload: &[u8]) -> Option<String> {
        let tuple = self.tuple.as_ref()?;
        let (prefix, _) = split(trace, payload);
        let mut heading = tuple.words(prefix)?;
        if let Some(len) = self.len {
            let _ = write!(heading, ", {} B", u32::from_le_bytes(array(prefix, len)));
        }
        Some(heading)
    }
}

impl Tuple {
    fn words(&self, prefix: &[u8]) -> Option<String> {
        let byte = |at: usize| prefix.get(at).copied().unwrap_or(0);
        let u16 = |at| u16::from_le_bytes(array(prefix, at));
        let u32 = |at: Option<usize>| at.map_or(0, |at| u32::from_le_bytes(array(prefix, at)));
        let ethertype = u16(self.ethertype);
        let [saddr, daddr]: [[u8; 16]; 2] = [self.saddr, self.daddr].map(|at| array(prefix, at));
        let has_addresses = saddr != [0; 16] || daddr != [0; 16];
        if ethertype == 0 && !has_addresses {
            return None;
        }
        let be16 = |at| u16::from_be_bytes(array(prefix, at));
        let (sport, dport) = self.ports.map_or((0, 0), |(from, to)| (be16(from), be16(to)));
        let transport = Transport {
            sport,
            dport,
            tcp_flags: self.tcp_flags.map_or(0, byte),
            seq: u32(self.seq),
            ack: u32(self.ack),
            icmp: self.icmp.map_or((0, 0), |(kind, code)| (byte(kind), byte(code))),
            echo: self.echo.map_or((0, 0), |(id, seq)| (u16(id), u16(seq))),
        };
        let proto = byte(self.proto.offset as usize);
        let frag = self.frag.map_or(0, u16);
        let is_ip = matches!(ethertype, IPV4 | IPV6);
        // Only the first fragment has the header.
        let is_headed = frag & OFFSET == 0 && transport != Transport::default();
        let has_ports = is_headed && matches!(proto, TCP | UDP | SCTP);
        let mut out = String::new();
        if is_ip || has_addresses {
            push_address(&mut out, saddr, has_ports.then_some(sport));
            out.push_str(" > ");
            push_address(&mut out, daddr, has_ports.then_some(dport));
            out.push(' ');
        }
        if !is_ip {
            push_ethertype(&mut out, ethertype);
            return Some(out);
        }
        match proto {
            ICMP => out.push_str("icmp"),
            TCP => out.push_str("tcp"),
            UDP => out.push_str("udp"),
            ICMPV6 => out.push_str("icmp6"),
            SCTP => out.push_str("sctp"),
            _ => self.push_protocol(&mut out, proto, prefix),
        }
        if is_headed {
            match proto {
                ICMP => transport.push_icmp(&mut out, icmp_name(transport.icmp), [8, 0]),
                ICMPV6 => transport.push_icmp(&mut out, icmp6_name(transport.icmp), [128, 129]),
                TCP => transport.push_tcp(&mut out),
                _ => {}
            }
        }
        if frag & (MORE | OFFSET) != 0 {
            let more = if frag & MORE != 0 { "+" } else { "" };
            let _ = write!(out, " frag {}{more}", 8 * u64::from(frag & OFFSET));
        }
        Some(out)
    }

    /// The protocol's name, if it has one.
    fn push_protocol(&self, out: &mut String, proto: u8, prefix: &[u8]) {
        let value = self.proto.value(prefix);
        let name = value.map(|value| {
            crate::text::Show(|f: &mut std::fmt::Formatter<'_>| crate::text::value(f, Some(&self.proto), value))
                .to_string()
        });
        let is_name = |name: &String| {
            name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && !name.bytes().all(|byte| byte.is_ascii_digit())
        };
        match name.filter(is_name) {
            Some(name) => out.push_str(&name),
            None => {
                let _ = write!(out, "protocol {proto}");
            }
        }
    }
}

impl Transport {
    /// ` SYN|ACK seq 1 ack 2`
    fn push_tcp(&self, out: &mut String) {
        let set = (0..8).filter(|bit| self.tcp_flags >> bit & 1 == 1);
        let names: Vec<&str> = set.map(|bit| TCP_FLAGS[bit]).collect();
        if !names.is_empty() {
            out.push(' ');
            out.push_str(&names.join("|"));
        }
        let _ = write!(out, " seq {}", self.seq);
        if self.tcp_flags & 0x10 != 0 {
            let _ = write!(out, " ack {}", self.ack);
        }
    }

    /// ` echo request id 7 seq 1`, ` type 40 code 1`. `echo`: the types of echo requests and replies.
    fn push_icmp(&self, out: &mut String, name: Option<&str>, echo: [u8; 2]) {
        let (kind, code) = self.icmp;
        let _ = match name {
            Some(name) => write!(out, " {name}"),
            None => write!(out, " type {kind} code {code}"),
        };
        if echo.contains(&kind) {
            let _ = write!(out, " id {} seq {}", self.echo.0, self.echo.1);
        }
    }
}

/// The bytes of a field; zeros outside the payload.
fn array<const N: usize>(prefix: &[u8], at: usize) -> [u8; N] {
    let bytes = prefix.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().unwrap_or([0; N])
}

/// An address, with a port if there is one: IPv4 addresses come mapped into IPv6.
fn push_address(out: &mut String, address: [u8; 16], port: Option<u16>) {
    let address = Ipv6Addr::from(address).to_canonical();
    let _ = match port {
        Some(port) if address.is_ipv6() => write!(out, "[{address}]:{port}"),
        Some(port) => write!(out, "{address}:{port}"),
        None => write!(out, "{address}"),
    };
}

fn push_ethertype(out: &mut String, ethertype: u16) {
    out.push_str(match ethertype {
        0x0806 => "arp",
        0x8035 => "rarp",
        0x8100 | 0x88a8 => "vlan",
        0x8847 | 0x8848 => "mpls",
        0x8863 | 0x8864 => "pppoe",
        0x888e => "eapol",
        0x88cc => "lldp",
        _ => {
            let _ = write!(out, "ethertype {ethertype:#x}");
            return;
        }
    });
}

/// The message of ICMP with this type and code, where it has a common name.
fn icmp_name((kind, code): (u8, u8)) -> Option<&'static str> {
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
fn icmp6_name((kind, code): (u8, u8)) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Member;

    /// Names and bytes of fields.
    type Fields<'a> = &'a [(&'a str, &'a [u8])];

    /// A trace with the built-in fields.
    fn trace() -> Trace {
        let list = [
            ("len", 4, Format::Plain),
            ("saddr", 16, Format::Ip),
            ("daddr", 16, Format::Ip),
            ("sport", 2, Format::Be16),
            ("dport", 2, Format::Be16),
            ("ethertype", 2, Format::Hex),
            ("proto", 1, Format::Enum),
            ("tcp_flags", 1, Format::Flags),
            ("seq", 4, Format::Plain),
            ("ack", 4, Format::Plain),
            ("icmp_type", 1, Format::Plain),
            ("icmp_code", 1, Format::Plain),
            ("frag", 2, Format::Hex),
            ("icmp_id", 2, Format::Plain),
            ("icmp_seq", 2, Format::Plain),
        ];
        let mut trace = Trace::default();
        for (name, size, format) in list {
            let member = |(name, value): (&str, u64)| Member {
                name: name.to_owned(),
                value,
            };
            trace.fields.push(Field {
                name: name.to_owned(),
                offset: trace.payload_size,
                size,
                bit_offset: 0,
                bit_width: 0,
                kind: if size == 16 { Kind::Bytes } else { Kind::Unsigned },
                format,
                members: match name {
                    "proto" => [("gre", 47), ("\x1b[2J", 99), ("100", 100)].map(member).to_vec(),
                    _ => Vec::new(),
                },
            });
            trace.payload_size += size;
        }
        trace
    }

    /// A payload with these fields, the others 0.
    fn payload(trace: &Trace, fields: Fields) -> Vec<u8> {
        let mut payload = vec![0; trace.payload_size as usize];
        for (name, bytes) in fields {
            let field = trace.fields.iter().find(|field| field.name == *name).unwrap();
            let start = field.offset as usize;
            payload[start..start + bytes.len()].copy_from_slice(bytes);
        }
        payload
    }

    #[test]
    fn packets_are_named_by_their_headers() {
        let trace = trace();
        let headings = Headings::new(&trace);
        assert!(headings.are_there());
        let v4 = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
        let v6 = |last| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let [a, b, c, d] = [v4(1), v4(2), v6(1), v6(2)];
        let ipv4: [(&str, &[u8]); 3] = [("saddr", &a), ("daddr", &b), ("ethertype", &[0, 8])];
        let ipv6: [(&str, &[u8]); 3] = [("saddr", &c), ("daddr", &d), ("ethertype", &[0xdd, 0x86])];
        let cases: [(Fields, Fields, &str); 13] = [
            (
                &ipv4,
                &[
                    ("proto", &[1]),
                    ("icmp_type", &[8]),
                    ("icmp_id", &[7]),
                    ("icmp_seq", &[1]),
                    ("len", &[84]),
                ],
                "10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 84 B",
            ),
            (
                &ipv4,
                &[
                    ("proto", &[6]),
                    ("sport", &[0x0f, 0xa0]),
                    ("dport", &[0, 80]),
                    ("tcp_flags", &[0x12]),
                    ("seq", &[5]),
                ],
                "10.0.0.1:4000 > 10.0.0.2:80 tcp SYN|ACK seq 5 ack 0, 0 B",
            ),
            (
                &ipv6,
                &[("proto", &[17]), ("sport", &[2, 34]), ("dport", &[2, 35])],
                "[fe80::1]:546 > [fe80::2]:547 udp, 0 B",
            ),
            (
                &ipv6,
                &[("proto", &[58]), ("icmp_type", &[135])],
                "fe80::1 > fe80::2 icmp6 neighbor solicitation, 0 B",
            ),
            (
                &ipv4,
                &[("proto", &[1]), ("icmp_type", &[40])],
                "10.0.0.1 > 10.0.0.2 icmp type 40 code 0, 0 B",
            ),
            (
                &ipv4,
                &[("proto", &[17]), ("frag", &[185, 0x20])],
                "10.0.0.1 > 10.0.0.2 udp frag 1480+, 0 B",
            ),
            (&ipv4, &[("proto", &[47])], "10.0.0.1 > 10.0.0.2 gre, 0 B"),
            (&ipv4, &[("proto", &[99])], "10.0.0.1 > 10.0.0.2 protocol 99, 0 B"),
            (&ipv4, &[("proto", &[100])], "10.0.0.1 > 10.0.0.2 protocol 100, 0 B"),
            (&ipv4, &[("proto", &[253])], "10.0.0.1 > 10.0.0.2 protocol 253, 0 B"),
            (&[("ethertype", &[6, 8])], &[], "arp, 0 B"),
            (&[("ethertype", &[0x34, 0x12])], &[], "ethertype 0x1234, 0 B"),
            (&[("saddr", &a)], &[], "10.0.0.1 > :: ethertype 0x0, 0 B"),
        ];
        for (network, more, expected) in cases {
            let payload = payload(&trace, &[network, more].concat());
            assert_eq!(headings.of(&trace, &payload).as_deref(), Some(expected));
            // A payload of another length is of no trace.
            assert_eq!(headings.of(&trace, &payload[1..]), None);
        }
        assert_eq!(headings.of(&trace, &payload(&trace, &[("len", &[9])])), None);
        assert_eq!(headings.of(&trace, &[]), None);
    }

    #[test]
    fn fields_of_other_kinds_give_no_heading() {
        for (name, change) in [
            (
                "saddr",
                (|field: &mut Field| field.format = Format::Ipv6) as fn(&mut Field),
            ),
            ("daddr", |field| field.size = 4),
            ("ethertype", |field| field.bit_width = 3),
            ("proto", |field| field.name = "protocol".to_owned()),
        ] {
            let mut trace = trace();
            trace
                .fields
                .iter_mut()
                .filter(|field| field.name == name)
                .for_each(change);
            assert!(!Headings::new(&trace).are_there(), "{name}");
        }
        // What is optional is left out.
        let mut trace = trace();
        trace
            .fields
            .retain(|field| ["saddr", "daddr", "ethertype", "proto"].contains(&field.name.as_str()));
        let payload = payload(
            &trace,
            &[("daddr", &[1; 16]), ("ethertype", &[0xdd, 0x86]), ("proto", &[6])],
        );
        let heading = Headings::new(&trace).of(&trace, &payload);
        assert_eq!(heading.as_deref(), Some(":: > 101:101:101:101:101:101:101:101 tcp"));
    }
}
