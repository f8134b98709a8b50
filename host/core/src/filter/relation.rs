//! Comparisons of arithmetic expressions. Part of the generator; imports `ast`, `error`, `generate`, `graph` and
//! `link`.

use super::ast::{Arithmetic, Operator, Protocol, Relation, Span};
use super::error::{FilterError, Problem};
use super::generate::{Condition, Generated, Generator, Offset};
use super::graph::{Compare, Load, Operand, Test, Value, ValueId};
use super::link::IP;

/// The largest constant index that is added to the offset of a header.
const LARGEST_INDEX: u32 = 1 << 24;

impl Generator<'_> {
    pub(super) fn relation(&mut self, left: &Arithmetic, relation: Relation, right: &Arithmetic) -> Generated {
        // The headers that are looked at have to be there.
        let mut all = Vec::new();
        let left = self.arithmetic(left, &mut all)?;
        let right = self.arithmetic(right, &mut all)?;
        let right = match self.values.as_constant(right) {
            Some(right) => Operand::Constant(right),
            None => Operand::Value(right),
        };
        let (compare, inverted) = match relation {
            Relation::Equal => (Compare::Equal, false),
            Relation::NotEqual => (Compare::Equal, true),
            Relation::Greater => (Compare::Greater, false),
            Relation::LessOrEqual => (Compare::Greater, true),
            Relation::GreaterOrEqual => (Compare::GreaterOrEqual, false),
            Relation::Less => (Compare::GreaterOrEqual, true),
        };
        let test = Condition::Test(Test { left, compare, right });
        all.push(if inverted { test.not() } else { test });
        Ok(Condition::All(all))
    }

    /// Returns the value, and adds the conditions for it.
    fn arithmetic(&mut self, arithmetic: &Arithmetic, all: &mut Vec<Condition>) -> Result<ValueId, FilterError> {
        Ok(match arithmetic {
            Arithmetic::Number(number) => self.values.constant(*number),
            Arithmetic::Length => self.values.add(Value::Length),
            Arithmetic::Negate(of) => {
                let of = self.arithmetic(of, all)?;
                self.values.add(Value::Negate(of))
            }
            Arithmetic::Binary(operator, left, right, span) => {
                let left = self.arithmetic(left, all)?;
                let right = self.arithmetic(right, all)?;
                if let Some(right) = self.values.as_constant(right) {
                    self.check_constant(*operator, right, span)?;
                }
                self.values.add(Value::Binary(*operator, left, right))
            }
            Arithmetic::Load(protocol, index, size, span) => {
                let mut conditions = Vec::new();
                let index = self.arithmetic(index, &mut conditions)?;
                self.bytes(*protocol, index, *size, span, conditions, all)?
            }
        })
    }

    fn check_constant(&self, operator: Operator, right: u32, span: &Span) -> Result<(), FilterError> {
        let problem = match operator {
            Operator::Divide if right == 0 => "division by zero",
            Operator::Remainder if right == 0 => "remainder of a division by zero",
            Operator::ShiftLeft | Operator::ShiftRight if right > 31 => "shift by more than 31 bits",
            _ => return Ok(()),
        };
        Err(self.error_at(span, Problem::Arithmetic(problem)))
    }

    /// Returns bytes of a header; `conditions` are those of the index.
    fn bytes(
        &mut self,
        protocol: Protocol,
        index: ValueId,
        size: u32,
        span: &Span,
        mut conditions: Vec<Condition>,
        all: &mut Vec<Condition>,
    ) -> Result<ValueId, FilterError> {
        let network = self.layers.network();
        match protocol {
            Protocol::Link => {
                all.append(&mut conditions);
                let first = self.values.as_constant(index).unwrap_or(0);
                let value = self.indexed(self.layers.header, index, size);
                if let Some(condition) = self.mac_condition(first) {
                    all.push(condition);
                }
                Ok(value)
            }
            Protocol::Ip
            | Protocol::Ip6
            | Protocol::Arp
            | Protocol::Rarp
            | Protocol::Atalk
            | Protocol::Decnet
            | Protocol::Lat
            | Protocol::Sca
            | Protocol::Moprc
            | Protocol::Mopdl => {
                all.append(&mut conditions);
                all.push(self.protocol(protocol)?);
                Ok(self.indexed(network, index, size))
            }
            Protocol::Tcp
            | Protocol::Udp
            | Protocol::Sctp
            | Protocol::Icmp
            | Protocol::Igmp
            | Protocol::Igrp
            | Protocol::Pim
            | Protocol::Vrrp
            | Protocol::Carp => {
                // Only over IPv4, as in libpcap.
                all.push(self.link_type(IP)?);
                all.append(&mut conditions);
                all.push(self.protocol(protocol)?);
                all.push(self.is_first_fragment());
                let header = self.transport();
                Ok(self.indexed(header, index, size))
            }
            Protocol::Icmp6 => {
                all.append(&mut conditions);
                all.push(self.protocol(Protocol::Ip6)?);
                let next = self.load(network, 6, 1);
                all.push(self.equal(next, 58));
                Ok(self.indexed(network.plus(40), index, size))
            }
            _ => {
                let qualifier = protocol.keyword();
                let value = "an index";
                let remedy = "use bytes of a layer below, as in ip[20] or ether[14]";
                Err(self.error_at(
                    span,
                    Problem::Qualifier {
                        qualifier,
                        value,
                        remedy,
                    },
                ))
            }
        }
    }

    /// Returns the bytes at a computed index behind an offset.
    fn indexed(&mut self, at: Offset, index: ValueId, size: u32) -> ValueId {
        if let Some(constant) = self.values.as_constant(index)
            && constant < LARGEST_INDEX
        {
            return self.load(at, constant, size);
        }
        let base = match at.base {
            None => index,
            Some(base) => self.values.add(Value::Binary(Operator::Add, index, base)),
        };
        let load = Load {
            offset: at.constant,
            size,
        };
        self.values.add(Value::LoadAt(base, load))
    }

    /// Returns the condition for bytes of the header of the link layer, if there is one.
    fn mac_condition(&mut self, first: u32) -> Option<Condition> {
        let always = Condition::All(Vec::new());
        match self.with_mac(always, first) {
            Condition::All(conditions) if conditions.is_empty() => None,
            condition => Some(condition),
        }
    }
}
