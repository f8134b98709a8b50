//! How packets ended, in words: the outcome, the explanation of a drop where its reason first occurs, and the counts of
//! the last line.

use crate::advice::{self, Advice, Class};
use crate::event::{Event, Function, LossKind, Outcome, Summary, Trace};
use crate::text::*;

use super::super::reasons::Reasons;

/// The outcomes in the order of the last line.
const ENDS: usize = 7;
const WORDS: [&str; ENDS] = [
    "delivered",
    "forwarded",
    "sent",
    "joined",
    "released",
    "dropped",
    "discarded",
];

/// What is known of the ends of a trace's packets.
#[derive(Debug, Default)]
pub(super) struct Ends {
    reasons: Reasons,
    /// By the index of the advice: whether it was shown.
    explained: Vec<bool>,
    /// Packets that ended, by their outcome, in the order of [`WORDS`].
    counts: [u64; ENDS],
    follow: bool,
}

/// The end of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    /// The kernel dropped the packet, and it is lost by that.
    pub(super) is_loss: bool,
}

impl Ends {
    pub(super) fn new(trace: &Trace) -> Self {
        Ends {
            reasons: Reasons::new(trace),
            explained: vec![false; advice::all().len()],
            counts: [0; ENDS],
            follow: trace.follow,
        }
    }

    pub(super) fn append(&mut self, new: &[Function]) {
        self.reasons.append(new);
    }

    /// Counts an end.
    pub(super) fn count(&mut self, event: &Event) -> End {
        let End { outcome, is_loss } = self.end(event);
        let place = match outcome {
            Outcome::Delivered => 0,
            Outcome::Forwarded => 1,
            Outcome::Sent => 2,
            Outcome::Joined => 3,
            Outcome::Released => 4,
            Outcome::Dropped { .. } if is_loss => 5,
            Outcome::Dropped { .. } => 6,
        };
        self.counts[place] += 1;
        End { outcome, is_loss }
    }

    /// Returns what an event says of the end, without counting it.
    pub(super) fn end(&self, event: &Event) -> End {
        let outcome = event.outcome().unwrap_or(Outcome::Released);
        let is_loss = self.reasons.class(outcome, event.function) == Some(Class::Lost);
        End { outcome, is_loss }
    }

    /// Returns the class of a drop.
    pub(super) fn class(&self, outcome: Outcome, function: u32) -> Class {
        self.reasons.class(outcome, function).unwrap_or(Class::Lost)
    }

    /// Returns what explains an outcome.
    pub(super) fn advice(&self, outcome: Outcome, function: u32) -> Option<&'static Advice> {
        advice::all().get(self.reasons.advice(outcome, function)?)
    }

    /// Explains each reason again, where it occurs next.
    pub(super) fn explain_again(&mut self) {
        self.explained.fill(false);
    }

    /// Appends the outcome, and the reason of a drop.
    pub(super) fn push(&self, out: &mut Vec<u8>, end: End) {
        let Outcome::Dropped { reason } = end.outcome else {
            return out.extend_from_slice(end.outcome.name().as_bytes());
        };
        out.extend_from_slice(if end.is_loss { b"DROPPED" } else { b"discarded" });
        if reason != 0 || self.reasons.name(end.outcome).is_some() {
            out.push(b' ');
            self.push_reason(out, end.outcome);
        }
    }

    /// Appends the reason of a drop: its name or number, or nothing if the kernel tells none.
    pub(super) fn push_reason(&self, out: &mut Vec<u8>, outcome: Outcome) {
        let Outcome::Dropped { reason } = outcome else {
            return;
        };
        match self.reasons.name(outcome) {
            Some(name) => push_visible(out, name),
            None if reason == 0 => {}
            None => {
                out.extend_from_slice(b"reason ");
                push_unsigned(out, u64::from(reason));
            }
        }
    }

    /// Returns what explains an end, if it was not shown before.
    pub(super) fn explanation(&mut self, event: &Event) -> Option<&'static Advice> {
        let index = self.reasons.advice(event.outcome()?, event.function)?;
        let is_new = !std::mem::replace(self.explained.get_mut(index)?, true);
        advice::all().get(index).filter(|_| is_new)
    }

    /// Appends the last lines, of a trace of so many packets.
    pub(super) fn push_summary(&self, out: &mut Vec<u8>, packets: u64, summary: &Summary) {
        // That nothing was seen is said with the reasons, elsewhere.
        if packets == 0 {
            return;
        }
        push_unsigned(out, packets);
        out.extend_from_slice(if packets == 1 { b" packet" } else { b" packets" });
        let ended: u64 = self.counts.iter().sum();
        if self.follow || ended > 0 {
            let going_on = packets.saturating_sub(ended);
            let mut separator = b": ".as_slice();
            let ends = self.counts.iter().copied().zip(WORDS);
            for (count, word) in ends.chain([(going_on, "not ended")]) {
                if count > 0 {
                    out.extend_from_slice(std::mem::replace(&mut separator, b", "));
                    push_unsigned(out, count);
                    out.push(b' ');
                    out.extend_from_slice(word.as_bytes());
                }
            }
        }
        out.push(b'.');
        push_losses(out, summary);
    }
}

/// Appends ` Nothing was lost.`, or a line with what was.
fn push_losses(out: &mut Vec<u8>, summary: &Summary) {
    if summary.lost() == 0 {
        return out.extend_from_slice(b" Nothing was lost.\n");
    }
    out.push(b'\n');
    push_unsigned(out, summary.lost());
    out.extend_from_slice(if summary.lost() == 1 {
        b" event was lost"
    } else {
        b" events were lost"
    });
    let mut kinds: Vec<(LossKind, u64)> = Vec::new();
    for loss in summary.losses.iter().filter(|loss| loss.count > 0) {
        match kinds.iter_mut().find(|(kind, _)| *kind == loss.kind) {
            Some((_, count)) => *count = count.saturating_add(loss.count),
            None => kinds.push((loss.kind, loss.count)),
        }
    }
    for (index, (kind, count)) in kinds.iter().enumerate() {
        if kinds.len() > 1 {
            out.extend_from_slice(if index == 0 { b": " } else { b", " });
            push_unsigned(out, *count);
        }
        out.extend_from_slice(b" (");
        out.extend_from_slice(kind.description().as_bytes());
        out.push(b')');
    }
    out.push(b'\n');
}
