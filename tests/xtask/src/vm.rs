//! Runs a command in a guest: on a real kernel, with `ipft` in PATH and the project's plugins installed, whatever kernel
//! this machine has.
//!
//! The command's working directory holds the files that were named; `/guest/lib.sh` has shell functions that build
//! networks; what it leaves in `/out` comes back. The first guest of a checkout fetches and builds what it needs,
//! and no more: one kernel, the root file system, the guest's programs.

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

/// How often the guest's output is looked at.
const POLL: Duration = Duration::from_millis(10);

/// MiB of memory and number of CPUs, by default.
const MEMORY: u32 = 2048;
const CPUS: u32 = 2;

/// A guest that is going to run one command.
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

/// What a command in a guest did.
#[derive(Debug)]
pub struct Output {
    /// What it wrote to stdout, with U+FFFD for what is not UTF-8.
    pub stdout: String,
    /// What it wrote to stderr, likewise.
    pub stderr: String,
    /// Its exit code; 128 + N when signal N ended it.
    pub status: i32,
    /// What the guest's kernel and its init wrote to the console.
    pub console: String,
    /// The folder with what it left in `/out`: the one given to [`Guest::out`], else one that goes with this value.
    pub out_dir: PathBuf,
    /// Holds the folder that `out_dir` is in.
    _temporary: Option<Run>,
}

/// The guest ended or was ended before its command did.
#[derive(Debug)]
pub struct Unfinished {
    /// Why.
    pub reason: String,
    /// What the guest's kernel and its init wrote to the console.
    pub console: String,
    /// What the emulator said.
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
    /// A guest with this kernel: 2 CPUs, 2048 MiB, 300 s.
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

    /// Puts a file, or a folder with everything in it, into the command's working directory.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Guest {
        self.files.push(path.into());
        self
    }

    /// Counts instructions instead of time: 1 ns of the guest's time is one instruction. One CPU by default.
    pub fn icount(mut self, icount: bool) -> Guest {
        self.icount = icount;
        self
    }

    /// The longest time, of this machine's clock, that the guest may take from boot to end.
    pub fn timeout(mut self, timeout: Duration) -> Guest {
        self.timeout = timeout;
        self
    }

    /// Memory in MiB. The named files take part of it.
    pub fn memory(mut self, mib: u32) -> Guest {
        self.memory = mib;
        self
    }

    /// Number of CPUs.
    pub fn cpus(mut self, cpus: u32) -> Guest {
        self.cpus = Some(cpus);
        self
    }

    /// Adds words to the kernel's command line.
    pub fn append(mut self, words: &str) -> Guest {
        if !self.append.is_empty() {
            self.append.push(' ');
        }
        self.append.push_str(words);
        self
    }

    /// The folder that receives the content of the guest's `/out`; it is made if it is not there.
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Guest {
        self.out = Some(folder.into());
        self
    }

    /// Uses this program as `ipft` instead of the one that [`build::for_guests`] makes.
    pub fn ipft(mut self, path: impl Into<PathBuf>) -> Guest {
        self.ipft = Some(path.into());
        self
    }

    /// Leaves the project's plugins out, which else are built and installed.
    pub fn without_plugins(mut self) -> Guest {
        self.plugins = false;
        self
    }

    /// Runs a bash script, given as text, and keeps its output. The script runs with `/guest/lib.sh` sourced and ends
    /// at the first command that fails (`set -euo pipefail`).
    pub fn run_script(mut self, script: &str) -> Result<Output> {
        self.script = Some(format!("set -euo pipefail\n. /guest/lib.sh\n{script}\n"));
        self.run(["bash", "/guest/script"])
    }

    /// Runs a command and keeps its output.
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

    /// Runs a command whose stdout and stderr become ours as they come; returns its exit code.
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
        // At the same time: the first time, compiling waits for the processor and fetching for the network.
        let (ipft, plugins, kernel, root, tools) = thread::scope(|scope| {
            // One after the other: cargo would let them wait for each other anyway.
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
        // With icount the clock has a time of its own, so that runs are alike.
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

    /// Whether it is worth a snapshot: others will resume from it.
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
        // `run` hands out a folder in any case.
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
            // A link is known by its own name, "." by that of the folder.
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
            // Before the streams, so that what came before the end is copied after it was seen.
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
    /// As in `init.c`.
    const MAGIC: u64 = u64::from_le_bytes(*b"IFTFILES");
    const BEGIN: u64 = 4096;

    /// Begins it: what is written to `to` is the archive.
    fn create(path: &Path) -> Result<Disk> {
        let mut file = File::create(path).with_context(|| format!("make {}", path.display()))?;
        file.seek(SeekFrom::Start(Disk::BEGIN))
            .context("begin the disk of files")?;
        Ok(Disk {
            to: BufWriter::with_capacity(1 << 20, file),
        })
    }

    /// Writes the header, with the time if the guest is to have this machine's.
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

/// A file of the run as text; empty while it is not there.
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
