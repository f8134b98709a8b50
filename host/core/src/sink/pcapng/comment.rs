//! A packet's journey in words, for the comment of its block: a line for each event.
//!
//! ```text
//!        0.000 us  CPU 0  ip_output [vmlinux] {
//!        3.400 us  CPU 0    nf_hook_slow [vmlinux] {
//!        9.304 us  CPU 0    } /* 5.904 us */
//! ```
//!
//! Where packets are followed, the first line names the packet, the one that it was made of, and how it ended:
//!
//! ```text
//! packet 0x6ad8e5c24f7001, made of 0x6ad8e5a1be3001 by ip_copy_metadata, dropped NETFILTER_DROP in nft_do_chain
//! ```
//!
//! Times count from the packet's first event. Without the graph there are no braces. The lines of a packet have a
//! limit; what is left out is counted in the last one.

use super::super::graph::Line;
use super::super::journal::Kept;
use super::super::lineage::Lineage;
use super::super::reasons::Reasons;
use super::super::texts::FunctionTexts;
use crate::event::{EventKind, Function, Trace};
use crate::text::*;

/// Maximum bytes of a packet's lines: those of some hundred events. More makes Wireshark slow without being useful
/// there.
const LIMIT: usize = 32 << 10;
/// Columns of the time.
const TIME: usize = 12;

/// Writes comments; what it holds are the functions' names.
#[derive(Debug, Default)]
pub(super) struct Comments {
    /// `name [module]`.
    functions: FunctionTexts,
    /// Their names alone.
    names: FunctionTexts,
    reasons: Reasons,
}

impl Comments {
    pub(super) fn new(trace: &Trace) -> Self {
        let mut comments = Comments::default();
        comments.append(&trace.functions);
        // It has taken the functions already.
        comments.reasons = Reasons::new(trace);
        comments
    }

    /// Functions that are new.
    pub(super) fn append(&mut self, functions: &[Function]) {
        self.functions.append(functions, |out, function| {
            push_visible(out, &function.name);
            out.extend_from_slice(b" [");
            push_visible(out, &function.module);
            out.push(b']');
        });
        self.names
            .append(functions, |out, function| push_visible(out, &function.name));
        self.reasons.append(functions);
    }

    /// Appends the first line of a packet that is followed.
    pub(super) fn push_lineage(&self, out: &mut Vec<u8>, identity: u64, lineage: &Lineage) {
        out.extend_from_slice(b"packet ");
        push_hex(out, identity);
        lineage.push(out, b", ", &self.reasons, &self.names);
        out.push(b'\n');
    }

    /// Appends the lines of a packet with these events, which are in order of time, and `more` that follow. `lines` are
    /// their places in the graph, if there is one.
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        events: impl ExactSizeIterator<Item = Kept>,
        more: usize,
        lines: Option<&[Line]>,
    ) {
        let begin = out.len();
        let count = events.len() + more;
        let mut first = None;
        for (index, event) in events.enumerate() {
            let start = out.len();
            let line = lines.and_then(|lines| lines.get(index));
            if index > 0 {
                out.push(b'\n');
            }
            self.push_line(out, *first.get_or_insert(event.timestamp), &event, line);
            if out.len() - begin > LIMIT {
                out.truncate(start);
                if index > 0 {
                    out.push(b'\n');
                }
                out.extend_from_slice(b"... and ");
                push_unsigned(out, (count - index) as u64);
                out.extend_from_slice(b" more events");
                return;
            }
        }
    }

    fn push_line(&self, out: &mut Vec<u8>, first: u64, event: &Kept, line: Option<&Line>) {
        push_microseconds(out, event.timestamp.saturating_sub(first), TIME);
        out.extend_from_slice(b"  CPU ");
        push_unsigned(out, event.cpu.into());
        out.extend_from_slice(b"  ");
        let Some(line) = line else {
            return self.functions.push(out, event.function);
        };
        push_spaces(out, 2 * line.level as usize);
        match (event.kind, line.paired) {
            (EventKind::ENTRY, _) => {
                self.functions.push(out, event.function);
                out.extend_from_slice(b" {");
            }
            (EventKind::RETURN, true) => {
                out.extend_from_slice(b"} /* ");
                push_microseconds(out, event.timestamp.saturating_sub(event.entry_timestamp), 0);
                out.extend_from_slice(b" */");
            }
            _ => {
                out.extend_from_slice(b"} /* ");
                self.functions.push(out, event.function);
                out.extend_from_slice(b" */");
            }
        }
    }
}

/// Nanoseconds as microseconds, with spaces in front up to the width.
fn push_microseconds(out: &mut Vec<u8>, nanoseconds: u64, width: usize) {
    let mut text = Vec::with_capacity(24);
    push_unsigned(&mut text, nanoseconds / 1000);
    text.push(b'.');
    push_three_digits(&mut text, nanoseconds % 1000);
    push_spaces(out, width.saturating_sub(text.len()));
    out.extend_from_slice(&text);
    out.extend_from_slice(b" us");
}
