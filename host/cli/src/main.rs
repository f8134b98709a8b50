//! The `ipft` binary: `ipft::program`, after a check of stdout.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use ipft_core::message;

/// Whether stdout was closed when the program started.
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Checks stdout before the standard library opens `/dev/null` in the place of a closed stdin, stdout or stderr. It
/// does so to keep files from getting these descriptors, but afterwards lost output cannot be detected.
extern "C" fn look_at_stdout() {
    // SAFETY: F_GETFD takes no third argument, and only reads the flags of a descriptor, or fails if it is closed.
    let closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
    STDOUT_CLOSED.store(closed, Ordering::Relaxed);
}

// SAFETY: this section contains pointers to functions that are called before `main`, with arguments that may be
// ignored; this one needs nothing that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look_at_stdout;

fn main() -> ExitCode {
    if STDOUT_CLOSED.load(Ordering::Relaxed) {
        message!("ipft: stdout is closed; redirect it to a file or to /dev/null");
        return ExitCode::FAILURE;
    }
    ipft::program::main_with(std::env::args_os())
}
