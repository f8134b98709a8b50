//! Elements of maps: reading, writing, removing, and adding to one. Imports `check` and what it is made of.
//!
//! A map is looked up where its element is used, and the compiled program tests the result: without the element,
//! reading gives nil, which counts as 0 where a number is wanted, and adding does nothing.

use std::ops::Range;

use crate::ast::{Expression, ExpressionKind};
use crate::check::{Checked, Checker};
use crate::error::Problem;
use crate::field::as_number;
use crate::ir::{Condition, Element, Node, Step};
use crate::outside::Map;
use crate::value::{Form, Kind, Number, Operand, Value};

/// The function that adds to an element.
pub(crate) const ADD: &str = "xadd";

impl Checker<'_> {
    /// Checks a map's element.
    pub(crate) fn element(&self, map: &Map, key: &Expression, at: &Range<usize>) -> Checked<Element> {
        let (Some(key_of), Some(value)) = (map.key, map.value) else {
            let problem = Problem::Unsupported {
                what: "the keys or the values of this map are no integers".to_owned(),
                remedy: "give it integers: bpf.map(\"hash\", 256, \"uint32_t\", \"uint64_t\")",
            };
            return self.error(at, problem);
        };
        let (node, number) = match self.value(key)?.kind {
            // Not the same as 0 and 1 in Lua.
            Kind::Boolean | Kind::Nil => {
                return self.mismatch(
                    &key.at,
                    "true, false or nil".to_owned(),
                    "an integer",
                    "index a map with a number",
                );
            }
            _ => self.number(key)?,
        };
        if let (Node::Number(constant), true) = (&node, key_of.bytes < 8) {
            let bits = 8 * u32::from(key_of.bytes);
            let fits = match key_of.signed {
                true => (-(1_i64 << (bits - 1))..1 << (bits - 1)).contains(constant),
                false => (0..1_i64 << bits).contains(constant),
            };
            if !fits {
                let problem = Problem::Unsupported {
                    what: format!("the keys of this map have {bits} bits, and {constant} does not fit"),
                    remedy: "use another key, or a map with keys of 64 bits",
                };
                return self.error(&key.at, problem);
            }
        }
        if number.form == Form::Ipv4 {
            let found = "an IPv4 address".to_owned();
            return self.mismatch(&key.at, found, "an integer", "write the field without ipv4()");
        }
        Ok(Element {
            descriptor: map.descriptor,
            key: Box::new(node),
            key_bytes: key_of.bytes,
            value,
        })
    }

    /// Returns the map and the key if an expression is an element of a map.
    pub(crate) fn as_element<'e>(&self, expression: &'e Expression) -> Checked<Option<(Map, &'e Expression)>> {
        let ExpressionKind::Index(of, key) = &expression.kind else {
            return Ok(None);
        };
        Ok(match self.operand(of)? {
            Operand::Map(map) => Some((map, key)),
            _ => None,
        })
    }

    /// Checks `map[key] = value`.
    pub(crate) fn put(&self, map: &Map, target: &Expression, key: &Expression, value: &Expression) -> Checked<Step> {
        let element = self.element(map, key, &target.at)?;
        let value_of = self.value(value)?;
        let node = match value_of.kind {
            Kind::Nil if !map.removes => {
                let problem = Problem::Unsupported {
                    what: "elements of an array are never removed".to_owned(),
                    remedy: "assign 0, or use a map of type hash",
                };
                return self.error(&target.at, problem);
            }
            Kind::Nil => return Ok(Step::Remove(element)),
            Kind::Boolean => as_number(value_of.truth),
            Kind::Element(..) => {
                let problem = Problem::Unsupported {
                    what: "this element may be nil, and assigning nil removes".to_owned(),
                    remedy: "give a value for that case: ... or 0",
                };
                return self.error(&value.at, problem);
            }
            _ => self.number(value)?.0,
        };
        Ok(Step::Put(element, node))
    }

    /// Checks `xadd(map[key], number)`.
    pub(crate) fn add_to(&self, arguments: &[Expression], at: &Range<usize>) -> Checked<Step> {
        let wrong = Problem::Arguments {
            name: ADD,
            wanted: "an element of a map and a number",
            example: "xadd(map[key], 1)",
        };
        let [target, amount] = arguments else {
            return self.error(at, wrong);
        };
        let Some((map, key)) = self.as_element(target)? else {
            return self.error(at, wrong);
        };
        let element = self.element(&map, key, &target.at)?;
        if !matches!(element.value.bytes, 4 | 8) {
            let problem = Problem::Unsupported {
                what: format!(
                    "{ADD} adds to integers of 32 or 64 bits, and these have {}",
                    8 * element.value.bytes
                ),
                remedy: "give the map values of type \"uint64_t\"",
            };
            return self.error(&target.at, problem);
        }
        Ok(Step::Add(element, self.number(amount)?.0))
    }
}

/// Returns the value of an element.
pub(crate) fn value(element: Element) -> Value {
    let scalar = element.value;
    let number = Number {
        bytes: scalar.bytes,
        signed: scalar.signed,
        natural: !scalar.signed && scalar.bytes < 8,
        form: Form::Plain,
    };
    Value {
        truth: Condition::Has(element.clone()),
        kind: Kind::Element(Node::Element(element), number),
    }
}
