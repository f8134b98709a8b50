//! Generates the tests of a filter from its syntax tree. Imports `ast`, `error`, `graph`, `names` and the modules of
//! the layers: `link`, `network`, `transport`, `relation` and `tunnel`.
//!
//! A primitive such as `vlan` moves the offsets of everything to its right, whatever connects them, as in libpcap. So
//! the tree is walked in the order in which it was written.

use super::ast::{Connective, Kind, Node, Primitive, Protocol, Qualifiers, Span, Value};
use super::error::{FilterError, Problem};
use super::graph::{self, Load, ValueId};
use super::graph::{Branch, Compare, Graph, MOST, Operand, Target, Test, Values};
use super::link::Layers;
use super::names::Names;

/// A condition on a frame. Its depth is that of the syntax tree, and a few more.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Test(Test),
    Not(Box<Condition>),
    /// All of them, tested from the left.
    All(Vec<Condition>),
    /// One of them, tested from the left.
    Any(Vec<Condition>),
    /// Both connectives, applied from the left.
    Chain(Box<Condition>, Vec<(Connective, Condition)>),
}

impl Condition {
    pub(super) fn not(self) -> Condition {
        Condition::Not(Box::new(self))
    }
}

/// Generates the filter of a tree; without one, every packet matches. Also returns whether it looks at VLAN tags.
pub(super) fn generate(expression: &str, node: Option<&Node>, names: &dyn Names) -> Result<(Graph, bool), FilterError> {
    let mut generator = Generator {
        expression,
        names,
        values: Values::default(),
        layers: Layers::default(),
        at: 0..expression.len(),
        has_vlan: false,
    };
    let condition = node.map(|node| generator.node(node)).transpose()?;
    let Generator { values, has_vlan, .. } = generator;
    let mut emitter = Emitter { branches: Vec::new() };
    let start = match &condition {
        Some(condition) => emitter.emit(condition, Target::Match, Target::NoMatch),
        None => Target::Match,
    };
    if emitter.branches.len() > MOST || values.len() > MOST {
        let problem = Problem::TooLarge(MOST, "tests");
        return Err(FilterError::new(expression, 0..expression.len(), problem));
    }
    Ok((emitter.finish(values, start), has_vlan))
}

/// Emits tests from the last one to the first, so that the targets of each are known.
struct Emitter {
    branches: Vec<Branch>,
}

impl Emitter {
    /// Returns where to go for the condition.
    fn emit(&mut self, condition: &Condition, yes: Target, no: Target) -> Target {
        match condition {
            Condition::Test(test) => {
                self.branches.push(Branch { test: *test, yes, no });
                Target::Branch(self.branches.len() - 1)
            }
            Condition::Not(condition) => self.emit(condition, no, yes),
            Condition::All(all) => all.iter().rev().fold(yes, |next, each| self.emit(each, next, no)),
            Condition::Any(any) => any.iter().rev().fold(no, |next, each| self.emit(each, yes, next)),
            Condition::Chain(first, rest) => {
                let (mut yes, mut no) = (yes, no);
                for (connective, each) in rest.iter().rev() {
                    match connective {
                        Connective::And => yes = self.emit(each, yes, no),
                        Connective::Or => no = self.emit(each, yes, no),
                    }
                }
                self.emit(first, yes, no)
            }
        }
    }

    fn finish(mut self, values: Values, start: Target) -> Graph {
        let count = self.branches.len();
        let turned = |target| match target {
            Target::Branch(index) => Target::Branch(count - 1 - index),
            other => other,
        };
        self.branches.reverse();
        for branch in &mut self.branches {
            branch.yes = turned(branch.yes);
            branch.no = turned(branch.no);
        }
        Graph {
            values,
            branches: self.branches,
            start: turned(start),
        }
    }
}

pub(super) struct Generator<'a> {
    expression: &'a str,
    pub(super) names: &'a dyn Names,
    pub(super) values: Values,
    pub(super) layers: Layers,
    /// The primitive at hand, for messages.
    at: Span,
    pub(super) has_vlan: bool,
}

pub(super) type Generated = Result<Condition, FilterError>;

impl Generator<'_> {
    fn node(&mut self, node: &Node) -> Generated {
        Ok(match node {
            Node::Not(node) => self.node(node)?.not(),
            Node::Chain(first, rest) => {
                let first = self.node(first)?;
                let rest = rest
                    .iter()
                    .map(|(connective, node)| Ok((*connective, self.node(node)?)));
                Condition::Chain(Box::new(first), rest.collect::<Result<_, FilterError>>()?)
            }
            Node::Primitive(primitive, span) => {
                self.at = span.clone();
                self.primitive(primitive)?
            }
        })
    }

    fn primitive(&mut self, primitive: &Primitive) -> Generated {
        match primitive {
            Primitive::Value(qualifiers, value) => self.value(*qualifiers, value),
            Primitive::Protocol(protocol) => self.protocol(*protocol),
            Primitive::Relation(left, relation, right) => self.relation(left, *relation, right),
            Primitive::Broadcast(protocol) => self.broadcast(*protocol),
            Primitive::Multicast(protocol) => self.multicast(*protocol),
            Primitive::Less(length) => Ok(self.length(Compare::Greater, *length).not()),
            Primitive::Greater(length) => Ok(self.length(Compare::GreaterOrEqual, *length)),
            Primitive::Byte(index, test, value) => Ok(self.byte(*index, *test, *value)),
            Primitive::Vlan(id) => self.vlan(*id),
            Primitive::Mpls(label) => self.mpls(*label),
            Primitive::Pppoed => self.link_type(0x8863),
            Primitive::Pppoes(session) => self.pppoes(*session),
            Primitive::Geneve(vni) => self.geneve(*vni),
            Primitive::Vxlan(vni) => self.vxlan(*vni),
            Primitive::Llc(kind) => self.llc(*kind),
        }
    }

    fn value(&mut self, qualifiers: Qualifiers, value: &Value) -> Generated {
        match qualifiers.kind {
            Kind::Default | Kind::Host | Kind::Net => self.address(qualifiers, value),
            Kind::Port => self.port(qualifiers, value),
            Kind::PortRange => self.port_range(qualifiers, value),
            Kind::Proto => self.proto(qualifiers, value),
        }
    }

    fn length(&mut self, compare: Compare, than: u32) -> Condition {
        let left = self.values.add(graph::Value::Length);
        let right = Operand::Constant(than);
        Condition::Test(Test { left, compare, right })
    }

    // For the modules of the layers.

    /// Returns the error for the primitive at hand.
    pub(super) fn error(&self, problem: Problem) -> FilterError {
        FilterError::new(self.expression, self.at.clone(), problem)
    }

    pub(super) fn error_at(&self, at: &Span, problem: Problem) -> FilterError {
        FilterError::new(self.expression, at.clone(), problem)
    }

    /// Returns the error for a qualifier that does not apply to a value.
    pub(super) fn misapplied(&self, protocol: Protocol, value: &'static str, remedy: &'static str) -> FilterError {
        let qualifier = protocol.keyword();
        self.error(Problem::Qualifier {
            qualifier,
            value,
            remedy,
        })
    }

    pub(super) fn test(&self, left: ValueId, compare: Compare, right: u32) -> Condition {
        let right = Operand::Constant(right);
        Condition::Test(Test { left, compare, right })
    }

    pub(super) fn equal(&self, left: ValueId, right: u32) -> Condition {
        self.test(left, Compare::Equal, right)
    }

    /// Tests the bits of a value that are in the mask.
    pub(super) fn masked(&mut self, value: ValueId, mask: u32, right: u32) -> Condition {
        let whole = match self.values.get(value) {
            graph::Value::Load(load) | graph::Value::LoadAt(_, load) => load.maximum(),
            _ => u32::MAX,
        };
        let value = match mask & whole == whole {
            true => value,
            false => self.values.masked(value, mask),
        };
        self.equal(value, right)
    }

    /// Returns the bytes at an offset.
    pub(super) fn load(&mut self, at: Offset, plus: u32, size: u32) -> ValueId {
        let load = Load {
            offset: at.constant.saturating_add(plus),
            size,
        };
        match at.base {
            None => self.values.add(graph::Value::Load(load)),
            Some(base) => self.values.add(graph::Value::LoadAt(base, load)),
        }
    }
}

/// A place in the frame: a constant offset, plus a computed one behind headers of variable length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) base: Option<ValueId>,
    pub(super) constant: u32,
}

impl Offset {
    pub(super) fn plus(self, bytes: u32) -> Offset {
        Offset {
            constant: self.constant.saturating_add(bytes),
            ..self
        }
    }
}
