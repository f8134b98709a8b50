//! What happened to one packet so far, as steps in words. Imports `function`.

use std::fmt::Write;
use std::net::Ipv6Addr;

use ipft_plugin::{Batch, End, Event, Headings, Lookup, Outcome, Trace, text};

use crate::function::{Meaning, Queue};

/// Steps that are kept of a packet; a packet in a loop has more.
const MOST_STEPS: usize = 24;

/// How much longer than in a queue a packet must wait elsewhere, to have waited.
const ELSEWHERE: u64 = 20;

/// The fields of a trace that a story needs. Each may be missing.
#[derive(Debug)]
pub(crate) struct FieldNames {
    saddr: Lookup,
    daddr: Lookup,
    sport: Lookup,
    dport: Lookup,
    proto: Lookup,
    ethertype: Lookup,
    frag: Lookup,
    iface: Lookup,
    netns: Lookup,
    pid: Lookup,
    comm: Lookup,
    route_type: Lookup,
    route_gateway: Lookup,
    route_dev: Lookup,
}

impl FieldNames {
    pub(crate) fn new(trace: &Trace) -> Self {
        FieldNames {
            saddr: trace.field("saddr"),
            daddr: trace.field("daddr"),
            sport: trace.field("sport"),
            dport: trace.field("dport"),
            proto: trace.field("proto"),
            ethertype: trace.field("ethertype"),
            frag: trace.field("frag"),
            iface: trace.field("iface"),
            netns: trace.field("netns"),
            pid: trace.field("pid"),
            comm: trace.field("comm"),
            route_type: trace.field("route_type"),
            route_gateway: trace.field("route_gateway"),
            route_dev: trace.field("route_dev"),
        }
    }
}

/// One side of a flow: an address in the form of IPv6, and a port, 0 if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Side {
    address: [u8; 16],
    port: u16,
}

impl Side {
    fn words(&self) -> String {
        let address = Ipv6Addr::from(self.address);
        match (address.to_ipv4_mapped(), self.port) {
            (Some(address), 0) => address.to_string(),
            (Some(address), port) => format!("{address}:{port}"),
            (None, 0) => address.to_string(),
            (None, port) => format!("[{address}]:{port}"),
        }
    }
}

/// The addresses of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Tuple {
    source: Side,
    destination: Side,
    proto: u8,
    ethertype: u16,
    is_later_fragment: bool,
}

/// The offset of a fragment, in the field `frag`.
const FRAGMENT_OFFSET: u64 = 0x1fff;

impl Tuple {
    /// Returns what the event's function saw; `None` if that was no IP header.
    fn of(batch: &Batch, event: &Event, names: &FieldNames) -> Option<Self> {
        let number = |name| batch.get(event, name).and_then(|value| value.as_u64());
        let address = |name| {
            let value = batch.get(event, name)?;
            <[u8; 16]>::try_from(value.as_bytes()?).ok()
        };
        let side = |address: [u8; 16], port| Side {
            address,
            port: number(port).unwrap_or(0) as u16,
        };
        let (source, destination) = (address(&names.saddr)?, address(&names.daddr)?);
        let is_there = source != [0; 16] || destination != [0; 16];
        is_there.then(|| Tuple {
            source: side(source, &names.sport),
            destination: side(destination, &names.dport),
            proto: number(&names.proto).unwrap_or(0) as u8,
            ethertype: number(&names.ethertype).unwrap_or(0) as u16,
            is_later_fragment: number(&names.frag).unwrap_or(0) & FRAGMENT_OFFSET != 0,
        })
    }

    /// Returns what has changed since `before`, in words; `None` if it is the same packet on the wire, as far as both
    /// tell.
    fn change(&self, before: &Tuple) -> Option<Step> {
        let is_same = |a: &Side, b: &Side| a.address == b.address && (a.port == b.port || a.port == 0 || b.port == 0);
        let source = is_same(&self.source, &before.source);
        let destination = is_same(&self.destination, &before.destination);
        if (self.proto, self.ethertype) != (before.proto, before.ethertype) {
            // A header was put before it, or taken off.
            return (!source || !destination).then(|| Step::Became(self.words()));
        }
        match (source, destination) {
            (true, true) => None,
            (false, true) => Some(Step::Snat(self.source)),
            (true, false) => Some(Step::Dnat(self.destination)),
            (false, false) => Some(Step::Became(self.words())),
        }
    }

    fn words(&self) -> String {
        format!("{} > {}", self.source.words(), self.destination.words())
    }
}

/// A route that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    Blackhole,
    Unreachable,
    Prohibited,
    None,
}

impl Refusal {
    /// Returns what a value of the field `route_type` says.
    fn of(route: u64) -> Option<Refusal> {
        match route {
            6 => Some(Refusal::Blackhole),
            7 => Some(Refusal::Unreachable),
            8 => Some(Refusal::Prohibited),
            16 => Some(Refusal::None),
            _ => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Refusal::Blackhole => "its route is a blackhole",
            Refusal::Unreachable => "its route says unreachable",
            Refusal::Prohibited => "its route prohibits it",
            Refusal::None => "no route found",
        }
    }
}

/// Something that happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// It was made of another packet by a function.
    Made { of: u64, function: String },
    /// A program of this host sent it.
    Sent { comm: String, pid: u64 },
    /// It came from a device.
    Received { iface: String, netns: u64 },
    /// It is routed on: to which host, if that is not its destination, and by which device, if that is known.
    Forwarded { gateway: Side, iface: String },
    /// Its route leads nowhere.
    Refused(Refusal),
    /// A bridge passed it on, to a port.
    Bridged { iface: String },
    /// A device's driver got it.
    Left { iface: String },
    /// Its source was rewritten.
    Snat(Side),
    /// Its destination was rewritten.
    Dnat(Side),
    /// Other addresses are outermost now, in words.
    Became(String),
    /// A rule gave it to a program.
    Queued { by: String },
    /// It waited, so many nanoseconds.
    Waited {
        nanoseconds: u64,
        queue: Queue,
        iface: String,
    },
    /// More happened than a story has room for.
    More,
}

impl Step {
    /// Returns the step without what differs from packet to packet of one kind, so that many packets share it.
    pub(crate) fn common(&self) -> Step {
        match self {
            Step::Made { function, .. } => Step::Made {
                of: 0,
                function: function.clone(),
            },
            Step::Sent { comm, .. } => Step::Sent {
                comm: comm.clone(),
                pid: 0,
            },
            Step::Snat(side) => Step::Snat(Side { port: 0, ..*side }),
            Step::Waited { queue, iface, .. } => Step::Waited {
                nanoseconds: 0,
                queue: queue.clone(),
                iface: iface.clone(),
            },
            other => other.clone(),
        }
    }

    /// Formats the step. `numbers`: the number of a packet, if it has one.
    pub(crate) fn words(&self, number: impl Fn(u64) -> Option<u64>) -> String {
        match self {
            Step::Made { of, function } => {
                let of = number(*of).map_or("another packet".to_owned(), |number| format!("#{number}"));
                match function.as_str() {
                    "" => format!("made of {of}"),
                    function => format!("made of {of} by {}", text::visible(function)),
                }
            }
            Step::Sent { comm, .. } if comm.is_empty() => "sent".to_owned(),
            Step::Sent { comm, pid: 0 } => format!("sent by {}", text::visible(comm)),
            Step::Sent { comm, pid } => format!("sent by {}[{pid}]", text::visible(comm)),
            Step::Received { iface, netns } => {
                let mut words = format!("received{}", on(iface));
                if *netns != 0 {
                    let _ = write!(words, " in namespace {netns}");
                }
                words
            }
            Step::Forwarded { iface, .. } if iface.is_empty() => "routed on".to_owned(),
            Step::Forwarded { gateway, iface } if *gateway == Side::default() => {
                format!("routed to {}", text::visible(iface))
            }
            Step::Forwarded { gateway, iface } => format!("routed via {}{}", gateway.words(), on(iface)),
            Step::Refused(refusal) => refusal.words().to_owned(),
            Step::Bridged { iface } if iface.is_empty() => "bridged".to_owned(),
            Step::Bridged { iface } => format!("bridged to {}", text::visible(iface)),
            Step::Left { iface } if iface.is_empty() => "given to a driver".to_owned(),
            Step::Left { iface } => format!("out of {}", text::visible(iface)),
            Step::Snat(side) => format!("SNAT to {}", side.words()),
            Step::Dnat(side) => format!("DNAT to {}", side.words()),
            Step::Became(words) => format!("now {words}"),
            Step::Queued { by } => format!("given to a program by {}", text::visible(by)),
            Step::Waited {
                nanoseconds,
                queue,
                iface,
            } => {
                let place = match queue {
                    Queue::Qdisc(name) => format!("in {}{}", text::visible(name), on(iface)),
                    Queue::Neighbour => format!("for the next host's address{}", on(iface)),
                    Queue::Fragments => "for its other fragments".to_owned(),
                    Queue::Program => "for the program behind NFQUEUE".to_owned(),
                    Queue::Backlog => "in the CPU's backlog".to_owned(),
                    Queue::Socket => "for a program to read its socket".to_owned(),
                    Queue::After(function) => format!("after {}", text::visible(function)),
                };
                match nanoseconds {
                    0 => format!("waited {place}"),
                    nanoseconds => format!("waited {} {place}", text::duration(*nanoseconds)),
                }
            }
            Step::More => "...".to_owned(),
        }
    }
}

fn on(iface: &str) -> String {
    match iface {
        "" => String::new(),
        iface => format!(" on {}", text::visible(iface)),
    }
}

/// A packet, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    /// Its number, in the order of appearance, from 1.
    pub(crate) number: u64,
    /// Its addresses in words, when they were first seen.
    pub(crate) heading: Option<String>,
    /// What happened, with the time of each step.
    pub(crate) steps: Vec<(u64, Step)>,
    /// What decided to drop it, such as a chain of a firewall, as an index of a function.
    pub(crate) refused_by: Option<u32>,
    /// How it ended.
    pub(crate) end: Option<End>,
    /// Times of its first and last event.
    pub(crate) first: u64,
    pub(crate) latest: u64,
    /// The last function it entered.
    pub(crate) function: Option<u32>,
    first_tuple: Option<Tuple>,
    tuple: Option<Tuple>,
    iface: String,
    netns: u64,
    first_netns: u64,
}

impl Packet {
    pub(crate) fn new(number: u64, timestamp: u64) -> Self {
        Packet {
            number,
            first: timestamp,
            latest: timestamp,
            ..Packet::default()
        }
    }

    /// Returns what both directions of the packet's flow share; `None` if no function saw its addresses.
    pub(crate) fn flow(&self) -> Option<(Side, Side, u8)> {
        let tuple = self.first_tuple?;
        let (a, b) = (tuple.source, tuple.destination);
        Some((a.min(b), a.max(b), tuple.proto))
    }

    fn step(&mut self, timestamp: u64, step: Step) {
        // NAT and the like may be seen by several functions, and drivers are entered again and again.
        if self.steps.last().is_some_and(|(_, last)| *last == step) {
            return;
        }
        match self.steps.len() {
            0..MOST_STEPS => self.steps.push((timestamp, step)),
            MOST_STEPS => self.steps.push((timestamp, Step::More)),
            _ => {}
        }
    }

    /// It was made of another packet.
    pub(crate) fn born(&mut self, event: &Event, trace: &Trace) {
        let function = trace.functions.get(event.function as usize);
        let step = Step::Made {
            of: event.spare,
            function: function.map_or(String::new(), |function| function.name.clone()),
        };
        self.step(event.timestamp, step);
    }

    /// Says where the packet was since its last event, if that is `wait` nanoseconds ago: where it is known, or as the
    /// last function says.
    fn waited(&mut self, timestamp: u64, trace: &Trace, wait: u64, known: Option<Queue>) {
        let nanoseconds = timestamp.saturating_sub(self.latest);
        self.latest = self.latest.max(timestamp);
        if nanoseconds < wait {
            return;
        }
        let Some(function) = self.function else {
            return;
        };
        let queue = known.unwrap_or_else(|| Queue::behind(&trace.function(function).name));
        // Elsewhere it was the CPU that had other things to do, unless it was for long.
        if matches!(queue, Queue::After(_)) && nanoseconds < wait.saturating_mul(ELSEWHERE) {
            return;
        }
        let iface = self.iface.clone();
        let step = Step::Waited {
            nanoseconds,
            queue,
            iface,
        };
        self.step(timestamp, step);
    }

    /// It entered a function.
    pub(crate) fn enter(&mut self, batch: &Batch, event: &Event, names: &FieldNames, headings: &Headings, wait: u64) {
        let trace = batch.trace;
        self.waited(event.timestamp, trace, wait, None);
        if self.heading.is_none() && event.payload_len > 0 {
            self.heading = headings.of(trace, batch.payload_of(event));
        }
        if let Some(netns) = batch.get(event, &names.netns).and_then(|value| value.as_u64())
            && netns != 0
        {
            self.netns = netns;
            if self.first_netns == 0 {
                self.first_netns = netns;
            }
        }
        if let Some(name) = batch.get(event, &names.iface).and_then(|value| value.as_bytes())
            && !name.is_empty()
            && name != self.iface.as_bytes()
        {
            self.iface = String::from_utf8_lossy(name).into_owned();
        }
        if let Some(tuple) = Tuple::of(batch, event, names) {
            if self.first_tuple.is_none() {
                self.first_tuple = Some(tuple);
            }
            if let Some(before) = self.tuple
                && !tuple.is_later_fragment
                && let Some(step) = tuple.change(&before)
            {
                self.step(event.timestamp, step);
            }
            self.tuple = Some(tuple);
        }
        let route = batch.get(event, &names.route_type).and_then(|value| value.as_u64());
        if let Some(refusal) = route.and_then(Refusal::of) {
            self.step(event.timestamp, Step::Refused(refusal));
        }
        let same = self.function == Some(event.function);
        self.function = Some(event.function);
        if same {
            return;
        }
        match Meaning::of(&trace.function(event.function).name) {
            Some(Meaning::Receive) => self.receive(event.timestamp),
            Some(Meaning::Send) if self.is_unmoved() => {
                let comm = batch.get(event, &names.comm).and_then(|value| value.as_bytes());
                let pid = batch.get(event, &names.pid).and_then(|value| value.as_u64());
                let step = Step::Sent {
                    comm: comm.map_or(String::new(), |comm| String::from_utf8_lossy(comm).into_owned()),
                    pid: pid.unwrap_or(0),
                };
                self.step(event.timestamp, step);
            }
            Some(Meaning::Forward) => {
                let gateway = batch.get(event, &names.route_gateway);
                let gateway = gateway.and_then(|value| <[u8; 16]>::try_from(value.as_bytes()?).ok());
                let iface = batch.get(event, &names.route_dev).and_then(|value| value.as_bytes());
                let step = Step::Forwarded {
                    gateway: Side {
                        address: gateway.unwrap_or_default(),
                        port: 0,
                    },
                    iface: iface.map_or(String::new(), |name| String::from_utf8_lossy(name).into_owned()),
                };
                self.step(event.timestamp, step);
            }
            Some(Meaning::Bridge) => {
                let iface = self.iface.clone();
                self.step(event.timestamp, Step::Bridged { iface });
            }
            Some(Meaning::Transmit) => {
                let iface = self.iface.clone();
                self.step(event.timestamp, Step::Left { iface });
            }
            Some(Meaning::Send) | None => {}
        }
    }

    /// Returns whether the packet has been nowhere yet.
    fn is_unmoved(&self) -> bool {
        self.steps.iter().all(|(_, step)| matches!(step, Step::Made { .. }))
    }

    /// It came from a device: once, though several functions handle that.
    fn receive(&mut self, timestamp: u64) {
        let (iface, netns) = (self.iface.clone(), self.netns);
        let netns = if netns == self.first_netns { 0 } else { netns };
        let last = self.steps.iter().rev().find_map(|(_, step)| match step {
            Step::Received { iface, .. } => Some(Some(iface)),
            Step::Left { .. } | Step::Bridged { .. } => Some(None),
            _ => None,
        });
        if last.flatten() != Some(&iface) {
            self.step(timestamp, Step::Received { iface, netns });
        }
    }

    /// It was decided what becomes of it. That may be known after its end.
    pub(crate) fn decided(&mut self, event: &Event, trace: &Trace) {
        let by = || trace.function(event.function).name.clone();
        match event.verdict() {
            Some("drop" | "aborted" | "shot") => self.refused_by = Some(event.function),
            Some("queue") if self.end.is_none() => self.step(event.timestamp, Step::Queued { by: by() }),
            _ => {}
        }
    }

    /// It ended.
    pub(crate) fn ended(&mut self, event: &Event, trace: &Trace, wait: u64) {
        self.end = End::of(event);
        let reason = match self.end.map(|end| end.outcome) {
            Some(Outcome::Dropped { reason }) => trace.drop_reason(reason),
            _ => None,
        };
        self.waited(event.timestamp, trace, wait, reason.and_then(Queue::before));
    }
}
