//! Checks the statements of a function: variables, loops with a bound, and what it returns. Imports `check` and what it
//! is made of.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::ast::{Block, Expression, ExpressionKind, Statement, StatementKind};
use crate::check::{Checked, Checker, Variable};
use crate::element::ADD;
use crate::error::Problem;
use crate::field::{self, Field, as_number};
use crate::ir::{Compare, Condition, Node, Operation, Step, Steps};
use crate::value::{Kind, Memory, Number, PLAIN, Value, is_not_zero};

/// The most turns of a loop: the verifier walks through each.
pub(crate) const MOST_TURNS: u64 = 256;

/// The results of a function that fills fields: wanted or not, as of an extension in C.
const WANTED: i64 = 0;
const UNWANTED: i64 = 1;
/// The result of a socket's program: no bytes of the packet are kept for the socket.
const NOTHING: i64 = 0;

/// A checker of a function's body.
pub(crate) struct Body<'a> {
    pub(crate) checker: Checker<'a>,
    /// Variables that are assigned a value after they were made: their range is not known.
    assigned: BTreeSet<String>,
    /// Slots that are in use.
    used: usize,
    loops: usize,
    /// The most bytes of its fields.
    most: u32,
    /// What the function returns.
    pub(crate) fields: Option<Vec<Field>>,
}

impl<'a> Body<'a> {
    pub(crate) fn new(checker: Checker<'a>, block: &Block, most: u32) -> Body<'a> {
        let mut assigned = BTreeSet::new();
        find_assigned(block, &mut assigned);
        Body {
            checker,
            assigned,
            used: 0,
            loops: 0,
            most,
            fields: None,
        }
    }

    /// Checks a function's body. Where it ends without a result, the result is nil.
    pub(crate) fn function(&mut self, block: &Block, end: usize) -> Checked<Steps> {
        let mut steps = self.block(block)?;
        let result = match self.checker.environment {
            Some(_) => NOTHING,
            None => UNWANTED,
        };
        steps.push((end, Step::Return(Node::Number(result))));
        Ok(steps)
    }

    fn slot(&mut self) -> usize {
        self.used += 1;
        self.checker.slots = self.checker.slots.max(self.used);
        self.used - 1
    }

    fn block(&mut self, block: &Block) -> Checked<Steps> {
        self.scope(|body| body.open_block(block))
    }

    /// Checks what has variables of its own.
    fn scope<T>(&mut self, inner: impl FnOnce(&mut Self) -> Checked<T>) -> Checked<T> {
        let (variables, used) = (self.checker.variables.len(), self.used);
        let result = inner(self);
        self.checker.variables.truncate(variables);
        self.used = used;
        result
    }

    /// Checks statements whose variables stay.
    fn open_block(&mut self, block: &Block) -> Checked<Steps> {
        let mut steps = Steps::new();
        for statement in block {
            self.statement(statement, &mut steps)?;
        }
        Ok(steps)
    }

    fn statement(&mut self, statement: &Statement, steps: &mut Steps) -> Checked<()> {
        let start = statement.at.start;
        match &statement.kind {
            StatementKind::Local(names, values) => {
                let values = self.values(names.len(), values, &statement.at)?;
                for ((name, at), value) in names.iter().zip(values) {
                    let variable = self.variable(name, at, value, steps)?;
                    self.checker.variables.push(variable);
                }
            }
            StatementKind::Assign(targets, values) => self.assign(targets, values, &statement.at, steps)?,
            StatementKind::Call(call) => {
                let step = self.call(call)?;
                steps.push((start, step));
            }
            StatementKind::If(cases, otherwise) => {
                let mut whole = self.block(otherwise)?;
                for (condition, then) in cases.iter().rev() {
                    let at = condition.at.start;
                    let condition = self.checker.condition(condition)?;
                    let then = self.block(then)?;
                    whole = vec![(at, Step::If(condition, then, whole))];
                }
                steps.extend(whole);
            }
            StatementKind::For {
                name,
                start: first,
                stop,
                step,
                body,
            } => {
                let parts = (first, stop, step.as_ref());
                self.scope(|inner| inner.count(name, parts, body, start, steps))?;
            }
            StatementKind::While(condition, body) => {
                let test = self.checker.condition(condition)?;
                self.scope(|inner| {
                    let counter = inner.slot();
                    let body = inner.turn(body)?;
                    steps.push((start, repeated(MOST_TURNS, counter, test, body, false)));
                    Ok(())
                })?;
            }
            StatementKind::Repeat(body, condition) => self.scope(|inner| {
                let counter = inner.slot();
                inner.loops += 1;
                let body = inner.open_block(body);
                inner.loops -= 1;
                let body = body?;
                let test = inner.checker.condition(condition)?.not();
                steps.push((start, repeated(MOST_TURNS, counter, test, body, true)));
                Ok(())
            })?,
            StatementKind::Do(block) => steps.extend(self.block(block)?),
            StatementKind::Break => {
                if self.loops == 0 {
                    let problem = Problem::Unsupported {
                        what: "there is no loop to end here".to_owned(),
                        remedy: "remove 'break', or write 'return'",
                    };
                    return self.checker.error(&statement.at, problem);
                }
                steps.push((start, Step::Break));
            }
            StatementKind::Return(value) => self.result(value.as_ref(), &statement.at, steps)?,
        }
        Ok(())
    }

    /// Checks a call whose value is not used.
    fn call(&mut self, call: &Expression) -> Checked<Step> {
        if let ExpressionKind::Call(function, arguments) = &call.kind
            && self.checker.environment.is_some()
            && self.checker.is_builtin(function, ADD)
        {
            return self.checker.add_to(arguments, &call.at);
        }
        let problem = Problem::Unsupported {
            what: "a call whose value is not used does nothing".to_owned(),
            remedy: "assign its value, or return it",
        };
        self.checker.error(&call.at, problem)
    }

    fn values(&self, count: usize, values: &[Expression], at: &Range<usize>) -> Checked<Vec<Value>> {
        if values.len() != count {
            let problem = Problem::Unsupported {
                what: format!("{count} variables and {} values", values.len()),
                remedy: "give each variable a value",
            };
            return self.checker.error(at, problem);
        }
        values.iter().map(|value| self.checker.value(value)).collect()
    }

    /// Makes a variable.
    fn variable(&mut self, name: &str, at: &Range<usize>, value: Value, steps: &mut Steps) -> Checked<Variable> {
        let assigned = self.assigned.contains(name);
        let always = value.truth == Condition::Constant(true);
        let (node, value_of): (Node, Box<dyn Fn(Node) -> Value>) = match value.kind {
            Kind::Boolean => (
                as_number(value.truth),
                Box::new(|slot| Value::boolean(is_not_zero(slot))),
            ),
            Kind::Number(..) if !always => return self.checker.error(at, Problem::MaybeNothing),
            Kind::Number(node, number) => {
                let number = match assigned {
                    true => Number {
                        form: number.form,
                        ..PLAIN
                    },
                    false => number,
                };
                (node, Box::new(move |slot| Value::number(slot, number)))
            }
            Kind::Pointer(node, target) => (node, Box::new(move |slot| Value::pointer(slot, target))),
            Kind::Constant(_) | Kind::Memory(_) if assigned || !always => {
                let problem = Problem::Unsupported {
                    what: "a variable with text cannot be assigned another one, and is no choice".to_owned(),
                    remedy: "use the field where it is needed",
                };
                return self.checker.error(at, problem);
            }
            kind @ Kind::Constant(_) => {
                let value = Value {
                    truth: Condition::Constant(true),
                    kind,
                };
                return Ok(Variable {
                    name: name.to_owned(),
                    value,
                    slot: None,
                });
            }
            Kind::Memory(memory) => {
                let (offset, shape) = (memory.offset, memory.shape);
                let value = Box::new(move |base| Value::memory(Memory { base, offset, shape }));
                (memory.base, value)
            }
            kind @ Kind::Context => {
                return Ok(Variable {
                    name: name.to_owned(),
                    value: Value::always(kind),
                    slot: None,
                });
            }
            // The offsets of what is at a constant place are parts of the instructions.
            kind @ Kind::Header(_, Node::Number(_)) if !assigned => {
                return Ok(Variable {
                    name: name.to_owned(),
                    value: Value::always(kind),
                    slot: None,
                });
            }
            Kind::Header(layer, node) => (node, Box::new(move |slot| Value::always(Kind::Header(layer, slot)))),
            // Whether it was there, and what it was.
            Kind::Element(node, number) => {
                let (present, slot) = (self.slot(), self.slot());
                steps.push((at.start, Step::Set(present, as_number(value.truth))));
                steps.push((at.start, Step::Set(slot, node)));
                return Ok(Variable {
                    name: name.to_owned(),
                    value: Value {
                        truth: is_not_zero(Node::Local(present)),
                        kind: Kind::Element(Node::Local(slot), number),
                    },
                    slot: None,
                });
            }
            Kind::Nil => {
                let remedy = "give the variable a value of the kind that it will have";
                return self.checker.mismatch(at, "nil".to_owned(), "a value", remedy);
            }
        };
        let slot = self.slot();
        steps.push((at.start, Step::Set(slot, node)));
        Ok(Variable {
            name: name.to_owned(),
            value: value_of(Node::Local(slot)),
            slot: Some(slot),
        })
    }

    fn assign(
        &mut self,
        targets: &[Expression],
        values: &[Expression],
        at: &Range<usize>,
        steps: &mut Steps,
    ) -> Checked<()> {
        if let ([target], [value]) = (targets, values)
            && let Some((map, key)) = self.checker.as_element(target)?
        {
            let step = self.checker.put(&map, target, key, value)?;
            steps.push((at.start, step));
            return Ok(());
        }
        let values = self.values(targets.len(), values, at)?;
        let mut set = Vec::new();
        for (target, value) in targets.iter().zip(values) {
            let ExpressionKind::Name(name) = &target.kind else {
                if self.checker.as_element(target)?.is_some() {
                    let problem = Problem::Unsupported {
                        what: "elements of maps change one after the other".to_owned(),
                        remedy: "write an assignment for each",
                    };
                    return self.checker.error(at, problem);
                }
                let problem = Problem::Unsupported {
                    what: "the kernel's memory is only read".to_owned(),
                    remedy: "assign to a local variable",
                };
                return self.checker.error(&target.at, problem);
            };
            let variables = self.checker.variables.iter().rev();
            let Some(variable) = variables.clone().find(|variable| variable.name == *name).cloned() else {
                if self.checker.environment.is_some() {
                    let problem = Problem::Unsupported {
                        what: format!("'{name}' is no local variable of this function, so it cannot be changed"),
                        remedy: "keep what both sides see in a map",
                    };
                    return self.checker.error(&target.at, problem);
                }
                let problem = Problem::Unsupported {
                    what: format!("there is no variable '{name}'"),
                    remedy: "make it: local NAME = VALUE",
                };
                return self.checker.error(&target.at, problem);
            };
            let always = value.truth == Condition::Constant(true);
            let node = match (&variable.value.kind, value.kind) {
                (Kind::Boolean, Kind::Boolean) => as_number(value.truth),
                (Kind::Number(..), Kind::Number(..)) if !always => {
                    return self.checker.error(at, Problem::MaybeNothing);
                }
                (Kind::Number(_, had), Kind::Number(node, number)) if had.form == number.form => node,
                (Kind::Pointer(_, had), Kind::Pointer(node, target)) if *had == target => node,
                (Kind::Header(had, _), Kind::Header(layer, node)) if *had == layer => node,
                (had, kind) => {
                    let (had, found) = (self.checker.words(had), self.checker.words(&kind));
                    let name = name.clone();
                    return self.checker.error(at, Problem::Assigned { name, had, found });
                }
            };
            let Some(slot) = variable.slot else {
                let problem = Problem::Unsupported {
                    what: format!("'{name}' cannot be assigned another value"),
                    remedy: "use another variable",
                };
                return self.checker.error(&target.at, problem);
            };
            set.push((slot, node));
        }
        if let [(slot, node)] = set.as_slice() {
            steps.push((at.start, Step::Set(*slot, node.clone())));
            return Ok(());
        }
        // All values are computed before a variable changes.
        self.scope(|body| {
            let places: Vec<usize> = set.iter().map(|_| body.slot()).collect();
            for (place, (_, node)) in places.iter().zip(&set) {
                steps.push((at.start, Step::Set(*place, node.clone())));
            }
            for (place, (slot, _)) in places.iter().zip(&set) {
                steps.push((at.start, Step::Set(*slot, Node::Local(*place))));
            }
            Ok(())
        })
    }

    fn turn(&mut self, block: &Block) -> Checked<Steps> {
        self.loops += 1;
        let body = self.block(block);
        self.loops -= 1;
        body
    }

    fn count(
        &mut self,
        name: &str,
        (first, stop, step): (&Expression, &Expression, Option<&Expression>),
        block: &Block,
        start: usize,
        steps: &mut Steps,
    ) -> Checked<()> {
        let (from, from_number) = self.checker.number(first)?;
        let (to, to_number) = self.checker.number(stop)?;
        let by = match step {
            None => 1,
            Some(step) => match self.checker.number(step)?.0 {
                Node::Number(0) => return self.checker.error(&step.at, Problem::Zero),
                Node::Number(by) => by,
                _ => {
                    let problem = Problem::Unsupported {
                        what: "the step of a loop must be a constant".to_owned(),
                        remedy: "write a number",
                    };
                    return self.checker.error(&step.at, problem);
                }
            },
        };
        let bound = match (&to, by > 0) {
            (Node::Number(bound), _) => Some(*bound),
            (Node::Binary(Operation::Least, _, right), true) | (Node::Binary(Operation::Greatest, _, right), false) => {
                constant(right)
            }
            _ => None,
        };
        let (Some(low), Some(high)) = (constant(&from), bound) else {
            return self.checker.error(&stop.at, Problem::Unbounded);
        };
        let distance = i128::from(high) - i128::from(low);
        let turns = match distance == 0 || (distance > 0) == (by > 0) {
            true => 1 + distance.unsigned_abs() / u128::from(by.unsigned_abs()),
            false => 0,
        };
        let turns = u64::try_from(turns).unwrap_or(u64::MAX);
        if turns > MOST_TURNS {
            return self.checker.error(&stop.at, Problem::Turns(turns, MOST_TURNS));
        }
        let is_exact = matches!(to, Node::Number(_));
        let (counter, index, last) = (self.slot(), self.slot(), self.slot());
        let number = Number {
            natural: from_number.natural && by > 0 || to_number.natural && by < 0,
            ..PLAIN
        };
        self.checker.variables.push(Variable {
            name: name.to_owned(),
            value: Value::number(Node::Local(index), number),
            slot: None,
        });
        let body = self.turn(block)?;
        if turns == 0 {
            return Ok(());
        }
        steps.push((start, Step::Set(index, from)));
        let condition = match is_exact {
            true => Condition::Constant(true),
            false => {
                steps.push((start, Step::Set(last, to)));
                let compare = if by > 0 {
                    Compare::LessOrEqual
                } else {
                    Compare::GreaterOrEqual
                };
                Condition::Compare(compare, Box::new(Node::Local(index)), Box::new(Node::Local(last)))
            }
        };
        let next = Node::Binary(Operation::Add, Box::new(Node::Local(index)), Box::new(Node::Number(by)));
        let advance = vec![(start, Step::Set(index, next))];
        let step = match repeated(turns, counter, condition, body, false) {
            Step::Loop {
                turns,
                counter,
                condition,
                body,
                tested_last,
                ..
            } => Step::Loop {
                turns,
                counter,
                condition,
                body,
                advance,
                tested_last,
            },
            other => other,
        };
        steps.push((start, step));
        Ok(())
    }

    /// Checks the result of a socket's program: how many bytes of the packet the socket keeps.
    fn result_of_socket(&mut self, value: Option<&Expression>, at: &Range<usize>, steps: &mut Steps) -> Checked<()> {
        let node = match value {
            None => Node::Number(NOTHING),
            Some(value) => {
                let checked = self.checker.value(value)?;
                match checked.kind {
                    Kind::Nil => Node::Number(NOTHING),
                    Kind::Boolean => as_number(checked.truth),
                    _ => self.checker.number(value)?.0,
                }
            }
        };
        steps.push((at.start, Step::Return(node)));
        Ok(())
    }

    fn result(&mut self, value: Option<&Expression>, at: &Range<usize>, steps: &mut Steps) -> Checked<()> {
        if self.checker.environment.is_some() {
            return self.result_of_socket(value, at, steps);
        }
        let unwanted = (at.start, Step::Return(Node::Number(UNWANTED)));
        let Some(value) = value else {
            steps.push(unwanted);
            return Ok(());
        };
        let named = match &value.kind {
            ExpressionKind::Nil => {
                steps.push(unwanted);
                return Ok(());
            }
            ExpressionKind::Table(named) if !named.is_empty() => named,
            _ => {
                let found = match &value.kind {
                    ExpressionKind::Table(_) => "an empty table".to_owned(),
                    _ => "another value".to_owned(),
                };
                let remedy = "return { len = skb.len }, or nil to drop the event";
                return self.checker.mismatch(&value.at, found, "a table", remedy);
            }
        };
        let mut fields: Vec<Field> = Vec::new();
        for (name, name_at, value) in named {
            if fields.iter().any(|field| field.name == *name) {
                let problem = Problem::Unsupported {
                    what: format!("the table has two fields '{name}'"),
                    remedy: "rename one of them",
                };
                return self.checker.error(name_at, problem);
            }
            let checked = self.checker.value(value)?;
            steps.push(field::place(&self.checker, &mut fields, name, checked, &value.at)?);
            let needed = field::size(&fields);
            if needed > self.most {
                let most = self.most;
                return self.checker.error(&value.at, Problem::TooManyBytes { needed, most });
            }
        }
        steps.push((at.start, Step::Return(Node::Number(WANTED))));
        match &self.fields {
            Some(first) if *first != fields => {
                let problem = Problem::Unsupported {
                    what: "this table has other fields, or fields of other types, than the first one".to_owned(),
                    remedy: "return the same fields in the same order everywhere",
                };
                self.checker.error(&value.at, problem)
            }
            _ => {
                self.fields = Some(fields);
                Ok(())
            }
        }
    }
}

fn constant(node: &Node) -> Option<i64> {
    match node {
        Node::Number(value) => Some(*value),
        _ => None,
    }
}

fn repeated(turns: u64, counter: usize, condition: Condition, body: Steps, tested_last: bool) -> Step {
    Step::Loop {
        turns,
        counter,
        condition,
        body,
        advance: Steps::new(),
        tested_last,
    }
}

/// Adds the names of variables that are assigned a value.
fn find_assigned(block: &Block, into: &mut BTreeSet<String>) {
    for statement in block {
        match &statement.kind {
            StatementKind::Assign(targets, _) => {
                for target in targets {
                    if let ExpressionKind::Name(name) = &target.kind {
                        into.insert(name.clone());
                    }
                }
            }
            StatementKind::If(cases, otherwise) => {
                for (_, block) in cases {
                    find_assigned(block, into);
                }
                find_assigned(otherwise, into);
            }
            StatementKind::For { body, .. }
            | StatementKind::While(_, body)
            | StatementKind::Repeat(body, _)
            | StatementKind::Do(body) => find_assigned(body, into),
            StatementKind::Local(..) | StatementKind::Call(_) | StatementKind::Break | StatementKind::Return(_) => {}
        }
    }
}
