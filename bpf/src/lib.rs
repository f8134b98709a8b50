//! The kernel side of ipft: the CO-RE programs that run where a packet passes, and the structs that they share with
//! user space.
//!
//! The programs are C (GPL-2.0, as the helpers that they call require) and are compiled by the build script; this
//! crate carries the objects as bytes. It loads and attaches nothing.

pub mod wire;

/// The programs of the kprobe-session backend.
pub static KPROBE_SESSION: &[u8] = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kprobe_session.bpf.o"))).0;

/// The programs of the kprobe and kprobe-multi backends.
pub static KPROBE: &[u8] = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kprobe.bpf.o"))).0;

/// The templates of the ftrace backend.
pub static FTRACE: &[u8] = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/ftrace.bpf.o"))).0;

/// The programs of the fentry-multi backend for entries and returns.
pub static FENTRY_SESSION: &[u8] = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/fentry_session.bpf.o"))).0;

/// The programs of the fentry-multi backend for entries.
pub static FENTRY_MULTI: &[u8] = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/fentry_multi.bpf.o"))).0;

/// ELF readers want their input aligned as the structs in it are.
#[repr(C, align(8))]
struct Aligned<const N: usize>([u8; N]);
