//! What an expression stands for: a value with its kind, or memory that has none yet. Imports `ir`,
//! `kernel`, `outside` and `packet`.

use crate::ir::{Compare, Condition, Node};
use crate::kernel::{Integer, Meaning};
use crate::outside::Map;
use crate::packet::Layer;

/// A value. It may be false or nil: then its truth says when it is not, and the rest is of the other case.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    /// When it is neither false nor nil.
    pub(crate) truth: Condition,
    pub(crate) kind: Kind,
}

/// Kinds of values, with what computes them.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Nil,
    /// True exactly when its value's truth holds.
    Boolean,
    Number(Node, Number),
    /// An address, and the type that it is of; 0 is void.
    Pointer(Node, u32),
    Constant(Vec<u8>),
    /// Text or bytes in the kernel's memory.
    Memory(Memory),
    /// A number that may be nil, and then counts as 0: an element of a map.
    Element(Node, Number),
    /// A header of a packet that begins at this byte.
    Header(Layer, Node),
    /// What the kernel gives the program.
    Context,
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) bytes: u8,
    pub(crate) signed: bool,
    /// Known to be at least 0, as a number of 64 bits with sign.
    pub(crate) natural: bool,
    pub(crate) form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    /// In network byte order.
    Network,
    Ipv4,
    /// The enum that has names for it.
    Enum(u32),
}

/// Bytes in the kernel's memory.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) base: Node,
    pub(crate) offset: i64,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Characters up to a zero, or so many.
    Characters(u32),
    /// Characters up to a zero.
    String,
    Mac,
    Ipv6,
}

/// What an expression stands for.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Value(Value),
    /// A struct or an array in memory.
    Place {
        base: Node,
        offset: i64,
        meaning: Meaning,
    },
    /// A table of functions, by its name.
    Library(&'static str),
    Function(crate::builtin::Builtin),
    /// A map.
    Map(Map),
    /// A table outside of the function, by its names.
    Table(Vec<String>),
}

/// A number of the language: 64 bits with sign.
pub(crate) const PLAIN: Number = Number {
    bytes: 8,
    signed: true,
    natural: false,
    form: Form::Plain,
};

impl Value {
    pub(crate) fn nil() -> Value {
        Value {
            truth: Condition::Constant(false),
            kind: Kind::Nil,
        }
    }

    pub(crate) fn boolean(truth: Condition) -> Value {
        Value {
            truth,
            kind: Kind::Boolean,
        }
    }

    pub(crate) fn number(node: Node, number: Number) -> Value {
        let number = match node {
            Node::Number(value) => Number {
                natural: value >= 0,
                ..number
            },
            _ => number,
        };
        Value {
            truth: Condition::Constant(true),
            kind: Kind::Number(node, number),
        }
    }

    pub(crate) fn pointer(node: Node, target: u32) -> Value {
        Value {
            truth: is_not_zero(node.clone()),
            kind: Kind::Pointer(node, target),
        }
    }

    /// A value that is neither false nor nil.
    pub(crate) fn always(kind: Kind) -> Value {
        Value {
            truth: Condition::Constant(true),
            kind,
        }
    }

    pub(crate) fn constant(text: Vec<u8>) -> Value {
        Value {
            truth: Condition::Constant(true),
            kind: Kind::Constant(text),
        }
    }

    pub(crate) fn memory(memory: Memory) -> Value {
        Value {
            truth: Condition::Constant(true),
            kind: Kind::Memory(memory),
        }
    }

    /// Returns the number of nodes.
    pub(crate) fn size(&self) -> usize {
        self.truth.size()
            + match &self.kind {
                Kind::Number(node, _) | Kind::Pointer(node, _) | Kind::Element(node, _) | Kind::Header(_, node) => {
                    node.size()
                }
                Kind::Memory(memory) => memory.base.size(),
                Kind::Nil | Kind::Boolean | Kind::Constant(_) | Kind::Context => 0,
            }
    }
}

/// Returns whether a number is not 0.
pub(crate) fn is_not_zero(node: Node) -> Condition {
    match node {
        Node::Packet => Condition::Constant(true),
        Node::Number(value) => Condition::Constant(value != 0),
        node => Condition::Compare(Compare::NotEqual, Box::new(node), Box::new(Node::Number(0))),
    }
}

impl Number {
    pub(crate) fn of(integer: Integer) -> Number {
        Number {
            bytes: integer.bytes,
            signed: integer.signed,
            natural: !integer.signed && integer.bytes < 8,
            form: match (integer.network, integer.names) {
                (true, _) => Form::Network,
                (false, Some(names)) => Form::Enum(names),
                (false, None) => Form::Plain,
            },
        }
    }

    /// Returns what a number is that is one of two.
    pub(crate) fn join(self, other: Number) -> Number {
        let natural = self.natural && other.natural;
        match (self.bytes, self.signed) == (other.bytes, other.signed) {
            true if self.form == other.form => Number { natural, ..self },
            true => Number {
                natural,
                form: Form::Plain,
                ..self
            },
            false => Number { natural, ..PLAIN },
        }
    }
}
