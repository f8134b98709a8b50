//! The options of `ipft drops`.

use clap::{ArgMatches, Args, ValueEnum};

use super::drawing::DrawArgs;
use super::shared::{EndArgs, PlaceArgs, RightsArgs};
use super::trace::{END, HOW};
use super::value::{check_mark, drops_per_second, events_per_second, mark};
use super::{Buffers, DropsOptions, Filter, Options, Output, PerfBuffer, PlaceOptions, SelectAt, UsageError};
use ipft_core::event::Tracer;
use ipft_core::field::{Show, ShowList};

const WHICH: &str = "Which packets";
/// Drops come seldom, or at a rate that no buffer would hold.
const RING_SIZE: u32 = 8 << 20;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TableArg {
    /// Each second below the lines, if stdout is a terminal, and at the end
    Auto,
    /// Only at the end
    End,
}

#[derive(Debug, Args)]
pub(super) struct DropsArgs {
    /// Only packets that match: a pcap expression, as for tcpdump
    #[arg(value_name = "FILTER", help_heading = WHICH)]
    packets: Vec<String>,

    #[command(flatten, next_help_heading = WHICH)]
    place: PlaceArgs,

    /// Only packets that carry this mark
    #[arg(short, long, value_name = "MARK", value_parser = mark, allow_negative_numbers = true, help_heading = WHICH)]
    mark: Option<u32>,

    /// Compare only these bits of the mark
    #[arg(
        long,
        value_name = "MASK",
        default_value = "0xffffffff",
        value_parser = mark,
        allow_negative_numbers = true,
        help_heading = WHICH
    )]
    mask: u32,

    /// Show drops that are no loss, too
    ///
    /// Such as duplicates, packets for other hosts, and copies of which the original went on.
    #[arg(long, help_heading = WHICH)]
    all: bool,

    /// Add built-in fields to every packet
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, help_heading = HOW)]
    show: Option<ShowList>,

    /// Show at most so many drops per second of each place in the kernel
    ///
    /// On each CPU; 0 means any number. All are counted.
    #[arg(
        long,
        value_name = "N",
        default_value = "10",
        value_parser = drops_per_second,
        allow_negative_numbers = true,
        help_heading = HOW
    )]
    max_per_place: u32,

    /// Show at most so many drops per second on each CPU
    ///
    /// 0 means any number. All are counted.
    #[arg(
        long,
        value_name = "N",
        default_value = "1000",
        value_parser = events_per_second,
        allow_negative_numbers = true,
        help_heading = HOW
    )]
    max_events_per_second: u32,

    /// When to write the table of counts
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = HOW)]
    table: TableArg,

    #[command(flatten)]
    drawing: DrawArgs,

    #[command(flatten, next_help_heading = HOW)]
    rights: RightsArgs,

    #[command(flatten, next_help_heading = END)]
    end: EndArgs,
}

impl DropsArgs {
    /// The step out of clap's world. `matches` are those of the subcommand.
    pub(super) fn into_options(self, matches: &ArgMatches) -> Result<Options, UsageError> {
        let mark = self.mark.unwrap_or(0);
        let mask = if self.mark.is_some() { self.mask } else { 0 };
        check_mark(self.mark, self.mask)?;
        let shown = Show::of_drops();
        let show = self.show.map_or(shown, |list| list.applied_to(shown));
        let mut drawing = self.drawing.into_drawing(matches, Output::Drops)?;
        drawing.text.stack |= show.has_stack();
        if drawing.output == Output::Top {
            return Err(UsageError::new(
                "'ipft drops' has no such output\n\n  tip: 'ipft top' shows the drops of the packets that match",
            ));
        }
        if drawing.pcapng.is_some() {
            return Err(UsageError::new(
                "--pcapng needs the bytes of packets, and 'ipft drops' does not record them\n\n  \
                 tip: ipft FILTER --pcapng FILE traces the packets, and says in their comments where they end",
            ));
        }
        Ok(Options {
            mark: mark & mask,
            mask,
            packets: self.packets.join(" ").trim().to_owned(),
            inner: self.place.inner,
            condition: self.place.r#where,
            place: Box::new(PlaceOptions {
                namespace: self.place.netns,
                device: self.place.ifname,
                sample: 1,
                rate: 0,
                process: None,
                thread: None,
                group: self.place.cgroup,
            }),
            follow: Some(SelectAt::Gates),
            drops: Some(DropsOptions {
                all: self.all,
                per_place: self.max_per_place,
                table: matches!(self.table, TableArg::Auto),
            }),
            other_drops: false,
            tracer: Tracer::Function,
            drawing,
            filter: Filter {
                function: None,
                module: None,
            },
            show,
            expressions: Vec::new(),
            extension: None,
            record_bytes: 0,
            max_events_per_second: self.max_events_per_second,
            backend: None,
            buffers: Buffers {
                ring_size: RING_SIZE,
                perf_requested: false,
                perf: PerfBuffer {
                    pages: 8,
                    sample_period: 1,
                    wakeup_events: 1,
                },
            },
            duration: self.end.duration,
            stop_after: self.end.stop_after,
            set_rlimit: true,
            probe_server: None,
            keep_privileges: self.rights.keep_privileges,
            user: self.rights.user,
            verbose: self.rights.verbose,
        })
    }
}
