//! Counts what was lost in the kernel: by our programs, per CPU, and by the kernel before it ran them, per program or
//! link. The kernel reports the latter from 5.12 (recursion) and 6.7 (missed probes) on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::Layer;
use super::programs::Programs;
use crate::event::{Loss, LossKind};

/// Returns the losses of ipft's programs so far, from their shared counters, without those that are 0.
pub(super) fn counted(programs: &Programs) -> Vec<Loss> {
    let mut losses = Vec::new();
    for (cpu, number) in programs.cpus().iter().zip(0..) {
        let counts = [
            (LossKind::BufferFull, cpu.buffer_full),
            (LossKind::RateLimit, cpu.over_limit),
            (LossKind::MapFull, cpu.packets_full.saturating_add(cpu.calls_full)),
            (LossKind::ReturnMissed, cpu.calls_missed),
        ];
        // There are counters for all CPUs that there could be, and nearly all are 0.
        let lost = counts.into_iter().filter(|(_, count)| *count > 0);
        losses.extend(lost.map(|(kind, count)| Loss {
            kind,
            cpu: Some(number),
            count,
        }));
    }
    losses
}

/// Returns the kernel's losses of one layer so far, in the two ways that it counts.
pub(super) fn missed_by_kernel(layer: &Layer) -> [Loss; 2] {
    let programs = layer.programs.loaded();
    let own = layer.own_programs.iter().map(std::os::fd::AsFd::as_fd);
    let recursion: u64 = programs.into_iter().chain(own).map(recursion_misses).sum();
    let missed = |links: &[OwnedFd]| links.iter().map(|link| missed(link.as_fd())).sum::<u64>();
    let loss = |kind, count| Loss { kind, cpu: None, count };
    [
        loss(LossKind::Recursion, recursion.saturating_add(missed(&layer.links))),
        loss(LossKind::ReturnMissed, missed(&layer.return_links)),
    ]
}

/// Returns how often the kernel skipped a program of a tracepoint.
pub(super) fn missed_by_tracepoint(program: BorrowedFd<'_>) -> Loss {
    Loss {
        kind: LossKind::Recursion,
        cpu: None,
        count: recursion_misses(program),
    }
}

/// A perf buffer that is not there looks full to a program. `online` are the CPUs that have one.
pub fn tell_missing_buffers(losses: &mut [Loss], online: &[u32]) {
    for loss in losses {
        if loss.kind == LossKind::BufferFull && loss.cpu.is_some_and(|cpu| !online.contains(&cpu)) {
            loss.kind = LossKind::NoBuffer;
        }
    }
}

/// Returns how often the kernel skipped a program because one was running on that CPU
/// (`bpf_prog_info.recursion_misses`).
fn recursion_misses(program: BorrowedFd<'_>) -> u64 {
    // SAFETY: all-zero is valid for this struct of integers, and asks for no optional arrays.
    let mut info: libbpf_sys::bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: `info` is writable for `size` bytes; a kernel with a shorter struct leaves the rest zero.
    let result = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut size) };
    if result == 0 { info.recursion_misses } else { 0 }
}

/// Returns how often the kernel could not handle a hit of a link's probes (`bpf_link_info`, `missed`).
fn missed(link: BorrowedFd<'_>) -> u64 {
    // SAFETY: all-zero is valid for this struct of integers, and asks for no optional arrays.
    let mut info: libbpf_sys::bpf_link_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libbpf_sys::bpf_link_info>() as u32;
    // SAFETY: `info` is writable for `size` bytes; a kernel with a shorter struct leaves the rest zero.
    let result = unsafe { libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut size) };
    if result != 0 {
        return 0;
    }
    match info.type_ {
        // SAFETY: the kernel has filled the member that the type names.
        libbpf_sys::BPF_LINK_TYPE_KPROBE_MULTI => unsafe { info.__bindgen_anon_1.kprobe_multi.missed },
        // SAFETY: the link is to a kprobe, so the kernel has filled this member.
        libbpf_sys::BPF_LINK_TYPE_PERF_EVENT => unsafe {
            info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_that_came_later_has_no_buffer() {
        let full = |cpu| Loss {
            kind: LossKind::BufferFull,
            cpu: Some(cpu),
            count: 1,
        };
        let mut losses = [full(0), full(2)];
        tell_missing_buffers(&mut losses, &[0, 1]);
        assert_eq!(losses.map(|loss| loss.kind), [LossKind::BufferFull, LossKind::NoBuffer]);
    }
}
