//! `cargo xtask test`: set-up, then every test there is.

use anyhow::{Context, Result, bail};

use crate::kernel::Kernel;
use crate::progress::step;
use crate::{build, packages, root, tools, workspace};

/// Installs, fetches and builds all that any command here needs.
pub fn set_up() -> Result<()> {
    packages::install(&[packages::BUILD, packages::GUEST, packages::TEST])?;
    packages::add_wasm_target()?;
    tools::archive()?;
    std::thread::scope(|scope| {
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
    set_up()?;
    // The tests in guests use it; here its progress can be seen.
    build::release()?;
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
