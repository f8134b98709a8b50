//! Parses comparisons of arithmetic expressions: `tcp[tcpflags] & (tcp-syn | tcp-ack) = tcp-syn`. Part of the parser;
//! imports `ast`, `error`, `lexer` and `parser`.

use super::ast::{Arithmetic, Operator, Primitive, Relation};
use super::error::{FilterError, Problem};
use super::lexer::{Keyword, Token};
use super::parser::Parser;

/// Operators by precedence, the lowest first; all of them are evaluated from the left.
const PRECEDENCE: &[&[(&str, Operator)]] = &[
    &[("|", Operator::Or)],
    &[("&", Operator::And)],
    &[("<<", Operator::ShiftLeft), (">>", Operator::ShiftRight)],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide)],
];

/// Operators that libpcap's grammar gives no precedence: on their left is the operand before them, and on their right
/// everything that follows, so that `a * b % c + d` means `a * (b % (c + d))`.
const WITHOUT_PRECEDENCE: &[(&str, Operator)] = &[("%", Operator::Remainder), ("^", Operator::Xor)];

/// The most operators of one comparison: each is a level of the syntax tree.
const MOST: usize = 60;

/// Returns whether the token can follow an operand in a comparison.
pub(super) fn is_operator(token: &Token) -> bool {
    let Token::Symbol(symbol) = token else {
        return false;
    };
    let operators = PRECEDENCE.iter().copied().chain([WITHOUT_PRECEDENCE]).flatten();
    relation_of(symbol).is_some() || operators.into_iter().any(|(each, _)| each == symbol)
}

fn relation_of(symbol: &str) -> Option<Relation> {
    Some(match symbol {
        "=" | "==" => Relation::Equal,
        "!=" => Relation::NotEqual,
        "<" => Relation::Less,
        "<=" => Relation::LessOrEqual,
        ">" => Relation::Greater,
        ">=" => Relation::GreaterOrEqual,
        _ => return None,
    })
}

/// Returns whether a comparison follows where a primitive is expected. A parenthesis belongs to one if nothing but
/// arithmetic is in it.
pub(super) fn is_ahead(parser: &Parser<'_>) -> bool {
    match parser.peek() {
        Token::Number(_) | Token::Keyword(Keyword::Length) | Token::Symbol("-") => true,
        Token::Protocol(_) => *parser.ahead(1) == Token::Symbol("["),
        Token::Symbol("(") => {
            let mut depth = 0;
            for count in 0.. {
                match parser.ahead(count) {
                    Token::Symbol("(") => depth += 1,
                    Token::Symbol(")") if depth == 1 => return true,
                    Token::Symbol(")") => depth -= 1,
                    Token::Number(_) | Token::Keyword(Keyword::Length) | Token::Symbol("[" | "]" | ":") => {}
                    Token::Protocol(_) if *parser.ahead(count + 1) == Token::Symbol("[") => {}
                    Token::Symbol(symbol) if relation_of(symbol).is_none() && is_operator(parser.ahead(count)) => {}
                    _ => return false,
                }
            }
            false
        }
        _ => false,
    }
}

/// Parses a comparison.
pub(super) fn relation(parser: &mut Parser<'_>) -> Result<Primitive, FilterError> {
    const EXPECTED: &str = "a comparison, as in '= 5',";
    let mut operators = 0;
    let left = operation(parser, 0, &mut operators)?;
    let relation = match parser.peek() {
        Token::Symbol(symbol) => relation_of(symbol).ok_or_else(|| parser.unexpected(EXPECTED))?,
        _ => return Err(parser.unexpected(EXPECTED)),
    };
    parser.advance();
    let right = operation(parser, 0, &mut operators)?;
    Ok(Primitive::Relation(left, relation, right))
}

fn operation(parser: &mut Parser<'_>, level: usize, operators: &mut usize) -> Result<Arithmetic, FilterError> {
    let Some(here) = PRECEDENCE.get(level) else {
        return operand(parser, operators);
    };
    let start = parser.span().start;
    let mut left = operation(parser, level + 1, operators)?;
    while let Token::Symbol(symbol) = *parser.peek()
        && let Some((_, operator)) = here.iter().find(|(each, _)| *each == symbol)
    {
        count(parser, operators)?;
        parser.advance();
        let right = operation(parser, level + 1, operators)?;
        left = Arithmetic::Binary(*operator, Box::new(left), Box::new(right), parser.since(start));
    }
    Ok(left)
}

fn count(parser: &Parser<'_>, operators: &mut usize) -> Result<(), FilterError> {
    *operators += 1;
    if *operators > MOST {
        let problem = Problem::TooLarge(MOST, "operators in a comparison");
        return Err(parser.error(parser.span(), problem));
    }
    Ok(())
}

fn operand(parser: &mut Parser<'_>, operators: &mut usize) -> Result<Arithmetic, FilterError> {
    let start = parser.span().start;
    let left = single(parser, operators)?;
    let Token::Symbol(symbol) = *parser.peek() else {
        return Ok(left);
    };
    let Some((_, operator)) = WITHOUT_PRECEDENCE.iter().find(|(each, _)| *each == symbol) else {
        return Ok(left);
    };
    count(parser, operators)?;
    let right = parser.nested(|parser| {
        parser.advance();
        operation(parser, 0, operators)
    })?;
    let (left, right) = (Box::new(left), Box::new(right));
    Ok(Arithmetic::Binary(*operator, left, right, parser.since(start)))
}

fn single(parser: &mut Parser<'_>, operators: &mut usize) -> Result<Arithmetic, FilterError> {
    let start = parser.span().start;
    match *parser.peek() {
        Token::Number(number) => {
            parser.advance();
            Ok(Arithmetic::Number(number))
        }
        Token::Keyword(Keyword::Length) => {
            parser.advance();
            Ok(Arithmetic::Length)
        }
        Token::Symbol("-") => parser.nested(|parser| {
            parser.advance();
            Ok(Arithmetic::Negate(Box::new(operand(parser, operators)?)))
        }),
        Token::Symbol("(") => parser.nested(|parser| {
            parser.advance();
            let inside = operation(parser, 0, operators)?;
            parser.expect(")", "an operator or ')'")?;
            Ok(inside)
        }),
        Token::Protocol(protocol) if *parser.ahead(1) == Token::Symbol("[") => parser.nested(|parser| {
            parser.advance();
            parser.advance();
            let index = operation(parser, 0, operators)?;
            let mut size = 1;
            if parser.accept(":") {
                let at = parser.span();
                size = parser.number("the number of bytes: 1, 2 or 4,")?;
                if !matches!(size, 1 | 2 | 4) {
                    let found = size.to_string();
                    let expected = "the number of bytes, 1, 2 or 4,";
                    return Err(parser.error(at, Problem::Unexpected { found, expected }));
                }
            }
            parser.expect("]", "']'")?;
            Ok(Arithmetic::Load(protocol, Box::new(index), size, parser.since(start)))
        }),
        _ => Err(parser.unexpected("a number, 'len', or bytes of a header, as in tcp[13],")),
    }
}
