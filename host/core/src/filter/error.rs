//! Errors of the filter's compiler: what is wrong, where in the expression, and what to write instead. Imports nothing.

use std::fmt::{self, Write as _};
use std::ops::Range;

use thiserror::Error;

/// The reason why an expression cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct FilterError {
    problem: Problem,
    column: usize,
    excerpt: String,
}

/// Characters of the expression that are shown before and after the marked part.
const BEFORE: usize = 50;
const AFTER: usize = 30;

impl FilterError {
    /// Marks a range of bytes of the expression.
    pub(super) fn new(expression: &str, at: Range<usize>, problem: Problem) -> FilterError {
        let before = |byte: usize| expression.char_indices().take_while(|(index, _)| *index < byte).count();
        let (start, end) = (before(at.start), before(at.end));
        let from = start.saturating_sub(BEFORE);
        let marked = (end - start).clamp(1, AFTER);
        let shown = expression.chars().skip(from).take(start - from + marked + AFTER);
        let mut excerpt: String = shown.map(|each| if is_plain(each) { each } else { ' ' }).collect();
        let _ = write!(excerpt, "\n{:indent$}{:^<marked$}", "", "", indent = start - from);
        FilterError {
            problem,
            column: start + 1,
            excerpt,
        }
    }

    /// Returns the column of the marked part, in characters; the first is 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Returns what is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter, column {}: {}", self.column, self.problem)?;
        for line in self.excerpt.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// What is wrong with an expression. The messages end with a remedy where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The expression is longer than any filter.
    #[error("the expression is longer than {0} bytes; split it into several traces")]
    TooLong(usize),
    /// Parentheses, brackets or operators within each other.
    #[error("the expression is nested more than {0} deep; remove parentheses")]
    TooDeep(usize),
    /// The program would have too many instructions.
    #[error("the filter needs more than {0} {1}; use fewer primitives, or networks instead of hosts")]
    TooLarge(usize, &'static str),
    /// A character that is in no word or operator.
    #[error("unexpected character {0:?}")]
    Character(char),
    /// Digits that are no number of 32 bits.
    #[error("{0} is not a number from 0 to 4294967295; a leading 0 means octal and 0x hexadecimal")]
    Number(String),
    /// A word that means nothing where it is.
    #[error("unknown word '{word}'{}", .nearest)]
    UnknownWord {
        /// The word.
        word: String,
        /// Similar words, as the end of the message.
        nearest: Nearest,
    },
    /// Something else was expected.
    #[error("{found} where {expected} was expected")]
    Unexpected {
        /// What is there.
        found: String,
        /// What may be there.
        expected: &'static str,
    },
    /// An address without the words that say what of it.
    #[error("{found} has no qualifier that says what it is; write for example 'host', 'net' or 'port' before it")]
    Unqualified {
        /// What is there.
        found: String,
    },
    /// A part of the language that cannot be had here.
    #[error("{what} {why}; {remedy}")]
    Unsupported {
        /// The primitive.
        what: &'static str,
        /// Why not.
        why: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },
    /// Qualifiers that do not go together, or not with this value.
    #[error("'{qualifier}' does not apply to {value}; {remedy}")]
    Qualifier {
        /// The qualifier.
        qualifier: &'static str,
        /// The value.
        value: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A value above its maximum.
    #[error("{what} {value} is above the maximum, {maximum}")]
    Above {
        /// The value's name.
        what: &'static str,
        /// The value.
        value: u32,
        /// Its maximum.
        maximum: u32,
    },
    /// A network address with bits outside its mask.
    #[error("the address has bits outside its mask; the network is {0}")]
    HostBits(String),
    /// A name without an address, port or number.
    #[error("unknown {what} '{name}'{}", .nearest)]
    UnknownName {
        /// What it should be a name of.
        what: &'static str,
        /// The name.
        name: String,
        /// Similar names, as the end of the message.
        nearest: Nearest,
    },
    /// A host name that could not be resolved.
    #[error("cannot resolve the host name '{name}': {reason}; write its address")]
    Resolve {
        /// The name.
        name: String,
        /// The resolver's message.
        reason: String,
    },
    /// A port name of another protocol.
    #[error("port '{name}' belongs to {is}, not {wanted}; write its number")]
    PortProtocol {
        /// The name.
        name: String,
        /// Its protocol.
        is: &'static str,
        /// The qualifier.
        wanted: &'static str,
    },
    /// Division or remainder by a constant zero, or a shift by more than 31 bits.
    #[error("{0}")]
    Arithmetic(&'static str),
    /// No packet can match.
    #[error(
        "no packet can match this filter: its conditions contradict each other; 'or' may be meant instead of 'and'"
    )]
    Never,
}

/// The most characters of a word in a message.
const LONGEST_SHOWN: usize = 40;

/// Returns a part of the expression as messages show it: short, and nothing that moves the cursor.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_SHOWN).flat_map(escaped).collect();
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

fn escaped(each: char) -> impl Iterator<Item = char> {
    let plain = is_plain(each).then_some(each);
    let escape = plain.is_none().then(|| each.escape_unicode());
    plain.into_iter().chain(escape.into_iter().flatten())
}

/// Returns whether the character is shown as one that moves nothing else.
fn is_plain(each: char) -> bool {
    matches!(each, '\\' | '\'' | '"') || each.escape_debug().count() == 1
}

/// Names that are similar to an unknown one. Shown as `; did you mean ...?`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nearest(Vec<String>);

/// The most names that are proposed.
const PROPOSED: usize = 3;
/// Longer words than these are not compared.
const LONGEST_WORD: usize = 40;

impl Nearest {
    /// Chooses from `names` those that are nearest to `word`.
    pub(super) fn choose<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Nearest {
        let count = word.chars().count();
        if count > LONGEST_WORD {
            return Nearest::default();
        }
        let most = 1 + count / 4;
        let mut found: Vec<(usize, &str)> = names
            .filter_map(|name| Some((distance(word, name), name)).filter(|(distance, _)| *distance <= most))
            .filter(|(distance, _)| *distance < count)
            .collect();
        found.sort();
        found.dedup();
        let best = found.first().map_or(0, |(distance, _)| *distance);
        let near = found.into_iter().take_while(|(distance, _)| *distance == best);
        Nearest(near.take(PROPOSED).map(|(_, name)| name.to_owned()).collect())
    }
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let before = match index {
                0 => "; did you mean ",
                _ if index + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            write!(f, "{before}'{name}'")?;
        }
        f.write_str(if self.0.is_empty() { "" } else { "?" })
    }
}

/// Returns how many characters have to be inserted, removed, replaced or exchanged with the next one to make one word
/// of the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, each) in from.iter().enumerate() {
        let mut this = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(each != other);
            let mut least = replaced.min(last[column + 1] + 1).min(this[column] + 1);
            if row > 0 && column > 0 && *each == to[column - 1] && from[row - 1] == *other {
                least = least.min(before[column - 1] + 1);
            }
            this.push(least);
        }
        before = std::mem::replace(&mut last, this);
    }
    last[to.len()]
}
