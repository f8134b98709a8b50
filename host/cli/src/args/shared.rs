//! The options that all traces share, those of drops, too.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::device;
use super::{StopAfter, number};
use ipft_core::filter::DevicePattern;

/// Which packets are selected, beside the filter.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// Select packets of tunnels by the packet inside: a pcap expression
    ///
    /// With FILTER, the packet must match that, too. An empty expression matches every packet that
    /// has another one inside. It is found where the kernel has made the tunnel's packet, and in IP
    /// in IP, GRE, VXLAN and Geneve.
    #[arg(long, value_name = "FILTER")]
    pub(super) inner: Option<String>,

    /// Select packets for which an expression in Lua holds
    ///
    /// It reads the fields of the kernel's sk_buff, such as skb.len > 1400 and skb.dev.name == "eth0".
    /// The other conditions must hold, too. Until it holds, it is evaluated at each function that
    /// is traced, or with --select-at gates at few. No clang is needed. See the book, Lua expressions.
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub(super) r#where: Option<String>,

    /// Select packets in this network namespace
    ///
    /// A name of ip netns, a path such as /proc/1/ns/net, the number of a process, or a
    /// namespace's number from lsns -t net (decimal). What a trace selects there is
    /// followed elsewhere, too.
    #[arg(long, value_name = "NETNS")]
    pub(super) netns: Option<String>,

    /// Select packets at devices with this name
    ///
    /// ? matches any character, and a final * any remaining ones.
    #[arg(long, value_name = "NAME", value_parser = device)]
    pub(super) ifname: Option<(String, DevicePattern)>,

    /// Select packets of sockets of this control group (v2), and of groups below it
    ///
    /// Packets that arrive from outside have no socket at most gates, and are not selected there.
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup: Option<PathBuf>,
}

/// With which rights the trace runs, and what it says of itself.
#[derive(Debug, Args)]
pub(super) struct RightsArgs {
    /// Keep all privileges after attaching
    ///
    /// By default, ipft then drops all capabilities, and can neither run programs nor
    /// open files or sockets. A native plugin or a Lua script may need to.
    #[arg(long)]
    pub(super) keep_privileges: bool,

    /// Switch to this user after attaching
    ///
    /// A name in /etc/passwd, or a number. Takes root. Files that ipft writes belong to
    /// this user then.
    #[arg(long, value_name = "USER", conflicts_with = "keep_privileges")]
    pub(super) user: Option<String>,

    /// Print details, such as skipped functions and the reasons
    #[arg(short, long)]
    pub(super) verbose: bool,
}

/// When the trace ends.
#[derive(Debug, Args)]
pub(super) struct EndArgs {
    /// End the trace after this time
    ///
    /// Counted from "Trace ready!", in seconds or with units: 10, 0.5, 90s, 5m, 1h30m.
    /// It ends as with Ctrl-C.
    #[arg(long, value_name = "TIME", value_parser = number::parse_duration, allow_negative_numbers = true)]
    pub(super) duration: Option<Duration>,

    /// End the trace after so many events or packets: 1000events, 10packets
    ///
    /// A plain number counts events. Packets are those that are seen first: they are
    /// shown whole, later ones are left out, and the trace ends when nothing has
    /// happened to any of them for a second.
    #[arg(long, value_name = "LIMIT", value_parser = number::parse_stop_after, allow_negative_numbers = true)]
    pub(super) stop_after: Option<StopAfter>,
}
