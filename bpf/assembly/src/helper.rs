//! Numbers of the kernel's helpers (include/uapi/linux/bpf.h). Imports nothing.

/// `bpf_map_lookup_elem(map, key)`
pub const MAP_LOOKUP: i32 = 1;
/// `bpf_map_update_elem(map, key, value, flags)`
pub const MAP_UPDATE: i32 = 2;
/// `bpf_map_delete_elem(map, key)`
pub const MAP_DELETE: i32 = 3;
/// `bpf_probe_read_kernel(to, size, from)`, from 5.5 on.
pub const PROBE_READ_KERNEL: i32 = 113;
/// `bpf_probe_read_kernel_str(to, size, from)`, from 5.5 on.
pub const PROBE_READ_KERNEL_STR: i32 = 115;
