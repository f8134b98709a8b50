//! What the packets of a trace did, summed up by name, so that two traces can be compared. Imports `event`, `seeded`,
//! `sink::reasons` and `text`.

use std::collections::{BTreeMap, HashMap};

use crate::event::{Batch, Event, EventKind, Function, Outcome, Summary, Trace};
use crate::seeded::Seeded;
use crate::sink::reasons::Reasons;
use crate::sink::{Sink, SinkError};
use crate::text::visible;

/// Bytes of a packet in the table: a key and a time in a table that is at least seven sixteenths full, half as much
/// again while it grows, and its time from the first event to the end.
const PACKET: u64 = 64;

/// Ends and decisions that are distinguished. A kernel has some hundred reasons and functions that drop; a made-up
/// recording may have any number.
const DISTINCT: usize = 1 << 16;

/// How often something happened, by its word and function.
#[derive(Debug, Default)]
struct Counts {
    counts: HashMap<(u64, u32), u64, Seeded>,
    /// Those that came when the table was full.
    others: u64,
}

impl Counts {
    fn add(&mut self, word: u64, function: u32) {
        let full = self.counts.len() >= DISTINCT;
        match self.counts.get_mut(&(word, function)) {
            Some(count) => *count += 1,
            None if full => self.others += 1,
            None => drop(self.counts.insert((word, function), 1)),
        }
    }

    fn named(&self, name: impl Fn(u64, u32) -> String) -> BTreeMap<String, u64> {
        let mut named = BTreeMap::new();
        for (&(word, function), count) in &self.counts {
            *named.entry(name(word, function)).or_default() += count;
        }
        if self.others > 0 {
            named.insert("others, which are too many to tell apart".to_owned(), self.others);
        }
        named
    }
}

/// A function's calls in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) entries: u64,
    /// Entries whose return was seen.
    pub(super) returned: u64,
    /// Their durations, in nanoseconds.
    pub(super) time: u64,
}

impl Calls {
    /// Returns the mean duration in nanoseconds; `None` if no return was seen.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.returned > 0).then(|| self.time as f64 / self.returned as f64)
    }
}

/// The sums of one trace. A sink without an output.
#[derive(Debug)]
pub struct Profile {
    follow: bool,
    reasons: Reasons,
    /// As they are shown, by index.
    functions: Vec<String>,
    calls: Vec<Calls>,
    /// By outcome and function.
    ends: Counts,
    /// By decision and what decided.
    decisions: Counts,
    /// The first event of each packet.
    packets: HashMap<u64, u64, Seeded>,
    most: usize,
    forgotten: u64,
    /// Nanoseconds from the first event of a packet to its end.
    times: Vec<u64>,
    ended: u64,
    lost: u64,
}

impl Profile {
    /// For as many packets as there is memory for. Where there are more, some are counted twice.
    pub fn new(memory: u64) -> Self {
        Profile {
            follow: false,
            reasons: Reasons::default(),
            functions: Vec::new(),
            calls: Vec::new(),
            ends: Counts::default(),
            decisions: Counts::default(),
            packets: HashMap::default(),
            most: usize::try_from(memory / PACKET).unwrap_or(usize::MAX).max(1),
            forgotten: 0,
            times: Vec::new(),
            ended: 0,
            lost: 0,
        }
    }

    /// Returns whether there were more packets than there was memory for.
    pub fn has_forgotten(&self) -> bool {
        self.forgotten > 0
    }

    /// Returns the number of packets.
    pub fn packets(&self) -> u64 {
        self.forgotten + self.packets.len() as u64
    }

    /// Returns the number of events that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns whether packets were followed to their ends.
    pub(super) fn is_followed(&self) -> bool {
        self.follow
    }

    /// Returns the times of packets from their first event to their end, in nanoseconds, in order.
    pub(super) fn times(&self) -> Vec<u64> {
        let mut times = self.times.clone();
        times.sort_unstable();
        times
    }

    /// Returns how packets ended, as `dropped NO_SOCKET in udp_rcv`, with their numbers.
    pub(super) fn ends(&self) -> BTreeMap<String, u64> {
        let mut ends = self.ends.named(|word, function| {
            let outcome = Outcome::of_word(word);
            let mut text = Vec::new();
            self.reasons.push_end(&mut text, outcome, function);
            let text = String::from_utf8_lossy(&text);
            match self.functions.get(function as usize) {
                Some(function) => format!("{text} in {function}"),
                None => text.into_owned(),
            }
        });
        let open = self.packets().saturating_sub(self.ended);
        if self.follow && open > 0 {
            ends.insert("not ended when the trace did".to_owned(), open);
        }
        ends
    }

    /// Returns what decided, as `drop by nft inet filter forward`, with the numbers of packets.
    pub(super) fn decisions(&self) -> BTreeMap<String, u64> {
        self.decisions.named(|word, function| {
            let decision = crate::event::Decision::of_word(word).map_or("unknown", |decision| decision.name());
            let by = self.functions.get(function as usize).map_or("?", String::as_str);
            format!("{decision} by {by}")
        })
    }

    /// Returns the calls of each function that was traced; none if no packet entered it. Functions of one name are one.
    pub(super) fn calls(&self) -> BTreeMap<&str, Calls> {
        let mut named = BTreeMap::<&str, Calls>::new();
        for (name, calls) in self.functions.iter().zip(&self.calls) {
            let sum = named.entry(name).or_default();
            sum.entries += calls.entries;
            sum.returned += calls.returned;
            sum.time = sum.time.saturating_add(calls.time);
        }
        named
    }

    fn append(&mut self, functions: &[Function]) {
        let shown = functions.iter().map(|function| match function.module.as_str() {
            "" | "vmlinux" => visible(&function.name).into_owned(),
            module => format!("{} [{}]", visible(&function.name), visible(module)),
        });
        self.functions.extend(shown);
        self.calls.resize(self.functions.len(), Calls::default());
    }

    fn note(&mut self, event: &Event) {
        if self.packets.len() >= self.most && !self.packets.contains_key(&event.packet) {
            self.forgotten += self.packets.len() as u64;
            self.packets.clear();
        }
        let first = *self.packets.entry(event.packet).or_insert(event.timestamp);
        match event.kind {
            EventKind::ENTRY => {
                if let Some(calls) = self.calls.get_mut(event.function as usize) {
                    calls.entries += 1;
                }
            }
            EventKind::RETURN => {
                if let (Some(time), Some(calls)) = (event.duration(), self.calls.get_mut(event.function as usize)) {
                    calls.returned += 1;
                    calls.time = calls.time.saturating_add(time);
                }
            }
            EventKind::ENDED => {
                self.ends.add(Outcome::of_word(event.spare).to_word(), event.function);
                self.ended += 1;
                if self.times.len() < self.most {
                    self.times.push(event.timestamp.saturating_sub(first));
                }
            }
            EventKind::DECIDED => self.decisions.add(event.spare, event.function),
            _ => {}
        }
    }
}

impl Sink for Profile {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.follow = trace.follow;
        self.reasons = Reasons::new(trace);
        self.append(&trace.functions);
        Ok(())
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        self.reasons.append(new);
        self.append(new);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        batch.events.iter().for_each(|event| self.note(event));
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        self.lost = summary.lost();
        Ok(())
    }
}
