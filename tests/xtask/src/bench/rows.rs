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
    pub(super) marked: f64,
    /// How often its functions are entered on the packet's path. It attaches to functions with a plain, non-const
    /// pointer to the sk_buff; those were counted on this path with the kernel's own function tracer.
    pub(super) path: f64,
    /// Seconds to readiness.
    pub(super) ready: f64,
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

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) kernel: Kernel,
    pub(super) backend: &'static str,
    pub(super) tracer: Tracer,
    /// Name of the mechanism for bench-floor.
    pub(super) floor: &'static str,
    pub(super) old: Option<Old>,
    pub(super) targets: Targets,
}

impl fmt::Display for Row {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "{} {}, {}", self.kernel.series(), self.backend, self.tracer.name())
    }
}

const NO_TARGETS: Targets = Targets {
    unmarked: None,
    marked: None,
    unmarked_of_floor: None,
    ready: None,
    stop: None,
};

/// Per cent of the events of a flood of marked packets.
pub(super) const MOST_LOST: f64 = 5.0;
/// Seconds for `ipft -l`.
pub(super) const LONGEST_LIST: f64 = 0.5;

const OLD_6_12: Old = Old {
    name: "kprobe-multi",
    unmarked: 23_400.0,
    marked: 98_300.0,
    path: 58.0,
    ready: 2.9,
};
const OLD_6_12_GRAPH: Old = Old {
    name: "function_graph",
    unmarked: 36_000.0,
    marked: 170_100.0,
    path: 58.0,
    ready: 59.4,
};
const OLD_6_18: Old = Old {
    name: "6.18 kprobe-multi",
    unmarked: 32_100.0,
    marked: 141_600.0,
    path: 59.0,
    ready: 3.2,
};
const OLD_6_1: Old = Old {
    name: "kprobe",
    unmarked: 32_100.0,
    marked: 102_400.0,
    path: 58.0,
    ready: 25.6,
};
const OLD_5_10: Old = Old {
    name: "kprobe",
    unmarked: 25_300.0,
    marked: 83_600.0,
    path: 56.0,
    ready: 45.4,
};

pub(super) const ROWS: [Row; 9] = [
    Row {
        kernel: Kernel::V6_12,
        backend: "kprobe-multi",
        tracer: Tracer::Function,
        floor: "kprobe-multi",
        old: Some(OLD_6_12),
        targets: Targets {
            unmarked: Some(0.72),
            marked: Some(0.40),
            unmarked_of_floor: Some(1.10),
            ready: Some(Ready::Seconds(1.8)),
            stop: None,
        },
    },
    Row {
        kernel: Kernel::V6_12,
        backend: "ftrace",
        tracer: Tracer::Function,
        floor: "ftrace",
        old: Some(OLD_6_12),
        targets: Targets {
            unmarked: Some(0.38),
            marked: Some(0.40),
            unmarked_of_floor: Some(1.15),
            ready: Some(Ready::LikeFloor),
            stop: None,
        },
    },
    Row {
        kernel: Kernel::V6_12,
        backend: "kprobe-session",
        tracer: Tracer::FunctionGraph,
        floor: "kprobe-session",
        old: Some(OLD_6_12_GRAPH),
        targets: Targets {
            unmarked: Some(0.63),
            marked: Some(0.40),
            unmarked_of_floor: Some(1.06),
            ready: Some(Ready::Seconds(2.0)),
            stop: None,
        },
    },
    Row {
        kernel: Kernel::V6_1,
        backend: "kprobe",
        tracer: Tracer::Function,
        floor: "kprobe",
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
        backend: "ftrace",
        tracer: Tracer::Function,
        floor: "ftrace",
        old: Some(OLD_6_1),
        targets: NO_TARGETS,
    },
    Row {
        kernel: Kernel::V6_18,
        backend: "kprobe-multi",
        tracer: Tracer::Function,
        floor: "kprobe-multi",
        old: Some(OLD_6_18),
        targets: NO_TARGETS,
    },
    Row {
        kernel: Kernel::V7_2,
        backend: "fentry-multi",
        tracer: Tracer::Function,
        floor: "fentry-multi",
        old: Some(OLD_6_18),
        targets: Targets {
            unmarked: Some(0.38),
            marked: Some(0.40),
            unmarked_of_floor: None,
            ready: Some(Ready::Seconds(2.0)),
            stop: None,
        },
    },
    Row {
        kernel: Kernel::V7_2,
        backend: "fentry-multi",
        tracer: Tracer::FunctionGraph,
        floor: "fentry-multi-graph",
        old: None,
        targets: NO_TARGETS,
    },
    Row {
        kernel: Kernel::V5_10,
        backend: "kprobe",
        tracer: Tracer::Function,
        floor: "kprobe",
        old: Some(OLD_5_10),
        targets: NO_TARGETS,
    },
];
