//! What may be switched off while the kernel has it: ftrace and kprobes. Probes that depend on it attach without an
//! error and never run. Imports `kernel` alone.

use super::super::{Root, tracefs};
use super::{Check, number, tracing};

/// With 0, nothing calls what is registered for a function (kernel/trace/ftrace.c, `ftrace_startup_enable`). Functions
/// that begin with a site of ftrace, as all of ours do, have their kprobes there, too (`arm_kprobe_ftrace`).
const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";

/// With 0, all kprobes are disarmed (kernel/kprobes.c, `kprobes_all_disarmed`).
const KPROBES: &str = "/sys/kernel/debug/kprobes/enabled";

pub(super) fn ftrace(root: &Root) -> Check {
    const NAME: &str = "function tracing";
    match number(root, FTRACE) {
        Some(0) => Check::failure(
            NAME,
            "ftrace is switched off (kernel.ftrace_enabled is 0): probes on functions do not attach, or never run",
            "switch it on: sysctl kernel.ftrace_enabled=1",
        ),
        Some(_) => Check::ok(NAME, "switched on"),
        None => Check::warning(
            NAME,
            "not in this kernel",
            "use a kernel that is built with CONFIG_DYNAMIC_FTRACE=y and CONFIG_FUNCTION_TRACER=y",
        ),
    }
}

pub(super) fn kprobes(root: &Root) -> Check {
    const NAME: &str = "kprobes";
    if !root.path("/sys/bus/event_source/devices/kprobe/type").exists() {
        let remedy = "use a kernel that is built with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y";
        return if tracefs::file(root, tracing::FUNCTIONS).is_ok() {
            let found = "this kernel has no kprobes: of the backends, only those on fentry can work";
            Check::warning(NAME, found, remedy)
        } else {
            let found = "this kernel has no kprobes, and does not list functions that could be traced without";
            Check::failure(NAME, found, remedy)
        };
    }
    match number(root, KPROBES) {
        Some(0) => Check::warning(
            NAME,
            "all kprobes are switched off: the backend kprobe sees nothing",
            "switch them on: echo 1 > /sys/kernel/debug/kprobes/enabled",
        ),
        _ => Check::ok(NAME, "in this kernel"),
    }
}

/// Returns the disabled feature that a backend's probes need, with the remedy; `kprobes`: whether they are kprobes.
pub fn switched_off(root: &Root, kprobes: bool) -> Option<(&'static str, &'static str)> {
    if number(root, FTRACE) == Some(0) {
        Some((
            "ftrace is switched off (kernel.ftrace_enabled is 0)",
            "sysctl kernel.ftrace_enabled=1",
        ))
    } else if kprobes && number(root, KPROBES) == Some(0) {
        Some((
            "all kprobes are switched off (/sys/kernel/debug/kprobes/enabled is 0)",
            "echo 1 > /sys/kernel/debug/kprobes/enabled",
        ))
    } else {
        None
    }
}
