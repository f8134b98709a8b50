//! `bench-floor MECHANISM`: attaches a program that does nothing to every function that ipft would trace, says
//! `Trace ready!`, and waits for SIGINT or SIGTERM. What it costs is the kernel's share of what ipft costs.
//!
//! Only `cargo xtask bench` runs it. It takes the functions from ipft's library and nothing else: how it attaches is
//! written anew, so that a mistake in ipft's backends does not move the floor along with them.

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
    // Before the start, so that no signal ends the process in the midst of it.
    let signals = bpf::block_signals();
    let found = kernel::find_functions(&Root::system()).context("find the functions")?;
    let attached = attach::attach(mechanism, &found.candidates)?;
    eprintln!("{} functions attached", attached.functions);
    eprintln!("Trace ready!");
    bpf::wait_for(&signals);
    drop(attached);
    Ok(())
}
