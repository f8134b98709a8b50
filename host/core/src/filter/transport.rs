//! Tests of the transport layer: ports. Part of the generator; imports `ast`, `error`, `generate`, `graph`, `link`,
//! `names` and `ports`.

use super::ast::{Direction, Protocol, Qualifiers, Value};
use super::error::{self, FilterError, Problem};
use super::generate::{Condition, Generated, Generator, Offset};
use super::graph::{self, Compare, ValueId};
use super::link::{IP, IP6};
use super::names;
use super::ports::Transport;

const TCP: u32 = 6;
const UDP: u32 = 17;
const SCTP: u32 = 132;

/// Ports from one to another, both included.
#[derive(Clone, Copy)]
struct Ports {
    first: u32,
    last: u32,
    /// Written as a range, which is compared as one even if it has a single port.
    is_range: bool,
}

impl Generator<'_> {
    pub(super) fn port(&mut self, qualifiers: Qualifiers, value: &Value) -> Generated {
        let (port, transport) = match value {
            Value::Number(number) => (self.checked_port(*number)?, Transport::Any),
            Value::Name(name) => self.named_port(name)?,
            _ => return Err(self.wrong_kind("port", "an address", "write 'host' or 'net' before it")),
        };
        let transports = self.transports(qualifiers, transport, value)?;
        let ports = Ports {
            first: port,
            last: port,
            is_range: false,
        };
        self.ports(&transports, ports, qualifiers.direction)
    }

    pub(super) fn port_range(&mut self, qualifiers: Qualifiers, value: &Value) -> Generated {
        let (first, last, transport) = match value {
            Value::Number(number) => {
                let port = self.checked_port(*number)?;
                (port, port, Transport::Any)
            }
            Value::Name(name) => self.range(name)?,
            _ => return Err(self.wrong_kind("portrange", "an address", "write 'host' or 'net' before it")),
        };
        let transports = self.transports(qualifiers, transport, value)?;
        let ports = Ports {
            first: first.min(last),
            last: first.max(last),
            is_range: true,
        };
        self.ports(&transports, ports, qualifiers.direction)
    }

    fn checked_port(&self, value: u32) -> Result<u32, FilterError> {
        let (what, maximum) = ("port", 65535);
        match value <= maximum {
            true => Ok(value),
            false => Err(self.error(Problem::Above { what, value, maximum })),
        }
    }

    fn named_port(&self, name: &str) -> Result<(u32, Transport), FilterError> {
        match names::port(name) {
            Some((port, transport)) => Ok((u32::from(port), transport)),
            None => Err(self.unknown("port", name, names::nearest_ports(name))),
        }
    }

    /// Splits `first-last`. Names have hyphens, too, so that each of them may be the one.
    fn range(&self, text: &str) -> Result<(u32, u32, Transport), FilterError> {
        let one = |part: &str| match part.bytes().all(|each| each.is_ascii_digit()) && !part.is_empty() {
            true => Some((part.parse::<u16>().ok()?, Transport::Any)),
            false => names::port(part),
        };
        let split = text.match_indices('-').find_map(|(at, _)| {
            let (first, last) = (one(&text[..at])?, one(&text[at + 1..])?);
            Some((first, last))
        });
        let Some((first, last)) = split.or_else(|| one(text).map(|port| (port, port))) else {
            return Err(self.unknown("range of ports", text, names::nearest_ports(text)));
        };
        let transport = match (first.1, last.1) {
            (first, last) if first == last => first,
            _ => Transport::Any,
        };
        Ok((u32::from(first.0), u32::from(last.0), transport))
    }

    /// Returns the protocols to look at: those of the qualifier, or of the port's name.
    fn transports(&self, qualifiers: Qualifiers, transport: Transport, value: &Value) -> Result<Vec<u32>, FilterError> {
        let (wanted, number) = match qualifiers.protocol {
            None => {
                return Ok(match transport {
                    Transport::Any => vec![SCTP, TCP, UDP],
                    Transport::Tcp => vec![TCP],
                    Transport::Udp => vec![UDP],
                });
            }
            Some(Protocol::Tcp) => ("tcp", TCP),
            Some(Protocol::Udp) => ("udp", UDP),
            Some(Protocol::Sctp) => ("sctp", SCTP),
            Some(protocol) => {
                let remedy = "use 'tcp', 'udp' or 'sctp', or combine: ip and port 80";
                return Err(self.misapplied(protocol, "ports", remedy));
            }
        };
        let is = match transport {
            Transport::Tcp if number != TCP => "tcp",
            Transport::Udp if number != UDP => "udp",
            _ => return Ok(vec![number]),
        };
        let name = match value {
            Value::Name(name) => error::shown(name),
            _ => String::new(),
        };
        Err(self.error(Problem::PortProtocol { name, is, wanted }))
    }

    fn ports(&mut self, transports: &[u32], ports: Ports, direction: Direction) -> Generated {
        let by_ip6 = self.ports_by_ip6(transports, ports, direction)?;
        Ok(Condition::Any(vec![
            by_ip6,
            self.ports_by_ip(transports, ports, direction)?,
        ]))
    }

    /// Extension headers are not skipped.
    fn ports_by_ip6(&mut self, transports: &[u32], ports: Ports, direction: Direction) -> Generated {
        let next = self.load(self.layers.network(), 6, 1);
        let source = self.load(self.layers.network(), 40, 2);
        let destination = self.load(self.layers.network(), 42, 2);
        let carried = Condition::Any(transports.iter().map(|number| self.equal(next, *number)).collect());
        let ports = self.either_port([source, destination], ports, direction);
        Ok(Condition::All(vec![self.link_type(IP6)?, carried, ports]))
    }

    /// Only the first fragment has ports.
    fn ports_by_ip(&mut self, transports: &[u32], ports: Ports, direction: Direction) -> Generated {
        let protocol = self.load(self.layers.network(), 9, 1);
        let header = self.transport();
        let source = self.load(header, 0, 2);
        let destination = self.load(header, 2, 2);
        let carried = Condition::Any(transports.iter().map(|number| self.equal(protocol, *number)).collect());
        let first = self.is_first_fragment();
        let ports = self.either_port([source, destination], ports, direction);
        Ok(Condition::All(vec![self.link_type(IP)?, carried, first, ports]))
    }

    fn either_port(&mut self, at: [ValueId; 2], ports: Ports, direction: Direction) -> Condition {
        let [source, destination] = at.map(|port| match ports.is_range {
            false => self.equal(port, ports.first),
            true => {
                let first = self.test(port, Compare::GreaterOrEqual, ports.first);
                Condition::All(vec![first, self.test(port, Compare::Greater, ports.last).not()])
            }
        });
        match direction {
            Direction::Source => source,
            Direction::Destination => destination,
            Direction::Either => Condition::Any(vec![source, destination]),
            Direction::Both => Condition::All(vec![source, destination]),
        }
    }

    pub(super) fn is_first_fragment(&mut self) -> Condition {
        let offset = self.load(self.layers.network(), 6, 2);
        self.test(offset, Compare::Set, 0x1fff).not()
    }

    /// Returns what follows the IPv4 header.
    pub(super) fn transport(&mut self) -> Offset {
        let network = self.layers.network();
        let base = match network.base {
            None => self.values.add(graph::Value::HeaderLength(network.constant)),
            Some(base) => {
                let first = self.load(network, 0, 1);
                let words = self.values.masked(first, 15);
                let two = self.values.constant(2);
                let length = self
                    .values
                    .add(graph::Value::Binary(super::ast::Operator::ShiftLeft, words, two));
                self.values
                    .add(graph::Value::Binary(super::ast::Operator::Add, base, length))
            }
        };
        Offset {
            base: Some(base),
            constant: network.constant,
        }
    }
}
