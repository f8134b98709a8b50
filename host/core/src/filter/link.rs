//! Tests of the link layer: Ethernet types, LLC, MAC addresses, and the headers that `vlan`, `mpls` and `pppoes` skip.
//! Part of the generator; imports `ast`, `error`, `generate` and `graph`.

use super::ast::{ByteTest, Direction, LlcType, Protocol};
use super::error::Problem;
use super::generate::{Condition, Generated, Generator, Offset};
use super::graph::{Compare, Value};

/// Ethernet types.
pub(super) const IP: u32 = 0x0800;
pub(super) const IP6: u32 = 0x86dd;
pub(super) const ARP: u32 = 0x0806;
pub(super) const RARP: u32 = 0x8035;
const ATALK: u32 = 0x809b;
const AARP: u32 = 0x80f3;
const IPX_TYPE: u32 = 0x8137;
const VLAN: [u32; 3] = [0x8100, 0x88a8, 0x9100];
const MPLS: u32 = 0x8847;
const PPPOES: u32 = 0x8864;

/// Service access points of LLC, which `ether proto` accepts besides Ethernet types.
const STP: u32 = 0x42;
const IPX: u32 = 0xe0;
const NETBEUI: u32 = 0xf0;
pub(super) const ISO: u32 = 0xfe;
const LLC_IP: u32 = 0x06;

/// An Ethernet type is a length up to this one.
const LONGEST_LENGTH: u32 = 1500;

/// Numbers of protocols over PPP.
const PPP: &[(u32, u32)] = &[
    (IP, 0x21),
    (IP6, 0x57),
    (0x6003, 0x27),
    (ATALK, 0x29),
    (0x0600, 0x25),
    (ISO, 0x23),
    (STP, 0x31),
    (IPX, 0x2b),
];
const PPP_MPLS: u32 = 0x0281;

/// What the headers so far mean for those to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers {
    pub(super) kind: LinkKind,
    /// The header of the link layer.
    pub(super) header: Offset,
    /// Its type of protocol.
    pub(super) protocol: Offset,
    /// What it carries.
    pub(super) payload: Offset,
    /// Bytes of MPLS labels between payload and network layer.
    pub(super) labels: u32,
    /// In a tunnel that does not always carry Ethernet: the type of what it carries.
    pub(super) carried: Option<Offset>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkKind {
    Ethernet,
    Ppp,
}

/// Trans Ether Bridging: a tunnel carries Ethernet frames.
pub(super) const BRIDGED: u32 = 0x6558;

impl Default for Layers {
    fn default() -> Layers {
        let at = |constant| Offset { base: None, constant };
        Layers {
            kind: LinkKind::Ethernet,
            header: at(0),
            protocol: at(12),
            payload: at(14),
            labels: 0,
            carried: None,
        }
    }
}

impl Layers {
    pub(super) fn network(&self) -> Offset {
        self.payload.plus(self.labels)
    }
}

impl Generator<'_> {
    /// Tests the protocol above the link layer: an Ethernet type, or a service access point of LLC.
    pub(super) fn link_type(&mut self, protocol: u32) -> Generated {
        if self.layers.labels > 0 {
            return self.labelled(protocol);
        }
        let kind = self.load(self.layers.protocol, 0, 2);
        if self.layers.kind == LinkKind::Ppp {
            let number = PPP.iter().find(|(ether, _)| *ether == protocol);
            return Ok(self.equal(kind, number.map_or(protocol, |(_, number)| *number)));
        }
        let payload = self.layers.payload;
        Ok(match protocol {
            ISO | NETBEUI | LLC_IP => {
                let points = self.load(payload, 0, 2);
                let points = self.equal(points, protocol << 8 | protocol);
                Condition::All(vec![self.is_length(), points])
            }
            IPX => {
                let snap = self.snap(0x00_0000, IPX_TYPE);
                let point = self.load(payload, 0, 1);
                let point = self.equal(point, IPX);
                // Without LLC, a header of IPX begins with a checksum that is not used.
                let raw = self.load(payload, 0, 2);
                let raw = self.equal(raw, 0xffff);
                let framed = Condition::All(vec![self.is_length(), Condition::Any(vec![snap, point, raw])]);
                Condition::Any(vec![self.equal(kind, IPX_TYPE), framed])
            }
            ATALK | AARP => {
                let organisation = if protocol == ATALK { 0x08_0007 } else { 0 };
                let snap = self.snap(organisation, protocol);
                let framed = Condition::All(vec![self.is_length(), snap]);
                Condition::Any(vec![self.equal(kind, protocol), framed])
            }
            0..=LONGEST_LENGTH => {
                let point = self.load(payload, 0, 1);
                let point = self.equal(point, protocol);
                Condition::All(vec![self.is_length(), point])
            }
            _ => self.equal(kind, protocol),
        })
    }

    /// Tests that the Ethernet type is a length, so that LLC follows.
    fn is_length(&mut self) -> Condition {
        let kind = self.load(self.layers.protocol, 0, 2);
        self.test(kind, Compare::Greater, LONGEST_LENGTH).not()
    }

    fn snap(&mut self, organisation: u32, protocol: u32) -> Condition {
        let low = self.load(self.layers.payload, 4, 4);
        let high = self.load(self.layers.payload, 0, 4);
        let low = self.equal(low, (organisation & 0xffff) << 16 | protocol);
        let high = self.equal(high, 0xaaaa_0300 | organisation >> 16);
        Condition::All(vec![low, high])
    }

    /// Tests the protocol behind MPLS labels: the last one has the mark, and the version follows.
    fn labelled(&mut self, protocol: u32) -> Generated {
        let version = match protocol {
            IP => 0x40,
            IP6 => 0x60,
            _ => {
                return Err(self.error(Problem::Unsupported {
                    what: "this protocol",
                    why: "cannot be recognised behind 'mpls', which has no type of protocol",
                    remedy: "use 'ip' or 'ip6', or write it before 'mpls'",
                }));
            }
        };
        let last = self.last_label();
        let first = self.load(self.layers.network(), 0, 1);
        let version = self.masked(first, 0xf0, version);
        Ok(Condition::All(vec![last, version]))
    }

    /// Tests that the label before is the last one.
    fn last_label(&mut self) -> Condition {
        let at = self.layers.payload.plus(self.layers.labels - 4);
        let byte = self.load(at, 2, 1);
        self.masked(byte, 1, 1)
    }

    /// `vlan`: a tag in the frame. The frame that the kernel's side builds has accelerated tags, too.
    pub(super) fn vlan(&mut self, id: Option<u32>) -> Generated {
        let unsupported = |why| Problem::Unsupported {
            what: "vlan",
            why,
            remedy: "write it to the left",
        };
        if self.layers.labels > 0 {
            return Err(self.error(unsupported("cannot follow 'mpls'")));
        }
        if self.layers.kind == LinkKind::Ppp {
            return Err(self.error(unsupported("cannot follow 'pppoes'")));
        }
        let kind = self.load(self.layers.protocol, 0, 2);
        let mut all = vec![Condition::Any(VLAN.map(|tag| self.equal(kind, tag)).into())];
        if let Some(id) = id {
            let tag = self.load(self.layers.payload, 0, 2);
            all.push(self.masked(tag, 0xfff, id));
        }
        self.has_vlan = true;
        self.layers.protocol = self.layers.protocol.plus(4);
        self.layers.payload = self.layers.payload.plus(4);
        Ok(Condition::All(all))
    }

    pub(super) fn mpls(&mut self, label: Option<u32>) -> Generated {
        let is_mpls = match (self.layers.labels, self.layers.kind) {
            (0, LinkKind::Ethernet) => self.link_type(MPLS)?,
            (0, LinkKind::Ppp) => self.link_type(PPP_MPLS)?,
            _ => {
                let at = self.layers.payload.plus(self.layers.labels - 4);
                let byte = self.load(at, 2, 1);
                self.masked(byte, 1, 0)
            }
        };
        let mut all = vec![is_mpls];
        if let Some(label) = label {
            let word = self.load(self.layers.network(), 0, 4);
            all.push(self.masked(word, 0xffff_f000, label << 12));
        }
        self.layers.labels = self.layers.labels.saturating_add(4);
        Ok(Condition::All(all))
    }

    pub(super) fn pppoes(&mut self, session: Option<u32>) -> Generated {
        let mut all = vec![self.link_type(PPPOES)?];
        if let Some(session) = session {
            let word = self.load(self.layers.payload, 0, 4);
            all.push(self.masked(word, 0xffff, session));
        }
        // Behind its header of six bytes begins PPP, with the number of a protocol.
        let header = self.layers.network().plus(6);
        self.layers = Layers {
            kind: LinkKind::Ppp,
            header,
            protocol: header,
            payload: header.plus(2),
            labels: 0,
            carried: None,
        };
        Ok(Condition::All(all))
    }

    pub(super) fn llc(&mut self, kind: Option<LlcType>) -> Generated {
        self.needs_ethernet("llc")?;
        let points = self.load(self.layers.payload, 0, 2);
        let mut all = vec![self.is_length(), self.equal(points, 0xffff).not()];
        if let Some(kind) = kind {
            let control = self.load(self.layers.payload, 2, 1);
            all.push(self.masked(control, u32::from(kind.mask), u32::from(kind.value)));
        }
        Ok(Condition::All(all))
    }

    fn needs_ethernet(&self, what: &'static str) -> Result<(), super::error::FilterError> {
        match self.layers.kind {
            LinkKind::Ethernet => Ok(()),
            LinkKind::Ppp => Err(self.error(Problem::Unsupported {
                what,
                why: "is a test of Ethernet, and PPP follows 'pppoes'",
                remedy: "write it to the left",
            })),
        }
    }

    /// Tests a MAC address: false without a MAC header.
    pub(super) fn mac(&mut self, address: [u8; 6], direction: Direction) -> Generated {
        self.needs_ethernet("a MAC address")?;
        let mut at = |offset: u32| {
            let low = self.load(self.layers.header, offset + 2, 4);
            let high = self.load(self.layers.header, offset, 2);
            let [a, b, c, d, e, f] = address;
            let low = self.equal(low, u32::from_be_bytes([c, d, e, f]));
            let high = self.equal(high, u32::from_be_bytes([0, 0, a, b]));
            Condition::All(vec![low, high])
        };
        let (source, destination) = (at(6), at(0));
        let address = match direction {
            Direction::Source => source,
            Direction::Destination => destination,
            Direction::Either => Condition::Any(vec![source, destination]),
            Direction::Both => Condition::All(vec![source, destination]),
        };
        Ok(self.with_mac(address, 0))
    }

    /// Adds the condition that there is a MAC header, if a test looks at its addresses: at a byte from `first` on.
    pub(super) fn with_mac(&mut self, condition: Condition, first: u32) -> Condition {
        if let Some(carried) = self.layers.carried {
            let kind = self.load(carried, 0, 2);
            return Condition::All(vec![self.equal(kind, BRIDGED), condition]);
        }
        if self.layers.header.base.is_some() || self.layers.header.constant.saturating_add(first) >= 12 {
            return condition;
        }
        let has_mac = self.values.add(Value::HasMac);
        Condition::All(vec![self.test(has_mac, Compare::Greater, 0), condition])
    }

    pub(super) fn broadcast(&mut self, protocol: Option<Protocol>) -> Generated {
        match protocol {
            None | Some(Protocol::Link) => self.mac([0xff; 6], Direction::Destination),
            Some(Protocol::Ip) => Err(self.error(Problem::Unsupported {
                what: "ip broadcast",
                why: "needs the netmask of an interface, and packets of all interfaces are compared",
                remedy: "use 'ether broadcast', or the network's address: dst host 192.168.0.255",
            })),
            Some(protocol) => Err(self.misapplied(protocol, "'broadcast'", "use 'ether broadcast'")),
        }
    }

    pub(super) fn multicast(&mut self, protocol: Option<Protocol>) -> Generated {
        let network = self.layers.network();
        match protocol {
            None | Some(Protocol::Link) => {
                self.needs_ethernet("multicast")?;
                let first = self.load(self.layers.header, 0, 1);
                let group = self.test(first, Compare::Set, 1);
                Ok(self.with_mac(group, 0))
            }
            Some(Protocol::Ip) => {
                let first = self.load(network, 16, 1);
                let group = self.test(first, Compare::GreaterOrEqual, 224);
                Ok(Condition::All(vec![self.link_type(IP)?, group]))
            }
            Some(Protocol::Ip6) => {
                let first = self.load(network, 24, 1);
                let group = self.equal(first, 255);
                Ok(Condition::All(vec![self.link_type(IP6)?, group]))
            }
            Some(protocol) => {
                let remedy = "use 'ether multicast', 'ip multicast' or 'ip6 multicast'";
                Err(self.misapplied(protocol, "'multicast'", remedy))
            }
        }
    }

    /// `byte INDEX = VALUE`: a byte of the header of the link layer, or behind it.
    pub(super) fn byte(&mut self, index: u32, test: ByteTest, value: u32) -> Condition {
        let byte = self.load(self.layers.header, index, 1);
        let condition = match test {
            ByteTest::Equal => self.equal(byte, value),
            ByteTest::Less => self.test(byte, Compare::GreaterOrEqual, value).not(),
            ByteTest::Greater => self.test(byte, Compare::Greater, value),
            ByteTest::And => self.test(byte, Compare::Set, value),
            ByteTest::Or => {
                let value = self.values.constant(value);
                let either = self.values.add(Value::Binary(super::ast::Operator::Or, byte, value));
                self.equal(either, 0).not()
            }
        };
        self.with_mac(condition, index)
    }
}
