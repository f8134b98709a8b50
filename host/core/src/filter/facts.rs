//! What is known about a frame on a path through a filter, and the tests that this decides. Imports `ast` and `graph`.
//!
//! All of it is exact: a test is decided only if no frame that takes this path can have the other outcome.

use super::ast::Operator;
use super::graph::{Compare, Operand, Test, Value, ValueId, Values};

/// The most facts that are kept; the oldest ones are forgotten.
const MOST: usize = 48;

/// The outcomes of tests.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    facts: Vec<(Test, bool)>,
    /// Bytes that the frame has at least.
    available: u64,
}

/// The bits of a value that are known.
#[derive(Clone, Copy)]
struct Bits {
    known: u32,
    value: u32,
}

impl Facts {
    /// Adds the outcome of a test.
    pub(super) fn learn(&mut self, values: &Values, test: Test, holds: bool) {
        self.available = self.available.max(end(values, test.left));
        if let Operand::Value(right) = test.right {
            self.available = self.available.max(end(values, right));
        }
        if self.facts.len() == MOST {
            self.facts.remove(0);
        }
        self.facts.push((test, holds));
    }

    /// Keeps what is known on both paths.
    pub(super) fn join(&mut self, other: &Facts) {
        self.available = self.available.min(other.available);
        self.facts.retain(|fact| other.facts.contains(fact));
    }

    /// Returns the outcome of a test, if it is certain.
    pub(super) fn decide(&self, values: &Values, test: Test) -> Option<bool> {
        if let Some((_, holds)) = self.facts.iter().find(|(fact, _)| *fact == test) {
            return Some(*holds);
        }
        let right = match test.right {
            Operand::Constant(right) => right,
            Operand::Value(right) if right == test.left => {
                return match test.compare {
                    Compare::Equal | Compare::GreaterOrEqual => Some(true),
                    Compare::Greater => Some(false),
                    Compare::Set => None,
                };
            }
            Operand::Value(_) => return None,
        };
        if let Some(left) = values.as_constant(test.left) {
            return Some(test.compare.holds(left, right));
        }
        let (base, mask) = masked(values, test.left);
        let bits = self.bits(values, base, mask);
        let (low, high) = self.interval(values, test.left, bits);
        match test.compare {
            _ if low == high => Some(test.compare.holds(low, right)),
            Compare::Equal if right < low || right > high || (right ^ bits.value) & bits.known != 0 => Some(false),
            Compare::Greater if low > right => Some(true),
            Compare::Greater if high <= right => Some(false),
            Compare::GreaterOrEqual if low >= right => Some(true),
            Compare::GreaterOrEqual if high < right => Some(false),
            Compare::Set if bits.value & bits.known & right != 0 => Some(true),
            Compare::Set if right & !bits.known == 0 => Some(false),
            _ => None,
        }
    }

    /// Returns the bits that are known of `base & mask`; those outside the mask are 0.
    fn bits(&self, values: &Values, base: ValueId, mask: u32) -> Bits {
        let mut bits = Bits {
            known: !(mask & maximum(values, base)),
            value: 0,
        };
        for (fact, holds) in &self.facts {
            let Operand::Constant(right) = fact.right else {
                continue;
            };
            let (of, within) = masked(values, fact.left);
            if of != base {
                continue;
            }
            let (known, value) = match (fact.compare, holds) {
                (Compare::Equal, true) => (within, right),
                (Compare::Set, false) => (within & right, 0),
                _ => continue,
            };
            bits.known |= known & mask;
            bits.value |= value & known & mask;
        }
        bits
    }

    /// Returns the least and the greatest number that the value can be.
    fn interval(&self, values: &Values, value: ValueId, bits: Bits) -> (u32, u32) {
        let mut low = bits.value & bits.known;
        let mut high = (bits.value | !bits.known).min(maximum(values, value));
        for (fact, holds) in self.facts.iter().filter(|(fact, _)| fact.left == value) {
            let Operand::Constant(right) = fact.right else {
                continue;
            };
            match (fact.compare, holds) {
                (Compare::Equal, true) => (low, high) = (right, right),
                (Compare::Greater, true) => low = low.max(right.saturating_add(1)),
                (Compare::Greater, false) => high = high.min(right),
                (Compare::GreaterOrEqual, true) => low = low.max(right),
                (Compare::GreaterOrEqual, false) => high = high.min(right.saturating_sub(1)),
                _ => {}
            }
        }
        (low, high)
    }

    /// Returns whether the value can be computed on this path, so that leaving it out rejects no other frame.
    pub(super) fn is_safe(&self, values: &Values, value: ValueId) -> bool {
        let computed = |(fact, _): &(Test, bool)| {
            let right = match fact.right {
                Operand::Value(right) => masked(values, right).0 == value || right == value,
                Operand::Constant(_) => false,
            };
            right || fact.left == value || masked(values, fact.left).0 == value
        };
        match values.get(value) {
            _ if self.facts.iter().any(computed) => true,
            Value::Constant(_) | Value::Length | Value::HasMac => true,
            Value::Load(_) | Value::HeaderLength(_) => end(values, value) <= self.available,
            Value::Binary(Operator::Divide | Operator::Remainder, left, right) => {
                values.as_constant(right).is_some_and(|right| right != 0) && self.is_safe(values, left)
            }
            Value::Binary(_, left, right) => self.is_safe(values, left) && self.is_safe(values, right),
            Value::Negate(of) => self.is_safe(values, of),
            Value::LoadAt(..) | Value::Choose(..) => false,
        }
    }
}

/// Returns the value without the constant mask that is applied to it, and the mask.
fn masked(values: &Values, value: ValueId) -> (ValueId, u32) {
    match values.get(value) {
        Value::Binary(Operator::And, base, mask) => match values.as_constant(mask) {
            Some(mask) => (base, mask),
            None => (value, u32::MAX),
        },
        _ => (value, u32::MAX),
    }
}

/// Returns a number that the value does not exceed, all of whose lower bits are set.
fn maximum(values: &Values, value: ValueId) -> u32 {
    match values.get(value) {
        Value::Load(load) | Value::LoadAt(_, load) => load.maximum(),
        Value::HeaderLength(_) => 0x3f,
        _ => u32::MAX,
    }
}

/// Returns the number of bytes that a frame has at least if the value can be computed, by its constant offsets.
fn end(values: &Values, value: ValueId) -> u64 {
    match values.get(value) {
        Value::Load(load) => load.end(),
        Value::HeaderLength(offset) => u64::from(offset) + 1,
        Value::Binary(_, left, right) => end(values, left).max(end(values, right)),
        Value::Negate(of) => end(values, of),
        Value::LoadAt(base, _) => end(values, base),
        Value::Choose(of, ..) => end(values, of),
        Value::Constant(_) | Value::Length | Value::HasMac => 0,
    }
}
