//! Parses a source: an expression, or statements. Imports `ast`, `error` and `lexer`.
//!
//! The depth of every tree is bounded, so that what walks through it can be recursive.

use std::ops::Range;

use crate::ast::{Binary, Block, Expression, ExpressionKind, Statement, StatementKind, Unary};
use crate::error::{CompileError, Problem};
use crate::lexer::{Source, Token, TokenKind, tokens, tokens_of};

/// The most expressions or blocks within each other.
const DEEPEST: usize = 150;

type Parsed<T> = Result<T, CompileError>;

/// Parses a source that is an expression.
pub(crate) fn expression(source: Source<'_>) -> Parsed<Expression> {
    let mut parser = Parser::new(source)?;
    if parser.is("return") {
        parser.next();
    }
    let expression = parser.expression(0)?;
    parser.end("an operator or the end of the expression")?;
    Ok(expression)
}

/// A script: constants, and functions.
pub(crate) struct Script {
    /// Names, their places and their values, in the order of the source.
    pub(crate) constants: Vec<(String, Range<usize>, Expression)>,
    pub(crate) functions: Vec<Function>,
}

/// A function of a script.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) at: Range<usize>,
    pub(crate) parameters: Vec<(String, Range<usize>)>,
    pub(crate) body: Block,
    /// The byte behind it.
    pub(crate) end: usize,
}

/// Parses a script.
pub(crate) fn script(source: Source<'_>) -> Parsed<Script> {
    let mut parser = Parser::new(source)?;
    let mut script = Script {
        constants: Vec::new(),
        functions: Vec::new(),
    };
    loop {
        while parser.take(";") {}
        if parser.peek().kind == TokenKind::End {
            return Ok(script);
        }
        let is_local = parser.take("local");
        if parser.take("function") {
            script.functions.push(parser.function()?);
            continue;
        }
        if !is_local && !matches!(parser.peek().kind, TokenKind::Name(_)) {
            return parser.unexpected(
                "a constant or a function",
                "a script has NAME = CONSTANT, and functions",
            );
        }
        let (name, at) = parser.name()?;
        parser.expect("=", "a script has NAME = CONSTANT, and functions")?;
        script.constants.push((name, at, parser.expression(0)?));
    }
}

/// Parses the function that is these bytes of a source.
pub(crate) fn function(source: Source<'_>, part: Range<usize>) -> Parsed<Function> {
    let mut parser = Parser {
        source,
        tokens: tokens_of(source, part)?,
        at: 0,
        depth: 0,
    };
    let at = parser.next().at;
    // A name of a table's function does not matter here.
    while !parser.is("(") && parser.peek().kind != TokenKind::End {
        if parser.is(":") {
            let problem = Problem::Unsupported {
                what: "methods have no place in the kernel".to_owned(),
                remedy: "write '.' instead of ':'",
            };
            return parser.error(&parser.peek().at.clone(), problem);
        }
        parser.next();
    }
    parser.signature(String::new(), at)
}

struct Parser<'a> {
    source: Source<'a>,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

/// Operators of two operands, with how strongly they bind to the left and to the right.
const OPERATORS: [(&str, Option<Binary>, u8, u8); 21] = [
    ("or", None, 1, 1),
    ("and", None, 2, 2),
    ("<", Some(Binary::Less), 3, 3),
    (">", Some(Binary::Greater), 3, 3),
    ("<=", Some(Binary::LessOrEqual), 3, 3),
    (">=", Some(Binary::GreaterOrEqual), 3, 3),
    ("~=", Some(Binary::NotEqual), 3, 3),
    ("==", Some(Binary::Equal), 3, 3),
    ("|", Some(Binary::BitOr), 4, 4),
    ("~", Some(Binary::BitXor), 5, 5),
    ("&", Some(Binary::BitAnd), 6, 6),
    ("<<", Some(Binary::ShiftLeft), 7, 7),
    (">>", Some(Binary::ShiftRight), 7, 7),
    ("..", Some(Binary::Join), 9, 8),
    ("+", Some(Binary::Add), 10, 10),
    ("-", Some(Binary::Subtract), 10, 10),
    ("*", Some(Binary::Multiply), 11, 11),
    ("/", Some(Binary::FloatDivide), 11, 11),
    ("//", Some(Binary::Divide), 11, 11),
    ("%", Some(Binary::Modulo), 11, 11),
    ("^", Some(Binary::Power), 14, 13),
];

/// How strongly operators of one operand bind.
const UNARY: u8 = 12;

impl<'a> Parser<'a> {
    fn new(source: Source<'a>) -> Parsed<Parser<'a>> {
        Ok(Parser {
            source,
            tokens: tokens(source)?,
            at: 0,
            depth: 0,
        })
    }

    fn error<T>(&self, at: &Range<usize>, problem: Problem) -> Parsed<T> {
        Err(self.source.error(at, problem))
    }

    fn peek(&self) -> &Token {
        // The last one is the end, which nothing passes.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek().kind, TokenKind::Symbol(found) if found == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.next();
        }
        found
    }

    fn unexpected<T>(&self, expected: &'static str, remedy: &'static str) -> Parsed<T> {
        let token = self.peek();
        let found = match &token.kind {
            TokenKind::Name(name) => format!("'{name}'"),
            TokenKind::Integer(_) => "a number".to_owned(),
            TokenKind::Text(_) => "a string".to_owned(),
            TokenKind::Symbol(symbol) => format!("'{symbol}'"),
            TokenKind::End => "the end".to_owned(),
        };
        let problem = Problem::Unexpected {
            found,
            expected,
            remedy,
        };
        self.error(&token.at.clone(), problem)
    }

    fn expect(&mut self, symbol: &'static str, remedy: &'static str) -> Parsed<()> {
        match self.take(symbol) {
            true => Ok(()),
            false => {
                let expected = match symbol {
                    ")" => "')'",
                    "]" => "']'",
                    "}" => "'}'",
                    "then" => "'then'",
                    "do" => "'do'",
                    "end" => "'end'",
                    "until" => "'until'",
                    _ => "'='",
                };
                self.unexpected(expected, remedy)
            }
        }
    }

    fn end(&self, expected: &'static str) -> Parsed<()> {
        match self.peek().kind {
            TokenKind::End => Ok(()),
            TokenKind::Symbol("=") => self.error(
                &self.peek().at.clone(),
                Problem::Operator {
                    found: "=",
                    instead: "==",
                },
            ),
            _ => self.unexpected(expected, "check the operator before it, or remove it"),
        }
    }

    fn name(&mut self) -> Parsed<(String, Range<usize>)> {
        match self.peek().kind.clone() {
            TokenKind::Name(name) => Ok((name, self.next().at)),
            TokenKind::Symbol(symbol) if symbol.bytes().all(|letter| letter.is_ascii_lowercase()) => self.unexpected(
                "a name",
                "for a field with the name of a word of Lua, write skb[\"end\"]",
            ),
            _ => self.unexpected("a name", "write one of letters, digits and '_'"),
        }
    }

    /// Counts a level that is not one of a finished expression.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.error(&self.peek().at.clone(), Problem::TooDeep(DEEPEST));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn made(&self, at: Range<usize>, depth: usize, kind: ExpressionKind) -> Parsed<Expression> {
        match depth > DEEPEST {
            true => self.error(&at, Problem::TooDeep(DEEPEST)),
            false => Ok(Expression { kind, at, depth }),
        }
    }

    fn expression(&mut self, least: u8) -> Parsed<Expression> {
        self.deeper(|parser| parser.operators(least))
    }

    fn operators(&mut self, least: u8) -> Parsed<Expression> {
        let mut left = self.operand()?;
        loop {
            let TokenKind::Symbol(symbol) = self.peek().kind else {
                return Ok(left);
            };
            let Some((_, operator, strength, right)) = OPERATORS.iter().find(|operator| operator.0 == symbol) else {
                return Ok(left);
            };
            if *strength <= least {
                return Ok(left);
            }
            self.next();
            let right = self.expression(*right)?;
            let at = left.at.start..right.at.end;
            let depth = 1 + left.depth.max(right.depth);
            let (left_box, right) = (Box::new(left), Box::new(right));
            let kind = match (operator, symbol) {
                (Some(operator), _) => ExpressionKind::Binary(*operator, left_box, right),
                (None, "and") => ExpressionKind::And(left_box, right),
                (None, _) => ExpressionKind::Or(left_box, right),
            };
            left = self.made(at, depth, kind)?;
        }
    }

    fn operand(&mut self) -> Parsed<Expression> {
        let token = self.peek().clone();
        let at = token.at.clone();
        let unary = match token.kind {
            TokenKind::Symbol("not") => Some(Unary::Not),
            TokenKind::Symbol("-") => Some(Unary::Negate),
            TokenKind::Symbol("~") => Some(Unary::Invert),
            TokenKind::Symbol("#") => Some(Unary::Length),
            _ => None,
        };
        if let Some(operator) = unary {
            self.next();
            let operand = self.expression(UNARY)?;
            let at = at.start..operand.at.end;
            return self.made(
                at,
                1 + operand.depth,
                ExpressionKind::Unary(operator, Box::new(operand)),
            );
        }
        let kind = match token.kind {
            TokenKind::Integer(value) => ExpressionKind::Integer(value),
            TokenKind::Text(text) => ExpressionKind::Text(text),
            TokenKind::Symbol("nil") => ExpressionKind::Nil,
            TokenKind::Symbol("true") => ExpressionKind::Boolean(true),
            TokenKind::Symbol("false") => ExpressionKind::Boolean(false),
            TokenKind::Symbol("{") => return self.deeper(Self::table),
            TokenKind::Symbol("function") => {
                let problem = Problem::Unsupported {
                    what: "a function has no place inside a compiled function".to_owned(),
                    remedy: "write its statements here",
                };
                return self.error(&at, problem);
            }
            _ => return self.chain(),
        };
        self.next();
        self.made(at, 1, kind)
    }

    /// Parses a name or an expression in parentheses, with fields, elements and calls behind it.
    fn chain(&mut self) -> Parsed<Expression> {
        let token = self.peek().clone();
        let mut value = match token.kind {
            TokenKind::Name(name) => {
                self.next();
                self.made(token.at, 1, ExpressionKind::Name(name))?
            }
            TokenKind::Symbol("(") => {
                self.next();
                let mut inner = self.expression(0)?;
                self.expect(")", "close the parenthesis")?;
                inner.at = token.at.start..self.tokens[self.at.saturating_sub(1)].at.end;
                inner
            }
            _ => return self.unexpected("a value", "write a field, a number, a string or a name"),
        };
        loop {
            let start = value.at.start;
            let depth = value.depth + 1;
            if self.take(".") {
                let (name, at) = self.name()?;
                let whole = start..at.end;
                value = self.made(whole, depth, ExpressionKind::Field(Box::new(value), name, at))?;
            } else if self.take("[") {
                let index = self.expression(0)?;
                let end = self.peek().at.end;
                self.expect("]", "close the bracket")?;
                let depth = depth.max(index.depth + 1);
                let kind = ExpressionKind::Index(Box::new(value), Box::new(index));
                value = self.made(start..end, depth, kind)?;
            } else if self.take("(") {
                let mut arguments = Vec::new();
                let mut depth = depth;
                while !self.is(")") {
                    let argument = self.expression(0)?;
                    depth = depth.max(argument.depth + 1);
                    arguments.push(argument);
                    if !self.take(",") {
                        break;
                    }
                }
                let end = self.peek().at.end;
                self.expect(")", "close the parenthesis")?;
                value = self.made(start..end, depth, ExpressionKind::Call(Box::new(value), arguments))?;
            } else if self.is(":") {
                let problem = Problem::Unsupported {
                    what: "methods have no place in a compiled function".to_owned(),
                    remedy: "write '.' for a field",
                };
                return self.error(&self.peek().at.clone(), problem);
            } else {
                return Ok(value);
            }
        }
    }

    fn table(&mut self) -> Parsed<Expression> {
        let start = self.next().at.start;
        let mut fields = Vec::new();
        let mut depth = 1;
        while !self.is("}") {
            let (name, at) = self.name()?;
            self.expect("=", "give each value a name: { len = skb.len }")?;
            let value = self.expression(0)?;
            depth = depth.max(value.depth + 1);
            fields.push((name, at, value));
            if !self.take(",") && !self.take(";") {
                break;
            }
        }
        let end = self.peek().at.end;
        self.expect("}", "close the brace")?;
        self.made(start..end, depth, ExpressionKind::Table(fields))
    }

    /// Parses a function behind that word.
    fn function(&mut self) -> Parsed<Function> {
        let (name, at) = self.name()?;
        self.signature(name, at)
    }

    /// Parses parameters and what follows.
    fn signature(&mut self, name: String, at: Range<usize>) -> Parsed<Function> {
        let mut parameters = Vec::new();
        if !self.take("(") {
            return self.unexpected("'('", "write the parameters: function module(skb)");
        }
        while !self.is(")") {
            parameters.push(self.name()?);
            if !self.take(",") {
                break;
            }
        }
        self.expect(")", "close the parenthesis")?;
        let body = self.block()?;
        let end = self.peek().at.start;
        self.expect("end", "end the function")?;
        Ok(Function {
            name,
            at,
            parameters,
            body,
            end,
        })
    }

    /// Parses statements up to a word that ends a block.
    fn block(&mut self) -> Parsed<Block> {
        self.deeper(|parser| {
            let mut block = Vec::new();
            loop {
                while parser.take(";") {}
                if parser.ends_block() {
                    return Ok(block);
                }
                let start = parser.peek().at.start;
                let kind = parser.statement()?;
                let last = matches!(kind, StatementKind::Return(_));
                let end = parser.tokens[parser.at.saturating_sub(1)].at.end;
                block.push(Statement { kind, at: start..end });
                if last {
                    while parser.take(";") {}
                    return match parser.ends_block() {
                        true => Ok(block),
                        false => parser.unexpected("the end of the block", "nothing follows 'return'"),
                    };
                }
            }
        })
    }

    fn ends_block(&self) -> bool {
        match self.peek().kind {
            TokenKind::End => true,
            TokenKind::Symbol(symbol) => matches!(symbol, "end" | "else" | "elseif" | "until"),
            _ => false,
        }
    }

    fn statement(&mut self) -> Parsed<StatementKind> {
        let token = self.peek().clone();
        let TokenKind::Symbol(symbol) = token.kind else {
            return self.assignment();
        };
        match symbol {
            "local" => {
                self.next();
                let mut names = vec![self.name()?];
                while self.take(",") {
                    names.push(self.name()?);
                }
                self.expect("=", "give each variable a value")?;
                Ok(StatementKind::Local(names, self.list()?))
            }
            "if" => {
                let mut cases = Vec::new();
                loop {
                    self.next();
                    let condition = self.expression(0)?;
                    self.expect("then", "write 'then' behind the condition")?;
                    cases.push((condition, self.block()?));
                    if !self.is("elseif") {
                        break;
                    }
                }
                let otherwise = match self.take("else") {
                    true => self.block()?,
                    false => Vec::new(),
                };
                self.expect("end", "end the 'if'")?;
                Ok(StatementKind::If(cases, otherwise))
            }
            "for" => {
                self.next();
                let (name, _) = self.name()?;
                if self.is("in") || self.is(",") {
                    let problem = Problem::Unsupported {
                        what: "compiled functions have no generic 'for'".to_owned(),
                        remedy: "count: for i = 1, 8 do",
                    };
                    return self.error(&self.peek().at.clone(), problem);
                }
                self.expect("=", "count: for i = 1, 8 do")?;
                let start = self.expression(0)?;
                if !self.take(",") {
                    return self.unexpected("','", "write the last value: for i = 1, 8 do");
                }
                let stop = self.expression(0)?;
                let step = self.take(",").then(|| self.expression(0)).transpose()?;
                self.expect("do", "write 'do' behind the values")?;
                let body = self.block()?;
                self.expect("end", "end the 'for'")?;
                Ok(StatementKind::For {
                    name,
                    start,
                    stop,
                    step,
                    body,
                })
            }
            "while" => {
                self.next();
                let condition = self.expression(0)?;
                self.expect("do", "write 'do' behind the condition")?;
                let body = self.block()?;
                self.expect("end", "end the 'while'")?;
                Ok(StatementKind::While(condition, body))
            }
            "repeat" => {
                self.next();
                let body = self.block()?;
                self.expect("until", "end the 'repeat' with a condition")?;
                Ok(StatementKind::Repeat(body, self.expression(0)?))
            }
            "do" => {
                self.next();
                let body = self.block()?;
                self.expect("end", "end the block")?;
                Ok(StatementKind::Do(body))
            }
            "break" => {
                self.next();
                Ok(StatementKind::Break)
            }
            "return" => {
                self.next();
                let nothing = self.ends_block() || self.is(";");
                let value = (!nothing).then(|| self.expression(0)).transpose()?;
                if self.is(",") {
                    let problem = Problem::Unsupported {
                        what: "a compiled function returns one value".to_owned(),
                        remedy: "return a table: return { len = skb.len }",
                    };
                    return self.error(&self.peek().at.clone(), problem);
                }
                Ok(StatementKind::Return(value))
            }
            "goto" | "::" | "function" => {
                let problem = Problem::Unsupported {
                    what: format!("'{symbol}' has no place in a compiled function"),
                    remedy: "use if, for and while",
                };
                self.error(&token.at, problem)
            }
            _ => self.unexpected("a statement", "write local, if, for, while, return or an assignment"),
        }
    }

    fn assignment(&mut self) -> Parsed<StatementKind> {
        let mut targets = vec![self.chain()?];
        while self.take(",") {
            targets.push(self.chain()?);
        }
        if let (false, [target]) = (self.is("="), targets.as_slice())
            && matches!(target.kind, ExpressionKind::Call(..))
        {
            return Ok(StatementKind::Call(targets.remove(0)));
        }
        self.expect("=", "a statement is local, if, for, while, return or an assignment")?;
        Ok(StatementKind::Assign(targets, self.list()?))
    }

    fn list(&mut self) -> Parsed<Vec<Expression>> {
        let mut values = vec![self.expression(0)?];
        while self.take(",") {
            values.push(self.expression(0)?);
        }
        Ok(values)
    }
}
