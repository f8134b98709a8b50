//! Snapshots of guests: booted once per kernel, up to the first step that depends on the command.
//!
//! A guest that resumes gets its own files, and the time, over a disk that was not read before. The root file system
//! was only read, so that the snapshot needs only its image. `guest/init.c` lists what all guests of a snapshot share.
//!
//! A snapshot is cached like a kernel's images. Where snapshots do not work, guests boot.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::kernel::Kernel;
use crate::progress::{Step, step};
use crate::qemu::{Machine, Run, STATE, Start};
use crate::vm::read_text;
use crate::{cache, workspace};

/// Time limits of booting and of saving.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(10);

/// Returns the snapshot for such a machine, making it if needed; `None` if that fails.
pub fn of(kernel: Kernel, machine: &Machine) -> Option<PathBuf> {
    // A failure is remembered, not retried for each guest of the process.
    static FAILED: Mutex<BTreeSet<Kernel>> = Mutex::new(BTreeSet::new());
    let failed = || FAILED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if failed().contains(&kernel) {
        return None;
    }
    let made = folder(kernel, machine);
    if let Err(error) = &made
        && failed().insert(kernel)
    {
        eprintln!("xtask: guests with kernel {} boot: {error:#}", kernel.series());
    }
    made.ok().map(|folder| folder.join(STATE))
}

fn folder(kernel: Kernel, machine: &Machine) -> Result<PathBuf> {
    let run = Run::new()?;
    let own = run.file("").display().to_string();
    let line: Vec<String> = run
        .command_line(machine)
        .iter()
        .map(|word| word.replace(&own, ""))
        .collect();
    let name = format!("snapshot-{}", kernel.series());
    cache::folder(
        &workspace::vm().join("snapshots"),
        &name,
        (line, machine.tools, emulator()),
        || step(format!("kernel {}: boot for a snapshot", kernel.series())),
        |step, folder| make(step, run, machine, folder),
    )
    .with_context(|| format!("make a snapshot of kernel {}", kernel.series()))
}

/// Returns the emulator's version: a snapshot only works with the same one.
fn emulator() -> Option<(u64, Option<SystemTime>)> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("qemu-system-x86_64"));
    let about = found.find_map(|file| fs::metadata(file).ok())?;
    Some((about.len(), about.modified().ok()))
}

fn make(step: &Step, mut run: Run, machine: &Machine, folder: &Path) -> Result<()> {
    run.start(machine, Start::BootWithMonitor)?;
    let status = run.file("status");
    wait(&mut run, |_| read_text(&status) == "ready\n").context("boot")?;
    step.detail("saving");
    run.save()?;
    wait(&mut run, Run::has_ended).context("save the machine")?;
    let log = read_text(&run.file("log"));
    let state = run.file(STATE);
    let saved = fs::metadata(&state).map_or(0, |about| about.len());
    let code = read_text(&run.file("exit"));
    ensure!(
        saved > 1 << 20 && code.trim() == "0",
        "the emulator saved {saved} bytes: {log}"
    );
    fs::rename(&state, folder.join(STATE)).context("keep the machine's state")
}

fn wait(run: &mut Run, mut until: impl FnMut(&mut Run) -> bool) -> Result<()> {
    let start = Instant::now();
    loop {
        // Before the condition, which may be that it has ended.
        let ended = run.has_ended();
        if until(run) {
            return Ok(());
        }
        let said = |name: &str| read_text(&run.file(name));
        if ended {
            bail!("the emulator ended: {}{}", said("log"), said("console"));
        }
        ensure!(start.elapsed() < PATIENCE, "it takes too long: {}", said("console"));
        thread::sleep(POLL);
    }
}
