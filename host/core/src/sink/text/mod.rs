//! `-o text`: packets and what happens to them, for people, as it happens.
//!
//! ```text
//! #1  10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 84 B   netns 4026531840
//!        0.0 us  cpu1  __ip_local_out
//!       12.1           nf_hook_slow (6 times)
//!       31.0           veth_xmit                 dev va
//!       44.9           __netif_receive_skb_core  dev vb, netns 4026531840 > 4026532200
//!       90.4     DROPPED NETFILTER_DROP in nft_do_chain
//!                A rule of the firewall, or the policy of a chain, refused it.
//!                nft list ruleset, or iptables-save -c
//! 1 packet: 1 dropped. Nothing was lost.
//! ```
//!
//! Each packet has a number and a heading in words. Its lines show the function, and the fields that have changed since
//! the packet's line before. What a batch has of a packet is printed together, and packets that were made of each other
//! one after the other; where a packet goes on later, its lines begin with its number and a plus. The end of a packet
//! closes it: functions that free it after that are passed over, unless all is to be shown or returns are traced.
//!
//! A reason is explained where it first occurs. Drops that are no loss, by their class, are called discarded.
//!
//! Nothing is kept but the state of the packets that go on, of which there are only so many: see [`live`].

mod ages;
mod calls;
mod ct;
mod drops;
mod ends;
mod group;
mod live;
mod route;
mod shown;
mod table;
mod times;
pub mod top;

use std::io::Write;

pub use drops::{Drops, DropsOptions};
pub use table::Screen;
pub use times::TextTime;

use super::output::Output;
use super::texts::FunctionTexts;
use super::tuple::FlowKey;
use super::waits::{self, Wait, Waits};
use super::{Sink, SinkError};
use crate::advice::Advice;
use crate::event::{Batch, Decision, Event, EventKind, Function, NO_FUNCTION, Outcome, Summary, Trace, Tracer};
use crate::text::*;
use calls::Calls;
use ends::{End, Ends};
use live::{Live, Packet, Parent};
use shown::Known;
use times::{Times, push_micros};

/// Columns of the CPU, with the spaces behind it.
const CPU: usize = 6;
/// Columns of the function where the width of the terminal is not known, without the graph and with it.
const NAME: [usize; 2] = [26, 40];
/// Columns that a terminal should have left for changes.
const CHANGES: usize = 34;

/// Names of functions that only free a packet begin with one of these: none of them says where a packet got to.
const FREEING: [&str; 22] = [
    "__consume_stateless_skb",
    "__dev_kfree_skb",
    "__kfree_skb",
    "__sk_skb_reason_drop",
    "__sock_wfree",
    "consume_skb",
    "dev_kfree_skb",
    "kfree_skb",
    "napi_consume_skb",
    "napi_reuse_skb",
    "napi_skb_cache_put",
    "napi_skb_free",
    "sk_skb_reason_drop",
    "skb_attempt_defer_free",
    "skb_free_",
    "skb_orphan",
    "skb_release_",
    "sock_edemux",
    "sock_efree",
    "sock_rfree",
    "sock_wfree",
    "tcp_wfree",
];

/// How the text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// What times count from.
    pub time: TextTime,
    /// With the escapes that colour text on a terminal.
    pub color: bool,
    /// Columns of the terminal, if there is one.
    pub width: Option<usize>,
    /// Show each repetition of a function.
    pub unfold: bool,
    /// Show the functions that were running when a packet was dropped.
    pub stack: bool,
}

/// The sink behind `-o text`.
#[derive(Debug)]
pub struct Text {
    live: Live,
    printer: Printer,
    items: Vec<Item>,
    /// The packets of the batch.
    touched: Vec<u32>,
}

/// One thing that a batch says of a packet.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// Index of the event.
    event: u32,
    /// The packet's next item.
    next: u32,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// An entry or a return.
    Call,
    /// The packet with this number was made of this one.
    Child(u64),
    /// It became part of the packet with this number, which is 0 if that is not known.
    Joined(u64),
    /// It was decided what becomes of it.
    Decided(Decision),
    /// The functions that were running when it was dropped; its end follows.
    Stack,
    Ended,
}

/// The end of a list of items.
const LAST: u32 = u32::MAX;

impl Text {
    /// Writes to `writer`, once per batch.
    pub fn new(writer: impl Write + Send + 'static, options: TextOptions) -> Self {
        Text {
            live: Live::default(),
            printer: Printer {
                output: Output::new(writer),
                names: FunctionTexts::default(),
                functions: Vec::new(),
                known: Known::default(),
                times: Times::new(options.time),
                calls: Calls::default(),
                waits: Waits::default(),
                options,
                graph: false,
                column: 0,
                block: 0,
                ends: Ends::default(),
            },
            items: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Sorts the events of a batch by packet.
    fn sort(&mut self, batch: &Batch) {
        self.items.clear();
        self.touched.clear();
        for (index, event) in batch.events.iter().enumerate() {
            let index = index as u32;
            if event.kind.is_call() {
                let place = self.live.find_or_add(event);
                if !(self.live.get(place)).is_some_and(|packet| self.printer.passes_over(packet, event)) {
                    self.push(place, index, What::Call);
                }
                continue;
            }
            match event.kind {
                EventKind::BORN => self.born(event, index),
                EventKind::JOINED => {
                    let into = self.live.find(event.spare).and_then(|place| self.live.get(place));
                    let number = into.map_or(0, |packet| packet.number);
                    if let Some(place) = self.live.find(event.packet) {
                        self.push(place, index, What::Joined(number));
                    }
                }
                EventKind::ENDED => {
                    if let Some(place) = self.live.find(event.packet) {
                        self.push(place, index, What::Ended);
                    }
                }
                EventKind::STACK => {
                    if let Some(place) = self.live.find(event.packet).filter(|_| self.printer.options.stack) {
                        self.push(place, index, What::Stack);
                    }
                }
                _ => {
                    let place = self.live.find(event.packet);
                    if let Some((place, decision)) = place.zip(event.decision()) {
                        self.push(place, index, What::Decided(decision));
                    }
                }
            }
        }
        let live = &self.live;
        self.touched.sort_unstable_by_key(|place| {
            let packet = live.get(*place);
            packet.map_or((0, 0), |packet| (packet.root, packet.number))
        });
    }

    fn born(&mut self, event: &Event, index: u32) {
        let parent = self.live.find(event.spare).filter(|_| event.spare != event.packet);
        let (number, root) = match parent.and_then(|place| self.live.get(place)) {
            Some(parent) => (parent.number, parent.root),
            None => (0, 0),
        };
        let place = self.live.find_or_add(event);
        let Some((packet, _)) = self.live.at(place) else {
            return;
        };
        let child = packet.number;
        if packet.parent.is_none() {
            packet.parent = Some(Parent {
                identity: event.spare,
                number,
                function: event.function,
            });
            if root != 0 {
                packet.root = root;
            }
        }
        if let Some(parent) = parent {
            self.push(parent, index, What::Child(child));
        }
    }

    /// Appends an item to those of the packet at this place.
    #[inline]
    fn push(&mut self, place: u32, event: u32, what: What) {
        let new = self.items.len() as u32;
        let Some((packet, _)) = self.live.at(place) else {
            return;
        };
        match &mut packet.items {
            Some((_, last)) => {
                self.items[*last as usize].next = new;
                *last = new;
            }
            none => {
                *none = Some((new, new));
                self.touched.push(place);
            }
        }
        self.items.push(Item {
            event,
            next: LAST,
            what,
        });
    }
}

impl Sink for Text {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.printer.start(trace)?;
        self.live = Live::new(self.printer.known.bytes());
        Ok(())
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        self.printer.append(new);
        self.printer.ends.append(new);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.printer.known.learn(&batch.names);
        self.sort(batch);
        for place in &self.touched {
            let Some((packet, bytes)) = self.live.at(*place) else {
                continue;
            };
            let Some((first, _)) = packet.items.take() else {
                continue;
            };
            if self.printer.print(packet, bytes, &self.items, first, batch)? {
                self.live.end(*place);
            }
        }
        self.live.shrink(|packet| self.printer.calls.forget(&mut packet.calls));
        self.printer.output.flush()
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        // Packets that were made of others and never seen.
        let places: Vec<u32> = self.live.places().collect();
        for place in places {
            if let Some((packet, _)) = self.live.at(place)
                && !packet.headed
            {
                self.printer.push_heading(packet, std::iter::empty());
                self.printer.output.line_done()?;
            }
        }
        let out = &mut self.printer.output.buffer;
        self.printer.ends.push_summary(out, self.live.numbered, summary);
        self.printer.output.flush()
    }
}

/// Prints packets; what it holds is the same for all of them.
#[derive(Debug)]
struct Printer {
    output: Output,
    names: FunctionTexts,
    functions: Vec<Name>,
    known: Known,
    times: Times,
    calls: Calls,
    waits: Waits,
    options: TextOptions,
    graph: bool,
    /// Columns of the function's name.
    column: usize,
    /// The number of the packet whose lines were printed last.
    block: u64,
    ends: Ends,
}

/// What is known of a function's name.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    /// Columns that it takes.
    width: usize,
    /// The function only frees packets.
    frees: bool,
}

const BOLD: &[u8] = b"\x1b[1m";
const DIM: &[u8] = b"\x1b[2m";
const RED: &[u8] = b"\x1b[1;31m";
const PLAIN: &[u8] = b"\x1b[0m";

impl Printer {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.known = Known::new(&trace.schema)?;
        self.times.start(trace.clock_offset);
        self.graph = trace.tracer == Tracer::FunctionGraph;
        let before = self.times.width() + 2 + CPU;
        self.column = match self.options.width {
            Some(width) => width.saturating_sub(before + CHANGES).clamp(NAME[0], NAME[1] + 8),
            None => NAME[usize::from(self.graph)],
        };
        self.ends = Ends::new(trace);
        self.append(&trace.functions);
        Ok(())
    }

    fn append(&mut self, new: &[Function]) {
        self.waits.append(new);
        self.names
            .append(new, |out, function| push_visible(out, &function.name));
        for function in new {
            self.functions.push(Name {
                width: visible(&function.name).chars().count(),
                frees: FREEING.iter().any(|name| function.name.starts_with(name)),
            });
        }
    }

    fn name(&self, function: u32) -> Name {
        let unknown = Name { width: 1, frees: false };
        self.functions.get(function as usize).copied().unwrap_or(unknown)
    }

    /// Prints what the batch has of a packet, beginning with this item. Returns true if it is the packet's end.
    fn print(
        &mut self,
        packet: &mut Packet,
        bytes: &mut [u8],
        items: &[Item],
        first: u32,
        batch: &Batch,
    ) -> Result<bool, SinkError> {
        let chain = |first: u32| std::iter::successors(items.get(first as usize), |item| items.get(item.next as usize));
        let event_of = |item: &Item| batch.events.get(item.event as usize);
        if !packet.headed {
            let calls = chain(first).filter(|item| item.what == What::Call);
            let payloads = calls.filter_map(event_of).map(|event| batch.payload_of(event));
            self.push_heading(packet, payloads);
            self.output.line_done()?;
        } else if self.block != packet.number {
            self.block = packet.number;
            packet.cpu = u32::MAX;
            self.color(BOLD);
            self.output.buffer.push(b'#');
            push_unsigned(&mut self.output.buffer, packet.number);
            self.output.buffer.extend_from_slice(b" +");
            self.color(PLAIN);
            self.output.buffer.push(b'\n');
        }
        let mut ended = false;
        let mut unit = packet.cpu == u32::MAX;
        let mut whole = None;
        let mut stack = NO_FUNCTION;
        let mut before: &[u8] = &[];
        let mut next = items.get(first as usize);
        while let Some(item) = next {
            next = items.get(item.next as usize);
            let Some(event) = event_of(item) else {
                continue;
            };
            match item.what {
                What::Ended if packet.ended => continue,
                What::Ended => {
                    packet.ended = true;
                    ended = true;
                    self.push_end(packet, event, whole, stack);
                }
                What::Stack => {
                    stack = event.function;
                    continue;
                }
                What::Call if self.passes_over(packet, event) => continue,
                What::Child(number) => {
                    self.begin_line(packet, event, std::mem::take(&mut unit));
                    self.output.buffer.extend_from_slice(b"> #");
                    push_unsigned(&mut self.output.buffer, number);
                }
                // The packet's end follows.
                What::Joined(number) if next.is_some_and(|next| next.what == What::Ended) => {
                    whole = Some((number, event.spare));
                    continue;
                }
                What::Joined(number) => {
                    self.begin_line(packet, event, std::mem::take(&mut unit));
                    self.output.buffer.extend_from_slice(b"part of ");
                    push_number(&mut self.output.buffer, number, event.spare);
                }
                What::Decided(decision) => {
                    self.begin_line(packet, event, std::mem::take(&mut unit));
                    let out = &mut self.output.buffer;
                    self.names.push(out, event.function);
                    out.extend_from_slice(b": ");
                    out.extend_from_slice(decision.name().as_bytes());
                }
                What::Call => {
                    let payload = batch.payload_of(event);
                    let mut times = 1;
                    let mut duration = event.duration();
                    let mut leaf = false;
                    if event.kind == EventKind::ENTRY {
                        if !self.name(event.function).frees {
                            packet.function = event.function;
                        }
                        while let Some(again) = next.filter(|next| next.what == What::Call)
                            && let Some(later) = event_of(again)
                        {
                            if self.graph {
                                leaf = is_return(event, later);
                                if leaf {
                                    duration = later.duration();
                                    next = items.get(again.next as usize);
                                }
                                // The same call again, as short.
                                while leaf
                                    && !self.options.unfold
                                    && let Some(entry) = next.filter(|next| next.what == What::Call)
                                    && let Some(entered) = event_of(entry)
                                    && is_repetition(event, entered, payload, batch)
                                    && let Some(end) = items.get(entry.next as usize)
                                    && let Some(left) = event_of(end).filter(|_| end.what == What::Call)
                                    && is_return(entered, left)
                                {
                                    times += 1;
                                    duration = duration
                                        .zip(left.duration())
                                        .map(|(sum, more)| sum.saturating_add(more));
                                    next = items.get(end.next as usize);
                                }
                                break;
                            }
                            if self.options.unfold || !is_repetition(event, later, payload, batch) {
                                break;
                            }
                            times += 1;
                            next = items.get(again.next as usize);
                        }
                    }
                    self.begin_line(packet, event, std::mem::take(&mut unit));
                    let used = self.push_call(packet, event, leaf, duration, times);
                    let mut has_changed = false;
                    if payload != before {
                        before = payload;
                        has_changed = self.push_changes(packet, bytes, payload, used);
                    }
                    if let Some(wait) = self.waits.note(&mut packet.queued, event) {
                        self.push_wait(packet, wait, used, has_changed);
                    }
                }
            }
            self.output.buffer.push(b'\n');
            self.output.line_done()?;
        }
        Ok(ended)
    }

    /// Returns whether the event is not shown: the packet has ended, and the function frees it.
    #[inline]
    fn passes_over(&self, packet: &Packet, event: &Event) -> bool {
        packet.ended && !self.graph && !self.options.unfold && self.name(event.function).frees
    }

    /// Appends the packet's number and its name in words.
    fn push_heading<'a>(&mut self, packet: &mut Packet, payloads: impl Iterator<Item = &'a [u8]>) {
        packet.headed = true;
        self.block = packet.number;
        self.color(BOLD);
        let out = &mut self.output.buffer;
        out.push(b'#');
        push_unsigned(out, packet.number);
        out.extend_from_slice(b"  ");
        let start = out.len();
        if !self.known.push_name(out, &mut packet.shown, payloads) && packet.parent.is_none() {
            out.extend_from_slice(b"packet ");
            push_hex(out, packet.identity);
        }
        self.known.push_len(out, &packet.shown, start);
        if let Some(parent) = packet.parent {
            let separator: &[u8] = if out.len() > start { b"   made of " } else { b"made of " };
            out.extend_from_slice(separator);
            push_number(out, parent.number, parent.identity);
            if (parent.function as usize) < self.functions.len() {
                out.extend_from_slice(b" by ");
                self.names.push(out, parent.function);
            }
        }
        // A known parent's heading has it.
        if packet.parent.is_none_or(|parent| parent.number == 0) {
            self.known.push_netns(out, &packet.shown);
        }
        self.color(PLAIN);
        self.output.buffer.push(b'\n');
    }

    /// Appends the time, and the CPU if it is another than in the packet's line before.
    #[inline]
    fn begin_line(&mut self, packet: &mut Packet, event: &Event, unit: bool) {
        self.push_time(packet, event, unit);
        let out = &mut self.output.buffer;
        let start = out.len();
        if packet.cpu != event.cpu {
            packet.cpu = event.cpu;
            out.extend_from_slice(b"cpu");
            push_unsigned(out, u64::from(event.cpu));
            out.push(b' ');
        }
        push_spaces(out, (start + CPU).saturating_sub(out.len()));
    }

    #[inline]
    fn push_time(&mut self, packet: &mut Packet, event: &Event, unit: bool) {
        self.color(DIM);
        let out = &mut self.output.buffer;
        self.times.push(out, event.timestamp, packet.first, packet.last, unit);
        packet.last = event.timestamp;
        self.color(PLAIN);
        self.output.buffer.extend_from_slice(b"  ");
    }

    /// Appends the call, and returns the columns that it takes.
    #[inline]
    fn push_call(
        &mut self,
        packet: &mut Packet,
        event: &Event,
        leaf: bool,
        duration: Option<u64>,
        times: u32,
    ) -> usize {
        let out = &mut self.output.buffer;
        let start = out.len();
        if self.graph {
            let depth = match (event.kind, leaf) {
                (EventKind::ENTRY, true) => self.calls.depth(packet.calls, event.context()),
                (EventKind::ENTRY, false) => self.calls.enter(&mut packet.calls, event),
                _ => self.calls.leave(&mut packet.calls, event),
            };
            push_spaces(out, 2 * depth as usize);
            if event.kind == EventKind::RETURN {
                out.extend_from_slice(b"} ");
            }
        }
        let name = out.len();
        self.names.push(out, event.function);
        // Names may have characters of several bytes.
        let characters = self.functions.get(event.function as usize).map_or(1, |name| name.width);
        let wide = out.len() - name - characters.min(out.len() - name);
        if self.graph && event.kind == EventKind::ENTRY && !leaf {
            out.extend_from_slice(b" {");
        }
        if times > 1 {
            out.extend_from_slice(b" (");
            push_unsigned(out, u64::from(times));
            out.extend_from_slice(b" times)");
        }
        if let Some(duration) = duration {
            out.extend_from_slice(b"  ");
            push_micros(out, duration, false, 0);
            out.extend_from_slice(b" us");
        }
        out.len() - start - wide
    }

    /// Appends the fields that have changed, behind a call that took so many columns. Returns whether any has.
    #[inline]
    fn push_changes(&mut self, packet: &mut Packet, bytes: &mut [u8], payload: &[u8], used: usize) -> bool {
        let Some(payload) = self.known.split(payload) else {
            return false;
        };
        let mut first = true;
        let column = self.column;
        let next = |out: &mut Vec<u8>| match std::mem::take(&mut first) {
            true => push_spaces(out, column.saturating_sub(used).max(2)),
            false => out.extend_from_slice(b", "),
        };
        let out = &mut self.output.buffer;
        self.known.push_changes(out, &mut packet.shown, bytes, payload, next);
        !first
    }

    /// Appends `waited 41.0 ms in fq_codel on eth1`, behind a call that took so many columns and what has changed.
    fn push_wait(&mut self, packet: &Packet, wait: Wait, used: usize, has_changed: bool) {
        const MILLISECOND: u64 = 1_000_000;

        let out = &mut self.output.buffer;
        match has_changed {
            true => out.extend_from_slice(b", "),
            false => push_spaces(out, self.column.saturating_sub(used).max(2)),
        }
        out.extend_from_slice(b"waited ");
        let (number, unit) = match wait.duration {
            MILLISECOND.. => (wait.duration / 1000, b" ms "),
            duration => (duration, b" us "),
        };
        push_micros(out, number, false, 0);
        out.extend_from_slice(unit);
        match self.waits.place(wait) {
            waits::Place::Qdisc(qdisc) => {
                out.extend_from_slice(b"in ");
                push_visible(out, qdisc);
                self.known.push_device(out, &packet.shown);
            }
            waits::Place::Neighbour => {
                out.extend_from_slice(b"for the next host's address");
                self.known.push_device(out, &packet.shown);
            }
            waits::Place::Socket => out.extend_from_slice(b"in the socket's queue"),
        }
    }

    /// Appends the packet's end. `whole`: the number and the identity of the packet that it became part of. `stack`: the
    /// functions that were running, if they are to be shown.
    fn push_end(&mut self, packet: &mut Packet, event: &Event, whole: Option<(u64, u64)>, stack: u32) {
        self.push_time(packet, event, false);
        let end = self.ends.count(event);
        if end.is_loss {
            self.color(RED);
        }
        let Printer {
            ends, names, output, ..
        } = self;
        push_end(
            &mut output.buffer,
            ends,
            names,
            end,
            event.function,
            packet.function,
            whole,
        );
        self.color(PLAIN);
        if stack != NO_FUNCTION {
            self.push_stack(stack);
        }
        if let Some(advice) = self.ends.explanation(event) {
            self.explain(advice);
        }
    }

    /// Appends a line with the functions that were running, under that of a drop.
    fn push_stack(&mut self, stack: u32) {
        let column = self.times.width() + 2 + CPU;
        self.color(DIM);
        let out = &mut self.output.buffer;
        out.push(b'\n');
        push_spaces(out, column);
        self.names.push(out, stack);
        self.color(PLAIN);
    }

    /// Appends lines that explain a drop, under its own.
    fn explain(&mut self, advice: &Advice) {
        let column = self.times.width() + 2 + CPU;
        self.color(DIM);
        for line in [advice.why, advice.remedy].into_iter().filter(|line| !line.is_empty()) {
            let out = &mut self.output.buffer;
            out.push(b'\n');
            push_spaces(out, column);
            out.extend_from_slice(line.as_bytes());
        }
        self.color(PLAIN);
    }

    #[inline]
    fn color(&mut self, escape: &[u8]) {
        if self.options.color {
            self.output.buffer.extend_from_slice(escape);
        }
    }
}

/// Appends how a packet ended, and where. `dropper` has dropped it, if it was dropped, and it was in `after` before.
/// `whole`: the number and the identity of the packet that it became part of.
fn push_end(
    out: &mut Vec<u8>,
    ends: &Ends,
    names: &FunctionTexts,
    end: End,
    dropper: u32,
    after: u32,
    whole: Option<(u64, u64)>,
) {
    ends.push(out, end);
    if let Some((number, identity)) = whole.filter(|_| !matches!(end.outcome, Outcome::Dropped { .. })) {
        out.push(b' ');
        push_number(out, number, identity);
    }
    let (word, function) = match end.outcome {
        Outcome::Dropped { .. } if (dropper as usize) < names.len() => (b" in ".as_slice(), dropper),
        _ => (b" after ".as_slice(), after),
    };
    if function != NO_FUNCTION {
        out.extend_from_slice(word);
        names.push(out, function);
    }
}

/// `#1`, or the identity of a packet that has no number.
fn push_number(out: &mut Vec<u8>, number: u64, identity: u64) {
    match number {
        0 => push_hex(out, identity),
        number => {
            out.push(b'#');
            push_unsigned(out, number);
        }
    }
}

/// Returns whether the second event is the return of the first, and brings nothing but that.
#[inline]
fn is_return(entry: &Event, later: &Event) -> bool {
    later.kind == EventKind::RETURN
        && later.function == entry.function
        && later.entry_timestamp == entry.timestamp
        && later.context() == entry.context()
        && later.payload_len == 0
}

/// Returns whether the second event says nothing that the first did not, but that it happened again.
#[inline]
fn is_repetition(entry: &Event, later: &Event, payload: &[u8], batch: &Batch) -> bool {
    later.kind == EventKind::ENTRY
        && later.function == entry.function
        && later.cpu == entry.cpu
        && batch.payload_of(later) == payload
}
