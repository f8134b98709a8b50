//! The options that say what becomes of the events, which a trace and a replay share.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, ValueEnum};

use super::number::{self, Show};
use super::plugins::{self, PluginArgs};
use super::trace::HOW;
use super::{Color, Drawing, Output, OutputFile, RecordFile, TextStyle, Time, UsageError};

const RECORDING: &str = "Recording";

/// Less than this is soon more than the limit: memory is taken in pieces of half a megabyte.
const LEAST_MEMORY: u64 = 1 << 20;
/// Each file of a ring repeats what was traced, which takes some ten kilobytes.
const SMALLEST_PART: u64 = 64 << 10;

/// What becomes of the events, as both `ipft -m` and `ipft replay` take it.
#[derive(Debug, clap::Args)]
pub(super) struct DrawArgs {
    /// How to write the result [default: text if packets are followed, otherwise aggregate]
    #[arg(short, long, value_name = "OUTPUT", help_heading = HOW)]
    output: Option<OutputArg>,

    /// What the times of '-o text' count from
    #[arg(long, value_name = "FROM", default_value = "relative", help_heading = HOW)]
    time: TimeArg,

    /// When '-o text' uses colours
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = HOW)]
    color: ColorArg,

    /// Render the result with a plugin: a file, or an installed plugin's name
    ///
    /// May be repeated. Without -o, a plugin takes the place of ipft's own output.
    /// 'ipft plugin list' shows what is installed. FILE.wasm runs in a sandbox;
    /// FILE.so is native code without a sandbox.
    #[arg(long, value_name = "PLUGIN", help_heading = HOW)]
    plugin: Vec<PathBuf>,

    /// Memory limit for buffered events [default: a quarter of what there is]
    ///
    /// In bytes or with K, M or G, at least 1M. '-o aggregate' keeps all events. When they
    /// need more than this, the oldest packets are printed early to make room.
    #[arg(long, value_name = "SIZE", value_parser = max_memory, allow_negative_numbers = true, help_heading = HOW)]
    max_memory: Option<u64>,

    /// Record the trace to a file; 'ipft replay' shows it again
    ///
    /// Without -o and --plugin, nothing else is written. '-' is stdout.
    #[arg(short = 'w', long, value_name = "FILE", value_parser = OsStringValueParser::new().map(OutputFile::from), help_heading = RECORDING)]
    record: Option<OutputFile>,

    /// Rotate to a new file at this size
    ///
    /// In bytes, or with K, M or G; at least 64K. The files are called FILE with a
    /// number before its extension; 'ipft replay' takes all of them at once.
    #[arg(long, value_name = "SIZE", value_parser = record_size, requires = "record", help_heading = RECORDING)]
    record_max_size: Option<u64>,

    /// Number of files to keep; the oldest is deleted [default: 2]
    #[arg(long, value_name = "N", value_parser = record_files, requires = "record_max_size", help_heading = RECORDING)]
    record_files: Option<u32>,

    #[command(flatten)]
    plugin_args: PluginArgs,

    /// Write the packets to a pcapng file, each with its journey as a comment
    ///
    /// It takes the recorded bytes of the packets: see --record-bytes. Without -o, the file takes the
    /// place of ipft's own output. '-' is stdout.
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().map(OutputFile::from), help_heading = HOW)]
    pcapng: Option<OutputFile>,
}

impl DrawArgs {
    /// The step out of clap's world. `matches` are those of the command that the options belong to, and `default` is its
    /// output, if the user does not name one.
    pub(super) fn into_drawing(self, matches: &ArgMatches, default: Output) -> Result<Drawing, UsageError> {
        let drawing = Drawing {
            output: match self.output {
                None => default,
                Some(OutputArg::Text) => Output::Text,
                Some(OutputArg::Aggregate) => Output::Aggregate,
                Some(OutputArg::Json) => Output::Json,
                Some(OutputArg::Jsonl) => Output::Jsonl,
                Some(OutputArg::Top) => Output::Top,
            },
            output_given: self.output.is_some() || default == Output::Top,
            text: TextStyle {
                time: match self.time {
                    TimeArg::Relative => Time::Relative,
                    TimeArg::Delta => Time::Delta,
                    TimeArg::Absolute => Time::Absolute,
                },
                color: match self.color {
                    ColorArg::Auto => Color::Auto,
                    ColorArg::Always => Color::Always,
                    ColorArg::Never => Color::Never,
                },
                unfold: matches.get_flag("verbose"),
                stack: matches.get_flag("verbose"),
            },
            plugins: plugins::with_grants(matches, &self.plugin)?,
            max_memory: self.max_memory,
            pcapng: self.pcapng,
            record: (self.record).map(|file| {
                let ring = (self.record_max_size).map(|size| (size, self.record_files.unwrap_or(2)));
                RecordFile { file, ring }
            }),
        };
        if default == Output::Top && drawing.output != Output::Top {
            return Err(UsageError::new(
                "'ipft top' shows its own output on the terminal\n\n  tip: leave -o out, or write 'ipft' without 'top'",
            ));
        }
        check_stdout(&drawing)?;
        if !matches!(drawing.output, Output::Text | Output::Top)
            && matches.value_source("time") == Some(ValueSource::CommandLine)
        {
            return Err(UsageError::new(
                "--time is for the output 'text', and another is written\n\n  tip: add -o text, or leave --time out",
            ));
        }
        Ok(drawing)
    }
}

/// What goes to stdout has it for itself. Plugins have theirs only when they are loaded.
fn check_stdout(drawing: &Drawing) -> Result<(), UsageError> {
    let users = [
        ("--record -", drawing.record.as_ref().is_some_and(RecordFile::is_stdout)),
        ("--pcapng -", drawing.pcapng == Some(OutputFile::Stdout)),
        ("-o", drawing.output_given),
    ];
    let users: Vec<&str> = users.iter().filter(|(_, uses)| *uses).map(|(name, _)| *name).collect();
    if users.len() > 1 {
        return Err(UsageError::new(format!(
            "{} would both write to stdout\n\n  tip: name files, such as --record trace.ipft",
            users.join(" and ")
        )));
    }
    match &drawing.record {
        Some(record) if record.is_stdout() && record.ring.is_some() => Err(UsageError::new(
            "stdout cannot be a ring of files: --record-max-size needs a --record FILE",
        )),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputArg {
    /// Packets and what changes at each function, as it happens
    Text,
    /// Per packet, sorted by time, when the trace ends
    Aggregate,
    /// An object per event, as it comes, with the keys of ipftrace2
    Json,
    /// The complete typed stream, described by docs/jsonl.schema.json
    Jsonl,
    /// On the terminal, as 'ipft top' does; with --record, the key w begins to record
    Top,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TimeArg {
    /// The packet's first event, in microseconds
    Relative,
    /// The packet's line before, in microseconds
    Delta,
    /// The time of day, in the local time zone
    Absolute,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColorArg {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even to a file or pipe
    Always,
    /// Never
    Never,
}

fn max_memory(text: &str) -> Result<u64, String> {
    match number::parse_size(text) {
        Some(size) if size >= LEAST_MEMORY => Ok(size),
        Some(_) => Err("out of range; accepted: 1M or more".into()),
        None => Err("not a size; accepted: a number of bytes, with K, M or G if you like, from 1M".into()),
    }
}

fn record_size(text: &str) -> Result<u64, String> {
    match number::parse_size(text) {
        Some(size) if size >= SMALLEST_PART => Ok(size),
        Some(_) => Err("too small; accepted: 64K or more".to_owned()),
        None => Err("not a size; accepted: a number of bytes, with K, M or G if you like".to_owned()),
    }
}

fn record_files(text: &str) -> Result<u32, String> {
    number::parse(text, 1..=1_000_000, Show::Decimal).map(|number| number as u32)
}
