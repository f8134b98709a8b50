//! The `ipft` binary: `ipft::program`, and a look at stdout before that.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use ipft_core::message;

/// Whether stdout was closed when the program was started.
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks at stdout before the standard library does: it opens `/dev/null` in the place of a stdin, stdout or stderr that is
/// closed, so that no file gets its number, and then nobody can tell that what is printed is lost.
extern "C" fn look_at_stdout() {
    // SAFETY: F_GETFD takes no third argument, and only reads the flags of a descriptor, or says that there is none.
    let closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
    STDOUT_CLOSED.store(closed, Ordering::Relaxed);
}

// SAFETY: what is in this section are pointers to functions that are called, with arguments that may be ignored, before
// `main` is; this one needs nothing that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look_at_stdout;

fn main() -> ExitCode {
    if STDOUT_CLOSED.load(Ordering::Relaxed) {
        message!("ipft: stdout is closed; redirect it to a file, or to /dev/null if nobody needs it");
        return ExitCode::FAILURE;
    }
    ipft::program::main_with(std::env::args_os())
}
