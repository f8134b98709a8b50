//! What happens to a packet besides the functions that it passes: of which one it was made, what it became part of, and
//! how it ended. Imports `event` and `text`.

use super::reasons::Reasons;
use super::texts::FunctionTexts;
use crate::event::{Event, EventKind, NO_FUNCTION, Outcome};
use crate::text::push_hex;

/// In [`Lineage::end`]: the packet has not ended, which no outcome says.
const GOES_ON: u64 = u64::MAX;

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lineage {
    /// The packet that it was made of, 0 if none.
    parent: u64,
    /// The packet that it became part of, 0 if none.
    whole: u64,
    /// The outcome's word.
    end: u64,
    /// The function that made it.
    maker: u32,
    /// The function that dropped it.
    dropper: u32,
}

impl Default for Lineage {
    fn default() -> Self {
        Lineage {
            parent: 0,
            whole: 0,
            end: GOES_ON,
            maker: NO_FUNCTION,
            dropper: NO_FUNCTION,
        }
    }
}

impl Lineage {
    /// Returns whether events of this kind belong to it.
    pub(super) fn is_of(kind: EventKind) -> bool {
        matches!(kind, EventKind::BORN | EventKind::JOINED | EventKind::ENDED)
    }

    /// Adds what an event says.
    pub(super) fn note(&mut self, event: &Event) {
        match event.kind {
            EventKind::BORN => (self.parent, self.maker) = (event.spare, event.function),
            EventKind::JOINED => self.whole = event.spare,
            EventKind::ENDED => (self.end, self.dropper) = (event.spare, event.function),
            _ => {}
        }
    }

    /// Appends ` made of 0x3 by ip_copy_metadata` and ` dropped NETFILTER_DROP in nft_do_chain`, each after the
    /// separator if it is known. `functions` are their names.
    pub(super) fn push(&self, out: &mut Vec<u8>, separator: &[u8], reasons: &Reasons, functions: &FunctionTexts) {
        let push_function = |out: &mut Vec<u8>, word: &[u8], function: u32| {
            if (function as usize) < functions.len() {
                out.extend_from_slice(word);
                functions.push(out, function);
            }
        };
        if self.parent != 0 {
            out.extend_from_slice(separator);
            out.extend_from_slice(b"made of ");
            push_hex(out, self.parent);
            push_function(out, b" by ", self.maker);
        }
        if self.end == GOES_ON {
            if self.whole != 0 {
                out.extend_from_slice(separator);
                out.extend_from_slice(b"part of ");
                push_hex(out, self.whole);
            }
            return;
        }
        let outcome = Outcome::of_word(self.end);
        out.extend_from_slice(separator);
        reasons.push_end(out, outcome, self.dropper);
        push_function(out, b" in ", self.dropper);
        if self.whole != 0 {
            out.push(b' ');
            push_hex(out, self.whole);
        }
    }
}
