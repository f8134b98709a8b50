//! What the user asks for, as plain values. Imports plain values of `ipft_core` and of `ipft_plugin_host::package`.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipft_core::event::Tracer;
use ipft_core::field::Show;
pub use ipft_core::limit::StopAfter;
pub use ipft_core::selection::{Filter, Moment, Wanted as Selection};
use ipft_plugin_host::package::{Grants, Language};

/// The most bytes of a packet that are recorded. Its linear part is seldom longer, and the kernel reserves so much of the
/// ring for each.
pub const MOST_RECORD_BYTES: u32 = 16384;

/// What the program is to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Trace packets.
    Trace(Options),
    /// Draw what was recorded (`ipft replay`).
    Replay(ReplayOptions),
    /// List the functions that can be traced (`-l`).
    List(ListOptions),
    /// Print what the author of an extension starts from (`--gen`).
    Generate(Generate),
    /// Check what works on this machine (`ipft doctor`).
    Doctor,
    /// Do something about plugins (`ipft plugin`).
    Plugin(PluginCommand),
    /// Print this to stdout and succeed: help, version, completions, the manual page.
    Print(Vec<u8>),
}

/// What to trace, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mark that a packet must carry, after masking; never 0.
    pub mark: u32,
    /// The bits of the mark that count; never 0.
    pub mask: u32,
    /// Entries only, or entries and returns.
    pub tracer: Tracer,
    /// Who draws the result.
    pub drawing: Drawing,
    /// Which of the functions are wanted.
    pub filter: Filter,
    /// The built-in fields that each entry is to have.
    pub show: Show,
    /// What more is wanted of each packet.
    pub extension: Option<ExtensionFile>,
    /// How many of each packet's first bytes are wanted; 0 for none. With any, the ring buffer is used.
    pub record_bytes: u32,
    /// The attach mechanism to use; `None` leaves the choice to what works.
    pub backend: Option<BackendName>,
    /// The buffers between the kernel and us.
    pub buffers: Buffers,
    /// How long to trace; never 0.
    pub duration: Option<Duration>,
    /// How much to trace.
    pub stop_after: Option<StopAfter>,
    /// Raise the limits on locked memory and open files first.
    pub set_rlimit: bool,
    /// Where to accept connections once the trace is ready.
    pub probe_server: Option<SocketAddr>,
    /// Keep all privileges after attaching.
    pub keep_privileges: bool,
    /// The user to become after attaching, by name or number.
    pub user: Option<String>,
    /// Say what is done, and which functions were skipped and why.
    pub verbose: bool,
}

/// What to draw of which recording, and how.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The files, in any order; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Only say what is in them.
    pub info: bool,
    /// Who draws.
    pub drawing: Drawing,
    /// What is drawn.
    pub selection: Selection,
    /// What makes fields of the recorded bytes.
    pub extension: Option<ExtensionFile>,
    /// Keep all privileges when the files are open.
    pub keep_privileges: bool,
    /// Say more.
    pub verbose: bool,
}

/// What becomes of the events, whether they happen now or were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// How the result is written.
    pub output: Output,
    /// Whether the user requested that output, rather than the default.
    pub output_given: bool,
    /// Who else draws the result.
    pub plugins: Vec<PluginFile>,
    /// Bytes of events that may be kept in memory; `None` leaves that to the machine's size.
    pub max_memory: Option<u64>,
    /// Where it is recorded.
    pub record: Option<RecordFile>,
    /// Where to write the packets themselves.
    pub pcapng: Option<OutputFile>,
}

/// A file that a result goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputFile {
    /// `-`.
    Stdout,
    /// Any other.
    Path(PathBuf),
}

impl From<OsString> for OutputFile {
    fn from(word: OsString) -> Self {
        if word == "-" {
            OutputFile::Stdout
        } else {
            OutputFile::Path(word.into())
        }
    }
}

impl Drawing {
    /// Returns whether stdout is not plain text, so that no line may be added.
    pub fn stdout_is_binary(&self) -> bool {
        self.pcapng == Some(OutputFile::Stdout) || self.record.as_ref().is_some_and(RecordFile::is_stdout)
    }

    /// Returns the output that ipft itself writes to stdout, if the user requested it: plugins then write elsewhere.
    pub fn own_output(&self) -> Option<Output> {
        self.output_given.then_some(self.output)
    }
}

/// A recording to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFile {
    /// Where it goes.
    pub file: OutputFile,
    /// The most that a file of it may grow to, and how many files there may be; without, it is one file.
    pub ring: Option<(u64, u32)>,
}

impl RecordFile {
    /// What messages call it.
    pub fn name(&self) -> String {
        match &self.file {
            OutputFile::Stdout => "stdout".to_owned(),
            OutputFile::Path(path) => path.display().to_string(),
        }
    }

    /// Whether it goes to standard output.
    pub fn is_stdout(&self) -> bool {
        self.file == OutputFile::Stdout
    }
}

/// A plugin, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFile {
    /// What it is called in messages and in front of options: the file's name without its extension.
    pub name: String,
    /// As the user wrote it: a path, or a name to be looked up.
    pub path: PathBuf,
    /// What it may do.
    pub grants: Grants,
}

impl PluginFile {
    pub(super) fn new(path: &Path) -> Self {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        PluginFile {
            name: name.to_string_lossy().into_owned(),
            path: path.to_owned(),
            grants: Grants::default(),
        }
    }
}

/// What to do about plugins.
#[derive(Clone, Debug)]
pub enum PluginCommand {
    /// List those that are installed.
    List,
    /// Say what a file is, without running it.
    Inspect {
        /// The plugin.
        path: PathBuf,
        /// As JSON.
        json: bool,
    },
    /// Run a plugin against built-in traces.
    Check {
        /// The plugin.
        plugin: PluginFile,
        /// Keep all privileges while it runs.
        keep_privileges: bool,
    },
    /// Begin a new plugin.
    New {
        /// The folder to make.
        dir: PathBuf,
        /// What it is to be written in.
        language: Language,
        /// What it is to be called.
        name: String,
    },
    /// Put a description into a component.
    Pack {
        /// The component.
        path: PathBuf,
        /// The description, as JSON.
        description: PathBuf,
        /// Where to write the plugin.
        out: PathBuf,
    },
    /// Run a plugin on a trace that was kept.
    Run {
        /// The plugin.
        plugin: PluginFile,
        /// What `--record` or `-o jsonl` wrote.
        recording: PathBuf,
        /// Keep all privileges while it runs.
        keep_privileges: bool,
    },
}

/// A file that says what more is wanted of each packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtensionFile {
    /// C source, to be compiled.
    Source(PathBuf),
    /// A BPF object.
    Object(PathBuf),
    /// A Lua script.
    Script(PathBuf),
}

/// What to print for the author of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generate {
    /// A complete extension.
    Skeleton,
    /// The macros alone.
    Header,
}

/// What to list.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Which of the functions are wanted.
    pub filter: Filter,
    /// List what this attach mechanism can trace.
    pub backend: Option<BackendName>,
    /// For this tracer.
    pub tracer: Tracer,
    /// Say what is done.
    pub verbose: bool,
}

/// The buffers between the kernel and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Size of the BPF ring buffer in bytes: a power of two, at least a page. One buffer serves all CPUs.
    pub ring_size: u32,
    /// A `--perf-*` option was given: use the perf buffer even where there is a ring buffer.
    pub perf_requested: bool,
    /// The perf buffer, for kernels without a ring buffer or on request.
    pub perf: PerfBuffer,
}

/// The perf buffer, in the terms of perf_event_open(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfBuffer {
    /// Pages per CPU: a power of two.
    pub pages: u32,
    /// `sample_period`, at least 1.
    pub sample_period: u64,
    /// `wakeup_events`, at least 1.
    pub wakeup_events: u32,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people: per packet, at the end.
    Aggregate,
    /// One JSON object per event, with ipftrace2's keys.
    Json,
    /// The complete typed stream, one JSON object a line.
    Jsonl,
}

/// An attach mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendName {
    /// One perf kprobe per function.
    Kprobe,
    /// One link for all functions.
    KprobeMulti,
    /// One link for all functions, entries and returns.
    KprobeSession,
    /// fentry and fexit programs, one per function.
    Ftrace,
    /// BPF tracing-multi links.
    FentryMulti,
}

impl BackendName {
    /// All of them, in the order of the help.
    pub const ALL: [BackendName; 5] = [
        BackendName::Kprobe,
        BackendName::KprobeMulti,
        BackendName::KprobeSession,
        BackendName::Ftrace,
        BackendName::FentryMulti,
    ];

    /// The name on the command line and in every output.
    pub fn name(self) -> &'static str {
        match self {
            BackendName::Kprobe => "kprobe",
            BackendName::KprobeMulti => "kprobe-multi",
            BackendName::KprobeSession => "kprobe-session",
            BackendName::Ftrace => "ftrace",
            BackendName::FentryMulti => "fentry-multi",
        }
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
