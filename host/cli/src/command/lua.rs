//! `ipft lua`: runs a script that traces on its own.

use ipft_core::script::{self, Script};

use crate::args::LuaOptions;

/// Runs the script.
pub fn run(options: &LuaOptions) -> anyhow::Result<()> {
    // As of any interpreter of scripts: a reader of the output that is gone ends it, which prints in a loop.
    // SAFETY: the default action of a signal runs no code of this process.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let script = Script {
        path: &options.script,
        arguments: &options.arguments,
        verbose: options.verbose,
    };
    Ok(script::run(&script)?)
}
