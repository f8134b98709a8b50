//! Numbers of the kernel's helpers (include/uapi/linux/bpf.h). Imports nothing.

/// `bpf_probe_read_kernel(to, size, from)`, from 5.5 on.
pub const PROBE_READ_KERNEL: i32 = 113;
/// `bpf_probe_read_kernel_str(to, size, from)`, from 5.5 on.
pub const PROBE_READ_KERNEL_STR: i32 = 115;
