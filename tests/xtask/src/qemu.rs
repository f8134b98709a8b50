//! The emulator: its command line, and its lifetime from boot to cleanup.
//!
//! A machine boots, or resumes from a snapshot ([`crate::snapshot`]).
//!
//! The guest's ports are plain files in the run's folder: the emulator writes to them at once and never waits, so that
//! nothing is lost when the guest ends; readers follow the files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::progress::output_of;
use crate::workspace;

/// Configuration of a machine.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The kernel's images, a folder of [`crate::kernel::Kernel::images`].
    pub kernel: &'a Path,
    /// The image of the root file system.
    pub root: &'a Path,
    /// The part of the initramfs made by [`crate::tools::archive`].
    pub tools: &'a Path,
    /// Count instructions instead of time: one CPU, and 1 ns of guest time is one instruction.
    pub icount: bool,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// Additional kernel command line.
    pub append: &'a str,
}

/// How a machine starts.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// By booting.
    Boot,
    /// By booting, with the emulator's monitor, from which a snapshot is made ([`Run::save`]).
    BootWithMonitor,
    /// By resuming from this file, which [`Run::save`] of an equal machine made.
    Resume(&'a Path),
}

/// The snapshot file in the run's folder, made by [`Run::save`].
pub const STATE: &str = "state";

/// Size of the disk with a guest's files. A machine cannot resume with a disk of another size. It is sparse.
const FILES_SIZE: u64 = 4 << 30;

/// A run's folder and, once started, its emulator. Dropping it ends the emulator and removes the folder.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    supervisor: Option<Child>,
}

impl Run {
    /// Creates the folder of a run.
    pub fn new() -> Result<Run> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let runs = workspace::vm().join("runs");
        remove_stale(&runs);
        let folder = runs.join(format!(
            "{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
        Ok(Run {
            folder,
            supervisor: None,
        })
    }

    /// Returns a file of this run: `files` before the start; then `stdout`, `stderr`, `out`, `status`, `console`, `log`
    /// (the emulator's messages), and `exit`, which appears when the emulator has ended.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts the machine with the disk `files` of the run's folder, which is empty if it does not exist.
    pub fn start(&mut self, machine: &Machine, start: Start) -> Result<()> {
        let path = self.file("initramfs");
        let mut initramfs = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        for part in [machine.tools, &machine.kernel.join("boot.cpio")] {
            let mut part = File::open(part).with_context(|| format!("open {}", part.display()))?;
            io::copy(&mut part, &mut initramfs).context("write the initramfs")?;
        }
        let files = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(self.file("files"));
        let files = files.context("open the disk of files")?;
        let length = files.metadata().context("read the size of the disk of files")?.len();
        ensure!(
            length <= FILES_SIZE,
            "the guest's files take more than {} MiB",
            FILES_SIZE >> 20
        );
        files
            .set_len(FILES_SIZE)
            .context("make the disk of files as large as all are")?;
        let mut line = self.command_line(machine);
        match start {
            Start::Boot => {}
            Start::BootWithMonitor => {
                let pipes = ["monitor.in", "monitor.out"].map(|name| self.file(name));
                output_of(Command::new("mkfifo").args(pipes))?;
                line.extend(["-chardev", "pipe,id=monitor,path=monitor", "-mon", "chardev=monitor"].map(String::from));
            }
            Start::Resume(state) => {
                // The emulator opens it through a shell: the name has no special characters.
                std::os::unix::fs::symlink(state, self.file(STATE)).context("link the snapshot")?;
                line.extend(["-incoming".to_owned(), format!("exec:cat {STATE}")]);
            }
        }
        let log = File::create(self.file("log")).context("make the emulator's log")?;
        let mut supervisor = Command::new("sh");
        supervisor
            .args(["-c", include_str!("../guest/supervise.sh"), "supervise.sh"])
            .arg(&self.folder)
            .args(line)
            .env("TMPDIR", &self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("duplicate the emulator's log")?)
            .stderr(log)
            // Not in the terminal's foreground group: Ctrl-C goes to the owner, and its end is enough.
            .process_group(0);
        self.supervisor = Some(supervisor.spawn().context("run sh")?);
        Ok(())
    }

    /// Writes the state of a machine that was started with a monitor to [`STATE`] in the run's folder, and ends the
    /// emulator. The file is complete when it has ended.
    pub fn save(&self) -> Result<()> {
        // Opened for reading too, so that it does not block, whether the emulator still runs or not.
        let monitor = OpenOptions::new().read(true).write(true).open(self.file("monitor.in"));
        let commands = format!("migrate_set_parameter max-bandwidth 10G\nmigrate \"exec:cat >{STATE}\"\nquit\n");
        let mut monitor = monitor.context("open the emulator's monitor")?;
        monitor
            .write_all(commands.as_bytes())
            .context("write to the emulator's monitor")
    }

    /// Ends the emulator at once; the folder and its files stay until the run is dropped.
    pub fn kill(&mut self) {
        if let Some(input) = self.supervisor.as_mut().and_then(|child| child.stdin.as_mut()) {
            // If writing fails, the supervisor has ended, and its emulator with it.
            let _ = input.write_all(b"\n");
        }
    }

    /// Returns whether the emulator has ended.
    pub fn has_ended(&mut self) -> bool {
        // A supervisor that ends before its owner was killed, and its emulator with it.
        let without_supervisor = self
            .supervisor
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
        without_supervisor || self.file("exit").exists()
    }

    /// Returns the emulator's command line; it determines whether a machine can resume from a snapshot of another.
    pub fn command_line(&self, machine: &Machine) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut line: Vec<String> = Vec::new();
        let mut add = |arguments: &[&str]| line.extend(arguments.iter().map(|&argument| argument.to_owned()));
        // A supervisor that is killed takes the emulator with it.
        add(&["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]);
        // The guest's CPUs share one thread. With a thread each, QEMU 7.2 loses a write to code that another CPU is
        // translating, and continues with the old instruction: a kernel that patches its functions for attaching and
        // detaching then hits a breakpoint that it has removed, and panics.
        //
        // A kernel that patches its functions and compiles BPF programs fills 800 MiB of the buffer for translated code
        // within a test; the default limit is 1 GiB. Where this machine is itself a virtual one whose host takes free
        // pages back, the first use of memory costs 3 s of CPU time a GiB. With 256 MiB, a test's guests took a tenth
        // less; with 64 MiB more, since they translate again and again.
        add(&["-accel", "tcg,thread=single,tb-size=256"]);
        if machine.icount {
            add(&["-icount", "shift=0,sleep=off"]);
            add(&["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        }
        // QEMU 7.2's emulation of cmpxchg16b occasionally crashes Linux 6.12; la57 costs page walks. With erms, Linux
        // clears and copies memory with `rep stosb` and `rep movsb` (arch/x86/lib/clear_page_64.S, copy_user_64.S), which
        // the emulator does a byte at a time: clearing pages was a fifth of the kernel's time at the start of a trace.
        // Counted instructions keep it, so that older figures compare.
        let cpu = if machine.icount {
            "max,-cx16,-la57"
        } else {
            "max,-cx16,-la57,-erms"
        };
        add(&["-machine", "q35", "-cpu", cpu]);
        add(&["-m", &machine.memory.to_string(), "-smp", &machine.cpus.to_string()]);
        add(&[
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-nic",
            "none",
        ]);
        add(&[
            "-kernel",
            &path(&machine.kernel.join("vmlinuz")),
            "-initrd",
            &path(&self.file("initramfs")),
        ]);
        let kernel_line = "console=ttyS0 quiet panic=-1 net.ifnames=0 nowatchdog tsc=reliable";
        add(&["-append", format!("{kernel_line} {}", machine.append).trim_end()]);
        add(&["-serial", &format!("file:{}", path(&self.file("console")))]);
        for (name, image, options) in [
            ("root", machine.root.to_path_buf(), "snapshot=on,cache=unsafe"),
            ("modules", machine.kernel.join("modules.img"), "readonly=on"),
            ("files", self.file("files"), "readonly=on"),
        ] {
            // Commas are doubled in QEMU's option strings.
            let file = path(&image).replace(',', ",,");
            add(&["-drive", &format!("file={file},if=none,id={name},format=raw,{options}")]);
            add(&["-device", &format!("virtio-blk-pci,drive={name}")]);
        }
        // Without ioeventfd a port's data is in its file before the guest's write returns, so that the order between
        // ports is kept: the status comes last.
        add(&["-device", "virtio-serial-pci,ioeventfd=off"]);
        for name in ["stdout", "stderr", "out", "status"] {
            let file = path(&self.file(name)).replace(',', ",,");
            add(&["-chardev", &format!("file,id={name},path={file}")]);
            add(&["-device", &format!("virtserialport,chardev={name},name=ipft.{name}")]);
        }
        line
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            drop(supervisor.stdin.take());
            let _ = supervisor.wait();
        }
        // A running supervisor has removed it already.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes folders of runs whose owner is gone, after a power failure for example. Best effort; other processes may do
/// the same.
fn remove_stale(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.split_once('-'))
            .and_then(|(owner, _)| owner.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Follows a file that is being written.
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
}

impl Follower {
    /// Follows the file from its beginning; it need not exist yet.
    pub fn new(path: PathBuf) -> Follower {
        Follower { path, file: None }
    }

    /// Copies new content since the last call.
    pub fn copy_to(&mut self, to: &mut dyn Write) -> io::Result<()> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if let Some(file) = &mut self.file
            && io::copy(file, to)? > 0
        {
            to.flush()?;
        }
        Ok(())
    }
}
