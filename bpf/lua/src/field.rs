//! How a value is stored in the result: its type, its size, and its place. Imports `check` and what it is
//! made of.

use std::ops::Range;

use bpf_btf::Btf;

use crate::check::{Checked, Checker};
use crate::error::Problem;
use crate::ir::{Condition, From, Node, Step, Steps, Store};
use crate::value::{Form, Kind, Number, Shape, Value};

/// A value of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Bytes from the start of the result.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
    /// What they mean.
    pub format: Format,
}

/// What the bytes of a field mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// An integer without sign, in the machine's order.
    Unsigned,
    /// An integer with sign, in the machine's order.
    Signed,
    /// One byte, 0 or 1.
    Boolean,
    /// Characters up to a zero, or all of them.
    Text,
    /// An address of the kernel.
    Pointer,
    /// A number in network byte order.
    Network,
    /// An IPv4 address in network byte order.
    Ipv4,
    /// An IPv6 address in network byte order.
    Ipv6,
    /// An Ethernet address.
    Mac,
    /// An integer with names for its values, and whether it has a sign.
    Enum {
        /// Whether the integer has a sign.
        signed: bool,
        /// The names with their values.
        members: Vec<(String, u64)>,
    },
}

/// The most characters of a text.
const LONGEST_TEXT: u32 = 64;
/// Characters of a text of unknown length.
const TEXT: u32 = 32;
/// The most names of an enum.
const MOST_MEMBERS: usize = 1_000;

/// Adds a value to the fields, and returns the step that stores it.
pub(crate) fn place(
    checker: &Checker<'_>,
    fields: &mut Vec<Field>,
    name: &str,
    value: Value,
    at: &Range<usize>,
) -> Checked<(usize, Step)> {
    let (from, size, format) = stored(checker, value, at)?;
    let end = fields.last().map_or(0, |last| last.offset + last.size);
    let alignment = match from {
        From::Number(_) => size,
        From::Memory { .. } => 1,
    };
    let offset = end.next_multiple_of(alignment.max(1));
    fields.push(Field {
        name: name.to_owned(),
        offset,
        size,
        format,
    });
    Ok((at.start, Step::Store(Store { to: offset, size, from })))
}

fn stored(checker: &Checker<'_>, value: Value, at: &Range<usize>) -> Checked<(From, u32, Format)> {
    let Value { truth, kind } = value;
    let always = truth == Condition::Constant(true);
    Ok(match kind {
        Kind::Boolean => (From::Number(as_number(truth)), 1, Format::Boolean),
        Kind::Number(..) if !always => return checker.error(at, Problem::MaybeNothing),
        Kind::Number(node, number) => {
            let (format, size) = format_of(checker.btf, number);
            (From::Number(node), size, format)
        }
        Kind::Pointer(node, _) => (From::Number(node), 8, Format::Pointer),
        Kind::Memory(_) if !always => {
            let problem = Problem::Unsupported {
                what: "this text may be false or nil".to_owned(),
                remedy: "leave the condition out: what cannot be read is empty",
            };
            return checker.error(at, problem);
        }
        Kind::Memory(memory) => {
            let (size, format, string) = match memory.shape {
                Shape::Characters(count) => (count.min(LONGEST_TEXT), Format::Text, true),
                Shape::String => (TEXT, Format::Text, true),
                Shape::Mac => (6, Format::Mac, false),
                Shape::Ipv6 => (16, Format::Ipv6, false),
            };
            let (base, offset) = (memory.base, memory.offset);
            (From::Memory { base, offset, string }, size, format)
        }
        kind @ (Kind::Nil | Kind::Constant(_) | Kind::Element(..) | Kind::Header(..) | Kind::Context) => {
            let found = checker.words(&kind);
            return checker.mismatch(at, found, "a value of the packet", "it is the same for every packet");
        }
    })
}

/// Returns 1 or 0.
pub(crate) fn as_number(truth: Condition) -> Node {
    match truth {
        Condition::Constant(value) => Node::Number(i64::from(value)),
        truth => Node::Truth(Box::new(truth)),
    }
}

fn format_of(btf: &Btf<'_>, number: Number) -> (Format, u32) {
    let size = u32::from(number.bytes);
    let format = match (number.form, number.signed) {
        (Form::Ipv4, _) => Format::Ipv4,
        (Form::Network, _) if size < 8 => Format::Network,
        (Form::Enum(id), signed) => {
            let members = btf.get(id).map(|found| found.enumerators()).into_iter().flatten();
            let member = |each: bpf_btf::Enumerator<'_>| (each.name.to_owned(), each.value);
            Format::Enum {
                signed,
                members: members.take(MOST_MEMBERS).map(member).collect(),
            }
        }
        (_, true) => Format::Signed,
        (_, false) => Format::Unsigned,
    };
    (format, size)
}

/// Returns the bytes of all fields together.
pub(crate) fn size(fields: &[Field]) -> u32 {
    fields.last().map_or(0, |last| last.offset + last.size)
}

/// Returns the most bytes that a comparison of text reads.
pub(crate) fn longest_read(steps: &Steps) -> usize {
    steps.iter().map(|(_, step)| of_step(step)).max().unwrap_or(0)
}

fn of_step(step: &Step) -> usize {
    match step {
        Step::Set(_, node) | Step::Return(node) => of_node(node),
        Step::If(condition, then, otherwise) => of_condition(condition)
            .max(longest_read(then))
            .max(longest_read(otherwise)),
        Step::Loop {
            condition,
            body,
            advance,
            ..
        } => of_condition(condition)
            .max(longest_read(body))
            .max(longest_read(advance)),
        Step::Put(element, node) | Step::Add(element, node) => of_node(&element.key).max(of_node(node)),
        Step::Remove(element) => of_node(&element.key),
        Step::Break => 0,
        Step::Store(store) => match &store.from {
            From::Number(node) => of_node(node),
            From::Memory { base, .. } => of_node(base),
        },
    }
}

fn of_node(node: &Node) -> usize {
    match node {
        Node::Number(_) | Node::Packet | Node::Local(_) | Node::Context { .. } => 0,
        Node::Load { base, .. } | Node::Frame { base, .. } => of_node(base),
        Node::Element(element) => of_node(&element.key),
        Node::Negate(inner) | Node::ShiftSigned(_, inner) | Node::Swap(_, inner) | Node::Narrow(inner) => {
            of_node(inner)
        }
        Node::Binary(_, left, right) => of_node(left).max(of_node(right)),
        Node::Truth(condition) => of_condition(condition),
        Node::Select(condition, left, right) => of_condition(condition).max(of_node(left)).max(of_node(right)),
    }
}

fn of_condition(condition: &Condition) -> usize {
    match condition {
        Condition::Constant(_) => 0,
        Condition::Compare(_, left, right) => of_node(left).max(of_node(right)),
        Condition::Bytes {
            base, expected, string, ..
        } => of_node(base).max(expected.len() + usize::from(*string)),
        Condition::Has(element) => of_node(&element.key),
        Condition::Not(inner) => of_condition(inner),
        Condition::And(left, right) | Condition::Or(left, right) => of_condition(left).max(of_condition(right)),
    }
}
