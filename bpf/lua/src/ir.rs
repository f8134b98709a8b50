//! What a source computes, with types resolved: trees of numbers and conditions, and statements. Imports `outside`.
//!
//! Everything in a tree is computed without effects, so a part may be computed more than once.

use crate::outside::Scalar;

/// A number of 64 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Number(i64),
    /// The address of the sk_buff.
    Packet,
    /// A local variable.
    Local(usize),
    /// Bytes in the kernel's memory; 0 if they cannot be read.
    Load {
        base: Box<Node>,
        offset: i64,
        load: Load,
    },
    /// Bytes of the context.
    Context {
        offset: i16,
        bytes: u8,
    },
    /// Bytes of the packet, in the order of numbers. Without them, the function ends with 0.
    Frame {
        base: Box<Node>,
        bytes: u8,
    },
    /// An element of a map; 0 if there is none.
    Element(Element),
    Negate(Box<Node>),
    Binary(Operation, Box<Node>, Box<Node>),
    /// Shifted to the right with its sign, by a constant.
    ShiftSigned(u8, Box<Node>),
    /// The lower bytes in the other order; those above are 0.
    Swap(u8, Box<Node>),
    /// The lower 32 bits with their sign.
    Narrow(Box<Node>),
    /// 1 or 0.
    Truth(Box<Condition>),
    /// The first if the condition holds, else the second.
    Select(Box<Condition>, Box<Node>, Box<Node>),
}

/// An element of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) descriptor: i32,
    pub(crate) key: Box<Node>,
    pub(crate) key_bytes: u8,
    pub(crate) value: Scalar,
}

/// How bytes become a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) bytes: u8,
    pub(crate) signed: bool,
    /// Of a bit-field: the bits above and below it.
    pub(crate) around: Option<(u8, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    /// Toward minus infinity, as in Lua. By 0: 0.
    Divide,
    /// With the sign of the divisor. By 0: the dividend.
    Modulo,
    /// Of numbers that are not negative.
    PlainDivide,
    PlainModulo,
    And,
    Or,
    Xor,
    /// By any number of bits; by a negative one, to the other side.
    ShiftLeft,
    ShiftRight,
    Least,
    Greatest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Constant(bool),
    Compare(Compare, Box<Node>, Box<Node>),
    /// Whether bytes in the kernel's memory are these. Bytes that cannot be read are 0.
    Bytes {
        base: Box<Node>,
        offset: i64,
        /// Whether reading ends at a zero.
        string: bool,
        expected: Vec<u8>,
    },
    /// Whether a map has the element.
    Has(Element),
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Statements, with the byte of the source where each begins.
pub(crate) type Steps = Vec<(usize, Step)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Set(usize, Node),
    If(Condition, Steps, Steps),
    /// Repeats at most so often, as long as the condition holds, then does the last steps.
    Loop {
        turns: u64,
        /// A hidden variable that counts the turns.
        counter: usize,
        condition: Condition,
        body: Steps,
        /// What is done at the end of each turn.
        advance: Steps,
        /// Whether the condition is tested after the first turn.
        tested_last: bool,
    },
    Break,
    /// Makes an element of a map, or changes it.
    Put(Element, Node),
    /// Adds to an element of a map, if there is one.
    Add(Element, Node),
    Remove(Element),
    /// Writes a part of the result.
    Store(Store),
    /// Ends the function with this result.
    Return(Node),
}

/// A value that is written to the caller's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) to: u32,
    pub(crate) size: u32,
    pub(crate) from: From,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    Number(Node),
    /// Bytes in the kernel's memory.
    Memory {
        base: Node,
        offset: i64,
        string: bool,
    },
}

impl Node {
    /// Returns the number of nodes of the tree.
    pub(crate) fn size(&self) -> usize {
        1 + match self {
            Node::Number(_) | Node::Packet | Node::Local(_) | Node::Context { .. } => 0,
            Node::Load { base, .. } | Node::Frame { base, .. } => base.size(),
            Node::Element(element) => element.key.size(),
            Node::Negate(node) | Node::ShiftSigned(_, node) | Node::Swap(_, node) | Node::Narrow(node) => node.size(),
            Node::Binary(_, left, right) => left.size() + right.size(),
            Node::Truth(condition) => condition.size(),
            Node::Select(condition, left, right) => condition.size() + left.size() + right.size(),
        }
    }
}

impl Condition {
    pub(crate) fn size(&self) -> usize {
        1 + match self {
            Condition::Constant(_) => 0,
            Condition::Compare(_, left, right) => left.size() + right.size(),
            Condition::Bytes { base, .. } => base.size(),
            Condition::Has(element) => element.key.size(),
            Condition::Not(inner) => inner.size(),
            Condition::And(left, right) | Condition::Or(left, right) => left.size() + right.size(),
        }
    }

    /// Returns the negation, without a `Not` where that is possible.
    pub(crate) fn not(self) -> Condition {
        match self {
            Condition::Constant(value) => Condition::Constant(!value),
            Condition::Not(inner) => *inner,
            other => Condition::Not(Box::new(other)),
        }
    }

    pub(crate) fn and(self, other: Condition) -> Condition {
        match (self, other) {
            (Condition::Constant(true), other) => other,
            (Condition::Constant(false), _) | (_, Condition::Constant(false)) => Condition::Constant(false),
            (left, Condition::Constant(true)) => left,
            (left, right) => Condition::And(Box::new(left), Box::new(right)),
        }
    }

    pub(crate) fn or(self, other: Condition) -> Condition {
        match (self, other) {
            (Condition::Constant(false), other) => other,
            (Condition::Constant(true), _) | (_, Condition::Constant(true)) => Condition::Constant(true),
            (left, Condition::Constant(false)) => left,
            (left, right) => Condition::Or(Box::new(left), Box::new(right)),
        }
    }
}

impl Operation {
    /// Computes as the compiled instructions do.
    pub(crate) fn of(self, left: i64, right: i64) -> i64 {
        match self {
            Operation::Add => left.wrapping_add(right),
            Operation::Subtract => left.wrapping_sub(right),
            Operation::Multiply => left.wrapping_mul(right),
            Operation::Divide | Operation::PlainDivide => floor_divide(left, right),
            Operation::Modulo | Operation::PlainModulo => {
                left.wrapping_sub(floor_divide(left, right).wrapping_mul(right))
            }
            Operation::And => left & right,
            Operation::Or => left | right,
            Operation::Xor => left ^ right,
            Operation::ShiftLeft => shift(left, right),
            Operation::ShiftRight => shift(left, right.checked_neg().unwrap_or(i64::MAX)),
            Operation::Least => left.min(right),
            Operation::Greatest => left.max(right),
        }
    }
}

fn floor_divide(left: i64, right: i64) -> i64 {
    if right == 0 {
        return 0;
    }
    let quotient = left.wrapping_div(right);
    let inexact = left.wrapping_rem(right) != 0;
    quotient - i64::from(inexact && (left < 0) != (right < 0))
}

/// Shifts to the left, or with a negative count to the right.
fn shift(value: i64, count: i64) -> i64 {
    match count {
        0..=63 => value << count,
        -63..=-1 => (value.cast_unsigned() >> -count).cast_signed(),
        _ => 0,
    }
}

impl Compare {
    /// Returns whether two numbers compare so.
    pub(crate) fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::NotEqual => left != right,
            Compare::Less => left < right,
            Compare::LessOrEqual => left <= right,
            Compare::Greater => left > right,
            Compare::GreaterOrEqual => left >= right,
        }
    }
}
