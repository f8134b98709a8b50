//! The options of `ipft drops`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::drawing::DrawArgs;
use super::trace::HOW;
use super::value::{check_mark, device, drops_per_second, events_per_second, mark};
use super::{
    Buffers, DropsOptions, Filter, Options, Output, PerfBuffer, PlaceOptions, SelectAt, StopAfter, UsageError, number,
};
use ipft_core::event::Tracer;
use ipft_core::field::{Show, ShowList};
use ipft_core::filter::DevicePattern;

const WHICH: &str = "Which packets";
/// Drops come seldom, or at a rate that no buffer would hold.
const RING_SIZE: u32 = 8 << 20;

#[derive(Debug, Args)]
pub(super) struct DropsArgs {
    /// Only packets that match: a pcap expression, as for tcpdump
    #[arg(value_name = "FILTER", help_heading = WHICH)]
    packets: Vec<String>,

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

    /// Only packets in this network namespace
    ///
    /// A name of ip netns, a path such as /proc/1/ns/net, the number of a process, or a
    /// namespace's number from lsns -t net (decimal).
    #[arg(long, value_name = "NETNS", help_heading = WHICH)]
    netns: Option<String>,

    /// Only packets at devices with this name
    ///
    /// ? matches any character, and a final * any remaining ones.
    #[arg(long, value_name = "NAME", value_parser = device, help_heading = WHICH)]
    ifname: Option<(String, DevicePattern)>,

    /// Only packets of sockets of this control group (v2), and of groups below it
    #[arg(long, value_name = "PATH", help_heading = WHICH)]
    cgroup: Option<PathBuf>,

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

    #[command(flatten)]
    drawing: DrawArgs,

    /// Keep all privileges after attaching
    ///
    /// By default, ipft then drops all capabilities, and can neither run programs nor
    /// open files or sockets.
    #[arg(long, help_heading = HOW)]
    keep_privileges: bool,

    /// Switch to this user after attaching
    ///
    /// A name in /etc/passwd, or a number. Takes root.
    #[arg(long, value_name = "USER", conflicts_with = "keep_privileges", help_heading = HOW)]
    user: Option<String>,

    /// Print details
    #[arg(short, long, help_heading = HOW)]
    verbose: bool,

    /// End after this time
    ///
    /// In seconds or with units: 10, 0.5, 90s, 5m, 1h30m. It ends as with Ctrl-C.
    #[arg(long, value_name = "TIME", value_parser = number::parse_duration, allow_negative_numbers = true, help_heading = HOW)]
    duration: Option<Duration>,

    /// End after so many shown drops
    #[arg(long, value_name = "N", value_parser = number::parse_stop_after, allow_negative_numbers = true, help_heading = HOW)]
    stop_after: Option<StopAfter>,
}

impl DropsArgs {
    /// The step out of clap's world. `matches` are those of the subcommand.
    pub(super) fn into_options(self, matches: &ArgMatches) -> Result<Options, UsageError> {
        let mark = self.mark.unwrap_or(0);
        let mask = if self.mark.is_some() { self.mask } else { 0 };
        check_mark(self.mark, self.mask)?;
        let drawing = self.drawing.into_drawing(matches, Output::Drops)?;
        if drawing.pcapng.is_some() {
            return Err(UsageError::new(
                "--pcapng needs the bytes of packets, and 'ipft drops' does not record them\n\n  \
                 tip: ipft FILTER --pcapng FILE traces the packets, and says in their comments where they end",
            ));
        }
        let shown = Show::of_drops();
        Ok(Options {
            mark: mark & mask,
            mask,
            packets: self.packets.join(" ").trim().to_owned(),
            inner: None,
            place: Box::new(PlaceOptions {
                namespace: self.netns,
                device: self.ifname,
                sample: 1,
                rate: 0,
                process: None,
                thread: None,
                group: self.cgroup,
            }),
            follow: Some(SelectAt::Gates),
            drops: Some(DropsOptions {
                all: self.all,
                per_place: self.max_per_place,
            }),
            tracer: Tracer::Function,
            drawing,
            filter: Filter {
                function: None,
                module: None,
            },
            show: self.show.map_or(shown, |list| list.applied_to(shown)),
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
            duration: self.duration,
            stop_after: self.stop_after,
            set_rlimit: true,
            probe_server: None,
            keep_privileges: self.keep_privileges,
            user: self.user,
            verbose: self.verbose,
        })
    }
}
