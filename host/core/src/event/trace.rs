//! Properties of a trace besides its events: sent once before them, and once after.

use super::{EnumMember, Schema};

/// Which of the two pictures of a packet's journey is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracer {
    /// Entries only.
    Function,
    /// Entries and returns.
    FunctionGraph,
}

impl Tracer {
    /// The name that the command line and every output use.
    pub fn name(self) -> &'static str {
        match self {
            Tracer::Function => "function",
            Tracer::FunctionGraph => "function_graph",
        }
    }
}

/// One function that is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Symbol name, with the compiler's suffix if it has one.
    pub name: String,
    /// `vmlinux`, or the module's name.
    pub module: String,
    /// Address of the symbol, 0 where the kernel does not tell.
    pub address: u64,
}

/// Everything about a trace that is known before its first event.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Which picture.
    pub tracer: Tracer,
    /// The backend that attached (`kprobe-multi`, ...).
    pub backend: String,
    /// The functions that events name by their index.
    pub functions: Vec<Function>,
    /// Layout of the payloads.
    pub schema: Schema,
    /// Nanoseconds to add to an event's timestamp to get nanoseconds since 1970 (UTC).
    pub clock_offset: i64,
    /// The command line, as it was given.
    pub command_line: Vec<String>,
    /// `uname -r` of the traced kernel.
    pub kernel_release: String,
    /// The mark that a packet must carry, after masking.
    pub mark: u32,
    /// The bits of the mark that count; 0 if packets with any mark are traced.
    pub mask: u32,
    /// The packet filter, as the user wrote it; empty if there is none.
    pub filter: String,
    /// Whether packets are followed once they were selected, whatever becomes of their marks and headers.
    pub follow: bool,
    /// Names of the kernel's reasons to drop packets, in order of their values, without `SKB_DROP_REASON_`. Empty if the
    /// kernel tells none (before 5.17), or if packets are not followed.
    pub drop_reasons: Vec<EnumMember>,
}

impl Trace {
    /// Returns the name of a reason to drop a packet.
    pub fn drop_reason(&self, reason: u32) -> Option<&str> {
        let reasons = &self.drop_reasons;
        let at = reasons.binary_search_by_key(&u64::from(reason), |member| member.value);
        at.ok()
            .and_then(|at| reasons.get(at))
            .map(|member| member.name.as_str())
    }
}

/// A way in which events are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossKind {
    /// The ring or perf buffer was full.
    BufferFull,
    /// A probe fired inside a BPF program on the same CPU and the kernel did not run ours.
    Recursion,
    /// A return could not be probed because all return instances of a function were in use.
    ReturnMissed,
    /// The table of live packets or of open calls was full.
    MapFull,
    /// There were more events on a CPU than the limit of events a second allows.
    RateLimit,
    /// The CPU came online after the trace had begun, and has no perf buffer.
    NoBuffer,
    /// A record of the buffer was no event: a bug of ours, or of the kernel's.
    Undecodable,
}

impl LossKind {
    /// The word that the JSON lines format uses.
    pub fn name(self) -> &'static str {
        match self {
            LossKind::BufferFull => "buffer-full",
            LossKind::Recursion => "recursion",
            LossKind::ReturnMissed => "return-missed",
            LossKind::MapFull => "map-full",
            LossKind::RateLimit => "rate-limit",
            LossKind::NoBuffer => "no-buffer",
            LossKind::Undecodable => "undecodable",
        }
    }

    /// Description for users, after the number of events.
    pub fn description(self) -> &'static str {
        match self {
            LossKind::BufferFull => "buffer full",
            LossKind::Recursion => "probe hit inside another probe (running or preempted)",
            LossKind::ReturnMissed => "return not probed",
            LossKind::MapFull => "packet table full",
            LossKind::RateLimit => "over --max-events-per-second",
            LossKind::NoBuffer => "CPU online only since the trace began, and without a perf buffer",
            LossKind::Undecodable => "record not understood",
        }
    }
}

/// Events that were lost in one way on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// How they were lost.
    pub kind: LossKind,
    /// The CPU, if the kernel counts per CPU.
    pub cpu: Option<u32>,
    /// Number of events.
    pub count: u64,
}

/// Progress of a running trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub timestamp: u64,
    /// Events lost so far, by way and CPU.
    pub losses: Vec<Loss>,
}

/// A function that was wanted and is not traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedFunction {
    /// Symbol name.
    pub name: String,
    /// `vmlinux`, or the module's name.
    pub module: String,
    /// The reason, in words for the user.
    pub reason: String,
}

/// Everything that is known when the trace has ended.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Events delivered to the sinks.
    pub events: u64,
    /// Packets that were given an identity, also those all of whose events were lost. Where a limit on events or packets
    /// was reached, those that have events in the trace.
    pub packets: u64,
    /// Events lost, by way and CPU; empty if none was.
    pub losses: Vec<Loss>,
    /// Number of attached functions.
    pub attached: u32,
    /// The functions that could not be.
    pub skipped: Vec<SkippedFunction>,
}

impl Summary {
    /// Events lost in all ways and on all CPUs.
    pub fn lost(&self) -> u64 {
        // A recording may say anything.
        self.losses.iter().map(|loss| loss.count).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_without_bound_have_a_sum() {
        let loss = |count| Loss {
            kind: LossKind::BufferFull,
            cpu: None,
            count,
        };
        let summary = Summary {
            losses: vec![loss(u64::MAX), loss(7)],
            ..Summary::default()
        };
        assert_eq!(summary.lost(), u64::MAX);
    }
}
