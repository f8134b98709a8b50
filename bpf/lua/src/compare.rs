//! Comparisons: of numbers, of pointers, and of what is in the kernel's memory with constants. Imports `check` and what
//! it is made of.

use std::ops::Range;

use crate::ast::Expression;
use crate::check::{Checked, Checker};
use crate::error::Problem;
use crate::ir::{Compare, Condition, Node};
use crate::value::{Form, Kind, Memory, Shape, Value};

impl Checker<'_> {
    pub(crate) fn compare(
        &self,
        compare: Compare,
        left: &Expression,
        right: &Expression,
        at: &Range<usize>,
    ) -> Checked<Value> {
        let (a, b) = (self.value(left)?, self.value(right)?);
        let equality = matches!(compare, Compare::Equal | Compare::NotEqual);
        let result = |equal: Condition| {
            Ok(Value::boolean(match compare {
                Compare::NotEqual => equal.not(),
                _ => equal,
            }))
        };
        if equality {
            match (&a.kind, &b.kind) {
                (Kind::Nil, _) | (_, Kind::Nil) => {
                    let other = if matches!(a.kind, Kind::Nil) { b } else { a };
                    return match other.kind {
                        Kind::Boolean | Kind::Nil => result(Condition::Constant(matches!(other.kind, Kind::Nil))),
                        _ => result(other.truth.not()),
                    };
                }
                (Kind::Boolean, Kind::Boolean) => {
                    let number = |truth| match truth {
                        Condition::Constant(value) => Node::Number(i64::from(value)),
                        truth => Node::Truth(Box::new(truth)),
                    };
                    let (a, b) = (number(a.truth), number(b.truth));
                    return result(compared(Compare::Equal, a, b));
                }
                (Kind::Constant(a), Kind::Constant(b)) => return result(Condition::Constant(a == b)),
                (Kind::Pointer(a, _), Kind::Pointer(b, _)) => {
                    return result(compared(Compare::Equal, a.clone(), b.clone()));
                }
                (Kind::Memory(memory), Kind::Constant(text)) => {
                    return result(self.memory_equals(memory, text, &right.at)?);
                }
                (Kind::Constant(text), Kind::Memory(memory)) => {
                    return result(self.memory_equals(memory, text, &left.at)?);
                }
                (Kind::Number(node, number), Kind::Constant(text)) if number.form == Form::Ipv4 => {
                    let address = self.ipv4(text, &right.at)?;
                    return result(compared(Compare::Equal, node.clone(), Node::Number(address)));
                }
                (Kind::Constant(text), Kind::Number(node, number)) if number.form == Form::Ipv4 => {
                    let address = self.ipv4(text, &left.at)?;
                    return result(compared(Compare::Equal, node.clone(), Node::Number(address)));
                }
                (Kind::Memory(_), Kind::Memory(_)) => {
                    let problem = Problem::Unsupported {
                        what: "two texts of the kernel cannot be compared with each other".to_owned(),
                        remedy: "compare each with a constant",
                    };
                    return self.error(at, problem);
                }
                (Kind::Number(..) | Kind::Element(..), Kind::Number(..) | Kind::Element(..)) => {}
                (a, b) => {
                    let (left, right) = (self.words(a), self.words(b));
                    return self.error(at, Problem::NeverEqual { left, right });
                }
            }
        }
        let ((a, a_number), (b, b_number)) = (self.number(left)?, self.number(right)?);
        for (node, number, other_number, side) in [(&b, b_number, a_number, left), (&a, a_number, b_number, right)] {
            // Whatever the order, 0 is 0, and a constant that hton() made is in the same order.
            let constant = matches!(node, Node::Number(value) if *value != 0 || !equality);
            if other_number.form == Form::Network && number.form != Form::Network && constant {
                let words = format!("__be{}", 8 * u32::from(other_number.bytes));
                return self.error(&side.at, Problem::NetworkOrder(words));
            }
        }
        Ok(Value::boolean(compared(compare, a, b)))
    }

    /// Returns whether memory has this text, or is this address.
    fn memory_equals(&self, memory: &Memory, text: &[u8], at: &Range<usize>) -> Checked<Condition> {
        let shown = || String::from_utf8_lossy(text).chars().take(60).collect::<String>();
        let invalid = |kind, example| Problem::Address {
            text: shown(),
            kind,
            example,
        };
        let parsed = std::str::from_utf8(text).ok();
        let (expected, string) = match memory.shape {
            Shape::Mac => match parsed.and_then(parse_mac) {
                Some(bytes) => (bytes.to_vec(), false),
                None => return self.error(at, invalid("Ethernet address", "\"02:00:00:00:00:01\"")),
            },
            Shape::Ipv6 => match parsed.and_then(|text| text.parse::<std::net::Ipv6Addr>().ok()) {
                Some(address) => (address.octets().to_vec(), false),
                None => return self.error(at, invalid("IPv6 address", "\"2001:db8::1\"")),
            },
            Shape::Characters(_) | Shape::String if text.contains(&0) => {
                let problem = Problem::Unsupported {
                    what: "text of the kernel ends at a zero".to_owned(),
                    remedy: "remove the zero from the string",
                };
                return self.error(at, problem);
            }
            Shape::Characters(count) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let mut expected = text.to_vec();
                if expected.len() > count {
                    let problem = Problem::Unsupported {
                        what: format!("the field has {count} characters, and the string {}", text.len()),
                        remedy: "shorten the string",
                    };
                    return self.error(at, problem);
                }
                if expected.len() < count {
                    expected.push(0);
                }
                (expected, false)
            }
            Shape::String => ([text, &[0]].concat(), true),
        };
        const LONGEST: usize = 64;
        if expected.len() > LONGEST {
            let problem = Problem::Unsupported {
                what: format!("a comparison is of {LONGEST} characters at most"),
                remedy: "shorten the string",
            };
            return self.error(at, problem);
        }
        Ok(Condition::Bytes {
            base: Box::new(memory.base.clone()),
            offset: memory.offset,
            string,
            expected,
        })
    }

    /// Returns an IPv4 address as it is in memory.
    pub(crate) fn ipv4(&self, text: &[u8], at: &Range<usize>) -> Checked<i64> {
        let parsed = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<std::net::Ipv4Addr>().ok());
        match parsed {
            Some(address) => Ok(u32::from_ne_bytes(address.octets()).into()),
            None => self.error(
                at,
                Problem::Address {
                    text: String::from_utf8_lossy(text).chars().take(60).collect(),
                    kind: "IPv4 address",
                    example: "\"192.0.2.1\"",
                },
            ),
        }
    }
}

fn compared(compare: Compare, left: Node, right: Node) -> Condition {
    match (&left, &right) {
        (Node::Number(a), Node::Number(b)) => Condition::Constant(compare.holds(*a, *b)),
        _ => Condition::Compare(compare, Box::new(left), Box::new(right)),
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts.next().filter(|part| matches!(part.len(), 1 | 2))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}
