//! The tree of a source. Imports nothing.

use std::ops::Range;

/// An expression and its place.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) kind: ExpressionKind,
    pub(crate) at: Range<usize>,
    /// The number of expressions within each other here.
    pub(crate) depth: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum ExpressionKind {
    Nil,
    Boolean(bool),
    Integer(i64),
    Text(Vec<u8>),
    Name(String),
    /// A field, and the place of its name.
    Field(Box<Expression>, String, Range<usize>),
    Index(Box<Expression>, Box<Expression>),
    Call(Box<Expression>, Vec<Expression>),
    Unary(Unary, Box<Expression>),
    Binary(Binary, Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    /// Named values, in the order of the source, with the places of the names.
    Table(Vec<(String, Range<usize>, Expression)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unary {
    Not,
    Negate,
    Invert,
    Length,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    /// `//`
    Divide,
    Modulo,
    BitAnd,
    BitOr,
    BitXor,
    ShiftLeft,
    ShiftRight,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `..`
    Join,
    /// `/`
    FloatDivide,
    /// `^`
    Power,
}

/// A statement and its place.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) kind: StatementKind,
    pub(crate) at: Range<usize>,
}

pub(crate) type Block = Vec<Statement>;

#[derive(Debug, Clone)]
pub(crate) enum StatementKind {
    Local(Vec<(String, Range<usize>)>, Vec<Expression>),
    Assign(Vec<Expression>, Vec<Expression>),
    /// A call whose value is not used.
    Call(Expression),
    If(Vec<(Expression, Block)>, Block),
    For {
        name: String,
        start: Expression,
        stop: Expression,
        step: Option<Expression>,
        body: Block,
    },
    While(Expression, Block),
    Repeat(Block, Expression),
    Do(Block),
    Break,
    Return(Option<Expression>),
}
