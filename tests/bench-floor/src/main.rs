//! `bench-floor MECHANISM`: attaches an empty program to every function that ipft would trace, prints `Trace ready!`,
//! and waits for SIGINT or SIGTERM. Its cost is the kernel's share of the cost of ipft.
//!
//! Only `cargo xtask bench` runs it. It takes only the list of functions from ipft's library: attaching is implemented
//! separately, so that a mistake in ipft's backends does not move the floor as well.

mod attach;
mod bpf;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ipft_core::kernel::{self, Root};

use attach::Mechanism;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mechanism: Mechanism = match (arguments.next(), arguments.next()) {
        (Some(name), None) => name.parse()?,
        _ => bail!("usage: bench-floor {}", Mechanism::names().join("|")),
    };
    bpf::raise_limits();
    // Before attaching, so that no signal kills the process during it.
    let signals = bpf::block_signals();
    let found = kernel::find_functions(&Root::system()).context("find the functions")?;
    let attached = attach::attach(mechanism, &found.candidates)?;
    eprintln!("{} functions attached", attached.functions);
    eprintln!("Trace ready!");
    bpf::wait_for(&signals);
    drop(attached);
    Ok(())
}
