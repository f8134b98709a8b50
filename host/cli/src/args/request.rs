//! The user's request, as plain values. Imports plain values of `ipft_core` and of `ipft_plugin_host::package`.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipft_core::event::Tracer;
pub use ipft_core::expression::NamedExpression;
use ipft_core::field::{Show, ShowList};
use ipft_core::filter::{DevicePattern, ThreadName};
pub use ipft_core::limit::StopAfter;
pub use ipft_core::selection::{Filter, Moment, Wanted as Selection};
use ipft_plugin_host::package::{Grants, Language};

/// The most bytes of a packet that are recorded. Its linear part is seldom longer, and the kernel reserves so much of
/// the ring for each.
pub const MOST_RECORD_BYTES: u32 = 16384;

/// The command to run.
#[derive(Clone, Debug)]
pub enum Command {
    /// Trace packets.
    Trace(Options),
    /// Replay a recording (`ipft replay`).
    Replay(ReplayOptions),
    /// Compare two recordings (`ipft diff`).
    Diff(DiffOptions),
    /// List the functions that can be traced (`-l`).
    List(ListOptions),
    /// Print a template for the author of an extension (`--gen`).
    Generate(Generate),
    /// Check this machine (`ipft doctor`).
    Doctor,
    /// Run a script that traces on its own (`ipft lua`).
    Lua(LuaOptions),
    /// Manage plugins (`ipft plugin`).
    Plugin(PluginCommand),
    /// Print this to stdout and succeed: help, version, completions, the manual page.
    Print(Vec<u8>),
}

/// Options of `ipft lua`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LuaOptions {
    /// Whether errors have the stack of Lua's calls and the verifier's log.
    pub verbose: bool,
    /// The script.
    pub script: PathBuf,
    /// What it finds in `arg`.
    pub arguments: Vec<OsString>,
}

/// Where packets are selected, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceOptions {
    /// The network namespace, as the user names it; `None` for any.
    pub namespace: Option<String>,
    /// The devices; `None` for any, and for packets that have none. With the user's words.
    pub device: Option<(String, DevicePattern)>,
    /// One of so many flows is selected; 1 for all.
    pub sample: u32,
    /// At most so many packets are selected per second; 0 for any number.
    pub rate: u32,
    /// The process that sends them; `None` for any.
    pub process: Option<u32>,
    /// The thread that sends them, with the user's words; `None` for any.
    pub thread: Option<(String, ThreadName)>,
    /// The control group of their sockets; `None` for any.
    pub group: Option<PathBuf>,
}

impl PlaceOptions {
    /// Returns whether they say anything of packets.
    pub fn is_any(&self) -> bool {
        let any_owner = self.process.is_none() && self.thread.is_none() && self.group.is_none();
        any_owner && self.namespace.is_none() && self.device.is_none() && self.sample == 1 && self.rate == 0
    }
}

/// One `--show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Built-in fields.
    List(ShowList),
    /// A field of its own.
    Expression(NamedExpression),
}

/// Options of a trace.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mark that a packet must carry, after masking; 0 if any will do.
    pub mark: u32,
    /// The bits of the mark that count; 0 if any mark will do.
    pub mask: u32,
    /// The packet filter, a pcap expression; empty if there is none.
    pub packets: String,
    /// The filter of the packet inside a tunnel's packet; `None` if there need not be one.
    pub inner: Option<String>,
    /// The expression in Lua that must hold of a packet; `None` if any will do.
    pub condition: Option<String>,
    /// Where packets are selected, and how many of them.
    pub place: Box<PlaceOptions>,
    /// Where packets are selected; `None` if a packet is traced as long as it carries the mark.
    pub follow: Option<SelectAt>,
    /// Trace the packets that the kernel drops, and nothing else (`ipft drops`).
    pub drops: Option<DropsOptions>,
    /// Show the drops of packets that are not selected, too.
    pub other_drops: bool,
    /// Entries only, or entries and returns.
    pub tracer: Tracer,
    /// Outputs.
    pub drawing: Drawing,
    /// Selection of functions.
    pub filter: Filter,
    /// Built-in fields of each entry.
    pub show: Show,
    /// Fields that are expressions in Lua.
    pub expressions: Vec<NamedExpression>,
    /// The extension, if any.
    pub extension: Option<ExtensionFile>,
    /// First bytes to record per packet; 0 for none. Otherwise the ring buffer is used.
    pub record_bytes: u32,
    /// Maximum number of events per second on each CPU; 0 for any number.
    pub max_events_per_second: u32,
    /// The attach mechanism; `None` selects by what works.
    pub backend: Option<BackendName>,
    /// The buffers between the kernel and ipft.
    pub buffers: Buffers,
    /// Time limit; never 0.
    pub duration: Option<Duration>,
    /// Limit of events or packets.
    pub stop_after: Option<StopAfter>,
    /// Raise the limits on locked memory and open files first.
    pub set_rlimit: bool,
    /// Address for connections once the trace is ready.
    pub probe_server: Option<SocketAddr>,
    /// Keep all privileges after attaching.
    pub keep_privileges: bool,
    /// The user to become after attaching, by name or number.
    pub user: Option<String>,
    /// Print the steps, and which functions were skipped and why.
    pub verbose: bool,
}

/// Options of a trace of drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropsOptions {
    /// Show drops that are no loss, too.
    pub all: bool,
    /// Maximum number of packets per second of each place in the kernel, on each CPU; 0 for any number.
    pub per_place: u32,
    /// Keep the table of counts on the terminal, if there is one.
    pub table: bool,
}

/// The functions that select packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectAt {
    /// Those where a packet enters or leaves a layer. What they select is followed from then on.
    Gates,
    /// All. What they select is followed from then on.
    All,
    /// All, and each shows only the packets that it selects.
    Each,
}

/// Options of a replay.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The files, in any order; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Only print a summary.
    pub info: bool,
    /// Outputs.
    pub drawing: Drawing,
    /// The selection.
    pub selection: Selection,
    /// Decoder of the recorded bytes.
    pub extension: Option<ExtensionFile>,
    /// Keep all privileges when the files are open.
    pub keep_privileges: bool,
    /// Print more.
    pub verbose: bool,
}

/// Options of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffOptions {
    /// The recordings, which are not the same file by name; `-` is standard input.
    pub files: [PathBuf; 2],
    /// The most lines of each kind.
    pub top: usize,
    /// Keep all privileges when the files are open.
    pub keep_privileges: bool,
}

/// Outputs of a trace or a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Format of ipft's own output.
    pub output: Output,
    /// Whether the user requested that output, rather than the default.
    pub output_given: bool,
    /// The looks of the text output.
    pub text: TextStyle,
    /// Plugins.
    pub plugins: Vec<PluginFile>,
    /// Memory limit of buffered events in bytes; `None` depends on the machine's memory.
    pub max_memory: Option<u64>,
    /// The recording.
    pub record: Option<RecordFile>,
    /// The packet file.
    pub pcapng: Option<OutputFile>,
}

/// The looks of the text output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// What times count from.
    pub time: Time,
    /// When to use colours.
    pub color: Color,
    /// Show each repetition of a function.
    pub unfold: bool,
    /// Show the functions that were running when a packet was dropped.
    pub stack: bool,
}

/// What the times of the text output count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Time {
    /// The packet's first event.
    #[default]
    Relative,
    /// The packet's line before.
    Delta,
    /// The time of day.
    Absolute,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// An output file.
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

    /// Returns whether ipft's own output is for people, so that what a script prints may be between it.
    pub fn is_for_people(&self) -> bool {
        matches!(self.output, Output::Aggregate | Output::Text | Output::Drops) && !self.stdout_is_binary()
    }

    /// Returns the output that ipft itself writes to stdout, if the user requested it: plugins then write elsewhere.
    pub fn own_output(&self) -> Option<Output> {
        self.output_given.then_some(self.output)
    }
}

/// A recording to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFile {
    /// Its file.
    pub file: OutputFile,
    /// Maximum size of a file, and maximum number of files; without, it is one file.
    pub ring: Option<(u64, u32)>,
}

impl RecordFile {
    /// Returns the name in messages.
    pub fn name(&self) -> String {
        match &self.file {
            OutputFile::Stdout => "stdout".to_owned(),
            OutputFile::Path(path) => path.display().to_string(),
        }
    }

    /// Returns whether it goes to standard output.
    pub fn is_stdout(&self) -> bool {
        self.file == OutputFile::Stdout
    }
}

/// A plugin with its grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFile {
    /// Name in messages and as a prefix of options: the file's name without its extension.
    pub name: String,
    /// As the user wrote it: a path, or a name to look up.
    pub path: PathBuf,
    /// Its grants.
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

/// Commands of `ipft plugin`.
#[derive(Clone, Debug)]
pub enum PluginCommand {
    /// List installed plugins.
    List,
    /// Describe a file without running it.
    Inspect {
        /// The plugin.
        path: PathBuf,
        /// As JSON.
        json: bool,
    },
    /// Run a plugin on built-in traces.
    Check {
        /// The plugin.
        plugin: PluginFile,
        /// Keep all privileges while it runs.
        keep_privileges: bool,
    },
    /// Create a new plugin.
    New {
        /// The folder to create.
        dir: PathBuf,
        /// Its language.
        language: Language,
        /// Its name.
        name: String,
    },
    /// Add a description to a component.
    Pack {
        /// The component.
        path: PathBuf,
        /// The description, as JSON.
        description: PathBuf,
        /// The output file.
        out: PathBuf,
    },
    /// Run a plugin on a stored trace.
    Run {
        /// The plugin.
        plugin: PluginFile,
        /// Output of `--record` or `-o jsonl`.
        recording: PathBuf,
        /// Keep all privileges while it runs.
        keep_privileges: bool,
    },
}

/// An extension's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtensionFile {
    /// C source, to be compiled.
    Source(PathBuf),
    /// A BPF object.
    Object(PathBuf),
    /// A Lua script.
    Script(PathBuf),
}

/// Templates for authors of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generate {
    /// A complete extension.
    Skeleton,
    /// The macros alone.
    Header,
    /// A complete extension in Lua.
    LuaSkeleton,
}

/// Options of listing functions.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Selection of functions.
    pub filter: Filter,
    /// List the functions for this attach mechanism.
    pub backend: Option<BackendName>,
    /// For this tracer.
    pub tracer: Tracer,
    /// Print the steps.
    pub verbose: bool,
}

/// The buffers between the kernel and ipft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Size of all BPF ring buffers together, in bytes: a power of two, at least a page.
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

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people: packets and what changes, as it happens.
    Text,
    /// For people: the packets that the kernel drops. Only of a trace of drops.
    Drops,
    /// For people: per packet, at the end.
    Aggregate,
    /// One JSON object per event, with ipftrace2's keys.
    Json,
    /// The complete typed stream, one JSON object per line.
    Jsonl,
    /// For people: the terminal, as it changes.
    Top,
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
