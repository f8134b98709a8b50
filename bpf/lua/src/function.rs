//! Finds a function of a script in its text, by the lines that Lua says it is on. Imports `error` and `lexer`.

use std::ops::{Range, RangeInclusive};

use crate::error::{CompileError, Problem};
use crate::lexer::{Lexer, Source, TokenKind};

/// The most bytes of a script.
const LONGEST: usize = 1 << 18;

/// Returns the bytes of the function that begins on the first and ends on the last of these lines, counted from 1 on.
pub(crate) fn find(source: Source<'_>, lines: &RangeInclusive<usize>) -> Result<Range<usize>, CompileError> {
    if source.text.len() > LONGEST {
        return Err(source.error(&(0..0), Problem::TooLong(LONGEST)));
    }
    // Lua has read the text: what the kernel has no place for, such as floats, is no error outside of the function.
    let mut lexer = Lexer::quiet(source);
    let mut open: Vec<(&'static str, usize, usize)> = Vec::new();
    let mut found = Vec::new();
    let (mut line, mut counted) = (1, 0);
    while let Some((start, token)) = lexer.next_of_any() {
        line += source
            .text
            .get(counted..start)
            .map_or(0, |text| text.matches('\n').count());
        counted = start;
        match token {
            Some(TokenKind::End) => break,
            Some(TokenKind::Symbol(word @ ("function" | "if" | "do" | "repeat"))) => open.push((word, start, line)),
            Some(TokenKind::Symbol("end" | "until")) => {
                if let Some(("function", begin, first)) = open.pop()
                    && first == *lines.start()
                    && line == *lines.end()
                {
                    found.push(begin..lexer.at());
                }
            }
            _ => {}
        }
    }
    let whole = start_of(source.text, *lines.start());
    let unsupported = |what: &str, remedy| {
        let what = what.to_owned();
        Err(source.error(&whole, Problem::Unsupported { what, remedy }))
    };
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => unsupported(
            "the function is not in the text of the script",
            "compile functions of the script's own file, which must not change while it runs",
        ),
        _ => unsupported(
            "several functions begin and end on this line",
            "write the one that is compiled on lines of its own",
        ),
    }
}

fn start_of(text: &str, line: usize) -> Range<usize> {
    let mut start = 0;
    for each in text.split_inclusive('\n').take(line.saturating_sub(1)) {
        start += each.len();
    }
    let length = text
        .get(start..)
        .and_then(|rest| rest.lines().next())
        .map_or(0, str::len);
    start..start + length
}
