//! Results of a trace or a replay, and the report of losses.

use ipft_core::event::{Loss, LossKind, Summary};
use ipft_core::limit::Reached;
use ipft_core::message;

/// The result of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Complete.
    Done,
    /// A sink failed and was dropped; the others got everything.
    SinkFailed,
    /// The recording was cut or damaged; the readable part was drawn.
    Incomplete,
}

/// Reports losses; `reached` is the limit that ended the trace, if any. `shown`: the output has them on the same terminal,
/// so that only the remedies are missing.
pub fn report_losses(summary: &Summary, reached: Option<Reached>, shown: bool) {
    if summary.losses.is_empty() {
        return;
    }
    if !shown {
        message!("Lost {} events:", summary.lost());
        for Loss { kind, cpu, count } in &summary.losses {
            match cpu {
                Some(cpu) => message!("  {count} on CPU {cpu}: {}", kind.description()),
                None => message!("  {count}: {}", kind.description()),
            }
        }
    }
    if summary.losses.iter().any(|loss| loss.kind == LossKind::BufferFull) {
        message!("A larger --ring-size (or --perf-page-count) loses fewer to a full buffer.");
    }
    if summary.losses.iter().any(|loss| loss.kind == LossKind::RateLimit) {
        message!("Mark fewer packets, or raise --max-events-per-second.");
    }
    if let Some(Reached::StopAfter(_)) = reached {
        // The kernel counts without the selection.
        message!("Some of them may belong to what --stop-after leaves out.");
    }
}
