//! What is wrong with a source, where, and what to write instead. Imports nothing.

use std::fmt::{self, Write as _};
use std::ops::Range;

use thiserror::Error;

/// The reason why a source cannot be compiled, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct CompileError(Box<Report>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    source_name: String,
    line: usize,
    column: usize,
    lines: usize,
    problem: Problem,
    excerpt: String,
}

/// Characters of a line that are shown before and after the marked part.
const BEFORE: usize = 60;
const AFTER: usize = 40;

impl CompileError {
    /// Marks a range of bytes of the text.
    pub(crate) fn new(name: &str, text: &str, at: &Range<usize>, problem: Problem) -> CompileError {
        let start = floor(text, at.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = &text[line_start..];
        let line = line.split('\n').next().unwrap_or(line);
        let before = text[line_start..start].chars().count();
        let end = floor(text, at.end.max(at.start))
            .min(line_start + line.len())
            .max(start);
        let marked = text[start..end].chars().count().clamp(1, AFTER);
        let from = before.saturating_sub(BEFORE);
        let shown = line.chars().skip(from).take(before - from + marked + AFTER);
        let mut excerpt: String = shown.map(plain).collect();
        let _ = write!(excerpt, "\n{:indent$}{:^<marked$}", "", "", indent = before - from);
        CompileError(Box::new(Report {
            source_name: name.to_owned(),
            line: 1 + text[..start].matches('\n').count(),
            column: 1 + before,
            lines: text.trim_end().lines().count(),
            problem,
            excerpt,
        }))
    }

    /// Returns what is wrong.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// Returns the line and the column, from 1 on.
    pub fn place(&self) -> (usize, usize) {
        (self.0.line, self.0.column)
    }
}

/// Returns the nearest start of a character at or before a byte.
fn floor(text: &str, byte: usize) -> usize {
    let byte = byte.min(text.len());
    (0..=byte).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Returns a character, or a space instead of one that could steer a terminal.
fn plain(character: char) -> char {
    match character.is_alphanumeric() || character.is_ascii_punctuation() {
        true => character,
        false => ' ',
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.0.source_name)?;
        if self.0.lines > 1 {
            write!(f, "line {}, ", self.0.line)?;
        }
        // It may quote the source, whose text is for a terminal here.
        let problem = self.0.problem.to_string();
        let problem: String = problem.chars().map(plain).collect();
        write!(f, "column {}: {problem}", self.0.column)?;
        for line in self.0.excerpt.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// What is wrong with a source. The messages end with a remedy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// More text than any function.
    #[error("the source has more than {0} bytes; write less")]
    TooLong(usize),
    /// Expressions or blocks within each other.
    #[error("this is nested more than {0} deep; use local variables, or fewer operators in a row")]
    TooDeep(usize),
    /// The program would have too many instructions.
    #[error("the program has more than {0} instructions; shorten it")]
    TooLarge(usize),
    /// The program needs more of the stack than a function may.
    #[error("the program needs more than {0} bytes of stack; use fewer local variables")]
    Stack(u32),
    /// A character that is in no word or operator.
    #[error("unexpected character {0:?}; remove it")]
    Character(char),
    /// An operator of another language.
    #[error("'{found}' is no operator of Lua; write '{instead}'")]
    Operator {
        /// What is there.
        found: &'static str,
        /// What Lua has.
        instead: &'static str,
    },
    /// A string or a comment without an end.
    #[error("this {0} has no end; close it")]
    Unfinished(&'static str),
    /// An escape sequence that Lua has not.
    #[error("invalid escape sequence in a string; write \\\\ for a backslash")]
    Escape,
    /// Digits that are no integer.
    #[error("'{0}' is no integer of 64 bits; write it in decimal, or as 0x...")]
    Number(String),
    /// A number with a fraction, or an operator that makes one.
    #[error("{0} makes a float, and the kernel has none; use integers and '//'")]
    Float(&'static str),
    /// Something else was expected.
    #[error("{found} where {expected} was expected; {remedy}")]
    Unexpected {
        /// What is there.
        found: String,
        /// What can be there.
        expected: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A name that nothing has.
    #[error("unknown name '{name}'{}", nearest(.near, "; known are skb, variables and functions of the reference"))]
    UnknownName {
        /// The name.
        name: String,
        /// Similar names.
        near: Vec<String>,
    },
    /// A name that neither the script nor the kernel's side has.
    #[error("neither the script nor the compiler has '{name}'{}", nearest(.near, "; give it a value before"))]
    UnknownInScript {
        /// The name.
        name: String,
        /// Similar names.
        near: Vec<String>,
    },
    /// A field that a header has not.
    #[error("{of} has no field '{name}'{}", nearest(.near, ""))]
    NoSuchField {
        /// What it is of.
        of: &'static str,
        /// The name.
        name: String,
        /// Similar names, or all.
        near: Vec<String>,
    },
    /// A field that the struct has not.
    #[error("{of} has no field '{name}' in this kernel{}", nearest(.near, "; check the name"))]
    UnknownField {
        /// The type.
        of: String,
        /// The name.
        name: String,
        /// Similar names.
        near: Vec<String>,
    },
    /// A type that the kernel has not.
    #[error("this kernel has no {0}; check the name, or load the module that has it")]
    UnknownType(String),
    /// A field of something that has none.
    #[error("{0} has no fields; remove what follows")]
    NoFields(String),
    /// An element of something that has none.
    #[error("{0} has no elements; remove the index")]
    NoElements(String),
    /// An index beyond the end of an array.
    #[error("the array has {0} elements, from 0 on; use a smaller index")]
    Index(u32),
    /// A variable index.
    #[error("the index of an array in a struct must be a constant; write a number")]
    VariableIndex,
    /// A value of another kind is wanted.
    #[error("{found} where {wanted} is wanted; {remedy}")]
    Mismatch {
        /// What is there.
        found: String,
        /// What is wanted.
        wanted: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A comparison that cannot be true.
    #[error("{left} is never equal to {right}; compare values of one kind")]
    NeverEqual {
        /// The left side.
        left: String,
        /// The right side.
        right: String,
    },
    /// A condition that is always true.
    #[error("{found} is always true in Lua, also {also}; compare it: ... ~= {also}")]
    AlwaysTrue {
        /// What it is.
        found: String,
        /// What is not true in other languages.
        also: &'static str,
    },
    /// A value that may be no value.
    #[error("this may be false or nil; give a value for that case: ... or 0")]
    MaybeNothing,
    /// Bytes in network order that are compared with a number.
    #[error("the field is in network byte order ({0}); write ntoh(...) around it")]
    NetworkOrder(String),
    /// A constant divisor of 0.
    #[error("division by zero; use another divisor")]
    Zero,
    /// A part of the language that has no place in the kernel, or that is not supported.
    #[error("{what}; {remedy}")]
    Unsupported {
        /// What it is, and why not.
        what: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A call with other arguments.
    #[error("{name} takes {wanted}; write {example}")]
    Arguments {
        /// The function.
        name: &'static str,
        /// What it takes.
        wanted: &'static str,
        /// An example.
        example: &'static str,
    },
    /// Text that is no address.
    #[error("'{text}' is no {kind}; write it as {example}")]
    Address {
        /// The text.
        text: String,
        /// What it should be.
        kind: &'static str,
        /// An example.
        example: &'static str,
    },
    /// A loop whose number of turns is not known.
    #[error("the kernel accepts no loop without a bound; write for i = 1, math.min(n, 16) do, with constants")]
    Unbounded,
    /// A loop of too many turns.
    #[error("the loop has {0} turns, and may have {1}; use a lower bound")]
    Turns(u64, u64),
    /// A variable that is assigned a value of another kind.
    #[error("the variable '{name}' has {had}, and this is {found}; use another variable")]
    Assigned {
        /// The variable.
        name: String,
        /// What it has.
        had: String,
        /// What is assigned.
        found: String,
    },
    /// The fields need more bytes than there are.
    #[error("the fields need {needed} bytes, and an event carries at most {most}; leave some out")]
    TooManyBytes {
        /// All bytes.
        needed: u32,
        /// Those that there are.
        most: u32,
    },
}

/// Returns the end of a message that suggests similar names.
fn nearest(near: &[String], otherwise: &str) -> String {
    match near {
        [] => otherwise.to_owned(),
        near => format!("; the nearest are {}", near.join(", ")),
    }
}

/// Returns those of the names that are like a word, the best first.
pub(crate) fn similar<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    const MOST: usize = 4;
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return Vec::new();
    }
    let most = (word.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = names
        .filter(|name| name.len() <= LONGEST)
        .filter_map(|name| {
            let distance = distance(word.as_bytes(), name.as_bytes());
            let part = word.len() >= 3 && (name.contains(word) || name.len() >= 3 && word.contains(name));
            (distance <= most || part).then_some((distance, name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MOST).map(|(_, name)| name.to_owned()).collect()
}

/// Returns how many characters to insert, remove, replace, or exchange with the next one.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = row[j] + usize::from(a != b);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}
