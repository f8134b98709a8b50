//! Tests of tunnels over UDP: `geneve` and `vxlan`. What is written to their right looks at the packet inside. Part of
//! the generator; imports `ast`, `generate`, `graph` and `link`.

use super::ast::Operator;
use super::generate::{Condition, Generated, Generator, Offset};
use super::graph::{Value, ValueId};
use super::link::{BRIDGED, IP6, Layers, LinkKind};

const UDP: u32 = 17;
const UDP_HEADER: u32 = 8;
const GENEVE_PORT: u32 = 6081;
const GENEVE_HEADER: u32 = 8;
const VXLAN_PORT: u32 = 4789;
const VXLAN_HEADER: u32 = 8;

impl Generator<'_> {
    pub(super) fn geneve(&mut self, vni: Option<u32>) -> Generated {
        let (mut all, header) = self.over_udp(GENEVE_PORT)?;
        // Version 0: that of no other one is known.
        let first = self.load(header, 0, 1);
        all.push(self.masked(first, 0xc0, 0));
        self.vni(header, vni, &mut all);

        // Options, in words, and then what the type says.
        let words = self.values.masked(first, 0x3f);
        let options = self.scaled(words, 4);
        let start = self.sum(header, options);
        let inside = Offset {
            base: Some(start),
            constant: header.constant + GENEVE_HEADER,
        };
        let kind = header.plus(2);
        let is_bridged = self.load(kind, 0, 2);
        // Without an Ethernet header, the tunnel's type is that of the packet.
        let own = self.absolute(inside.plus(12));
        let tunnels = self.absolute(kind);
        let protocol = self.values.add(Value::Choose(is_bridged, BRIDGED, own, tunnels));
        let framed = self.absolute(inside.plus(14));
        let bare = self.absolute(inside);
        let payload = self.values.add(Value::Choose(is_bridged, BRIDGED, framed, bare));
        let computed = |base| Offset {
            base: Some(base),
            constant: 0,
        };
        self.layers = Layers {
            kind: LinkKind::Ethernet,
            header: inside,
            protocol: computed(protocol),
            payload: computed(payload),
            labels: 0,
            carried: Some(kind),
        };
        Ok(Condition::All(all))
    }

    pub(super) fn vxlan(&mut self, vni: Option<u32>) -> Generated {
        let (mut all, header) = self.over_udp(VXLAN_PORT)?;
        // The flag that says that there is a VNI.
        let first = self.load(header, 0, 1);
        all.push(self.masked(first, 0x08, 0x08));
        self.vni(header, vni, &mut all);
        let inside = header.plus(VXLAN_HEADER);
        self.layers = Layers {
            kind: LinkKind::Ethernet,
            header: inside,
            protocol: inside.plus(12),
            payload: inside.plus(14),
            labels: 0,
            carried: None,
        };
        Ok(Condition::All(all))
    }

    /// Tests that a packet is UDP to that port, and returns what UDP carries.
    fn over_udp(&mut self, port: u32) -> Result<(Vec<Condition>, Offset), super::error::FilterError> {
        let network = self.layers.network();
        let behind_ip = self.transport();
        let (base, forty) = match network.base {
            None => (self.values.constant(0), self.values.constant(40)),
            Some(base) => {
                let forty = self.values.constant(40);
                (base, self.values.add(Value::Binary(Operator::Add, base, forty)))
            }
        };
        // One place for both versions of IP, so that what follows is one program.
        let version = match self.layers.labels {
            0 => self.load(self.layers.protocol, 0, 2),
            _ => {
                let first = self.load(network, 0, 1);
                self.values.masked(first, 0xf0)
            }
        };
        let is_ip6 = match (self.layers.labels, self.layers.kind) {
            (0, LinkKind::Ethernet) => IP6,
            (0, LinkKind::Ppp) => 0x57,
            _ => 0x60,
        };
        let header = self
            .values
            .add(Value::Choose(version, is_ip6, forty, behind_ip.base.unwrap_or(base)));
        let header = Offset {
            base: Some(header),
            constant: network.constant,
        };

        let carried = self.carried_by_ip(UDP)?;
        let first_fragment = self.is_first_fragment();
        let by_ip = Condition::All(vec![carried, first_fragment]);
        let next = self.load(network, 6, 1);
        let by_ip6 = Condition::All(vec![self.link_type(IP6)?, self.equal(next, UDP)]);
        let destination = self.load(header, 2, 2);
        let all = vec![Condition::Any(vec![by_ip, by_ip6]), self.equal(destination, port)];
        Ok((all, header.plus(UDP_HEADER)))
    }

    fn vni(&mut self, header: Offset, vni: Option<u32>, all: &mut Vec<Condition>) {
        if let Some(vni) = vni {
            let word = self.load(header, 4, 4);
            all.push(self.masked(word, 0xffff_ff00, vni << 8));
        }
    }

    fn scaled(&mut self, value: ValueId, by: u32) -> ValueId {
        let by = self.values.constant(by);
        self.values.add(Value::Binary(Operator::Multiply, value, by))
    }

    /// Returns the computed part of an offset plus a value.
    fn sum(&mut self, at: Offset, plus: ValueId) -> ValueId {
        match at.base {
            None => plus,
            Some(base) => self.values.add(Value::Binary(Operator::Add, base, plus)),
        }
    }

    /// Returns the whole offset as one value.
    fn absolute(&mut self, at: Offset) -> ValueId {
        let constant = self.values.constant(at.constant);
        self.sum(at, constant)
    }
}
