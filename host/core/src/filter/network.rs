//! Tests of the network layer: protocols, addresses and networks. Part of the generator; imports `ast`, `error`,
//! `generate`, `graph`, `link` and `names`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ast::{Direction, Kind, Mask, Protocol, Qualifiers, Value};
use super::error::{self, FilterError, Nearest, Problem};
use super::generate::{Condition, Generated, Generator};
use super::link::{ARP, IP, IP6, ISO, RARP};
use super::names;

/// The next header of IPv6 that says that the packet is a fragment, and the length of the header before it.
const FRAGMENT: u32 = 44;
const IP6_HEADER: u32 = 40;

const ISIS: u32 = 0x83;

impl Generator<'_> {
    /// Tests a protocol that is alone: `tcp`.
    pub(super) fn protocol(&mut self, protocol: Protocol) -> Generated {
        // The kinds of packets of IS-IS.
        const PSNP: [u32; 2] = [26, 27];
        const CSNP: [u32; 2] = [24, 25];
        const LSP: [u32; 2] = [18, 20];
        const LAN_IIH: [u32; 2] = [15, 16];
        const POINT_IIH: u32 = 17;
        match protocol {
            Protocol::Tcp => self.carried(6),
            Protocol::Udp => self.carried(17),
            Protocol::Sctp => self.carried(132),
            Protocol::Pim => self.carried(103),
            Protocol::Ah => self.carried(51),
            Protocol::Esp => self.carried(50),
            Protocol::Icmp => self.carried_by_ip(1),
            Protocol::Igmp => self.carried_by_ip(2),
            Protocol::Igrp => self.carried_by_ip(9),
            Protocol::Vrrp | Protocol::Carp => self.carried_by_ip(112),
            Protocol::Icmp6 => self.carried_by_ip6(58),
            Protocol::Ip => self.link_type(IP),
            Protocol::Ip6 => self.link_type(IP6),
            Protocol::Arp => self.link_type(ARP),
            Protocol::Rarp => self.link_type(RARP),
            Protocol::Atalk => self.link_type(0x809b),
            Protocol::Aarp => self.link_type(0x80f3),
            Protocol::Decnet => self.link_type(0x6003),
            Protocol::Lat => self.link_type(0x6004),
            Protocol::Sca => self.link_type(0x6007),
            Protocol::Mopdl => self.link_type(0x6001),
            Protocol::Moprc => self.link_type(0x6002),
            Protocol::Iso => self.link_type(ISO),
            Protocol::Stp => self.link_type(0x42),
            Protocol::Ipx => self.link_type(0xe0),
            Protocol::Netbeui => self.link_type(0xf0),
            Protocol::Esis => self.carried_by_iso(0x82),
            Protocol::Isis => self.carried_by_iso(ISIS),
            Protocol::Clnp => self.carried_by_iso(0x81),
            Protocol::IsisL1 => self.isis(&[PSNP[0], CSNP[0], LSP[0], LAN_IIH[0], POINT_IIH]),
            Protocol::IsisL2 => self.isis(&[PSNP[1], CSNP[1], LSP[1], LAN_IIH[1], POINT_IIH]),
            Protocol::IsisIih => self.isis(&[POINT_IIH, LAN_IIH[0], LAN_IIH[1]]),
            Protocol::IsisLsp => self.isis(&LSP),
            Protocol::IsisSnp => self.isis(&[CSNP[0], CSNP[1], PSNP[0], PSNP[1]]),
            Protocol::IsisCsnp => self.isis(&CSNP),
            Protocol::IsisPsnp => self.isis(&PSNP),
            Protocol::Link => Err(self.error(Problem::Unsupported {
                what: "the link layer",
                why: "alone is not a condition",
                remedy: "write for example 'ether host 02:00:00:00:00:01' or 'ether proto 0x88cc'",
            })),
        }
    }

    /// Tests the protocol in IPv4 or IPv6.
    fn carried(&mut self, number: u32) -> Generated {
        let by_ip = self.carried_by_ip(number)?;
        Ok(Condition::Any(vec![by_ip, self.carried_by_ip6(number)?]))
    }

    pub(super) fn carried_by_ip(&mut self, number: u32) -> Generated {
        let byte = self.load(self.layers.network(), 9, 1);
        let carried = self.equal(byte, number);
        Ok(Condition::All(vec![self.link_type(IP)?, carried]))
    }

    /// In a fragment, the next header is that of the fragment's header.
    fn carried_by_ip6(&mut self, number: u32) -> Generated {
        let next = self.load(self.layers.network(), 6, 1);
        let behind = self.load(self.layers.network(), IP6_HEADER, 1);
        let fragment = Condition::All(vec![self.equal(next, FRAGMENT), self.equal(behind, number)]);
        let carried = Condition::Any(vec![self.equal(next, number), fragment]);
        Ok(Condition::All(vec![self.link_type(IP6)?, carried]))
    }

    /// The protocol's number is the first byte behind the header of LLC.
    fn carried_by_iso(&mut self, number: u32) -> Generated {
        let byte = self.load(self.layers.network(), 3, 1);
        let carried = self.equal(byte, number);
        Ok(Condition::All(vec![self.link_type(ISO)?, carried]))
    }

    fn isis(&mut self, kinds: &[u32]) -> Generated {
        let byte = self.load(self.layers.network(), 7, 1);
        let kind = Condition::Any(kinds.iter().map(|kind| self.equal(byte, *kind)).collect());
        Ok(Condition::All(vec![self.carried_by_iso(ISIS)?, kind]))
    }

    /// `proto N` and its variants.
    pub(super) fn proto(&mut self, qualifiers: Qualifiers, value: &Value) -> Generated {
        let over_ip = "use 'ip proto', 'ip6 proto' or 'ether proto'";
        let number = match (qualifiers.protocol, value) {
            (_, Value::Number(number)) => *number,
            (Some(Protocol::Link), Value::Name(name)) => names::ether_type(name)
                .ok_or_else(|| self.unknown("protocol over Ethernet", name, names::nearest_ether_types(name)))?,
            (Some(Protocol::Iso), Value::Name(name)) => match name.as_str() {
                "esis" => 0x82,
                "isis" => ISIS,
                "clnp" => 0x81,
                _ => return Err(self.unknown("protocol over ISO", name, Nearest::default())),
            },
            (None | Some(Protocol::Ip | Protocol::Ip6), Value::Name(name)) => {
                names::protocol(name).ok_or_else(|| self.unknown("protocol", name, names::nearest_protocols(name)))?
            }
            (Some(protocol), Value::Name(_)) => return Err(self.misapplied(protocol, "'proto'", over_ip)),
            _ => return Err(self.wrong_kind("proto", "an address", "write a number or a name, as in \\tcp")),
        };
        match qualifiers.protocol {
            None => self.carried(number),
            Some(Protocol::Ip) => self.carried_by_ip(number),
            Some(Protocol::Ip6) => self.carried_by_ip6(number),
            Some(Protocol::Link) => self.link_type(number),
            Some(Protocol::Iso) => self.carried_by_iso(number),
            Some(Protocol::Isis) => self.isis(&[number]),
            Some(protocol) => Err(self.misapplied(protocol, "'proto'", over_ip)),
        }
    }

    pub(super) fn unknown(&self, what: &'static str, name: &str, nearest: Nearest) -> FilterError {
        let name = error::shown(name);
        self.error(Problem::UnknownName { what, name, nearest })
    }

    /// Returns the error for a value that is not of the kind of the qualifier.
    pub(super) fn wrong_kind(&self, qualifier: &'static str, value: &'static str, remedy: &'static str) -> FilterError {
        self.error(Problem::Qualifier {
            qualifier,
            value,
            remedy,
        })
    }

    /// `host`, `net`, or neither.
    pub(super) fn address(&mut self, qualifiers: Qualifiers, value: &Value) -> Generated {
        if qualifiers.protocol == Some(Protocol::Link) {
            return match value {
                Value::Ethernet(address) if qualifiers.kind != Kind::Net => self.mac(*address, qualifiers.direction),
                _ => Err(self.wrong_kind(
                    "ether",
                    "this address",
                    "write a MAC address, as in 02:00:00:00:00:01, or remove 'ether'",
                )),
            };
        }
        match value {
            Value::Ethernet(_) => Err(self.wrong_kind(
                if qualifiers.kind == Kind::Net { "net" } else { "host" },
                "a MAC address",
                "write 'ether host' before it",
            )),
            // An address of one number is that of a host, and the first byte of that of a network.
            Value::Number(number) if qualifiers.kind == Kind::Net => {
                let bits = if *number == 0 {
                    32
                } else {
                    32 - number.leading_zeros() / 8 * 8
                };
                self.host(*number, bits, qualifiers)
            }
            Value::Number(number) => self.host(*number, 32, qualifiers),
            Value::Ipv4(address, bits) => self.host(*address, *bits, qualifiers),
            Value::Ipv4Net(address, bits, mask) => self.network(*address, *bits, mask, qualifiers),
            Value::Ipv6(address, length) => self.network6(*address, *length, qualifiers),
            Value::Name(name) if qualifiers.kind == Kind::Net => {
                let nearest = Nearest::default();
                Err(self.unknown("network", name, nearest))
            }
            Value::Name(name) => self.host_name(name, qualifiers),
        }
    }

    /// An address of which the first `bits` bits are written: the others are 0 and not compared.
    fn host(&mut self, address: u32, bits: u32, qualifiers: Qualifiers) -> Generated {
        let (address, mask) = (shifted(address, bits), shifted(u32::MAX, bits));
        self.ipv4(address, mask, qualifiers)
    }

    fn network(&mut self, address: u32, bits: u32, mask: &Mask, qualifiers: Qualifiers) -> Generated {
        let address = shifted(address, bits);
        let mask = match *mask {
            Mask::Length(length) if length > 32 => return Err(self.too_long(length, 32)),
            Mask::Length(length) => u32::MAX.checked_shl(32 - length).unwrap_or(0),
            Mask::Address(mask, bits) => shifted(mask, bits),
        };
        if address & !mask != 0 {
            let network = Ipv4Addr::from(address & mask);
            let text = match mask.leading_ones() + mask.trailing_zeros() {
                32 => format!("{network}/{}", mask.leading_ones()),
                _ => format!("{network} mask {}", Ipv4Addr::from(mask)),
            };
            return Err(self.error(Problem::HostBits(text)));
        }
        if qualifiers.kind != Kind::Net {
            return Err(self.wrong_kind("host", "a network", "write 'net' before it"));
        }
        self.ipv4(address, mask, qualifiers)
    }

    fn network6(&mut self, address: Ipv6Addr, length: Option<u32>, qualifiers: Qualifiers) -> Generated {
        let length = length.unwrap_or(128);
        if length > 128 {
            return Err(self.too_long(length, 128));
        }
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        let bits = u128::from(address);
        if bits & !mask != 0 {
            let network = Ipv6Addr::from(bits & mask);
            return Err(self.error(Problem::HostBits(format!("{network}/{length}"))));
        }
        if length != 128 && qualifiers.kind != Kind::Net {
            return Err(self.wrong_kind("host", "a network", "write 'net' before it"));
        }
        self.ipv6(bits, mask, qualifiers)
    }

    fn too_long(&self, value: u32, maximum: u32) -> FilterError {
        let what = "the length of the prefix,";
        self.error(Problem::Above { what, value, maximum })
    }

    fn host_name(&mut self, name: &str, qualifiers: Qualifiers) -> Generated {
        let resolved = self.names.addresses(name);
        let addresses = resolved.map_err(|reason| {
            let name = error::shown(name);
            self.error(Problem::Resolve { name, reason })
        })?;
        let mut any = Vec::new();
        for address in addresses {
            match (address, qualifiers.protocol) {
                (IpAddr::V4(_), Some(Protocol::Ip6)) | (IpAddr::V6(_), Some(Protocol::Ip)) => {}
                (IpAddr::V4(address), _) => any.push(self.ipv4(address.into(), u32::MAX, qualifiers)?),
                (IpAddr::V6(address), _) => any.push(self.ipv6(address.into(), u128::MAX, qualifiers)?),
            }
        }
        match any.is_empty() {
            true => Err(self.unknown("host", name, Nearest::default())),
            false => Ok(Condition::Any(any)),
        }
    }

    /// Tests addresses in IPv4, ARP and RARP.
    fn ipv4(&mut self, address: u32, mask: u32, qualifiers: Qualifiers) -> Generated {
        let direction = qualifiers.direction;
        match qualifiers.protocol {
            Some(Protocol::Ip) => self.ipv4_in(IP, [12, 16], address, mask, direction),
            Some(Protocol::Arp) => self.ipv4_in(ARP, [14, 24], address, mask, direction),
            Some(Protocol::Rarp) => self.ipv4_in(RARP, [14, 24], address, mask, direction),
            None => {
                let mut any = vec![self.ipv4_in(IP, [12, 16], address, mask, direction)?];
                // Only IP is recognised behind MPLS labels.
                if self.layers.labels == 0 {
                    any.push(self.ipv4_in(ARP, [14, 24], address, mask, direction)?);
                    any.push(self.ipv4_in(RARP, [14, 24], address, mask, direction)?);
                }
                Ok(Condition::Any(any))
            }
            Some(protocol) => {
                let remedy = "use 'ip', 'arp' or 'rarp', or combine: tcp and host 10.0.0.1";
                Err(self.misapplied(protocol, "an IPv4 address", remedy))
            }
        }
    }

    fn ipv4_in(&mut self, kind: u32, offsets: [u32; 2], address: u32, mask: u32, direction: Direction) -> Generated {
        let mut at = |offset| {
            let word = self.load(self.layers.network(), offset, 4);
            let is = self.masked(word, mask, address);
            Ok(Condition::All(vec![self.link_type(kind)?, is]))
        };
        directed(direction, at(offsets[0])?, at(offsets[1])?)
    }

    fn ipv6(&mut self, address: u128, mask: u128, qualifiers: Qualifiers) -> Generated {
        if let Some(protocol) = qualifiers.protocol.filter(|protocol| *protocol != Protocol::Ip6) {
            let remedy = "use 'ip6', or combine: tcp and host ::1";
            return Err(self.misapplied(protocol, "an IPv6 address", remedy));
        }
        let mut at = |offset| {
            let mut all = vec![self.link_type(IP6)?];
            for word in 0..4_u32 {
                // Truncated to the word on purpose.
                let part = |bits: u128| (bits >> (96 - 32 * word)) as u32;
                let value = self.load(self.layers.network(), offset + 4 * word, 4);
                all.push(self.masked(value, part(mask), part(address)));
            }
            Ok(Condition::All(all))
        };
        directed(qualifiers.direction, at(8)?, at(24)?)
    }
}

/// Combines the tests of source and destination.
fn directed(direction: Direction, source: Condition, destination: Condition) -> Generated {
    Ok(match direction {
        Direction::Source => source,
        Direction::Destination => destination,
        Direction::Either => Condition::Any(vec![source, destination]),
        Direction::Both => Condition::All(vec![source, destination]),
    })
}

/// Moves the `bits` bits of a value to the top.
fn shifted(value: u32, bits: u32) -> u32 {
    value.checked_shl(32 - bits.min(32)).unwrap_or(0)
}
