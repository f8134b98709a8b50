//! The emulator: its command line, and its life from boot to the last trace of it gone.
//!
//! A machine boots, or goes on where a snapshot of it was taken ([`crate::snapshot`]).
//!
//! The guest's ports are plain files in the run's folder: the emulator writes to them at once and never waits, so that
//! nothing is lost when the guest ends, and output is read behind it as it comes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::progress::output_of;
use crate::workspace;

/// What a machine is made of.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The kernel's images, a folder of [`crate::kernel::Kernel::images`].
    pub kernel: &'a Path,
    /// The image of the root file system.
    pub root: &'a Path,
    /// The part of the initramfs that [`crate::tools::archive`] makes.
    pub tools: &'a Path,
    /// Count instructions instead of time: one CPU, and 1 ns of guest time is one instruction.
    pub icount: bool,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// More words for the kernel's command line.
    pub append: &'a str,
}

/// How a machine comes to run.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// It boots.
    Boot,
    /// It boots, and takes commands of the emulator's monitor, from which a snapshot is made ([`Run::save`]).
    BootWithMonitor,
    /// It goes on as in this file, which [`Run::save`] of a machine like it made.
    Resume(&'a Path),
}

/// The file in the run's folder that [`Run::save`] makes.
pub const STATE: &str = "state";

/// Bytes of the disk with a guest's files. A machine cannot resume with a disk of another size. It is sparse.
const FILES_SIZE: u64 = 4 << 30;

/// A run's folder and, once started, its emulator. Dropping it ends the emulator and removes the folder.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    supervisor: Option<Child>,
}

impl Run {
    /// Makes the folder of a run.
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

    /// A file of this run: `files` before the start; then `stdout`, `stderr`, `out`, `status`, `console`, `log`
    /// (what the emulator says), and `exit`, which appears when the emulator has ended.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts the machine with the disk `files` of the run's folder, which has nothing on it if it is not there.
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
                // The emulator has a shell open it: a name without anything that a shell could take for something else.
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
            // Not in the terminal's foreground group: Ctrl-C is for the owner, whose end is enough.
            .process_group(0);
        self.supervisor = Some(supervisor.spawn().context("run sh")?);
        Ok(())
    }

    /// Writes the whole state of a machine that was started with a monitor to [`STATE`] in the run's folder, and ends
    /// the emulator. When it has ended the file is complete.
    pub fn save(&self) -> Result<()> {
        // For reading, too: so it is opened without waiting, whether the emulator still runs or not.
        let monitor = OpenOptions::new().read(true).write(true).open(self.file("monitor.in"));
        let commands = format!("migrate_set_parameter max-bandwidth 10G\nmigrate \"exec:cat >{STATE}\"\nquit\n");
        let mut monitor = monitor.context("open the emulator's monitor")?;
        monitor
            .write_all(commands.as_bytes())
            .context("write to the emulator's monitor")
    }

    /// Ends the emulator at once; the folder and the files in it stay until the run is dropped.
    pub fn kill(&mut self) {
        if let Some(input) = self.supervisor.as_mut().and_then(|child| child.stdin.as_mut()) {
            // A supervisor that does not read has ended, and its emulator with it.
            let _ = input.write_all(b"\n");
        }
    }

    /// Whether the emulator has ended.
    pub fn has_ended(&mut self) -> bool {
        // A supervisor ends before us only when it was killed, and then the emulator went with it.
        let without_supervisor = self
            .supervisor
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
        without_supervisor || self.file("exit").exists()
    }

    /// The emulator's command line; what decides whether a machine can resume from a snapshot of another one is in it.
    pub fn command_line(&self, machine: &Machine) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut line: Vec<String> = Vec::new();
        let mut add = |arguments: &[&str]| line.extend(arguments.iter().map(|&argument| argument.to_owned()));
        // A supervisor that is killed takes the emulator with it.
        add(&["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]);
        // The guest's CPUs take turns in one thread. With a thread each, QEMU 7.2 loses a write to code that another CPU is
        // translating, and goes on with the old instruction: a kernel that patches its functions, as attaching and
        // detaching make it do, then meets a breakpoint that it has long removed, and panics.
        add(&["-accel", "tcg,thread=single"]);
        if machine.icount {
            add(&["-icount", "shift=0,sleep=off"]);
            add(&["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        }
        // cmpxchg16b as QEMU 7.2 emulates it crashes Linux 6.12 now and then; la57 costs page walks.
        add(&["-machine", "q35", "-cpu", "max,-cx16,-la57"]);
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
            // A comma in a path is doubled in QEMU's option strings.
            let file = path(&image).replace(',', ",,");
            add(&["-drive", &format!("file={file},if=none,id={name},format=raw,{options}")]);
            add(&["-device", &format!("virtio-blk-pci,drive={name}")]);
        }
        // Without ioeventfd a port's data is in its file before the guest's write returns, so that the order between
        // ports holds: the status comes last.
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
        // The supervisor has removed it, if there was one that could.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes folders of runs whose owner is gone: after a power failure, say. Best effort; another process may be at it.
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

/// Reads behind a file that is being written.
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
}

impl Follower {
    /// Follows the file from its beginning; it need not exist yet.
    pub fn new(path: PathBuf) -> Follower {
        Follower { path, file: None }
    }

    /// Copies what has come since the last call.
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
