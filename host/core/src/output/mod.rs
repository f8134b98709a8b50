//! Where outputs go: the one module that opens files for writing, and the one that writes to stdout and other streams
//! whose reader may be slow. Imports `signals` and `recording::layout`.
//!
//! A trace runs as root and often writes where others can write. So a path is walked once, folder by folder, with a
//! descriptor of each ([`Entry::find`]): a symbolic link counts only where no other user could have planted it, and a folder
//! that is swapped later is still the one that was found. A file is made without a name ([`NewFile`]), with mode 0600
//! if packets are in it, and gets its name when it has content; what had the name before is replaced, never written into.
//!
//! What is no file (stdout, a pipe, a terminal) is written by a thread of its own ([`Outlet`]), so that a reader who
//! does not read stops neither the other outputs nor Ctrl-C.

mod entry;
mod file;
mod outlet;
mod place;
mod stream;

pub use entry::{Entry, Refused};
pub use file::{NewFile, Node, set_owner};
pub(crate) use file::{is_part, remove_own, remove_part};
pub use outlet::{Full, Outlet, stdout};
pub use place::{Place, shared};
pub use stream::{Stream, Target};

/// The mode of a file that has packets, or what was drawn of them, in it.
pub const PRIVATE: u32 = 0o600;
/// The mode of any other file, less what the umask takes away.
pub const PUBLIC: u32 = 0o666;
