//! The table of `ipft drops`: how many packets were dropped for which reason and where, and the sums below it.

use std::collections::BTreeMap;

use crate::text::*;

const HEADINGS: [&str; 5] = ["count", "reason", "in", "device", "last packet"];
/// Rows that a terminal shows in any case.
const LEAST_ROWS: usize = 3;

/// A row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'a> {
    pub(super) count: u64,
    /// Empty if the kernel tells none.
    pub(super) reason: &'a str,
    pub(super) function: &'a str,
    pub(super) device: &'a [u8],
    /// The last packet, in words.
    pub(super) packet: &'a [u8],
}

/// What is below the rows.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Packets in the table.
    pub(super) dropped: u64,
    /// Packets with a line.
    pub(super) lines: u64,
    /// Packets that are not in the table, by their class.
    pub(super) hidden: BTreeMap<&'static str, u64>,
    /// Whether those of all classes are in it.
    pub(super) all: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Lines.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Default for Screen {
    fn default() -> Self {
        Screen { rows: 24, columns: 80 }
    }
}

/// Appends the table. On a screen it takes at most half of the lines, and none is longer than the screen is wide. Returns
/// the number of lines.
pub(super) fn push(out: &mut Vec<u8>, rows: &[Counted<'_>], sums: &Sums, screen: Option<Screen>) -> usize {
    // The empty line, the headings, what is left out, and two sums.
    const OTHERS: usize = 5;
    let most = screen.map_or(usize::MAX, |screen| {
        (screen.rows / 2).saturating_sub(OTHERS).max(LEAST_ROWS)
    });
    let mut text = Vec::new();
    if !rows.is_empty() && sums.lines > 0 {
        text.push(b'\n');
    }
    push_rows(&mut text, rows, most);
    push_sums(&mut text, sums);
    let Some(screen) = screen else {
        out.extend_from_slice(&text);
        return text.iter().filter(|byte| **byte == b'\n').count();
    };
    let mut lines = 0;
    for line in String::from_utf8_lossy(&text).lines() {
        out.extend_from_slice(cut(line, screen.columns).as_bytes());
        out.push(b'\n');
        lines += 1;
    }
    lines
}

/// Returns the start of a line that has room in so many columns. A character that is not of ASCII may take two.
fn cut(line: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = line.char_indices().find(|(_, character)| {
        taken += if character.is_ascii() { 1 } else { 2 };
        taken > columns
    });
    end.map_or(line, |(at, _)| &line[..at])
}

/// Appends the first rows under their headings, and how many there are beside them.
fn push_rows(out: &mut Vec<u8>, rows: &[Counted<'_>], most: usize) {
    if rows.is_empty() {
        return;
    }
    let shown = &rows[..rows.len().min(most)];
    let counts: Vec<String> = shown.iter().map(|row| row.count.to_string()).collect();
    let wide = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().count();
    let mut widths = HEADINGS.map(str::len);
    for (row, count) in shown.iter().zip(&counts) {
        let cells = [
            count.len(),
            row.reason.len(),
            row.function.chars().count(),
            wide(row.device),
        ];
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.max(*width);
        }
    }
    // Kernels before 5.17 give no reasons.
    let has_reasons = shown.iter().any(|row| !row.reason.is_empty());
    let mut push = |count: &str, cells: [&[u8]; 4]| {
        push_spaces(out, widths[0].saturating_sub(count.len()));
        out.extend_from_slice(count.as_bytes());
        for (index, cell) in cells.into_iter().enumerate() {
            if index == 0 && !has_reasons {
                continue;
            }
            out.extend_from_slice(b"  ");
            out.extend_from_slice(cell);
            if index < 3 {
                push_spaces(out, widths[index + 1].saturating_sub(wide(cell)));
            }
        }
        while out.last() == Some(&b' ') {
            out.pop();
        }
        out.push(b'\n');
    };
    push(HEADINGS[0], [1, 2, 3, 4].map(|index| HEADINGS[index].as_bytes()));
    for (row, count) in shown.iter().zip(&counts) {
        push(
            count,
            [row.reason.as_bytes(), row.function.as_bytes(), row.device, row.packet],
        );
    }
    if shown.len() < rows.len() {
        out.extend_from_slice(b"and ");
        push_unsigned(out, (rows.len() - shown.len()) as u64);
        out.extend_from_slice(b" more\n");
    }
}

/// Appends the last lines: how many packets were dropped, and what of that is not shown.
fn push_sums(out: &mut Vec<u8>, sums: &Sums) {
    let Sums {
        dropped,
        lines,
        ref hidden,
        all,
    } = *sums;
    if dropped > 0 {
        push_unsigned(out, dropped);
        out.extend_from_slice(if dropped == 1 {
            b" packet was dropped"
        } else {
            b" packets were dropped"
        });
        if lines < dropped {
            out.extend_from_slice(b", of which ");
            push_unsigned(out, lines);
            out.extend_from_slice(if lines == 1 { b" has a line" } else { b" have a line" });
            out.extend_from_slice(b" (--max-per-place, --max-events-per-second)");
        }
        out.extend_from_slice(b".\n");
    }
    let sum: u64 = hidden.values().fold(0, |sum, count| sum.saturating_add(*count));
    if sum > 0 {
        push_unsigned(out, sum);
        out.extend_from_slice(if dropped > 0 {
            b" more"
        } else if sum == 1 {
            b" packet"
        } else {
            b" packets"
        });
        out.extend_from_slice(if sum == 1 { b" was" } else { b" were" });
        out.extend_from_slice(b" freed as dropped, which is no loss: ");
        for (index, (class, count)) in hidden.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            push_unsigned(out, *count);
            out.push(b' ');
            out.extend_from_slice(class.as_bytes());
        }
        out.extend_from_slice(if all { b".\n" } else { b" (--all shows them).\n" });
    }
}
