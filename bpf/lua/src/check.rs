//! Resolves the names and the types of expressions. Imports everything that they are made of.

use std::ops::Range;

use bpf_btf::Btf;

use crate::ast::{Binary, Expression, ExpressionKind, Unary};
use crate::builtin::{self, Builtin};
use crate::context;
use crate::element;
use crate::error::{CompileError, Problem, similar};
use crate::ir::{Compare, Condition, Load, Node, Operation};
use crate::kernel::{self, Found, Meaning, meaning};
use crate::lexer::Source;
use crate::outside::{Environment, Outside};
use crate::packet::{self, Layer};
use crate::value::{Form, Kind, Memory, Number, Operand, PLAIN, Shape, Value};

/// The most nodes of an expression: each becomes some instructions.
const MOST_NODES: usize = 2_000;
/// The name of the packet in a source.
pub(crate) const PACKET: &str = "skb";
/// The names of the packet's first header, in programs of sockets.
pub(crate) const FRAME: [&str; 2] = ["pkt", "eth"];

pub(crate) type Checked<T> = Result<T, CompileError>;

/// A local variable.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: Value,
    /// Where it is, if it can be assigned another value.
    pub(crate) slot: Option<usize>,
}

pub(crate) struct Checker<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) btf: &'a Btf<'a>,
    /// The type of the packet.
    pub(crate) packet: u32,
    /// The names that can be seen, those that hide others last.
    pub(crate) variables: Vec<Variable>,
    pub(crate) slots: usize,
    /// What is around the function, if it is one of a script that runs: then it is a program of a socket.
    pub(crate) environment: Option<&'a dyn Environment>,
}

impl<'a> Checker<'a> {
    /// Returns a checker of a program of a socket, which sees no type of the kernel. `btf`: without types.
    pub(crate) fn of_socket(source: Source<'a>, btf: &'a Btf<'a>, environment: &'a dyn Environment) -> Checker<'a> {
        Checker {
            source,
            btf,
            packet: 0,
            variables: Vec::new(),
            slots: 0,
            environment: Some(environment),
        }
    }

    pub(crate) fn new(source: Source<'a>, btf: &'a Btf<'a>) -> Checked<Checker<'a>> {
        let packet = kernel::find_struct(btf, "sk_buff")
            .ok_or_else(|| source.error(&(0..0), Problem::UnknownType("struct sk_buff".to_owned())))?;
        Ok(Checker {
            source,
            btf,
            packet,
            variables: Vec::new(),
            slots: 0,
            environment: None,
        })
    }

    pub(crate) fn error<T>(&self, at: &Range<usize>, problem: Problem) -> Checked<T> {
        Err(self.source.error(at, problem))
    }

    pub(crate) fn mismatch<T>(
        &self,
        at: &Range<usize>,
        found: String,
        wanted: &'static str,
        remedy: &'static str,
    ) -> Checked<T> {
        self.error(at, Problem::Mismatch { found, wanted, remedy })
    }

    /// Returns the kind of a value in words.
    pub(crate) fn words(&self, kind: &Kind) -> String {
        match kind {
            Kind::Nil => "nil".to_owned(),
            Kind::Boolean => "true or false".to_owned(),
            Kind::Number(_, number) if number.form == Form::Ipv4 => "an IPv4 address".to_owned(),
            Kind::Number(..) => "an integer".to_owned(),
            Kind::Pointer(_, 0) => "a pointer".to_owned(),
            Kind::Pointer(_, target) => format!("a pointer to {}", kernel::name_of(self.btf, *target)),
            Kind::Constant(_) => "a string".to_owned(),
            Kind::Element(..) => "an element of a map".to_owned(),
            Kind::Header(layer, _) => layer.words().to_owned(),
            Kind::Context => "the packet's context".to_owned(),
            Kind::Memory(memory) => match memory.shape {
                Shape::Mac => "an Ethernet address".to_owned(),
                Shape::Ipv6 => "an IPv6 address".to_owned(),
                Shape::Characters(_) | Shape::String => "text".to_owned(),
            },
        }
    }

    fn words_of(&self, operand: &Operand) -> String {
        match operand {
            Operand::Value(value) => self.words(&value.kind),
            Operand::Place { meaning, .. } => match meaning {
                Meaning::Struct(id) => kernel::name_of(self.btf, *id),
                Meaning::Array(..) => "an array".to_owned(),
                _ => "memory".to_owned(),
            },
            Operand::Library(name) => format!("the table '{name}'"),
            Operand::Table(path) => format!("the table '{}'", short(&path.join("."))),
            Operand::Map(_) => "a map".to_owned(),
            Operand::Function(function) => format!("the function '{}'", function.name()),
        }
    }

    /// Checks an expression that stands for a value.
    pub(crate) fn value(&self, expression: &Expression) -> Checked<Value> {
        let operand = self.operand(expression)?;
        let at = &expression.at;
        let value = match operand {
            Operand::Value(value) => value,
            Operand::Place {
                meaning: Meaning::Struct(id),
                ..
            } => {
                let found = kernel::name_of(self.btf, id);
                return self.mismatch(at, found, "a value", "name one of its fields: ....NAME");
            }
            Operand::Place {
                meaning: Meaning::Other(what),
                ..
            } => return self.mismatch(at, what, "a value", "use another field"),
            Operand::Place { .. } => {
                let found = "an array".to_owned();
                return self.mismatch(
                    at,
                    found,
                    "a value",
                    "take an element: ...[0], or mac(...) or ipv6(...)",
                );
            }
            Operand::Map(_) => {
                let found = "a map".to_owned();
                return self.mismatch(at, found, "a value", "take an element: map[key]");
            }
            Operand::Table(_) => {
                let found = self.words_of(&operand);
                return self.mismatch(at, found, "a value", "name one of its constants: ....NAME");
            }
            other => {
                let found = self.words_of(&other);
                return self.mismatch(at, found, "a value", "call it: ntoh(...), bit.band(...)");
            }
        };
        match value.size() > MOST_NODES {
            true => self.error(at, Problem::TooLarge(MOST_NODES)),
            false => Ok(value),
        }
    }

    /// Checks an expression of which it matters whether it is false or nil. A header never is, although a packet may
    /// have none of its kind.
    fn tested(&self, expression: &Expression) -> Checked<Value> {
        let value = self.value(expression)?;
        match value.kind {
            Kind::Header(layer, _) => {
                let problem = Problem::Unsupported {
                    what: format!("{} is never nil, whatever the packet has", layer.words()),
                    remedy: "test the field that says what follows: pkt.ip.proto == c.ip.proto_tcp",
                };
                self.error(&expression.at, problem)
            }
            _ => Ok(value),
        }
    }

    /// Checks an expression that is a condition.
    pub(crate) fn condition(&self, expression: &Expression) -> Checked<Condition> {
        let value = self.tested(expression)?;
        match value.kind {
            Kind::Number(..) | Kind::Constant(_) | Kind::Memory(_) if value.truth == Condition::Constant(true) => {
                let found = self.words(&value.kind);
                let also = if matches!(value.kind, Kind::Number(..)) {
                    "0"
                } else {
                    "\"\""
                };
                self.error(&expression.at, Problem::AlwaysTrue { found, also })
            }
            _ => Ok(value.truth),
        }
    }

    /// Checks an expression that is a number.
    pub(crate) fn number(&self, expression: &Expression) -> Checked<(Node, Number)> {
        let value = self.value(expression)?;
        let at = &expression.at;
        match value.kind {
            Kind::Number(..) if value.truth != Condition::Constant(true) => self.error(at, Problem::MaybeNothing),
            Kind::Number(node, number) => Ok((node, number)),
            Kind::Element(node, number) => Ok((node, number)),
            kind => {
                let remedy = match kind {
                    Kind::Header(Layer::Data, _) => "take a byte of them: ...[0]",
                    Kind::Header(..) | Kind::Context => "name one of its fields: ....NAME",
                    Kind::Boolean => "choose one: condition and 1 or 0",
                    Kind::Pointer(..) => "name a field of what it points to",
                    _ => "use a field that is a number",
                };
                self.mismatch(at, self.words(&kind), "an integer", remedy)
            }
        }
    }

    pub(crate) fn operand(&self, expression: &Expression) -> Checked<Operand> {
        let at = &expression.at;
        Ok(Operand::Value(match &expression.kind {
            ExpressionKind::Nil => Value::nil(),
            ExpressionKind::Boolean(value) => Value::boolean(Condition::Constant(*value)),
            ExpressionKind::Integer(value) => Value::number(Node::Number(*value), PLAIN),
            ExpressionKind::Text(text) => Value::constant(text.clone()),
            ExpressionKind::Name(name) => return self.name(name, at),
            ExpressionKind::Field(of, name, name_at) => return self.field(of, name, name_at),
            ExpressionKind::Index(of, index) => return self.index(of, index, at),
            ExpressionKind::Call(function, arguments) => {
                if self.environment.is_some() && self.is_builtin(function, element::ADD) {
                    let problem = Problem::Unsupported {
                        what: format!("'{}' has no value", element::ADD),
                        remedy: "write it as a statement of its own",
                    };
                    return self.error(at, problem);
                }
                let called = self.operand(function)?;
                let Operand::Function(builtin) = called else {
                    let found = self.words_of(&called);
                    return self.mismatch(&function.at, found, "a function", "remove the call");
                };
                return builtin::call(self, builtin, arguments, at);
            }
            ExpressionKind::Unary(operator, inner) => self.unary(*operator, inner)?,
            ExpressionKind::Binary(operator, left, right) => self.binary(*operator, left, right, at)?,
            ExpressionKind::And(left, right) => {
                let (left, right) = (self.tested(left)?, self.value(right)?);
                let truth = left.truth.and(right.truth);
                Value {
                    truth,
                    kind: right.kind,
                }
            }
            ExpressionKind::Or(left, right) => self.or(left, right)?,
            ExpressionKind::Table(_) => {
                let problem = Problem::Unsupported {
                    what: "a table is no value in the kernel".to_owned(),
                    remedy: "write one expression for each field",
                };
                return self.error(at, problem);
            }
        }))
    }

    fn name(&self, name: &str, at: &Range<usize>) -> Checked<Operand> {
        if let Some(variable) = self.variables.iter().rev().find(|variable| variable.name == name) {
            return Ok(Operand::Value(variable.value.clone()));
        }
        if let Some(environment) = self.environment {
            return self.name_in_script(environment, name, at);
        }
        if name == PACKET {
            return Ok(Operand::Value(Value::pointer(Node::Packet, self.packet)));
        }
        if let Some(library) = builtin::library(name) {
            return Ok(Operand::Library(library));
        }
        if let Some(function) = Builtin::find(None, name) {
            return Ok(Operand::Function(function));
        }
        let mut known: Vec<&str> = builtin::names().chain([PACKET]).collect();
        known.extend(self.variables.iter().map(|variable| variable.name.as_str()));
        let near = match kernel::member(self.btf, self.packet, name) {
            Some(_) => vec![format!("{PACKET}.{name}")],
            None => similar(name, known.into_iter()),
        };
        let name = name.chars().take(80).collect();
        self.error(at, Problem::UnknownName { name, near })
    }

    /// Returns whether an expression is this name, which nothing else has.
    pub(crate) fn is_builtin(&self, expression: &Expression, name: &str) -> bool {
        let is_hidden = || self.variables.iter().any(|variable| variable.name == name);
        matches!(&expression.kind, ExpressionKind::Name(found) if found == name) && !is_hidden()
    }

    fn name_in_script(&self, environment: &dyn Environment, name: &str, at: &Range<usize>) -> Checked<Operand> {
        // An upvalue hides what is built in, as in Lua.
        if let Some(found) = environment.find(&[name]) {
            return self.outside(found, vec![name.to_owned()], at);
        }
        if FRAME.contains(&name) {
            return Ok(Operand::Value(packet::header(Layer::Ethernet, Node::Number(0))));
        }
        if let Some(library) = builtin::library(name) {
            return Ok(Operand::Library(library));
        }
        if let Some(function) = Builtin::find(None, name).filter(|function| !function.needs_memory()) {
            return Ok(Operand::Function(function));
        }
        let names = environment.names();
        let variables = self.variables.iter().map(|variable| variable.name.as_str());
        let known = variables.chain(names.iter().map(String::as_str)).chain(FRAME);
        let near = similar(name, known.chain([element::ADD, "ntoh", "hton", "bit", "math"]));
        self.error(
            at,
            Problem::UnknownInScript {
                name: short(name),
                near,
            },
        )
    }

    fn outside(&self, found: Outside, path: Vec<String>, at: &Range<usize>) -> Checked<Operand> {
        Ok(match found {
            Outside::Boolean(value) => Operand::Value(Value::boolean(Condition::Constant(value))),
            Outside::Integer(value) => Operand::Value(Value::number(Node::Number(value), PLAIN)),
            Outside::Text(text) => Operand::Value(Value::constant(text)),
            Outside::Map(map) => Operand::Map(map),
            Outside::Table => match builtin::library(&path.join(".")) {
                // The modules of scripts, whose functions are compiled.
                Some(library) => Operand::Library(library),
                None => Operand::Table(path),
            },
            Outside::Float => return self.error(at, Problem::Float("this variable of the script")),
            Outside::Other(what) => {
                let problem = Problem::Unsupported {
                    what: format!(
                        "'{}' is {what}, which has no place in the kernel",
                        short(&path.join("."))
                    ),
                    remedy: "use numbers, strings, booleans, maps, and tables of constants",
                };
                return self.error(at, problem);
            }
        })
    }

    fn field(&self, of: &Expression, name: &str, name_at: &Range<usize>) -> Checked<Operand> {
        let whole = self.operand(of)?;
        let (base, offset, composite) = match whole {
            Operand::Library(library) => {
                let near = || similar(name, builtin::functions_of(library));
                return match Builtin::find(Some(library), name) {
                    Some(function) => Ok(Operand::Function(function)),
                    None => self.error(
                        name_at,
                        Problem::UnknownName {
                            name: format!("{library}.{name}").chars().take(80).collect(),
                            near: near(),
                        },
                    ),
                };
            }
            Operand::Value(Value {
                kind: Kind::Header(layer, base),
                ..
            }) => {
                // Each header may be read for the place of the next one, so that chains grow.
                if base.size() > MOST_NODES {
                    return self.error(name_at, Problem::TooLarge(MOST_NODES));
                }
                return match layer.member(&base, name) {
                    Some(member) => Ok(Operand::Value(member)),
                    None => self.error(
                        name_at,
                        Problem::NoSuchField {
                            of: layer.words(),
                            name: short(name),
                            near: near_or_all(name, layer.names()),
                        },
                    ),
                };
            }
            Operand::Value(Value {
                kind: Kind::Context, ..
            }) => {
                let Some(offset) = context::field(name) else {
                    let problem = Problem::NoSuchField {
                        of: "the packet's context",
                        name: short(name),
                        near: near_or_all(name, context::names()),
                    };
                    return self.error(name_at, problem);
                };
                let bytes = context::BYTES;
                let number = Number {
                    bytes,
                    signed: false,
                    natural: true,
                    form: Form::Plain,
                };
                return Ok(Operand::Value(Value::number(Node::Context { offset, bytes }, number)));
            }
            Operand::Table(mut path) => {
                path.push(name.to_owned());
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                return match self.environment.and_then(|environment| environment.find(&names)) {
                    Some(found) => self.outside(found, path, name_at),
                    None => {
                        let name = short(&path.join("."));
                        self.error(name_at, Problem::UnknownInScript { name, near: Vec::new() })
                    }
                };
            }
            Operand::Place {
                base,
                offset,
                meaning: Meaning::Struct(id),
            } => (base, offset, id),
            Operand::Value(Value {
                kind: Kind::Pointer(base, target),
                ..
            }) if matches!(meaning(self.btf, target), Meaning::Struct(_)) => (base, 0, target),
            other => return self.error(name_at, Problem::NoFields(self.words_of(&other))),
        };
        let Some(found) = kernel::member(self.btf, composite, name) else {
            return self.error(
                name_at,
                Problem::UnknownField {
                    of: kernel::name_of(self.btf, composite),
                    name: name.chars().take(80).collect(),
                    near: kernel::near(self.btf, composite, name),
                },
            );
        };
        Ok(self.member(base, offset, found))
    }

    /// Returns what a member stands for.
    fn member(&self, base: Node, offset: i64, member: Found) -> Operand {
        let bits = member.bits.map(|width| (0, width));
        self.at(base, offset, member.bit_offset, member.type_id, bits)
    }

    /// Returns what memory stands for. `bits`: of a bit-field, where it begins behind the bit, and how wide it is.
    fn at(&self, base: Node, offset: i64, bit: u64, type_id: u32, bits: Option<(u32, u8)>) -> Operand {
        let byte = |bit: u64| offset.saturating_add((bit / 8).cast_signed());
        let here = byte(bit);
        match meaning(self.btf, type_id) {
            Meaning::Integer(integer) => {
                let bits = bits.or(integer.bits);
                let (load, offset) = match bits {
                    None => (
                        Load {
                            bytes: integer.bytes,
                            signed: integer.signed,
                            around: None,
                        },
                        here,
                    ),
                    Some((start, width)) => match bit_field(bit + u64::from(start), width, integer.signed) {
                        Some((load, first)) => (load, offset.saturating_add(first.cast_signed())),
                        None => return wide_bit_field(base, offset),
                    },
                };
                let mut number = Number::of(integer);
                number.natural |= bits.is_some_and(|(_, width)| width < 64) && !integer.signed;
                Operand::Value(Value::number(loaded(base, offset, load), number))
            }
            Meaning::Boolean => {
                let load = match bits {
                    None => Some((Load::unsigned(1), here)),
                    Some((start, width)) => bit_field(bit + u64::from(start), width, false)
                        .map(|(load, first)| (load, offset.saturating_add(first.cast_signed()))),
                };
                match load {
                    Some((load, offset)) => {
                        let node = loaded(base, offset, load);
                        Operand::Value(Value::boolean(crate::value::is_not_zero(node)))
                    }
                    None => wide_bit_field(base, offset),
                }
            }
            Meaning::Pointer(target) => Operand::Value(Value::pointer(loaded(base, here, Load::unsigned(8)), target)),
            Meaning::String => Operand::Value(Value::memory(Memory {
                base: loaded(base, here, Load::unsigned(8)),
                offset: 0,
                shape: Shape::String,
            })),
            Meaning::Characters(count) => Operand::Value(Value::memory(Memory {
                base,
                offset: here,
                shape: if count == 0 {
                    Shape::String
                } else {
                    Shape::Characters(count)
                },
            })),
            meaning @ (Meaning::Array(..) | Meaning::Struct(_) | Meaning::Other(_)) => Operand::Place {
                base,
                offset: here,
                meaning,
            },
        }
    }

    fn index(&self, of: &Expression, index: &Expression, at: &Range<usize>) -> Checked<Operand> {
        // For names that are words of Lua: skb["end"].
        if let ExpressionKind::Text(name) = &index.kind {
            return self.field(of, &String::from_utf8_lossy(name), &index.at);
        }
        let whole = self.operand(of)?;
        if let Operand::Map(map) = &whole {
            return Ok(Operand::Value(element::value(self.element(map, index, at)?)));
        }
        let (position, _) = self.number(index)?;
        match whole {
            Operand::Value(Value {
                kind: Kind::Header(_, base),
                ..
            }) => Ok(Operand::Value(packet::byte(&packet::add(&base, position)))),
            Operand::Place {
                base,
                offset,
                meaning: Meaning::Array(element, size, count),
            } => {
                let Node::Number(position) = position else {
                    return self.error(&index.at, Problem::VariableIndex);
                };
                // A flexible array has no count.
                let last = if count == 0 { u32::MAX } else { count };
                match u32::try_from(position).ok().filter(|position| *position < last) {
                    Some(position) => {
                        let bit = 8 * u64::from(size) * u64::from(position);
                        Ok(self.at(base, offset, bit, element, None))
                    }
                    None => self.error(&index.at, Problem::Index(count)),
                }
            }
            Operand::Value(Value {
                kind: Kind::Pointer(base, target),
                ..
            }) if target != 0 => {
                let Some(size) = self.btf.size_of(target).and_then(|size| i64::try_from(size).ok()) else {
                    return self.error(at, Problem::NoElements("a pointer to an unknown type".to_owned()));
                };
                let distance = fold(Operation::Multiply, position, Node::Number(size));
                Ok(match distance {
                    Node::Number(distance) => self.at(base, distance, 0, target, None),
                    distance => self.at(fold(Operation::Add, base, distance), 0, 0, target, None),
                })
            }
            // A character is its byte.
            Operand::Value(Value {
                kind:
                    Kind::Memory(Memory {
                        base,
                        offset,
                        shape: shape @ (Shape::Characters(_) | Shape::String),
                    }),
                ..
            }) => {
                let number = Number {
                    bytes: 1,
                    signed: false,
                    natural: true,
                    form: Form::Plain,
                };
                let (base, offset) = match (position, shape) {
                    (Node::Number(position), Shape::Characters(count))
                        if !(0..i64::from(count)).contains(&position) =>
                    {
                        return self.error(&index.at, Problem::Index(count));
                    }
                    (Node::Number(position), _) => (base, offset.saturating_add(position)),
                    (_, Shape::Characters(_)) => return self.error(&index.at, Problem::VariableIndex),
                    (position, _) => (fold(Operation::Add, base, position), offset),
                };
                let node = loaded(base, offset, Load::unsigned(1));
                Ok(Operand::Value(Value::number(node, number)))
            }
            other => self.error(at, Problem::NoElements(self.words_of(&other))),
        }
    }

    fn unary(&self, operator: Unary, inner: &Expression) -> Checked<Value> {
        Ok(match operator {
            Unary::Not => Value::boolean(self.tested(inner)?.truth.not()),
            Unary::Negate => {
                let (node, _) = self.number(inner)?;
                let node = match node {
                    Node::Number(value) => Node::Number(value.wrapping_neg()),
                    node => Node::Negate(Box::new(node)),
                };
                Value::number(node, PLAIN)
            }
            Unary::Invert => {
                let (node, _) = self.number(inner)?;
                Value::number(fold(Operation::Xor, node, Node::Number(-1)), PLAIN)
            }
            Unary::Length => match self.value(inner)?.kind {
                Kind::Constant(text) => Value::number(Node::Number(i64::try_from(text.len()).unwrap_or(0)), PLAIN),
                kind => {
                    let found = self.words(&kind);
                    return self.mismatch(&inner.at, found, "a string", "only constants have a length here");
                }
            },
        })
    }

    fn binary(&self, operator: Binary, left: &Expression, right: &Expression, at: &Range<usize>) -> Checked<Value> {
        let compare = |compare| self.compare(compare, left, right, at);
        let operation = match operator {
            Binary::Equal => return compare(Compare::Equal),
            Binary::NotEqual => return compare(Compare::NotEqual),
            Binary::Less => return compare(Compare::Less),
            Binary::LessOrEqual => return compare(Compare::LessOrEqual),
            Binary::Greater => return compare(Compare::Greater),
            Binary::GreaterOrEqual => return compare(Compare::GreaterOrEqual),
            Binary::Join => return self.join(left, right),
            Binary::FloatDivide => return self.error(at, Problem::Float("'/'")),
            Binary::Power => return self.error(at, Problem::Float("'^'")),
            Binary::Add => Operation::Add,
            Binary::Subtract => Operation::Subtract,
            Binary::Multiply => Operation::Multiply,
            Binary::Divide => Operation::Divide,
            Binary::Modulo => Operation::Modulo,
            Binary::BitAnd => Operation::And,
            Binary::BitOr => Operation::Or,
            Binary::BitXor => Operation::Xor,
            Binary::ShiftLeft => Operation::ShiftLeft,
            Binary::ShiftRight => Operation::ShiftRight,
        };
        // So is a place in a packet: udp.data + 12.
        if operation == Operation::Add
            && self.environment.is_some()
            && let Operand::Value(Value {
                kind: Kind::Header(_, base),
                ..
            }) = self.operand(left)?
        {
            let (distance, _) = self.number(right)?;
            return Ok(packet::header(Layer::Data, packet::add(&base, distance)));
        }
        // An address and a distance in bytes are an address: skb.head + skb.network_header.
        if matches!(operation, Operation::Add | Operation::Subtract)
            && let Operand::Value(Value {
                kind: Kind::Pointer(base, target),
                ..
            }) = self.operand(left)?
        {
            if !matches!(self.btf.size_of(target), None | Some(1)) {
                let found = format!("a pointer to {}", kernel::name_of(self.btf, target));
                return self.mismatch(&left.at, found, "an integer", "only pointers to bytes can be added to");
            }
            let (distance, _) = self.number(right)?;
            return Ok(Value::pointer(fold(operation, base, distance), target));
        }
        let ((left_node, left_number), (right_node, right_number)) = (self.number(left)?, self.number(right)?);
        self.arithmetic(
            operation,
            (left_node, left_number),
            (right_node, right_number),
            &right.at,
        )
    }

    /// Computes with two numbers.
    pub(crate) fn arithmetic(
        &self,
        operation: Operation,
        (left, left_number): (Node, Number),
        (right, right_number): (Node, Number),
        right_at: &Range<usize>,
    ) -> Checked<Value> {
        let natural = left_number.natural && right_number.natural;
        if matches!(operation, Operation::Divide | Operation::Modulo) && right == Node::Number(0) {
            return self.error(right_at, Problem::Zero);
        }
        let operation = match operation {
            Operation::Divide if natural => Operation::PlainDivide,
            Operation::Modulo if natural => Operation::PlainModulo,
            other => other,
        };
        let natural = match operation {
            Operation::And => left_number.natural || right_number.natural,
            Operation::PlainDivide | Operation::PlainModulo | Operation::Or | Operation::Xor => natural,
            Operation::Modulo => right_number.natural && matches!(right, Node::Number(1..)),
            Operation::Least => natural,
            Operation::Greatest => left_number.natural || right_number.natural,
            // A natural number may be of 63 bits, and wrap.
            _ => false,
        };
        let form = match (left_number.form, right_number.form) {
            // Masks of what is in network order stay so.
            (Form::Network, _) | (_, Form::Network)
                if matches!(operation, Operation::And | Operation::Or | Operation::Xor) =>
            {
                Form::Network
            }
            _ => Form::Plain,
        };
        let number = match form {
            Form::Network => Number {
                natural,
                form,
                ..if left_number.form == Form::Network {
                    left_number
                } else {
                    right_number
                }
            },
            _ => Number { natural, ..PLAIN },
        };
        Ok(Value::number(fold(operation, left, right), number))
    }

    fn join(&self, left: &Expression, right: &Expression) -> Checked<Value> {
        let constant = |expression: &Expression| match self.value(expression)?.kind {
            Kind::Constant(text) => Ok(text),
            Kind::Number(Node::Number(value), _) => Ok(value.to_string().into_bytes()),
            kind => self.mismatch(
                &expression.at,
                self.words(&kind),
                "a string",
                "only constants can be joined",
            ),
        };
        let mut text = constant(left)?;
        text.extend(constant(right)?);
        Ok(Value::constant(text))
    }

    fn or(&self, left: &Expression, right: &Expression) -> Checked<Value> {
        let at = right.at.clone();
        let (left, right) = (self.tested(left)?, self.value(right)?);
        if left.truth == Condition::Constant(true) {
            return Ok(left);
        }
        if left.truth == Condition::Constant(false) {
            return Ok(right);
        }
        let truth = left.truth.clone().or(right.truth.clone());
        // Behind the test, an element is there.
        let left_kind = match left.kind {
            Kind::Element(node, number) => Kind::Number(node, number),
            kind => kind,
        };
        let choose = |a: Node, b: Node| Node::Select(Box::new(left.truth.clone()), Box::new(a), Box::new(b));
        let kind = match (left_kind, right.kind) {
            (Kind::Number(a, left_number), Kind::Element(b, right_number)) => {
                Kind::Element(choose(a, b), left_number.join(right_number))
            }
            (Kind::Boolean, Kind::Boolean | Kind::Nil) => Kind::Boolean,
            // Only the truth of the right side matters if it is false or nil.
            (kind, _) if right.truth == Condition::Constant(false) => kind,
            (Kind::Number(a, left_number), Kind::Number(b, right_number)) => {
                // `c and skb.len or 0` is what `skb.len` is.
                let number = match (&a, &b) {
                    (_, Node::Number(value)) if fits(*value, left_number) => left_number,
                    (Node::Number(value), _) if fits(*value, right_number) => right_number,
                    _ => left_number.join(right_number),
                };
                let number = Number {
                    natural: left_number.natural && right_number.natural,
                    ..number
                };
                Kind::Number(choose(a, b), number)
            }
            (Kind::Pointer(a, target), Kind::Pointer(b, other)) => {
                Kind::Pointer(choose(a, b), if target == other { target } else { 0 })
            }
            (left, right) => {
                let problem = Problem::Unsupported {
                    what: format!("this is {} or {}", self.words(&left), self.words(&right)),
                    remedy: "both sides of 'or' must be numbers, pointers, or conditions",
                };
                return self.error(&at, problem);
            }
        };
        Ok(Value { truth, kind })
    }
}

/// Shortens a name for a message.
fn short(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Returns the names that are like one, or all if none is.
fn near_or_all(name: &str, all: impl Iterator<Item = &'static str>) -> Vec<String> {
    let all: Vec<&str> = all.collect();
    let near = similar(name, all.iter().copied());
    match near.is_empty() {
        true => all.iter().map(|name| (*name).to_owned()).collect(),
        false => near,
    }
}

impl Load {
    pub(crate) fn unsigned(bytes: u8) -> Load {
        Load {
            bytes,
            signed: false,
            around: None,
        }
    }
}

fn loaded(base: Node, offset: i64, load: Load) -> Node {
    Node::Load {
        base: Box::new(base),
        offset,
        load,
    }
}

/// Computes what is constant.
pub(crate) fn fold(operation: Operation, left: Node, right: Node) -> Node {
    match (&left, &right) {
        (Node::Number(a), Node::Number(b)) => Node::Number(operation.of(*a, *b)),
        _ => Node::Binary(operation, Box::new(left), Box::new(right)),
    }
}

/// Returns whether a number is one of a field's.
fn fits(value: i64, number: Number) -> bool {
    let bits = 8 * u32::from(number.bytes);
    match number.signed {
        _ if bits >= 64 => number.signed || value >= 0,
        true => (-(1_i64 << (bits - 1))..1_i64 << (bits - 1)).contains(&value),
        false => (0..1_i64 << bits).contains(&value),
    }
}

/// A bit-field that no load reads whole.
fn wide_bit_field(base: Node, offset: i64) -> Operand {
    Operand::Place {
        base,
        offset,
        meaning: Meaning::Other("a bit-field across more than 8 bytes".to_owned()),
    }
}

/// Returns how to load a bit-field, and the first byte; none if it touches more than 8 bytes.
///
/// The bytes are those of an aligned integer, as the compiler's own loads: more might be behind the end of the memory.
fn bit_field(bit: u64, width: u8, signed: bool) -> Option<(Load, u64)> {
    for bytes in [1_u8, 2, 4, 8] {
        let bits = 8 * u64::from(bytes);
        let start = bit / bits * bits;
        let inside = bit - start;
        if inside + u64::from(width) <= bits && width > 0 {
            let (low, high) = (inside, bits - inside - u64::from(width));
            // BTF counts from the least significant bit on little-endian machines, from the most significant on others.
            let (low, high) = if cfg!(target_endian = "little") {
                (low, high)
            } else {
                (high, low)
            };
            let load = Load {
                bytes,
                signed,
                around: Some((u8::try_from(high).ok()?, u8::try_from(low).ok()?)),
            };
            return Some((load, start / 8));
        }
    }
    None
}
