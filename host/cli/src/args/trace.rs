//! The options of a trace for clap, and the checks across several of them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, ArgMatches, CommandFactory as _, Parser, ValueEnum};
use regex::Regex;

use super::drawing::DrawArgs;
use super::help::{self, ABOUT, AFTER_HELP, AFTER_LONG_HELP, LONG_ABOUT};
use super::number;
use super::shared::{EndArgs, PlaceArgs, RightsArgs};
use super::subcommand::Subcommand;
use super::value;
use super::value::{
    address, check_mark, events_per_second, extension, mark, packets_per_second, pattern, perf_pages, port, process,
    record_bytes, ring_size, sample, sample_period, shown, thread, wakeup_events,
};
use super::{
    BackendName, Buffers, Command, ExtensionFile, Filter, Generate, ListOptions, NamedExpression, Options, Output,
    PerfBuffer, PlaceOptions, SelectAt, Shown, UsageError,
};
use ipft_core::event::Tracer;
use ipft_core::field::Show;
use ipft_core::filter::ThreadName;

/// Default of recorded bytes per packet: all headers, and the payload of small packets.
const RECORD_BYTES: u32 = 256;
/// Minimum number of captures that fit the ring, or the first ones would leave no space for events.
const LEAST_CAPTURES: u32 = 8;

#[derive(Debug, Parser)]
#[command(
    name = "ipft",
    bin_name = "ipft",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP,
    term_width = 80,
    override_usage = "ipft FILTER... [OPTIONS]\n       ipft -m MARK [OPTIONS]\n       ipft -l [OPTIONS]\n       ipft --gen bpf-module-skeleton\n       ipft drops [FILTER...] [OPTIONS]\n       ipft top [FILTER...] [OPTIONS]\n       ipft replay FILE... [OPTIONS]\n       ipft diff FILE FILE [OPTIONS]\n       ipft lua SCRIPT [ARGS...]\n       ipft plugin list | inspect | check | new | pack | run\n       ipft doctor | completions SHELL | man",
    disable_help_subcommand = true,
    subcommand_help_heading = "Subcommands",
    // As in getopt_long(3): the last of several wins, and a long option may be abbreviated.
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    infer_long_args = true
)]
pub(super) struct Args {
    #[command(flatten)]
    trace: TraceArgs,

    /// List the functions that can be traced
    #[arg(short, long, help_heading = WHAT)]
    list: bool,

    /// Print an extension template
    #[arg(long, value_name = "WHAT", help_heading = WHAT)]
    r#gen: Option<GenerateArg>,

    #[command(subcommand)]
    pub(super) command: Option<Subcommand>,
}

/// The options of a trace, those of `ipft top`, too.
#[derive(Debug, clap::Args)]
pub(super) struct TraceArgs {
    /// Trace packets that match, and follow them: a pcap expression, as for tcpdump
    ///
    /// It is evaluated in the kernel, where --select-at says. From there on, a matching packet and
    /// everything that is made of it are followed, whatever becomes of its headers.
    #[arg(value_name = "FILTER", help_heading = WHAT)]
    packets: Vec<String>,

    #[command(flatten, next_help_heading = WHAT)]
    place: PlaceArgs,

    /// Trace packets that carry this mark
    ///
    /// Alone, it traces a packet as long as it carries the mark. With FILTER, --follow, --select-at
    /// or another option that selects packets, those that carry it are selected, and followed.
    #[arg(short, long, value_name = "MARK", value_parser = mark, allow_negative_numbers = true, help_heading = WHAT)]
    mark: Option<u32>,

    /// Compare only these bits
    ///
    /// A packet is traced if (its mark & MASK) == (MARK & MASK).
    #[arg(
        long,
        value_name = "MASK",
        default_value = "0xffffffff",
        value_parser = mark,
        allow_negative_numbers = true,
        help_heading = WHAT
    )]
    mask: u32,

    /// Select packets that this process sends
    ///
    /// Not those that are sent in a softirq, as many of TCP's are: how often that was so is
    /// reported at the end.
    #[arg(long, value_name = "PID", value_parser = process, allow_negative_numbers = true, help_heading = WHAT)]
    pid: Option<u32>,

    /// Select packets that threads of this name send
    ///
    /// The name in /proc/PID/comm. As with --pid, not those that are sent in a softirq.
    #[arg(long, value_name = "NAME", value_parser = thread, help_heading = WHAT)]
    comm: Option<(String, ThreadName)>,

    /// Select one of N flows, as 1/N
    ///
    /// Flows are both directions of what has the same addresses, protocol and ports.
    #[arg(long, value_name = "1/N", value_parser = sample, help_heading = WHAT)]
    sample: Option<u32>,

    /// Select at most so many packets per second
    ///
    /// Those that come first in each second. Packets that are made of them do not count. How
    /// often packets were left out is reported at the end.
    #[arg(long, value_name = "N", value_parser = packets_per_second, allow_negative_numbers = true, help_heading = WHAT)]
    max_packets_per_second: Option<u32>,

    /// Follow marked packets that lose their mark, and packets made of them
    #[arg(long, requires = "mark", help_heading = WHAT)]
    follow: bool,

    /// Show packets only where they match, and nothing that is made of them
    ///
    /// Every traced function applies the filter and the other conditions by itself, which costs
    /// more. A packet that has matched once is still shown when it is released.
    #[arg(long, conflicts_with = "follow", help_heading = WHAT)]
    no_follow: bool,

    /// Show all packets that the kernel drops, too, whether they are selected or not
    ///
    /// Of those that are not, only the drop, and at most 10 per second of each place in the kernel
    /// on each CPU. 'ipft drops' shows drops and nothing else.
    #[arg(long, conflicts_with = "no_follow", help_heading = WHAT)]
    drops: bool,

    /// Functions that select packets [default: gates; with only -m and --follow: all]
    #[arg(long, value_name = "WHERE", help_heading = WHAT)]
    select_at: Option<SelectAtArg>,

    /// What to record
    #[arg(short, long, value_name = "TRACER", default_value = "function", help_heading = WHAT)]
    tracer: TracerArg,

    /// Trace only functions whose name matches
    ///
    /// The pattern may match anywhere in the name; anchor it with ^ and $.
    /// Syntax: that of the Rust crate regex (no look-around, no backreferences).
    #[arg(short, long, value_name = "REGEX", value_parser = pattern, help_heading = WHAT)]
    regex: Option<Regex>,

    /// Trace only modules whose name matches
    ///
    /// The kernel itself is the module vmlinux.
    #[arg(long, value_name = "REGEX", value_parser = pattern, help_heading = WHAT)]
    module_regex: Option<Regex>,

    /// Show more of each packet: C source, a BPF object, or a Lua script
    ///
    /// FILE.c is compiled with $CC (clang) and $CFLAGS, FILE.o is such a file compiled
    /// already, FILE.lua is a script: of API version 1, or of version 2, whose function ipft
    /// compiles without clang. It runs at each function a matching packet enters and fills up to
    /// 64 bytes that become fields of the event.
    #[arg(short, long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(extension), help_heading = WHAT)]
    extension: Option<ExtensionFile>,

    /// The same as -e with a Lua script, whatever its name
    #[arg(short, long, value_name = "FILE", conflicts_with = "extension", help_heading = WHAT)]
    script: Option<PathBuf>,

    /// Add built-in fields to every entry, or an expression in Lua
    #[arg(
        long,
        value_name = "FIELDS",
        allow_hyphen_values = true,
        value_parser = shown,
        action = ArgAction::Append,
        long_help = help::show(),
        help_heading = WHAT
    )]
    show: Vec<Shown>,

    /// Record the first bytes of each packet [default: 256 with --pcapng]
    ///
    /// At most 16384. They are read once in a packet's life, from the IP header on, or from the
    /// Ethernet header of what is not IP. Needs the BPF ring buffer (5.8+).
    #[arg(long, value_name = "N", value_parser = record_bytes, allow_negative_numbers = true, help_heading = WHAT)]
    record_bytes: Option<u32>,

    #[command(flatten)]
    drawing: DrawArgs,

    /// Attach mechanism [default: the cheapest that works]
    ///
    /// 'ipft doctor' says which of them work on this kernel.
    #[arg(short, long, value_name = "BACKEND", help_heading = HOW)]
    backend: Option<BackendArg>,

    #[command(flatten, next_help_heading = HOW)]
    rights: RightsArgs,

    #[command(flatten, next_help_heading = END)]
    end: EndArgs,

    /// Size of the BPF ring buffer
    ///
    /// A power of two, in bytes or with K, M or G, from one page to 2G. CPUs divide it, in
    /// parts of at least 2M. A larger one loses fewer events in a flood.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "32M",
        value_parser = ring_size,
        allow_negative_numbers = true,
        conflicts_with_all = ["perf_page_count", "perf_sample_period", "perf_wakeup_events"],
        help_heading = BUFFERS
    )]
    ring_size: u32,

    /// Record at most so many events per second on each CPU
    ///
    /// 0 means any number. After a quiet time, a CPU may record the events of one second at
    /// once. What is over the limit is counted as lost. It keeps a mark that matches all
    /// traffic from taking the CPUs.
    #[arg(
        long,
        value_name = "N",
        default_value = "1000000",
        value_parser = events_per_second,
        allow_negative_numbers = true,
        help_heading = BUFFERS
    )]
    max_events_per_second: u32,

    /// Pages of the perf buffer per CPU [default: 8]
    ///
    /// A power of two. Any --perf-* option selects the perf buffer even where the
    /// kernel has the BPF ring buffer, which is faster and the default there.
    #[arg(long, value_name = "N", value_parser = perf_pages, allow_negative_numbers = true, help_heading = BUFFERS)]
    perf_page_count: Option<u32>,

    /// sample_period of the perf buffer [default: 1]
    ///
    /// See perf_event_open(2).
    #[arg(long, value_name = "N", value_parser = sample_period, allow_negative_numbers = true, help_heading = BUFFERS)]
    perf_sample_period: Option<u64>,

    /// wakeup_events of the perf buffer [default: 1]
    ///
    /// See perf_event_open(2).
    #[arg(long, value_name = "N", value_parser = wakeup_events, allow_negative_numbers = true, help_heading = BUFFERS)]
    perf_wakeup_events: Option<u32>,

    /// Do not raise resource limits
    ///
    /// ipft raises those on locked memory and open files before it attaches.
    #[arg(long, help_heading = BUFFERS)]
    no_set_rlimit: bool,

    /// Listen on a TCP port once the trace is ready
    #[arg(long, help_heading = PROBE)]
    enable_probe_server: bool,

    /// Port of the probe server
    #[arg(
        long,
        value_name = "PORT",
        default_value = "13720",
        value_parser = port,
        allow_negative_numbers = true,
        help_heading = PROBE
    )]
    probe_server_port: u16,

    /// Address of the probe server
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        value_parser = address,
        requires = "enable_probe_server",
        help_heading = PROBE
    )]
    probe_server_address: IpAddr,
}

const WHAT: &str = "What to trace";
pub(super) const HOW: &str = "How";
pub(super) const END: &str = "When to end";
const BUFFERS: &str = "Buffers and limits";
const PROBE: &str = "Probe server";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TracerArg {
    /// Each call: when, on which CPU
    #[value(name = "function")]
    Function,
    /// Each call and its return: nesting and durations
    #[value(name = "function_graph")]
    FunctionGraph,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SelectAtArg {
    /// Those where a packet enters or leaves a layer, with complete headers: cheap
    Gates,
    /// Every traced function
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GenerateArg {
    /// An extension in C that compiles and runs as it is
    BpfModuleSkeleton,
    /// The header with the macros that describe an event
    BpfModuleHeader,
    /// An extension in Lua, which needs no compiler
    LuaSkeleton,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackendArg {
    /// A perf kprobe per function: works everywhere, slow to attach
    Kprobe,
    /// One kprobe link for all functions (5.18+, CONFIG_FPROBE)
    KprobeMulti,
    /// The same, entries and returns in one program (6.10+)
    KprobeSession,
    /// fentry and fexit programs: cheap per packet, slow to attach
    Ftrace,
    /// BPF tracing-multi links (7.x): cheap and quick
    FentryMulti,
}

impl Args {
    /// The step out of clap's world. `matches` are those of the program.
    pub(super) fn into_command(self, matches: &ArgMatches) -> Result<Command, UsageError> {
        if let Some(what) = self.r#gen {
            return Ok(Command::Generate(match what {
                GenerateArg::BpfModuleSkeleton => Generate::Skeleton,
                GenerateArg::BpfModuleHeader => Generate::Header,
                GenerateArg::LuaSkeleton => Generate::LuaSkeleton,
            }));
        }
        if self.list {
            return Ok(Command::List(self.trace.into_list()));
        }
        Ok(Command::Trace(self.trace.into_options(matches, false)?))
    }
}

/// Separates lists from expressions. As with other options, the last list counts.
fn split_shown(all: Vec<Shown>, default: Show) -> (Show, Vec<NamedExpression>) {
    let mut show = default;
    let mut expressions = Vec::new();
    for each in all {
        match each {
            Shown::List(list) => show = list.applied_to(default),
            Shown::Expression(expression) => expressions.push(expression),
        }
    }
    (show, expressions)
}

impl TraceArgs {
    fn tracer(&self) -> Tracer {
        match self.tracer {
            TracerArg::Function => Tracer::Function,
            TracerArg::FunctionGraph => Tracer::FunctionGraph,
        }
    }

    fn backend(&self) -> Option<BackendName> {
        self.backend.map(|backend| match backend {
            BackendArg::Kprobe => BackendName::Kprobe,
            BackendArg::KprobeMulti => BackendName::KprobeMulti,
            BackendArg::KprobeSession => BackendName::KprobeSession,
            BackendArg::Ftrace => BackendName::Ftrace,
            BackendArg::FentryMulti => BackendName::FentryMulti,
        })
    }

    fn into_list(self) -> ListOptions {
        ListOptions {
            backend: self.backend(),
            tracer: self.tracer(),
            verbose: self.rights.verbose,
            filter: Filter {
                function: self.regex,
                module: self.module_regex,
            },
        }
    }

    /// Checks options against each other, and converts clap's values. `top`: those of `ipft top`, which shows all packets
    /// if nothing says which.
    pub(super) fn into_options(self, matches: &ArgMatches, top: bool) -> Result<Options, UsageError> {
        let (tracer, backend) = (self.tracer(), self.backend());
        let packets = self.packets.join(" ").trim().to_owned();
        if let (None, [word]) = (self.mark, self.packets.as_slice())
            && number::parse(word, value::MARKS, number::Show::Hex).is_ok()
        {
            return Err(UsageError::new(format!(
                "unexpected word '{word}'\n\n  tip: to trace packets with that mark: ipft -m {word}"
            )));
        }
        if let Some(word) = self
            .packets
            .first()
            .filter(|word| Args::command().find_subcommand(word).is_some())
        {
            return Err(UsageError::new(format!(
                "'{word}' is a command, and options of a trace come before it\n\n  \
                 tip: ipft {word} --help says what it takes; it must be the first word"
            )));
        }
        let place = PlaceOptions {
            namespace: self.place.netns,
            device: self.place.ifname,
            sample: self.sample.unwrap_or(1),
            rate: self.max_packets_per_second.unwrap_or(0),
            process: self.pid,
            thread: self.comm,
            group: self.place.cgroup,
        };
        let all = top && self.mark.is_none();
        let condition = self.place.r#where;
        let selects =
            all || !packets.is_empty() || self.place.inner.is_some() || condition.is_some() || !place.is_any();
        let Some(mark) = self.mark.or(selects.then_some(0)) else {
            if self.drops {
                return Err(UsageError::new(
                    "--drops adds to a trace, and nothing says which packets to trace\n\n  \
                     tip: 'ipft drops' shows every packet that the kernel drops",
                ));
            }
            return Err(UsageError::new(
                "nothing says which packets to trace\n\n  \
                 tip: ipft 'host 10.0.0.2 and tcp port 80' traces packets that match, ipft -m 0xdeadbeef packets with that \
                 mark; ipft -l lists the functions that can be traced",
            ));
        };
        let mask = if self.mark.is_some() { self.mask } else { 0 };
        let follow = match (self.select_at, self.follow) {
            (Some(SelectAtArg::Gates), _) => Some(SelectAt::Gates),
            (Some(SelectAtArg::All), _) => Some(SelectAt::All),
            // An expression may be of what changes anywhere.
            (None, _) if condition.is_some() => Some(SelectAt::All),
            (None, _) if selects => Some(SelectAt::Gates),
            (None, true) => Some(SelectAt::All),
            (None, false) => None,
        };
        if self.no_follow && matches!(self.select_at, Some(SelectAtArg::Gates)) {
            return Err(UsageError::new(
                "--no-follow shows packets at every function where they match, and --select-at gates matches them at few\n\n  \
                 tip: leave one of the two out",
            ));
        }
        if self.drops && follow.is_none() {
            return Err(UsageError::new(
                "--drops needs a trace that follows packets\n\n  \
                 tip: add --follow, or a filter; 'ipft drops' shows every drop and nothing else",
            ));
        }
        let follow = match self.no_follow {
            true => follow.map(|_| SelectAt::Each),
            false => follow,
        };
        let shown = match follow {
            Some(_) => Show::of_filter(),
            None => Show::default(),
        };
        let (show, expressions) = split_shown(self.show, shown);
        check_mark(self.mark, self.mask)?;
        let perf_requested =
            self.perf_page_count.is_some() || self.perf_sample_period.is_some() || self.perf_wakeup_events.is_some();
        let output = if top {
            Output::Top
        } else if follow.is_some() {
            Output::Text
        } else {
            Output::Aggregate
        };
        let mut drawing = self.drawing.into_drawing(matches, output)?;
        drawing.text.stack |= show.has_stack();
        let wanted_bytes = drawing.pcapng.as_ref().map(|_| RECORD_BYTES);
        let record_bytes = self.record_bytes.or(wanted_bytes).unwrap_or(0);
        if self.drops && perf_requested {
            return Err(UsageError::new(
                "--drops needs the BPF ring buffer, and the --perf-* options ask for the perf buffer\n\n  \
                 tip: leave out the --perf-* options",
            ));
        }
        if record_bytes > 0 && perf_requested {
            let which = if self.record_bytes.is_some() {
                "--record-bytes"
            } else {
                "--pcapng"
            };
            return Err(UsageError::new(format!(
                "{which} needs the BPF ring buffer, and the --perf-* options ask for the perf buffer\n\n  \
                 tip: leave out the --perf-* options"
            )));
        }
        if record_bytes > self.ring_size / LEAST_CAPTURES {
            return Err(UsageError::new(format!(
                "a ring buffer of {} bytes has no room for {record_bytes} bytes of every packet\n\n  \
                 tip: --ring-size {} or more, or fewer --record-bytes",
                self.ring_size,
                (record_bytes * LEAST_CAPTURES).next_power_of_two()
            )));
        }
        Ok(Options {
            mark: mark & mask,
            mask,
            packets,
            inner: self.place.inner,
            condition,
            place: Box::new(place),
            follow,
            drops: None,
            other_drops: self.drops,
            tracer,
            drawing,
            filter: Filter {
                function: self.regex,
                module: self.module_regex,
            },
            show,
            expressions,
            extension: self.extension.or(self.script.map(ExtensionFile::Script)),
            record_bytes,
            max_events_per_second: self.max_events_per_second,
            backend,
            buffers: Buffers {
                ring_size: self.ring_size,
                perf_requested,
                perf: PerfBuffer {
                    pages: self.perf_page_count.unwrap_or(8),
                    sample_period: self.perf_sample_period.unwrap_or(1),
                    wakeup_events: self.perf_wakeup_events.unwrap_or(1),
                },
            },
            duration: self.end.duration,
            stop_after: self.end.stop_after,
            set_rlimit: !self.no_set_rlimit,
            probe_server: self
                .enable_probe_server
                .then(|| SocketAddr::new(self.probe_server_address, self.probe_server_port)),
            keep_privileges: self.rights.keep_privileges,
            user: self.rights.user,
            verbose: self.rights.verbose,
        })
    }
}
