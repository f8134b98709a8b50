//! How a trace or a replay ended, and what both say about losses.

use ipft_core::event::{Loss, LossKind, Summary};
use ipft_core::limit::Reached;
use ipft_core::message;

/// How a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// A sink failed and was set aside; the others got everything.
    SinkFailed,
    /// What was replayed was cut or damaged; all of the rest was drawn.
    Incomplete,
}

/// Tells the user what was lost; `reached` is what ended the trace, if it was a limit.
pub fn report_losses(summary: &Summary, reached: Option<Reached>) {
    if summary.losses.is_empty() {
        return;
    }
    message!("Lost {} events:", summary.lost());
    for Loss { kind, cpu, count } in &summary.losses {
        match cpu {
            Some(cpu) => message!("  {count} on CPU {cpu}: {}", kind.description()),
            None => message!("  {count}: {}", kind.description()),
        }
    }
    if summary.losses.iter().any(|loss| loss.kind == LossKind::BufferFull) {
        message!("A larger --ring-size (or --perf-page-count) loses fewer to a full buffer.");
    }
    if let Some(Reached::StopAfter(_)) = reached {
        // The kernel counts without knowing what is wanted.
        message!("Some of them may belong to what --stop-after leaves out.");
    }
}
