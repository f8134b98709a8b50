//! The filter between syntax and machine: values computed from a frame, and tests of them that branch. Imports nothing.
//!
//! A value is a pure function of the frame, and each distinct one exists once, so that equal values have equal
//! identities. A frame that is too short for a load, and a division by zero, reject the frame at once, as in classic
//! BPF. Tests are stored in topological order: a branch leads only to later ones.

use std::collections::HashMap;

use super::ast::Operator;

/// The most values and tests of a filter.
pub(super) const MOST: usize = 4096;

/// The identity of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ValueId(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Constant(u32),
    /// The length of the whole packet, from its Ethernet header on.
    Length,
    /// Whether the packet has valid MAC addresses: not 0 if so. Part of no frame.
    HasMac,
    /// Bytes of the frame.
    Load(Load),
    /// Bytes of the frame at a computed offset plus a constant one.
    LoadAt(ValueId, Load),
    /// The length of an IPv4 header that begins there: 4 * (byte & 15).
    HeaderLength(u32),
    Binary(Operator, ValueId, ValueId),
    Negate(ValueId),
    /// One of two values: the first if a third one is that constant. Only the chosen one is computed.
    Choose(ValueId, u32, ValueId, ValueId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Load {
    pub(super) offset: u32,
    /// 1, 2 or 4 bytes, the most significant first.
    pub(super) size: u32,
}

impl Load {
    /// Returns the number of bytes that a frame has at least if this can be loaded.
    pub(super) fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.size)
    }

    /// Returns the largest value of so many bytes.
    pub(super) fn maximum(self) -> u32 {
        match self.size {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Compare {
    Equal,
    Greater,
    GreaterOrEqual,
    /// Bits in common.
    Set,
}

impl Compare {
    pub(super) fn holds(self, left: u32, right: u32) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::Greater => left > right,
            Compare::GreaterOrEqual => left >= right,
            Compare::Set => left & right != 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operand {
    Constant(u32),
    Value(ValueId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Test {
    pub(super) left: ValueId,
    pub(super) compare: Compare,
    pub(super) right: Operand,
}

/// Where a branch leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Match,
    NoMatch,
    Branch(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Branch {
    pub(super) test: Test,
    pub(super) yes: Target,
    pub(super) no: Target,
}

/// All distinct values.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: Vec<Value>,
    ids: HashMap<Value, ValueId>,
}

impl Values {
    /// Returns the identity of a value; one of constants is computed at once.
    pub(super) fn add(&mut self, value: Value) -> ValueId {
        let value = self.folded(value);
        if let Some(id) = self.ids.get(&value) {
            return *id;
        }
        // `generate` refuses more than MOST.
        let id = ValueId(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(value);
        self.ids.insert(value, id);
        id
    }

    pub(super) fn constant(&mut self, value: u32) -> ValueId {
        self.add(Value::Constant(value))
    }

    pub(super) fn masked(&mut self, value: ValueId, mask: u32) -> ValueId {
        let mask = self.constant(mask);
        self.add(Value::Binary(Operator::And, value, mask))
    }

    pub(super) fn get(&self, id: ValueId) -> Value {
        self.values[id.0 as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn as_constant(&self, id: ValueId) -> Option<u32> {
        match self.get(id) {
            Value::Constant(value) => Some(value),
            _ => None,
        }
    }

    fn folded(&self, value: Value) -> Value {
        match value {
            Value::Binary(operator, left, right) => {
                let (Some(left), Some(right)) = (self.as_constant(left), self.as_constant(right)) else {
                    return value;
                };
                compute(operator, left, right).map_or(value, Value::Constant)
            }
            Value::Negate(of) => self
                .as_constant(of)
                .map_or(value, |of| Value::Constant(of.wrapping_neg())),
            // The sum of two offsets does not wrap around in a load, and the one of two constants is small enough here.
            Value::LoadAt(base, load) => match self.as_constant(base).and_then(|base| base.checked_add(load.offset)) {
                Some(offset) => Value::Load(Load { offset, ..load }),
                None => value,
            },
            _ => value,
        }
    }
}

/// Computes as classic BPF does; nothing for a division by zero.
pub(super) fn compute(operator: Operator, left: u32, right: u32) -> Option<u32> {
    Some(match operator {
        Operator::Add => left.wrapping_add(right),
        Operator::Subtract => left.wrapping_sub(right),
        Operator::Multiply => left.wrapping_mul(right),
        Operator::Divide => left.checked_div(right)?,
        Operator::Remainder => left.checked_rem(right)?,
        Operator::And => left & right,
        Operator::Or => left | right,
        Operator::Xor => left ^ right,
        Operator::ShiftLeft => left.checked_shl(right).unwrap_or(0),
        Operator::ShiftRight => left.checked_shr(right).unwrap_or(0),
    })
}

/// A filter.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) values: Values,
    pub(super) branches: Vec<Branch>,
    pub(super) start: Target,
}

impl Graph {
    /// Returns the values that tests use, directly or in others.
    pub(super) fn used(&self) -> Vec<Value> {
        let mut seen = vec![false; self.values.len()];
        let mut ids: Vec<ValueId> = Vec::new();
        for branch in &self.branches {
            ids.push(branch.test.left);
            if let Operand::Value(right) = branch.test.right {
                ids.push(right);
            }
        }
        let mut used = Vec::new();
        while let Some(id) = ids.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let value = self.values.get(id);
            used.push(value);
            match value {
                Value::Binary(_, left, right) => ids.extend([left, right]),
                Value::Negate(of) | Value::LoadAt(of, _) => ids.push(of),
                Value::Choose(of, _, yes, no) => ids.extend([of, yes, no]),
                Value::Constant(_) | Value::Length | Value::HasMac | Value::Load(_) | Value::HeaderLength(_) => {}
            }
        }
        used
    }
}
