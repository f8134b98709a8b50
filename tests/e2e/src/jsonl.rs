//! Reads `-o jsonl` as described by `docs/jsonl.schema.json`, and checks invariants of every trace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Deserializer, de};

/// A whole trace.
#[derive(Debug)]
pub struct Recording {
    /// The first line.
    pub trace: Trace,
    /// The events, in file order.
    pub events: Vec<Event>,
    /// Packets that were made of others.
    pub births: Vec<Birth>,
    /// Packets that became part of others.
    pub joins: Vec<Join>,
    /// The ends of packets.
    pub ends: Vec<Ended>,
    /// Verdicts about packets.
    pub decisions: Vec<Decided>,
    /// The losses.
    pub lost: Vec<Lost>,
    /// The last line.
    pub summary: Summary,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Trace(Trace),
    Functions(Functions),
    Event(Event),
    Born(Birth),
    Joined(Join),
    Ended(Ended),
    Decided(Decided),
    Lost(Lost),
    Summary(Summary),
}

/// Properties known before the first event.
#[derive(Debug, Deserialize)]
pub struct Trace {
    /// The kernel's release.
    pub kernel: String,
    /// `function` or `function_graph`.
    pub tracer: String,
    /// The attach mechanism.
    pub backend: String,
    /// The functions, in the order of `function_index`.
    pub functions: Vec<Function>,
}

/// Functions added later.
#[derive(Deserialize)]
struct Functions {
    first: u32,
    functions: Vec<Function>,
}

/// A traced function.
#[derive(Debug, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its module.
    pub module: String,
}

/// A packet that was made of another one.
#[derive(Clone, Debug, Deserialize)]
pub struct Birth {
    /// The packet's identity.
    #[serde(deserialize_with = "hex")]
    pub packet: u64,
    /// The other packet's identity.
    #[serde(deserialize_with = "hex")]
    pub parent: u64,
    /// Index of the function that made it, if that is traced.
    pub function_index: Option<u32>,
}

/// A packet that became part of another one.
#[derive(Clone, Debug, Deserialize)]
pub struct Join {
    /// The packet's identity.
    #[serde(deserialize_with = "hex")]
    pub packet: u64,
    /// The other packet's identity.
    #[serde(deserialize_with = "hex")]
    pub into: u64,
}

/// The end of a packet.
#[derive(Clone, Debug, Deserialize)]
pub struct Ended {
    /// The packet's identity.
    #[serde(deserialize_with = "hex")]
    pub packet: u64,
    /// Index of the function that dropped it, if that is known.
    pub function_index: Option<u32>,
    /// The functions that were running when it was dropped, the innermost first.
    #[serde(default)]
    pub stack: Vec<String>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A verdict about a packet.
#[derive(Clone, Debug, Deserialize)]
pub struct Decided {
    /// The packet's identity.
    #[serde(deserialize_with = "hex")]
    pub packet: u64,
    /// What decided.
    pub function: String,
    /// Its module.
    pub module: String,
    /// The verdict.
    pub decision: String,
}

/// How a packet ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// Consumed, or freed in order; nothing more is known.
    Released,
    /// A socket or a protocol took it.
    Delivered,
    /// A device has sent it.
    Sent,
    /// Likewise, after it had been received.
    Forwarded,
    /// It became part of another packet.
    Joined,
    /// Dropped, with the kernel's reason.
    Dropped {
        /// Its name, if it has one.
        reason: Option<String>,
        /// Its number, 0 if there is none.
        reason_number: u32,
        /// Whether that matters: `lost`, or another word.
        class: String,
    },
}

/// Entry or return.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Entry into the function.
    Entry,
    /// Return from it.
    Return,
}

/// An entry into or return from a function, with a packet.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// The packet's identity.
    #[serde(deserialize_with = "hex")]
    pub packet: u64,
    /// The sk_buff's address, unless it is a return whose entry was lost.
    #[serde(deserialize_with = "hex_or_null")]
    pub skb: Option<u64>,
    /// Nanoseconds.
    pub timestamp: u64,
    /// The CPU.
    pub cpu: u32,
    /// The current thread, 0 in an idle task.
    pub thread: u32,
    /// The function's name.
    pub function: String,
    /// The function's module.
    pub module: String,
    /// The function's index in the trace.
    pub function_index: u32,
    /// Entry or return.
    pub kind: Kind,
    /// In a return: nanoseconds since the entry, if that is known.
    #[serde(default)]
    pub duration: Option<u64>,
    /// Fields, in an entry that has some.
    #[serde(default)]
    pub fields: BTreeMap<String, serde_json::Value>,
}

/// The context in which a packet's calls nest: a thread, or a CPU where idle tasks (0) are interrupted.
pub type Context = (u32, Option<u32>);

impl Event {
    /// Returns the context of the call.
    pub fn context(&self) -> Context {
        (self.thread, (self.thread == 0).then_some(self.cpu))
    }
}

/// Lost events.
#[derive(Debug, Deserialize)]
pub struct Lost {
    /// How they were lost.
    pub kind: String,
    /// The CPU, if the kernel counts per CPU.
    pub cpu: Option<u32>,
    /// Number of events.
    pub count: u64,
}

/// The end of a trace.
#[derive(Debug, Deserialize)]
pub struct Summary {
    /// Events in the trace.
    pub events: u64,
    /// Packets in the trace.
    pub packets: u64,
    /// Lost events.
    pub lost: u64,
    /// Attached functions.
    pub attached: u64,
    /// Functions that could not be attached.
    pub skipped: Vec<Skipped>,
}

/// A function that could not be attached.
#[derive(Debug, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// Its module.
    pub module: String,
    /// The reason.
    pub reason: String,
}

fn parse_hex<E: de::Error>(text: &str) -> Result<u64, E> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 16);
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| E::custom(format!("'{text}' is not 0x and 16 hexadecimal digits")))
}

fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    parse_hex(&String::deserialize(from)?)
}

fn hex_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Option::<String>::deserialize(from)?
        .map(|text| parse_hex(&text))
        .transpose()
}

impl Recording {
    /// Reads a trace that ended normally.
    pub fn read(path: &Path) -> Result<Recording> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Recording::parse(&text, 0).with_context(|| format!("in {}", path.display()))
    }

    /// As [`Recording::read`], of a trace at whose end so many packets were followed still. Those of them that no traced
    /// function saw have no line.
    pub fn read_with_live(path: &Path, live: u64) -> Result<Recording> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Recording::parse(&text, live).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str, live: u64) -> Result<Recording> {
        ensure!(text.ends_with('\n'), "the last line is not finished");
        let (mut trace, mut summary) = (None, None);
        let (mut events, mut births, mut joins) = (Vec::new(), Vec::new(), Vec::new());
        let (mut ends, mut lost) = (Vec::new(), Vec::new());
        let mut decisions = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let parsed: Line = serde_json::from_str(line).with_context(|| format!("line {number}: {line}"))?;
            ensure!(summary.is_none(), "line {number} comes after the summary");
            ensure!(
                trace.is_some() || matches!(parsed, Line::Trace(_)),
                "line {number} comes before the trace"
            );
            match parsed {
                Line::Trace(_) if trace.is_some() => bail!("line {number} is a second trace"),
                Line::Trace(first) => trace = Some(first),
                Line::Event(_) if !lost.is_empty() => bail!("line {number}: an event after the losses"),
                Line::Functions(new) => {
                    let known = trace.as_ref().map_or(0, |trace: &Trace| trace.functions.len());
                    ensure!(
                        new.first as usize == known,
                        "line {number}: functions from {}, after {known}",
                        new.first
                    );
                    if let Some(trace) = &mut trace {
                        trace.functions.extend(new.functions);
                    }
                }
                Line::Event(event) => events.push(event),
                Line::Born(birth) => births.push(birth),
                Line::Joined(join) => joins.push(join),
                Line::Ended(ended) => ends.push(ended),
                Line::Decided(decided) => decisions.push(decided),
                Line::Lost(loss) => lost.push(loss),
                Line::Summary(last) => summary = Some(last),
            }
        }
        let recording = Recording {
            trace: trace.context("there is no line")?,
            events,
            births,
            joins,
            ends,
            decisions,
            lost,
            summary: summary.context("there is no summary")?,
        };
        recording.check(live)?;
        Ok(recording)
    }

    /// Checks invariants: the summary adds up, functions are in the table, a packet has one sk_buff, and its events in
    /// one context are in order of time. (Events of two CPUs may overtake each other.)
    fn check(&self, live: u64) -> Result<()> {
        let summary = &self.summary;
        ensure!(
            summary.events == self.events.len() as u64,
            "the summary counts {} events, there are {}",
            summary.events,
            self.events.len()
        );
        let lost: u64 = self.lost.iter().map(|lost| lost.count).sum();
        ensure!(
            summary.lost == lost,
            "the summary counts {} lost, the lost lines {lost}",
            summary.lost
        );
        let packets = self.packets();
        // Packets that lost all of their events are counted as well, and those that no traced function saw.
        let born = self.births.iter().map(|birth| birth.packet);
        let ended = self.ends.iter().map(|end| end.packet);
        let all = packets.keys().copied().chain(born).chain(ended);
        let all = all.collect::<BTreeSet<u64>>().len() as u64;
        let explained = match lost {
            0 => (all..=all + live).contains(&summary.packets),
            _ => summary.packets >= all,
        };
        ensure!(
            explained,
            "the summary counts {} packets, there are {all}",
            summary.packets
        );
        let functions = self.trace.functions.len();
        for birth in &self.births {
            let index = birth.function_index.map_or(0, |index| index as usize);
            ensure!(index < functions && birth.packet != birth.parent, "{birth:?}");
        }
        let mut ended = BTreeSet::new();
        for end in &self.ends {
            let index = end.function_index.map_or(0, |index| index as usize);
            ensure!(index < functions && ended.insert(end.packet), "{end:?}");
        }
        for event in &self.events {
            let function = self.trace.functions.get(event.function_index as usize);
            ensure!(
                function.is_some_and(|known| known.name == event.function && known.module == event.module),
                "the function of {event:?} is not that of its index, {function:?}"
            );
            ensure!(
                event.skb.is_some() || (event.kind == Kind::Return && event.duration.is_none()),
                "{event:?} has no sk_buff"
            );
        }
        for events in packets.values() {
            let mut last: BTreeMap<Context, &Event> = BTreeMap::new();
            for &event in events {
                if let Some(before) = last.insert(event.context(), event) {
                    ensure!(
                        before.timestamp <= event.timestamp,
                        "time runs backwards:\n{before:?}\n{event:?}"
                    );
                }
            }
            let mut known = events.iter().filter_map(|event| event.skb);
            let first = known.next();
            ensure!(
                known.all(|skb| Some(skb) == first),
                "a packet has several sk_buffs: {:?}",
                events[0]
            );
        }
        Ok(())
    }

    /// Returns the events of each packet, in order.
    pub fn packets(&self) -> BTreeMap<u64, Vec<&Event>> {
        let mut packets: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
        for event in &self.events {
            packets.entry(event.packet).or_default().push(event);
        }
        packets
    }

    /// Returns the name of the function that made a packet, if that is traced.
    pub fn maker(&self, birth: &Birth) -> Option<&str> {
        let function = self.trace.functions.get(birth.function_index? as usize)?;
        Some(&function.name)
    }

    /// Returns the name of the function that dropped a packet, if that is known.
    pub fn dropper(&self, end: &Ended) -> Option<&str> {
        let function = self.trace.functions.get(end.function_index? as usize)?;
        Some(&function.name)
    }

    /// Returns the number of events lost in this way.
    pub fn lost(&self, kind: &str) -> u64 {
        let losses = self.lost.iter().filter(|lost| lost.kind == kind);
        losses.map(|lost| lost.count).sum()
    }
}

/// Counts a packet's entries into a function.
pub fn entries(packet: &[&Event], function: &str) -> usize {
    let entries = packet.iter().filter(|event| event.kind == Kind::Entry);
    entries.filter(|event| event.function == function).count()
}

/// Checks that the packet enters these functions in this order, possibly with others in between. Names are `function`
/// or `module:function`. The error says how far the packet got.
pub fn follows(packet: &[&Event], path: &[&str]) -> Result<()> {
    let mut entries = packet.iter().filter(|event| event.kind == Kind::Entry);
    for (at, step) in path.iter().enumerate() {
        let (module, function) = step.split_once(':').unwrap_or(("vmlinux", step));
        ensure!(
            entries.any(|event| event.function == function && event.module == module),
            "after {:?} the packet does not come to {module}:{function}",
            &path[..at]
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"{"type":"trace","kernel":"6","tracer":"function","backend":"b","functions":[{"name":"f","module":"vmlinux"}]}"#;
    const EVENT: &str = r#"{"type":"event","packet":"0x0000000000000001","skb":"0xffff000000000000","timestamp":5,"cpu":0,"thread":0,"function":"f","module":"vmlinux","function_index":0,"kind":"entry"}"#;
    const SUMMARY: &str = r#"{"type":"summary","events":1,"packets":1,"lost":0,"attached":1,"skipped":[]}"#;

    fn error(lines: &[&str]) -> String {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("{:#}", Recording::parse(&text, 0).unwrap_err())
    }

    #[test]
    fn a_valid_trace_is_read() {
        let text = format!("{TRACE}\n{EVENT}\n{SUMMARY}\n");
        let recording = Recording::parse(&text, 0).unwrap();
        assert_eq!(recording.packets()[&1].len(), 1);
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(error(&[TRACE, EVENT]).contains("no summary"));
        assert!(error(&[EVENT, SUMMARY]).contains("before the trace"));
        assert!(error(&[TRACE, SUMMARY]).contains("counts 1 events"));
        assert!(error(&[TRACE, EVENT, SUMMARY, EVENT]).contains("after the summary"));
        let two = SUMMARY.replace("\"events\":1", "\"events\":2");
        let earlier = EVENT.replace(":5", ":4");
        assert!(error(&[TRACE, EVENT, &earlier, &two]).contains("time runs backwards"));
        let other = EVENT.replace("0xffff0", "0xffff1");
        assert!(error(&[TRACE, EVENT, &other, &two]).contains("several sk_buffs"));
        let unknown = EVENT.replace("\"function\":\"f\"", "\"function\":\"g\"");
        assert!(error(&[TRACE, &unknown, SUMMARY]).contains("not that of its index"));
        let lost = r#"{"type":"lost","kind":"buffer-full","cpu":0,"count":3}"#;
        assert!(error(&[TRACE, EVENT, lost, SUMMARY]).contains("the lost lines 3"));
    }

    #[test]
    fn a_path_is_only_followed_in_order() {
        let text = format!("{TRACE}\n{EVENT}\n{SUMMARY}\n");
        let recording = Recording::parse(&text, 0).unwrap();
        let packet = &recording.packets()[&1];
        follows(packet, &["f"]).unwrap();
        follows(packet, &["f", "f"]).unwrap_err();
        follows(packet, &["other:f"]).unwrap_err();
    }
}
