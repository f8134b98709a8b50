//! Runs a script in a guest and keeps its output files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xtask::kernel::Kernel;
use xtask::vm::Guest;
use xtask::workspace;

/// Shell functions for the tests' scripts.
const LIBRARY: &str = include_str!("../guest/e2e.sh");

/// Files that a script left in `/out`. They stay in the target folder, for inspection after a failure.
#[derive(Debug)]
pub struct Left {
    folder: PathBuf,
}

/// Runs a bash script in a guest with this kernel, with `e2e.sh` sourced and `/out` as the working directory; it ends
/// at the first command that fails. `name` is the folder's name, unique per script. The script finds `files` in
/// `$WORK`.
pub fn run(name: &str, kernel: Kernel, files: &[&Path], script: &str) -> Result<Left> {
    run_in(Guest::new(kernel).without_plugins(), name, kernel, files, script)
}

/// Runs a script in a guest with the project's plugins.
pub fn run_with_plugins(name: &str, kernel: Kernel, files: &[&Path], script: &str) -> Result<Left> {
    run_in(Guest::new(kernel), name, kernel, files, script)
}

/// Runs a script in a guest with additional kernel parameters and without files.
pub fn run_with_kernel_words(name: &str, kernel: Kernel, words: &str, script: &str) -> Result<Left> {
    run_in(
        Guest::new(kernel).without_plugins().append(words),
        name,
        kernel,
        &[],
        script,
    )
}

fn run_in(guest: Guest, name: &str, kernel: Kernel, files: &[&Path], script: &str) -> Result<Left> {
    let _place = place(name);
    let folder = workspace::target().join("e2e").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove the older {}", folder.display()))?;
    }
    let guest = guest.out(&folder).timeout(Duration::from_secs(1200));
    let guest = files.iter().fold(guest, |guest, file| guest.file(file));
    let start = Instant::now();
    let output = guest.run_script(&format!("WORK=$PWD\ncd /out\n{LIBRARY}\n{script}"))?;
    note_time(name, start.elapsed())?;
    let said = format!("{}\n{}", output.stdout, output.stderr);
    fs::write(folder.join("script.log"), &said).context("keep what the script said")?;
    ensure!(
        output.status == 0,
        "the script {name} failed on {} with {}; what it left is in {}\n{}\nthe guest's console:\n{}",
        kernel.series(),
        output.status,
        folder.display(),
        said.trim(),
        output.console.trim()
    );
    Ok(Left { folder })
}

/// Adds a line to the file of which `cargo xtask test` prints the slowest guests.
fn note_time(name: &str, time: Duration) -> Result<()> {
    let line = format!("{:8.1}  {name}\n", time.as_secs_f64());
    let path = xtask::test::times();
    let opened = File::options().create(true).append(true).open(&path);
    opened
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}

/// Name prefixes of the slowest scripts, slowest first: they start before others, so that no CPU is idle at the end.
const LONG: [&str; 10] = [
    "extension-",
    "journey-",
    "plugins",
    "marking-",
    "follow-",
    "recording",
    "filter-",
    "packet-fields-",
    "command-line",
    "causes-",
];

/// A guest has one CPU, and also waits: each trampoline that a trace detaches takes a grace period of RCU of 0.1 to 0.2 s,
/// one after the other, and the next trace waits for some of them. Another guest computes meanwhile.
const GUESTS_PER_CPU: usize = 2;

/// Running guests, and the queue of those that wait.
struct Places {
    free: usize,
    waiting: Vec<usize>,
}

static PLACES: Mutex<Places> = Mutex::new(Places {
    free: 0,
    waiting: Vec::new(),
});
static FREED: Condvar = Condvar::new();

fn places() -> MutexGuard<'static, Places> {
    // Each change is one assignment, so the state is valid even if another thread panicked.
    PLACES.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A slot for a running guest.
struct Place;

/// Waits for a slot. Tests may run in more threads than there are slots: threads that wait for another test's guest
/// block no other test.
fn place(name: &str) -> Place {
    static COUNTED: OnceLock<()> = OnceLock::new();
    COUNTED.get_or_init(|| {
        places().free = GUESTS_PER_CPU * thread::available_parallelism().map_or(1, usize::from);
    });
    let rank = LONG
        .iter()
        .position(|long| name.starts_with(long))
        .unwrap_or(LONG.len());
    let mut places = places();
    places.waiting.push(rank);
    while places.free == 0 || places.waiting.iter().any(|other| *other < rank) {
        places = FREED.wait(places).unwrap_or_else(|poisoned| poisoned.into_inner());
    }
    places.free -= 1;
    if let Some(at) = places.waiting.iter().position(|other| *other == rank) {
        places.waiting.swap_remove(at);
    }
    // Another thread may have waited for this one to go first.
    FREED.notify_all();
    Place
}

impl Drop for Place {
    fn drop(&mut self) {
        places().free += 1;
        FREED.notify_all();
    }
}

/// Returns whether a test runs with this backend: with all, or with the one of `cargo xtask test --backend`.
pub fn tries(backend: &str) -> bool {
    std::env::var(xtask::test::BACKEND).map_or(true, |chosen| chosen == backend)
}

impl Left {
    /// Returns the path of an output file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns whether the script left such a file.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Returns the text of an output file. A file that is missing or not UTF-8 fails the test.
    pub fn text(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
    }

    /// Returns the exit code from `NAME.exit`.
    pub fn exit(&self, name: &str) -> i32 {
        let text = self.text(&format!("{name}.exit"));
        text.trim()
            .parse()
            .unwrap_or_else(|_| panic!("{name}.exit holds '{text}'"))
    }
}

/// One run of a script for several tests: the first of them boots the guest.
#[derive(Debug)]
pub struct Shared(OnceLock<Result<Left, String>>);

impl Shared {
    /// Creates a run that has not started.
    pub const fn new() -> Shared {
        Shared(OnceLock::new())
    }

    /// Returns the script's output files, running it if needed. If the script failed, every test that uses it fails.
    pub fn left(&self, run: impl FnOnce() -> Result<Left>) -> &Left {
        let left = self.0.get_or_init(|| run().map_err(|error| format!("{error:#}")));
        left.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Default for Shared {
    fn default() -> Self {
        Shared::new()
    }
}
