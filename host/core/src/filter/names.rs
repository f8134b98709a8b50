//! Names in expressions: constants, ports, protocols, and the resolver of host names. Imports `ports`.

use std::net::{IpAddr, ToSocketAddrs};

use super::error::Nearest;
use super::ports::{PORTS, Transport};

/// Resolves the names that are not the same on every machine. The compiler calls it once for each name.
pub trait Names {
    /// Returns all addresses of a host, or the reason why there are none.
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String>;
}

/// Resolves through the machine's own files and servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let found = (host, 0_u16).to_socket_addrs().map_err(|error| error.to_string())?;
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }
}

/// Returns a port's number and protocol.
pub(super) fn port(name: &str) -> Option<(u16, Transport)> {
    let found = PORTS.iter().find(|(known, ..)| *known == name);
    found.map(|(_, number, transport)| (*number, *transport))
}

pub(super) fn nearest_ports(name: &str) -> Nearest {
    Nearest::choose(name, PORTS.iter().map(|(known, ..)| *known))
}

/// Returns the number of a protocol over IP.
pub(super) fn protocol(name: &str) -> Option<u32> {
    let found = PROTOCOLS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, number)| u32::from(*number))
}

pub(super) fn nearest_protocols(name: &str) -> Nearest {
    Nearest::choose(name, PROTOCOLS.iter().map(|(known, _)| *known))
}

/// Returns the Ethernet type of a protocol, or its LLC service access point (below 256).
pub(super) fn ether_type(name: &str) -> Option<u32> {
    let found = ETHER_TYPES.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| u32::from(*number))
}

pub(super) fn nearest_ether_types(name: &str) -> Nearest {
    Nearest::choose(name, ETHER_TYPES.iter().map(|(known, _)| *known))
}

/// Names of numbers, which tcpdump defines for use in brackets and comparisons.
pub(super) const CONSTANTS: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastrouterterm", 153),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

/// Names for `ether proto`.
const ETHER_TYPES: &[(&str, u16)] = &[
    ("ip", 0x0800),
    ("ip6", 0x86dd),
    ("arp", 0x0806),
    ("rarp", 0x8035),
    ("mopdl", 0x6001),
    ("moprc", 0x6002),
    ("decnet", 0x6003),
    ("lat", 0x6004),
    ("sca", 0x6007),
    ("atalk", 0x809b),
    ("aarp", 0x80f3),
    ("loopback", 0x9000),
    ("iso", 0xfe),
    ("stp", 0x42),
    ("ipx", 0xe0),
    ("netbeui", 0xf0),
];

/// Names for `proto`, as /etc/protocols has them.
const PROTOCOLS: &[(&str, u8)] = &[
    ("ip", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("ip-encap", 4),
    ("st", 5),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("udp", 17),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", 33),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ipsec-esp", 50),
    ("ah", 51),
    ("ipsec-ah", 51),
    ("skip", 57),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("cphb", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ospfigp", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", 132),
    ("fc", 133),
    ("mobility-header", 135),
    ("udplite", 136),
    ("mpls-in-ip", 137),
    ("manet", 138),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
    ("ethernet", 143),
];
