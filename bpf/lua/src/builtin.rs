//! The functions that a source can call. Imports `check` and what it is made of.

use std::ops::Range;

use crate::ast::Expression;
use crate::check::{Checked, Checker, fold};
use crate::error::Problem;
use crate::ir::{Load, Node, Operation};
use crate::kernel::{self, Meaning};
use crate::value::{Form, Kind, Memory, Number, Operand, PLAIN, Shape, Value};

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    Ntoh,
    Hton,
    Ipv4,
    Ipv6,
    Mac,
    Cast,
    Band,
    Bor,
    Bxor,
    Bnot,
    Lshift,
    Rshift,
    Arshift,
    Bswap,
    Tobit,
    Min,
    Max,
}

/// The functions, with the tables that they are in.
const ALL: [(Option<&str>, &str, Builtin); 17] = [
    (None, "ntoh", Builtin::Ntoh),
    (None, "hton", Builtin::Hton),
    (None, "ipv4", Builtin::Ipv4),
    (None, "ipv6", Builtin::Ipv6),
    (None, "mac", Builtin::Mac),
    (None, "cast", Builtin::Cast),
    (Some("bit"), "band", Builtin::Band),
    (Some("bit"), "bor", Builtin::Bor),
    (Some("bit"), "bxor", Builtin::Bxor),
    (Some("bit"), "bnot", Builtin::Bnot),
    (Some("bit"), "lshift", Builtin::Lshift),
    (Some("bit"), "rshift", Builtin::Rshift),
    (Some("bit"), "arshift", Builtin::Arshift),
    (Some("bit"), "bswap", Builtin::Bswap),
    (Some("bit"), "tobit", Builtin::Tobit),
    (Some("math"), "min", Builtin::Min),
    (Some("math"), "max", Builtin::Max),
];

/// Returns a table's name.
pub(crate) fn library(name: &str) -> Option<&'static str> {
    ["bit", "math"].into_iter().find(|library| *library == name)
}

/// Returns the names that a source can begin with.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let plain = ALL.iter().filter(|(library, ..)| library.is_none());
    plain.map(|(_, name, _)| *name).chain(["bit", "math"])
}

/// Returns the names of a table's functions.
pub(crate) fn functions_of(library: &str) -> impl Iterator<Item = &'static str> {
    (ALL.iter().filter(move |(of, ..)| *of == Some(library))).map(|(_, name, _)| *name)
}

impl Builtin {
    pub(crate) fn find(library: Option<&str>, name: &str) -> Option<Builtin> {
        let mut all = ALL.iter();
        let found = all.find(|(of, found, _)| *of == library && *found == name)?;
        Some(found.2)
    }

    /// Returns whether it is about the kernel's memory, which programs of sockets do not see.
    pub(crate) fn needs_memory(self) -> bool {
        matches!(self, Builtin::Ipv4 | Builtin::Ipv6 | Builtin::Mac | Builtin::Cast)
    }

    pub(crate) fn name(self) -> &'static str {
        let found = ALL.iter().find(|(.., function)| *function == self);
        found.map_or("", |(_, name, _)| name)
    }

    /// Returns what it takes, in words, and an example.
    fn usage(self) -> (&'static str, &'static str) {
        match self {
            Builtin::Ntoh | Builtin::Hton => ("a number and maybe its bits: 16, 32 or 64", "ntoh(skb.protocol)"),
            Builtin::Ipv4 => ("a number of 4 bytes, or a string", "ipv4(skb.sk.__sk_common.skc_daddr)"),
            Builtin::Ipv6 => ("16 bytes in memory", "ipv6(skb.sk.__sk_common.skc_v6_daddr)"),
            Builtin::Mac => ("6 bytes in memory", "mac(skb.dev.dev_addr)"),
            Builtin::Cast => (
                "the name of a struct and a pointer",
                "cast(\"struct iphdr\", skb.head + skb.network_header)",
            ),
            Builtin::Band | Builtin::Bor | Builtin::Bxor => ("two or more integers", "bit.band(skb.mark, 0xff)"),
            Builtin::Bnot | Builtin::Bswap | Builtin::Tobit => ("an integer", "bit.bnot(skb.mark)"),
            Builtin::Lshift | Builtin::Rshift | Builtin::Arshift => ("two integers", "bit.rshift(skb.mark, 8)"),
            Builtin::Min | Builtin::Max => ("two or more integers", "math.min(skb.len, 100)"),
        }
    }
}

/// Checks a call.
pub(crate) fn call(
    checker: &Checker<'_>,
    builtin: Builtin,
    arguments: &[Expression],
    at: &Range<usize>,
) -> Checked<Operand> {
    let (wanted, example) = builtin.usage();
    let wrong = || {
        checker.error(
            at,
            Problem::Arguments {
                name: builtin.name(),
                wanted,
                example,
            },
        )
    };
    let value = match (builtin, arguments) {
        (Builtin::Ntoh | Builtin::Hton, [value] | [value, _]) => {
            let (node, number) = checker.number(value)?;
            let bytes = match arguments.get(1).map(|bits| checker.number(bits)).transpose()? {
                None => number.bytes,
                Some((Node::Number(bits @ (16 | 32 | 64)), _)) => u8::try_from(bits / 8).unwrap_or(8),
                Some(_) => return wrong(),
            };
            // A constant has no size: of hton(80), the 16 bits of a port are meant, but not of hton(0x0a000001).
            let bytes = match (&node, arguments) {
                (Node::Number(value), [_]) => match value {
                    0..=0xffff => 2,
                    0x1_0000..=0xffff_ffff => 4,
                    _ => 8,
                },
                _ => bytes,
            };
            let form = match builtin {
                Builtin::Hton => Form::Network,
                _ => Form::Plain,
            };
            swapped(node, bytes, form)
        }
        (Builtin::Bswap, [value]) => {
            let (node, _) = checker.number(value)?;
            narrow(swap(node, 4))
        }
        (Builtin::Tobit, [value]) => narrow(checker.number(value)?.0),
        (Builtin::Bnot, [value]) => {
            let (node, _) = checker.number(value)?;
            narrow(fold(Operation::Xor, node, Node::Number(-1)))
        }
        (Builtin::Band | Builtin::Bor | Builtin::Bxor, [first, rest @ ..]) if !rest.is_empty() => {
            let operation = match builtin {
                Builtin::Band => Operation::And,
                Builtin::Bor => Operation::Or,
                _ => Operation::Xor,
            };
            let mut node = checker.number(first)?.0;
            for value in rest {
                node = fold(operation, node, checker.number(value)?.0);
            }
            narrow(node)
        }
        (Builtin::Lshift | Builtin::Rshift | Builtin::Arshift, [value, count]) => {
            let (node, _) = checker.number(value)?;
            // As in LuaJIT, only five bits of the count matter.
            let count = fold(Operation::And, checker.number(count)?.0, Node::Number(31));
            let lower = |node| fold(Operation::And, node, Node::Number(0xffff_ffff));
            narrow(match (builtin, count) {
                (Builtin::Lshift, count) => fold(Operation::ShiftLeft, node, count),
                (Builtin::Rshift, count) => fold(Operation::ShiftRight, lower(node), count),
                // Of a number with its sign in all upper bits, the lower 32 bits of a shift are those of 64 bits.
                (_, Node::Number(count)) => {
                    let count = u8::try_from(count).unwrap_or(0);
                    match narrowed(node) {
                        Node::Number(value) => Node::Number(value >> count),
                        node => Node::ShiftSigned(count, Box::new(node)),
                    }
                }
                (_, count) => fold(
                    Operation::Divide,
                    narrowed(node),
                    fold(Operation::ShiftLeft, Node::Number(1), count),
                ),
            })
        }
        (Builtin::Min | Builtin::Max, [first, rest @ ..]) if !rest.is_empty() => {
            let operation = match builtin {
                Builtin::Min => Operation::Least,
                _ => Operation::Greatest,
            };
            let mut result = checker.number(first)?;
            for value in rest {
                let other = checker.number(value)?;
                let joined = checker.arithmetic(operation, result, other, &value.at)?;
                result = match joined.kind {
                    Kind::Number(node, number) => (node, number),
                    _ => return wrong(),
                };
            }
            Value::number(result.0, result.1)
        }
        (Builtin::Ipv4, [value]) => {
            let value_of = checker.value(value)?;
            let number = Number {
                bytes: 4,
                signed: false,
                natural: true,
                form: Form::Ipv4,
            };
            match value_of.kind {
                Kind::Constant(text) => Value::number(Node::Number(checker.ipv4(&text, &value.at)?), number),
                Kind::Number(node, of) if of.bytes == 4 => Value::number(
                    match of.signed {
                        true => fold(Operation::And, node, Node::Number(0xffff_ffff)),
                        false => node,
                    },
                    number,
                ),
                Kind::Pointer(base, _) => Value::number(
                    Node::Load {
                        base: Box::new(base),
                        offset: 0,
                        load: Load::unsigned(4),
                    },
                    number,
                ),
                _ => return wrong(),
            }
        }
        (Builtin::Mac | Builtin::Ipv6, [value]) => {
            let (shape, bytes) = match builtin {
                Builtin::Mac => (Shape::Mac, 6),
                _ => (Shape::Ipv6, 16),
            };
            let (base, offset) = match checker.operand(value)? {
                Operand::Place { base, offset, meaning } if holds(checker, &meaning, bytes) => (base, offset),
                Operand::Value(Value {
                    kind: Kind::Pointer(base, _),
                    ..
                }) => (base, 0),
                _ => return wrong(),
            };
            Value::memory(Memory { base, offset, shape })
        }
        (Builtin::Cast, [name, pointer]) => {
            let Kind::Constant(text) = checker.value(name)?.kind else {
                return wrong();
            };
            let text = String::from_utf8_lossy(&text).into_owned();
            let Some(id) = kernel::find_struct(checker.btf, &text) else {
                let text = text.chars().take(80).collect();
                return checker.error(&name.at, Problem::UnknownType(text));
            };
            match checker.value(pointer)?.kind {
                Kind::Pointer(node, _) => Value::pointer(node, id),
                Kind::Number(node, number) if number.bytes == 8 => Value::pointer(node, id),
                _ => return wrong(),
            }
        }
        _ => return wrong(),
    };
    Ok(Operand::Value(value))
}

/// Returns whether memory has at least so many bytes.
fn holds(checker: &Checker<'_>, meaning: &Meaning, bytes: u64) -> bool {
    match meaning {
        Meaning::Array(_, size, count) => u64::from(*size) * u64::from(*count) >= bytes,
        Meaning::Struct(id) => checker.btf.size_of(*id).is_some_and(|size| size >= bytes),
        _ => false,
    }
}

fn swap(node: Node, bytes: u8) -> Node {
    let change = cfg!(target_endian = "little");
    match node {
        Node::Number(value) => {
            let value = value.cast_unsigned();
            let bits = 64 - 8 * u32::from(bytes);
            let lower = value << bits >> bits;
            let value = if change { lower.swap_bytes() >> bits } else { lower };
            Node::Number(value.cast_signed())
        }
        node => Node::Swap(bytes, Box::new(node)),
    }
}

fn swapped(node: Node, bytes: u8, form: Form) -> Value {
    let number = Number {
        bytes,
        signed: false,
        natural: bytes < 8,
        form,
    };
    let node = match bytes {
        1 => node,
        bytes => swap(node, bytes),
    };
    Value::number(node, number)
}

fn narrowed(node: Node) -> Node {
    match node {
        Node::Number(value) => Node::Number(i64::from(value as i32)),
        node => Node::Narrow(Box::new(node)),
    }
}

fn narrow(node: Node) -> Value {
    Value::number(
        narrowed(node),
        Number {
            bytes: 4,
            signed: true,
            natural: false,
            form: PLAIN.form,
        },
    )
}
