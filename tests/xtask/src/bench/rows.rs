//! The rows of the table, with the cost of ipftrace2 in the same place and the targets.

use std::fmt;

use crate::kernel::Kernel;

/// Entries, or entries and returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracer {
    Function,
    FunctionGraph,
}

impl Tracer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Tracer::Function => "function",
            Tracer::FunctionGraph => "function_graph",
        }
    }
}

/// Cost of ipftrace2: additional instructions to send and deliver one packet, measured with the same traffic in the
/// same kind of guest (medians of three, spread within 1 %).
#[derive(Clone, Copy, Debug)]
pub(super) struct Old {
    /// Its tracer.
    pub(super) name: &'static str,
    pub(super) unmarked: f64,
    /// With its own buffers, which make it skip the work for most events.
    pub(super) marked: f64,
    /// The same with buffers that take all events, where that was measured (`--perf-page-count 16384`).
    pub(super) without_loss: Option<f64>,
    /// How often its functions are entered on the packet's path. It attaches to functions with a plain, non-const
    /// pointer to the sk_buff; those were counted on this path with the kernel's own function tracer.
    pub(super) path: f64,
    /// Seconds to readiness.
    pub(super) ready: f64,
}

impl Old {
    /// Returns the cost of a marked packet that ours is compared with: ours loses nothing.
    pub(super) fn comparable(&self) -> f64 {
        self.without_loss.unwrap_or(self.marked)
    }
}

/// Targets; `None` where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Targets {
    /// Relative to ipftrace2, per function.
    pub(super) unmarked: Option<f64>,
    pub(super) marked: Option<f64>,
    /// Relative to empty programs, per function.
    pub(super) unmarked_of_floor: Option<f64>,
    /// Seconds.
    pub(super) ready: Option<Ready>,
    pub(super) stop: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ready {
    Seconds(f64),
    /// No longer than empty programs.
    LikeFloor,
}

/// The name of a row in which ipft chooses the backends.
pub(super) const DEFAULT: &str = "default";

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) kernel: Kernel,
    /// Without one, ipft chooses.
    pub(super) backend: Option<&'static str>,
    pub(super) tracer: Tracer,
    /// Name of the mechanism for bench-floor, which has none that mixes several.
    pub(super) floor: Option<&'static str>,
    pub(super) old: Option<Old>,
    pub(super) targets: Targets,
}

impl fmt::Display for Row {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let backend = self.backend.unwrap_or(DEFAULT);
        write!(to, "{} {backend}, {}", self.kernel.series(), self.tracer.name())
    }
}

const NO_TARGETS: Targets = Targets {
    unmarked: None,
    marked: None,
    unmarked_of_floor: None,
    ready: None,
    stop: None,
};

/// Returns the row of what ipft does by itself where hot functions have trampolines of their own.
const fn default(kernel: Kernel, old: Old, unmarked: f64, targets: Targets) -> Row {
    Row {
        kernel,
        backend: None,
        tracer: Tracer::Function,
        floor: None,
        old: Some(old),
        targets: Targets {
            unmarked: Some(unmarked),
            ..targets
        },
    }
}

/// Per cent of the events of a flood of marked packets.
pub(super) const MOST_LOST: f64 = 5.0;
/// Of what the mark costs: packets that a filter does not select, and, in the kernel, those that it does.
pub(super) const MOST_FILTERED: f64 = 1.0;
pub(super) const MOST_SELECTED: f64 = 1.35;
/// Seconds to readiness that a filter adds.
pub(super) const MOST_FILTER_READY: f64 = 0.2;
/// Seconds for `ipft -l`.
pub(super) const LONGEST_LIST: f64 = 0.5;

const OLD_6_12: Old = Old {
    name: "kprobe-multi",
    unmarked: 23_400.0,
    marked: 98_300.0,
    without_loss: Some(183_700.0),
    path: 58.0,
    ready: 2.9,
};
const OLD_6_12_GRAPH: Old = Old {
    name: "function_graph",
    unmarked: 36_000.0,
    marked: 170_100.0,
    without_loss: Some(353_200.0),
    path: 58.0,
    ready: 59.4,
};
const OLD_6_18: Old = Old {
    name: "6.18 kprobe-multi",
    unmarked: 32_100.0,
    marked: 141_600.0,
    without_loss: None,
    path: 59.0,
    ready: 3.2,
};
const OLD_6_1: Old = Old {
    name: "kprobe",
    unmarked: 32_100.0,
    marked: 102_400.0,
    without_loss: None,
    path: 58.0,
    ready: 25.6,
};
const OLD_5_10: Old = Old {
    name: "kprobe",
    unmarked: 25_300.0,
    marked: 83_600.0,
    without_loss: None,
    path: 56.0,
    ready: 45.4,
};

pub(super) const ROWS: [Row; 12] = [
    default(
        Kernel::V6_12,
        OLD_6_12,
        0.45,
        Targets {
            marked: Some(0.19),
            stop: Some(1.0),
            ..NO_TARGETS
        },
    ),
    default(Kernel::V6_18, OLD_6_18, 0.45, NO_TARGETS),
    default(Kernel::V6_1, OLD_6_1, 0.50, NO_TARGETS),
    Row {
        kernel: Kernel::V6_12,
        backend: Some("kprobe-multi"),
        tracer: Tracer::Function,
        floor: Some("kprobe-multi"),
        old: Some(OLD_6_12),
        targets: Targets {
            unmarked: Some(0.72),
            marked: Some(0.40),
            unmarked_of_floor: Some(1.07),
            ready: Some(Ready::Seconds(1.8)),
            stop: None,
        },
    },
    Row {
        kernel: Kernel::V6_12,
        backend: Some("ftrace"),
        tracer: Tracer::Function,
        floor: Some("ftrace"),
        old: Some(OLD_6_12),
        targets: Targets {
            unmarked: Some(0.38),
            marked: Some(0.40),
            unmarked_of_floor: Some(1.08),
            ready: Some(Ready::LikeFloor),
            stop: None,
        },
    },
    Row {
        kernel: Kernel::V6_12,
        backend: Some("kprobe-session"),
        tracer: Tracer::FunctionGraph,
        floor: Some("kprobe-session"),
        old: Some(OLD_6_12_GRAPH),
        targets: Targets {
            unmarked: Some(0.63),
            marked: Some(0.23),
            unmarked_of_floor: Some(1.07),
            ready: Some(Ready::Seconds(2.0)),
            stop: None,
        },
    },
    Row {
        kernel: Kernel::V6_1,
        backend: Some("kprobe"),
        tracer: Tracer::Function,
        floor: Some("kprobe"),
        old: Some(OLD_6_1),
        targets: Targets {
            unmarked: Some(0.90),
            marked: Some(0.50),
            unmarked_of_floor: None,
            ready: Some(Ready::Seconds(20.0)),
            stop: Some(10.0),
        },
    },
    Row {
        kernel: Kernel::V6_1,
        backend: Some("ftrace"),
        tracer: Tracer::Function,
        floor: Some("ftrace"),
        old: Some(OLD_6_1),
        targets: NO_TARGETS,
    },
    Row {
        kernel: Kernel::V6_18,
        backend: Some("kprobe-multi"),
        tracer: Tracer::Function,
        floor: Some("kprobe-multi"),
        old: Some(OLD_6_18),
        targets: NO_TARGETS,
    },
    Row {
        kernel: Kernel::V7_2,
        backend: Some("fentry-multi"),
        tracer: Tracer::Function,
        floor: Some("fentry-multi"),
        old: Some(OLD_6_18),
        targets: Targets {
            unmarked: Some(0.38),
            marked: Some(0.40),
            unmarked_of_floor: Some(1.20),
            ready: Some(Ready::Seconds(1.8)),
            stop: None,
        },
    },
    Row {
        kernel: Kernel::V7_2,
        backend: Some("fentry-multi"),
        tracer: Tracer::FunctionGraph,
        floor: Some("fentry-multi-graph"),
        old: None,
        targets: NO_TARGETS,
    },
    Row {
        kernel: Kernel::V5_10,
        backend: Some("kprobe"),
        tracer: Tracer::Function,
        floor: Some("kprobe"),
        old: Some(OLD_5_10),
        targets: NO_TARGETS,
    },
];
