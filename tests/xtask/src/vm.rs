//! Runs a command in a guest: on a chosen kernel, independent of this machine's, with `ipft` in PATH and the project's
//! plugins installed.
//!
//! The command's working directory has the given files; `/guest/lib.sh` has shell functions that build networks; the
//! content of `/out` is returned. The first guest of a checkout fetches and builds what it needs, and no more: one
//! kernel, the root file system, the guest's programs.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::kernel::Kernel;
use crate::progress::step;
use crate::qemu::{Follower, Machine, Run, Start};
use crate::{build, cpio, packages, plugins, root, snapshot, tools};

/// Interval of polling the guest's output.
const POLL: Duration = Duration::from_millis(10);

/// Default MiB of memory and number of CPUs.
const MEMORY: u32 = 2048;
const CPUS: u32 = 2;

/// A guest for one command.
#[derive(Clone, Debug)]
pub struct Guest {
    kernel: Kernel,
    files: Vec<PathBuf>,
    script: Option<String>,
    icount: bool,
    timeout: Duration,
    memory: u32,
    cpus: Option<u32>,
    append: String,
    out: Option<PathBuf>,
    ipft: Option<PathBuf>,
    plugins: bool,
}

/// Result of a command in a guest.
#[derive(Debug)]
pub struct Output {
    /// Its stdout; invalid UTF-8 becomes U+FFFD.
    pub stdout: String,
    /// Its stderr, likewise.
    pub stderr: String,
    /// Its exit code; 128 + N if signal N ended it.
    pub status: i32,
    /// Console output of the guest's kernel and init.
    pub console: String,
    /// The folder with the content of `/out`: the one given to [`Guest::out`], else one that is removed with this
    /// value.
    pub out_dir: PathBuf,
    /// Owns the folder of `out_dir`.
    _temporary: Option<Run>,
}

/// The guest ended before its command.
#[derive(Debug)]
pub struct Unfinished {
    /// Why.
    pub reason: String,
    /// Console output of the guest's kernel and init.
    pub console: String,
    /// Messages of the emulator.
    pub log: String,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "the guest did not finish: {}", self.reason)?;
        for (name, text) in [("the emulator", &self.log), ("its console", &self.console)] {
            let text = text.trim_end();
            if text.is_empty() {
                write!(to, "\n  ({name} said nothing)")?;
            } else {
                write!(to, "\n  {name}:")?;
            }
            for line in text.lines() {
                write!(to, "\n  | {}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Unfinished {}

impl Guest {
    /// Creates a guest with this kernel: 2 CPUs, 2048 MiB, 300 s.
    pub fn new(kernel: Kernel) -> Guest {
        Guest {
            kernel,
            files: Vec::new(),
            script: None,
            icount: false,
            timeout: Duration::from_secs(300),
            memory: MEMORY,
            cpus: None,
            append: String::new(),
            out: None,
            ipft: None,
            plugins: true,
        }
    }

    /// Copies a file, or a folder recursively, into the command's working directory.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Guest {
        self.files.push(path.into());
        self
    }

    /// Counts instructions instead of time: 1 ns of the guest's time is one instruction. The default is then one CPU.
    pub fn icount(mut self, icount: bool) -> Guest {
        self.icount = icount;
        self
    }

    /// Sets the time limit from boot to end, by this machine's clock.
    pub fn timeout(mut self, timeout: Duration) -> Guest {
        self.timeout = timeout;
        self
    }

    /// Sets the memory in MiB. The given files take part of it.
    pub fn memory(mut self, mib: u32) -> Guest {
        self.memory = mib;
        self
    }

    /// Sets the number of CPUs.
    pub fn cpus(mut self, cpus: u32) -> Guest {
        self.cpus = Some(cpus);
        self
    }

    /// Appends to the kernel's command line.
    pub fn append(mut self, words: &str) -> Guest {
        if !self.append.is_empty() {
            self.append.push(' ');
        }
        self.append.push_str(words);
        self
    }

    /// Sets the folder that receives the content of the guest's `/out`; it is created if needed.
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Guest {
        self.out = Some(folder.into());
        self
    }

    /// Uses this program as `ipft` instead of the one of [`build::for_guests`].
    pub fn ipft(mut self, path: impl Into<PathBuf>) -> Guest {
        self.ipft = Some(path.into());
        self
    }

    /// Leaves out the project's plugins, which are built and installed by default.
    pub fn without_plugins(mut self) -> Guest {
        self.plugins = false;
        self
    }

    /// Runs a bash script, given as text, and returns its output. The script runs with `/guest/lib.sh` sourced and ends
    /// at the first command that fails (`set -euo pipefail`).
    pub fn run_script(mut self, script: &str) -> Result<Output> {
        self.script = Some(format!("set -euo pipefail\n. /guest/lib.sh\n{script}\n"));
        self.run(["bash", "/guest/script"])
    }

    /// Runs a command and returns its output.
    pub fn run<A: AsRef<str>>(self, argv: impl IntoIterator<Item = A>) -> Result<Output> {
        let (run, status) = self.complete(argv, |_| Vec::new())?;
        let out_dir = self.out.clone().unwrap_or_else(|| run.file("unpacked"));
        unpack(&run.file("out"), &out_dir)?;
        let read = |name: &str| {
            let bytes = fs::read(run.file(name)).with_context(|| format!("read the guest's {name}"))?;
            anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (stdout, stderr, console) = (read("stdout")?, read("stderr")?, read("console")?);
        let temporary = self.out.is_none().then_some(run);
        Ok(Output {
            stdout,
            stderr,
            status,
            console,
            out_dir,
            _temporary: temporary,
        })
    }

    /// Runs a command with its stdout and stderr forwarded live; returns its exit code.
    pub fn pass_through<A: AsRef<str>>(self, argv: impl IntoIterator<Item = A>) -> Result<i32> {
        let (run, status) = self.complete(argv, |run| {
            vec![
                (
                    Follower::new(run.file("stdout")),
                    Box::new(io::stdout()) as Box<dyn Write>,
                ),
                (Follower::new(run.file("stderr")), Box::new(io::stderr())),
            ]
        })?;
        if let Some(folder) = &self.out {
            unpack(&run.file("out"), folder)?;
        }
        Ok(status)
    }

    /// Boots, and waits for the command's end.
    fn complete<A: AsRef<str>>(
        &self,
        argv: impl IntoIterator<Item = A>,
        streams: impl FnOnce(&Run) -> Vec<(Follower, Box<dyn Write>)>,
    ) -> Result<(Run, i32)> {
        let mut run = self.boot(argv)?;
        let streams = &mut streams(&run);
        let status = self.wait(&mut run, streams)?;
        Ok((run, status))
    }

    fn boot<A: AsRef<str>>(&self, argv: impl IntoIterator<Item = A>) -> Result<Run> {
        packages::install(&[packages::BUILD, packages::GUEST])?;
        // In parallel: the first compilation waits for the processor, fetching for the network.
        let (ipft, plugins, kernel, root, tools) = thread::scope(|scope| {
            // Sequentially: cargo would serialize them anyway.
            let built = scope.spawn(|| {
                let ipft = self.ipft.clone().map_or_else(build::for_guests, Ok)?;
                anyhow::Ok((ipft, self.plugins.then(plugins::gallery).transpose()?))
            });
            let kernel = scope.spawn(|| self.kernel.images());
            let root = scope.spawn(root::image);
            let tools = tools::archive();
            let panicked = "a thread that prepares the guest panicked";
            let (built, kernel, root) = (built.join().ok(), kernel.join().ok(), root.join().ok());
            let (ipft, plugins) = built.context(panicked)??;
            anyhow::Ok((
                ipft,
                plugins,
                kernel.context(panicked)??,
                root.context(panicked)??,
                tools?,
            ))
        })?;
        let mut run = Run::new()?;
        let mut disk = Disk::create(&run.file("files"))?;
        let mut archive = cpio::Archive::new(&mut disk.to);
        self.add_own_files(&mut archive, &ipft, plugins.as_deref(), argv)?;
        archive.finish()?;
        // With icount the clock starts at a fixed time, so that runs are alike.
        disk.finish(!self.icount)?;
        let machine = Machine {
            kernel: &kernel,
            root: &root,
            tools: &tools,
            icount: self.icount,
            cpus: self.cpus.unwrap_or(if self.icount { 1 } else { CPUS }),
            memory: self.memory,
            append: &self.append,
        };
        let snapshot = if self.is_common() {
            snapshot::of(self.kernel, &machine)
        } else {
            None
        };
        run.start(&machine, snapshot.as_deref().map_or(Start::Boot, Start::Resume))?;
        Ok(run)
    }

    /// Returns whether a snapshot pays off: others will resume from it.
    fn is_common(&self) -> bool {
        !self.icount && self.append.is_empty() && self.cpus.is_none() && self.memory == MEMORY
    }

    fn add_own_files<W: Write, A: AsRef<str>>(
        &self,
        archive: &mut cpio::Archive<W>,
        ipft: &Path,
        plugins: Option<&Path>,
        argv: impl IntoIterator<Item = A>,
    ) -> Result<()> {
        let mut arguments = Vec::new();
        for argument in argv {
            let argument = argument.as_ref();
            ensure!(!argument.contains('\0'), "an argument of the command has a NUL in it");
            arguments.extend_from_slice(argument.as_bytes());
            arguments.push(0);
        }
        ensure!(!arguments.is_empty(), "there is no command for the guest to run");
        archive.file("guest/argv", 0o644, &arguments)?;
        if let Some(script) = &self.script {
            archive.file("guest/script", 0o644, script.as_bytes())?;
        }
        // `run` always returns a folder.
        archive.file("guest/send-out", 0o644, b"")?;
        archive.tree("guest/bin/ipft", ipft)?;
        archive.folder("guest/share", 0o755)?;
        archive.folder("guest/share/ipft", 0o755)?;
        if let Some(plugins) = plugins {
            archive.tree("guest/share/ipft/plugins", plugins)?;
        }
        let mut names: Vec<String> = Vec::new();
        for file in &self.files {
            let whole = fs::canonicalize(file).with_context(|| format!("find {}", file.display()))?;
            // A link keeps its own name; "." has the folder's.
            let name = file.file_name().or(whole.file_name()).and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{} has no name that can be used in the guest", file.display()))?;
            if names.iter().any(|known| known == name) {
                bail!(
                    "{} would replace another file named {name} in the guest",
                    file.display()
                );
            }
            archive.tree(&format!("guest/work/{name}"), &whole)?;
            names.push(name.to_owned());
        }
        Ok(())
    }

    /// Waits for the command's end, copying streams meanwhile, and ends the emulator.
    fn wait(&self, run: &mut Run, streams: &mut [(Follower, Box<dyn Write>)]) -> Result<i32> {
        let start = Instant::now();
        loop {
            // Before the streams, so that everything before the end is copied once the end is seen.
            let ended = run.has_ended();
            let status = read_text(&run.file("status"));
            for (follower, to) in &mut *streams {
                follower.copy_to(&mut **to).context("pass the guest's output on")?;
            }
            if let Some(status) = status.strip_suffix('\n') {
                run.kill();
                let (code, sent) = status.split_once(' ').context("read the guest's status")?;
                ensure!(
                    sent == "0",
                    "the guest could not send /out: its tar ended with {sent}\n{}",
                    read_text(&run.file("stderr"))
                );
                return code.parse().context("read the guest's status");
            }
            let reason = if ended {
                let code = read_text(&run.file("exit"));
                match code.trim() {
                    "" => "the emulator and its supervisor were killed".to_owned(),
                    code => format!("it ended on its own (the emulator's exit code is {code})"),
                }
            } else if start.elapsed() >= self.timeout {
                format!("it was killed after {} s", self.timeout.as_secs_f64())
            } else {
                thread::sleep(POLL);
                continue;
            };
            run.kill();
            return Err(Unfinished {
                reason,
                console: read_text(&run.file("console")),
                log: read_text(&run.file("log")),
            }
            .into());
        }
    }
}

/// The disk with the guest's files, which `guest/init.c` reads.
struct Disk {
    to: BufWriter<File>,
}

impl Disk {
    /// Same as in `init.c`.
    const MAGIC: u64 = u64::from_le_bytes(*b"IFTFILES");
    const BEGIN: u64 = 4096;

    /// Starts it: data written to `to` is the archive.
    fn create(path: &Path) -> Result<Disk> {
        let mut file = File::create(path).with_context(|| format!("make {}", path.display()))?;
        file.seek(SeekFrom::Start(Disk::BEGIN))
            .context("begin the disk of files")?;
        Ok(Disk {
            to: BufWriter::with_capacity(1 << 20, file),
        })
    }

    /// Writes the header, with the time if the guest uses this machine's.
    fn finish(mut self, with_time: bool) -> Result<()> {
        let end = self.to.stream_position().context("write the disk of files")?;
        let now = if with_time {
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
        } else {
            Duration::ZERO
        };
        let words = [
            Disk::MAGIC,
            end - Disk::BEGIN,
            now.as_secs(),
            now.subsec_micros().into(),
        ];
        self.to.seek(SeekFrom::Start(0)).context("write the disk of files")?;
        let header = words.map(u64::to_le_bytes).concat();
        self.to.write_all(&header).context("write the disk of files")?;
        self.to.flush().context("write the disk of files")
    }
}

/// Returns a file of the run as text; empty if it does not exist.
pub(crate) fn read_text(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--no-same-owner", "-f"])
        .arg(archive)
        .arg("-C")
        .arg(folder);
    step("unpack /out")
        .run(tar)
        .with_context(|| format!("unpack the guest's /out into {}", folder.display()))
}
