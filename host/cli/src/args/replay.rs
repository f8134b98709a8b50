//! The options of `ipft replay` that a live trace does not have.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgMatches, Args};
use regex::Regex;

use super::drawing::DrawArgs;
use super::number::{self, Show};
use super::value::{extension, pattern};
use super::{ExtensionFile, Filter, Moment, Output, ReplayOptions, Selection, UsageError};

const WHICH: &str = "Which events";
const MOMENT: &str = "accepted: +1.5s or +20ms (after the first event), a timestamp as ipft shows it (nanoseconds), \
                      or a time in UTC, such as 2026-01-31T12:00:00Z";

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// What --record wrote; '-' is stdin
    ///
    /// The files of a ring may come in any order.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Only say what is in it
    #[arg(long)]
    info: bool,

    /// Only events of this packet; may be repeated
    ///
    /// Its identity, as -o json shows it.
    #[arg(long, value_name = "ID", value_parser = packet, help_heading = WHICH)]
    packet: Vec<u64>,

    /// Only functions whose name matches
    #[arg(short, long, value_name = "REGEX", value_parser = pattern, help_heading = WHICH)]
    regex: Option<Regex>,

    /// Only modules whose name matches
    #[arg(long, value_name = "REGEX", value_parser = pattern, help_heading = WHICH)]
    module_regex: Option<Regex>,

    /// Not before this moment
    ///
    /// +1.5s or +20ms after the first event, a timestamp as ipft shows it, or a time
    /// in UTC, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "MOMENT", value_parser = moment, help_heading = WHICH)]
    from: Option<Moment>,

    /// Not after this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment, help_heading = WHICH)]
    to: Option<Moment>,

    /// The first so many that meet all other conditions
    #[arg(long, value_name = "N", value_parser = limit, help_heading = WHICH)]
    limit: Option<u64>,

    /// Let a Lua script make the fields
    ///
    /// For recordings of an extension in C: the script's dump() gets the bytes that the
    /// extension collected.
    #[arg(short, long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(extension), help_heading = WHICH)]
    extension: Option<ExtensionFile>,

    /// The same as -e
    #[arg(short, long, value_name = "FILE", conflicts_with = "extension", help_heading = WHICH)]
    script: Option<PathBuf>,

    /// Keep all privileges when the files are open
    ///
    /// By default, ipft can then neither run programs nor open files or sockets. A native
    /// plugin or a Lua script may need to.
    #[arg(long)]
    keep_privileges: bool,

    /// Say more
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    drawing: DrawArgs,
}

impl ReplayArgs {
    /// The step out of clap's world.
    pub(super) fn into_options(self, matches: &ArgMatches) -> Result<ReplayOptions, UsageError> {
        if self.files.len() > 1 && self.files.iter().any(|file| file.as_os_str() == "-") {
            return Err(UsageError::new("stdin cannot be one of several files"));
        }
        let extension = self.extension.or(self.script.map(ExtensionFile::Script));
        if let Some(ExtensionFile::Source(path) | ExtensionFile::Object(path)) = &extension {
            return Err(UsageError::new(format!(
                "{} runs in the kernel while a trace is made; a recording has what it collected then\n\n  \
                 tip: only -s SCRIPT.lua can be used on a recording",
                path.display()
            )));
        }
        Ok(ReplayOptions {
            files: self.files,
            info: self.info,
            drawing: self.drawing.into_drawing(matches, Output::Aggregate)?,
            selection: Selection {
                packets: self.packet,
                filter: Filter {
                    function: self.regex,
                    module: self.module_regex,
                },
                from: self.from,
                to: self.to,
                limit: self.limit,
            },
            extension,
            keep_privileges: self.keep_privileges,
            verbose: self.verbose,
        })
    }
}

fn packet(text: &str) -> Result<u64, String> {
    number::parse(text, 1..=u64::MAX, Show::Hex)
}

fn limit(text: &str) -> Result<u64, String> {
    number::parse(text, 1..=u64::MAX, Show::Decimal)
}

fn moment(text: &str) -> Result<Moment, String> {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).map_err(|_| MOMENT.to_owned());
    if let Some(since) = text.strip_prefix('+') {
        let time = number::read_duration(since).map_err(|_| MOMENT.to_owned())?;
        return nanoseconds(time).map(Moment::Since);
    }
    if let Ok(timestamp) = text.parse() {
        return Ok(Moment::Timestamp(timestamp));
    }
    let wall = humantime::parse_rfc3339_weak(text).map_err(|_| MOMENT.to_owned())?;
    let since = wall.duration_since(UNIX_EPOCH).map_err(|_| MOMENT.to_owned())?;
    i64::try_from(nanoseconds(since)?)
        .map(Moment::Wall)
        .map_err(|_| MOMENT.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_relative_absolute_or_of_the_calendar() {
        assert_eq!(moment("+0"), Ok(Moment::Since(0)));
        assert_eq!(moment("+1.5"), Ok(Moment::Since(1_500_000_000)));
        assert_eq!(moment("+1.5s"), Ok(Moment::Since(1_500_000_000)));
        assert_eq!(moment("+20ms"), Ok(Moment::Since(20_000_000)));
        assert_eq!(moment("+1h 30m"), Ok(Moment::Since(5_400_000_000_000)));
        assert_eq!(moment("464048546191357"), Ok(Moment::Timestamp(464_048_546_191_357)));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(Moment::Wall(1_000_000_000)));
        assert_eq!(moment("1970-01-01 00:00:01.5"), Ok(Moment::Wall(1_500_000_000)));
        for wrong in [
            "",
            "+",
            "+-1",
            "-5",
            "yesterday",
            "+1e400",
            "+inf",
            "1969-12-31T23:59:59Z",
            "+.s",
            "+1.5parsecs",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
