//! The kernel side of ipft: the CO-RE programs and the structs that they share with user space.
//!
//! The programs are C (GPL-2.0, as the helpers that they call require), compiled by the build script; this crate embeds
//! the objects as bytes. It loads and attaches nothing.

pub mod wire;

/// The programs of a backend, in two variants.
#[derive(Debug)]
pub struct Object {
    /// Without an extension.
    pub plain: &'static [u8],
    /// For linking with an object that defines `module`, the function of an extension.
    pub extensible: &'static [u8],
}

macro_rules! built {
    ($file:expr) => {
        &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $file))).0
    };
}

macro_rules! object {
    ($name:literal) => {
        Object {
            plain: built!(concat!($name, ".bpf.o")),
            extensible: built!(concat!($name, ".extension.bpf.o")),
        }
    };
}

/// The programs of the kprobe-session backend.
pub static KPROBE_SESSION: Object = object!("kprobe_session");

/// The programs of the kprobe and kprobe-multi backends.
pub static KPROBE: Object = object!("kprobe");

/// The templates of the ftrace backend.
pub static FTRACE: Object = object!("ftrace");

/// The programs of the fentry-multi backend for entries and returns.
pub static FENTRY_SESSION: Object = object!("fentry_session");

/// The programs of the fentry-multi backend for entries.
pub static FENTRY_MULTI: Object = object!("fentry_multi");

/// The licence of programs whose extension does not declare one. The `extensible` objects have none.
pub static LICENSE: &[u8] = built!("license.bpf.o");

/// Headers that an extension in C may include: the name in the `#include`, and the text. They come from libbpf and from
/// the kernel's user-space interface that this crate was built with.
pub static HEADERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/headers.rs"));

/// Aligns an object as ELF readers require.
#[repr(C, align(8))]
struct Aligned<const N: usize>([u8; N]);
