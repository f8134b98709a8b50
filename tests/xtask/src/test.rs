//! `cargo xtask test`: set-up, then every test there is.

use std::thread;

use anyhow::{Context, Result, bail};

use crate::kernel::Kernel;
use crate::progress::step;
use crate::{build, packages, plugins, root, tools, workspace};

/// Installs, fetches and builds all that any command here needs, apart from ipft.
pub fn set_up() -> Result<()> {
    install()?;
    fetch()
}

fn install() -> Result<()> {
    packages::install(&[
        packages::BUILD,
        packages::GUEST,
        packages::TEST,
        packages::PLUGINS,
        packages::BROWSER,
    ])?;
    packages::add_wasm_target()
}

fn fetch() -> Result<()> {
    tools::archive()?;
    thread::scope(|scope| {
        let root = scope.spawn(root::image);
        Kernel::fetch(&Kernel::ALL)?;
        root.join()
            .ok()
            .context("the thread that built the root file system panicked")??;
        Ok(())
    })
}

/// Runs all tests of the workspace, with these arguments for `cargo test`.
pub fn run(arguments: &[String]) -> Result<()> {
    install()?;
    // The tests in guests use the release build and the plugins; here its progress can be seen. It does not wait for the network.
    thread::scope(|scope| {
        let fetched = scope.spawn(fetch);
        build::release()?;
        build::bench_sinks()?;
        plugins::gallery()?;
        fetched
            .join()
            .ok()
            .context("the thread that fetched kernels panicked")?
    })?;
    let mut compile = workspace::cargo();
    compile.args(["test", "--workspace", "--no-run"]);
    step("build the tests").run(compile)?;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]).args(arguments);
    let status = cargo.status().context("run cargo test")?;
    if !status.success() {
        bail!("tests failed ({status})");
    }
    Ok(())
}
