//! Splits a source into words. Imports `error`.

use std::ops::Range;

use crate::error::{CompileError, Problem};

/// A word and its place, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) at: Range<usize>,
}

/// Kinds of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Name(String),
    Integer(i64),
    Text(Vec<u8>),
    /// A keyword or an operator.
    Symbol(&'static str),
    End,
}

/// A source and the name that messages call it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The name, such as a file's.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

impl Source<'_> {
    pub(crate) fn error(&self, at: &Range<usize>, problem: Problem) -> CompileError {
        CompileError::new(self.name, self.text, at, problem)
    }
}

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// Operators, longer ones first.
const OPERATORS: [&str; 33] = [
    "...", "..", "//", "==", "~=", "<=", ">=", "<<", ">>", "::", "+", "-", "*", "/", "%", "^", "#", "&", "~", "|", "<",
    ">", "=", "(", ")", "{", "}", "[", "]", ";", ":", ",", ".",
];

/// What people write who come from other languages.
const FOREIGN: [(&str, &str); 9] = [
    ("!=", "~="),
    ("&&", "and"),
    ("||", "or"),
    ("++", "x = x + 1"),
    ("+=", "x = x + ..."),
    ("-=", "x = x - ..."),
    ("->", "."),
    ("!", "not"),
    ("?", "condition and a or b"),
];

/// The most bytes of a source.
const LONGEST: usize = 1 << 16;

/// Returns the words of a source, the last of which is the end.
pub(crate) fn tokens(source: Source<'_>) -> Result<Vec<Token>, CompileError> {
    if source.text.len() > LONGEST {
        return Err(source.error(&(0..0), Problem::TooLong(LONGEST)));
    }
    let mut lexer = Lexer::new(source);
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let start = lexer.at;
        let kind = lexer.next()?;
        let ends = kind == TokenKind::End;
        tokens.push(Token {
            kind,
            at: start..lexer.at,
        });
        if ends {
            return Ok(tokens);
        }
    }
}

/// Returns the words of a part of a source, with an end behind them.
pub(crate) fn tokens_of(source: Source<'_>, part: Range<usize>) -> Result<Vec<Token>, CompileError> {
    if part.len() > LONGEST {
        return Err(source.error(&part, Problem::TooLong(LONGEST)));
    }
    let mut lexer = Lexer::new(source);
    lexer.at = part.start;
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let start = lexer.at.min(part.end);
        let kind = match start < part.end {
            true => lexer.next()?,
            false => TokenKind::End,
        };
        let ends = kind == TokenKind::End;
        let at = start..lexer.at.max(start);
        tokens.push(Token { kind, at });
        if ends {
            return Ok(tokens);
        }
    }
}

pub(crate) struct Lexer<'a> {
    source: Source<'a>,
    at: usize,
    quiet: bool,
}

impl<'a> Lexer<'a> {
    fn new(source: Source<'a>) -> Lexer<'a> {
        // A script may begin with a line for the shell.
        let at = match source.text.starts_with("#!") {
            true => source.text.find('\n').unwrap_or(source.text.len()),
            false => 0,
        };
        let quiet = false;
        Lexer { source, at, quiet }
    }

    /// Returns a lexer of text that may have words which are no part of the compiled language.
    pub(crate) fn quiet(source: Source<'a>) -> Lexer<'a> {
        Lexer {
            quiet: true,
            ..Lexer::new(source)
        }
    }

    /// Returns the byte behind the last word.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns the first byte of the next word, and what it is, if it is a word of the compiled language; none at an
    /// end that is wrong.
    pub(crate) fn next_of_any(&mut self) -> Option<(usize, Option<TokenKind>)> {
        self.skip_blanks().ok()?;
        let start = self.at;
        let kind = self.next().ok();
        if kind.is_none() && self.at <= start {
            return None;
        }
        Some((start, kind))
    }

    fn rest(&self) -> &'a str {
        self.source.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, start: usize, problem: Problem) -> CompileError {
        match self.quiet {
            // Marking a place takes time, and here nothing shows it.
            true => CompileError::new("", "", &(0..0), problem),
            false => self.source.error(&(start..self.at), problem),
        }
    }

    fn skip_blanks(&mut self) -> Result<(), CompileError> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_ascii_start().len();
            self.at += blanks;
            let Some(comment) = self.rest().strip_prefix("--") else {
                return Ok(());
            };
            let start = self.at;
            self.at += 2;
            match long_bracket(comment) {
                Some(level) => {
                    self.long_text(start, level, "comment")?;
                }
                None => self.at += comment.find('\n').unwrap_or(comment.len()),
            }
        }
    }

    fn next(&mut self) -> Result<TokenKind, CompileError> {
        let rest = self.rest();
        let start = self.at;
        let Some(first) = rest.chars().next() else {
            return Ok(TokenKind::End);
        };
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|each: char| !each.is_ascii_alphanumeric() && each != '_');
            let word = &rest[..end.unwrap_or(rest.len())];
            self.at += word.len();
            let keyword = KEYWORDS.iter().find(|keyword| **keyword == word);
            return Ok(keyword.map_or_else(
                || TokenKind::Name(word.to_owned()),
                |keyword| TokenKind::Symbol(keyword),
            ));
        }
        let second = rest[first.len_utf8()..].chars().next();
        if first.is_ascii_digit() || first == '.' && second.is_some_and(|second| second.is_ascii_digit()) {
            return self.number();
        }
        if first == '"' || first == '\'' {
            return self.text(first);
        }
        if let Some(level) = long_bracket(rest) {
            return Ok(TokenKind::Text(self.long_text(start, level, "string")?));
        }
        for (found, instead) in FOREIGN {
            if rest.starts_with(found) {
                self.at += found.len();
                return Err(self.error(start, Problem::Operator { found, instead }));
            }
        }
        for operator in OPERATORS {
            if rest.starts_with(operator) {
                self.at += operator.len();
                return Ok(TokenKind::Symbol(operator));
            }
        }
        self.at += first.len_utf8();
        Err(self.error(start, Problem::Character(first)))
    }

    fn number(&mut self) -> Result<TokenKind, CompileError> {
        let (start, rest) = (self.at, self.rest());
        let hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
        let mut end = 0;
        let mut previous = ' ';
        for each in rest.chars() {
            let sign = matches!(each, '+' | '-')
                && match hexadecimal {
                    true => matches!(previous, 'p' | 'P'),
                    false => matches!(previous, 'e' | 'E'),
                };
            // Two dots are the operator that joins strings.
            if !(each.is_ascii_alphanumeric() || each == '.' || sign) || rest[end..].starts_with("..") {
                break;
            }
            previous = each;
            end += 1;
        }
        let word = &rest[..end];
        self.at += end;
        // LuaJIT's integers.
        let digits = ["ULL", "ull", "LL", "ll"]
            .iter()
            .find_map(|suffix| word.strip_suffix(suffix))
            .unwrap_or(word);
        let value = match hexadecimal {
            // As in Lua, more than 64 bits wrap.
            true => digits[2..]
                .chars()
                .try_fold(0_u64, |value, digit| {
                    Some(value.wrapping_mul(16).wrapping_add(u64::from(digit.to_digit(16)?)))
                })
                .filter(|_| digits.len() > 2)
                .map(u64::cast_signed),
            false if digits.len() < word.len() => digits.parse::<u64>().ok().map(u64::cast_signed),
            false => digits.parse().ok(),
        };
        match value {
            Some(value) => Ok(TokenKind::Integer(value)),
            None => {
                let is_float = word.parse::<f64>().is_ok() && word.contains(['.', 'e', 'E'])
                    || hexadecimal && word.contains(['.', 'p', 'P']);
                Err(self.error(
                    start,
                    match is_float {
                        true => Problem::Float("a number with a fraction or an exponent"),
                        false => Problem::Number(word.chars().take(40).collect()),
                    },
                ))
            }
        }
    }

    fn text(&mut self, quote: char) -> Result<TokenKind, CompileError> {
        let start = self.at;
        let bytes = self.source.text.as_bytes();
        let mut text = Vec::new();
        self.at += 1;
        loop {
            let unfinished = Problem::Unfinished("string");
            let Some(byte) = bytes.get(self.at).copied() else {
                return Err(self.error(start, unfinished));
            };
            self.at += 1;
            match byte {
                b'\n' => return Err(self.error(start, unfinished)),
                b'\\' => self.escape(&mut text)?,
                byte if char::from(byte) == quote => return Ok(TokenKind::Text(text)),
                byte => text.push(byte),
            }
        }
    }

    /// Reads what is behind a backslash.
    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), CompileError> {
        let start = self.at - 1;
        let bytes = self.source.text.as_bytes();
        let letter = bytes.get(self.at).copied().unwrap_or(b' ');
        self.at += 1;
        let plain = match letter {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' | b'\n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' | b'"' | b'\'' => letter,
            b'x' => {
                let digits = self.source.text.get(self.at..self.at + 2);
                let value = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let value = value.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                self.at += 2;
                value.ok_or_else(|| self.error(start, Problem::Escape))?
            }
            b'0'..=b'9' => {
                let mut value = u32::from(letter - b'0');
                for _ in 0..2 {
                    match bytes.get(self.at) {
                        Some(digit @ b'0'..=b'9') => value = 10 * value + u32::from(digit - b'0'),
                        _ => break,
                    }
                    self.at += 1;
                }
                u8::try_from(value).map_err(|_| self.error(start, Problem::Escape))?
            }
            b'z' => {
                let rest = self.rest();
                self.at += rest.len() - rest.trim_ascii_start().len();
                return Ok(());
            }
            _ => return Err(self.error(start, Problem::Escape)),
        };
        text.push(plain);
        Ok(())
    }

    /// Reads what is between brackets of a level.
    fn long_text(&mut self, start: usize, level: usize, what: &'static str) -> Result<Vec<u8>, CompileError> {
        self.at += level + 2;
        let close = format!("]{}]", "=".repeat(level));
        let rest = self.rest();
        let Some(end) = rest.find(&close) else {
            return Err(self.error(start, Problem::Unfinished(what)));
        };
        self.at += end + close.len();
        let text = &rest[..end];
        Ok(text.strip_prefix('\n').unwrap_or(text).as_bytes().to_vec())
    }
}

/// Returns the number of `=` if a long string or comment begins here.
fn long_bracket(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('[')?;
    let level = inner.len() - inner.trim_start_matches('=').len();
    inner[level..].starts_with('[').then_some(level)
}
