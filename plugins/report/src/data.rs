//! The trace as JSON, as the page reads it.
//!
//! Numbers that JavaScript cannot represent are strings. Control characters in names are escaped as on a terminal. A
//! packet's calls are one list of integers, [`STRIDE`] per call, because there may be very many.

use ipft_plugin::{Summary, Trace, text};
use rustc_hash::FxHashMap;
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use crate::journal::{End, Journal, Packet};
use crate::layers;

/// Integers per call: nanoseconds since the previous call (first: 0), duration in nanoseconds or one of [`MISSING`] and
/// [`ORPHAN`], function, CPU, thread, distance back to the enclosing call (0: none), and the rows of fields at entry
/// and at return, counted from 1 (0: none).
const STRIDE: usize = 8;

/// The return was not seen.
const MISSING: i64 = -1;

/// The entry was not seen; the call stands at its return.
const ORPHAN: i64 = -2;

/// Largest integer that JavaScript represents exactly.
const LARGEST: i64 = (1 << 53) - 1;

/// Initial scale of the time axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Axis {
    /// Long waits are cut.
    #[default]
    Waits,
    /// Linear.
    Time,
    /// One step per event.
    Even,
}

/// The finished report.
pub(crate) struct Report<'a> {
    pub(crate) title: &'a str,
    pub(crate) axis: Axis,
    pub(crate) trace: &'a Trace,
    pub(crate) summary: &'a Summary,
    pub(crate) journal: &'a Journal,
    pub(crate) rows: &'a Rows,
    pub(crate) limit: u64,
    /// Events that the plugin missed.
    pub(crate) missed: u64,
}

/// Event fields: one row per distinct payload, each text stored once.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Field names.
    pub(crate) names: Texts,
    /// Field values.
    pub(crate) texts: Texts,
    /// Per row: name and text, name and text, ...
    pub(crate) rows: Vec<Vec<u32>>,
}

/// Interned texts, by number.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    all: Vec<String>,
    // A tree rather than a hash table: packet contents come from the network and could be chosen to collide.
    numbers: std::collections::BTreeMap<String, u32>,
}

impl Texts {
    /// Returns the text's number.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.all.len() as u32;
        self.all.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

#[derive(Serialize)]
struct Data<'a> {
    version: u32,
    title: &'a str,
    axis: Axis,
    trace: About<'a>,
    /// Time of the first event: nanoseconds since 1970.
    began: String,
    layers: &'static [&'static str],
    /// Name, module, layer, and whether it drops packets.
    functions: Vec<(String, String, u32, u32)>,
    fields: &'a [String],
    texts: &'a [String],
    rows: &'a [Vec<u32>],
    place: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relations: Option<Relations<'a>>,
    packets: Vec<OnePacket<'a>>,
    lost: Lost<'a>,
    missed: String,
    left_out: LeftOut,
    summary: Totals<'a>,
}

#[derive(Serialize)]
struct About<'a> {
    tracer: &'a str,
    backend: String,
    kernel: String,
    mark: String,
    /// Whether packets are followed.
    #[serde(skip_serializing_if = "is_zero")]
    follow: u32,
    command: String,
}

/// Where packets are followed: their names, what they were made of, and how they ended. One list per property, because
/// a browser reads lists of numbers faster than properties of each packet.
#[derive(Default, Serialize)]
struct Relations<'a> {
    /// Beginnings of packets' names.
    beginnings: Vec<&'a str>,
    /// Functions that made packets.
    makers: Vec<String>,
    /// How packets ended, in words, and whether one is lost by that.
    ends: Vec<(String, u32)>,
    /// Of each packet, the beginning of its name, counted from 1; 0 if it has none.
    name: Vec<u32>,
    /// The rest of its name.
    rest: Vec<&'a str>,
    /// How many packets before it in the list the one is that it was made of, perhaps with others between that are not
    /// in the list; 0 if there is none, or it comes after it.
    up: Vec<u32>,
    /// The function that made it, counted from 1; 0 for none.
    by: Vec<u32>,
    /// How it ended, counted from 1; 0 if it did not.
    end: Vec<u32>,
    /// Pairs of a packet's index and what it was made of, in words, if that is another one than `up` says.
    of: Vec<(usize, String)>,
    /// Pairs of a packet's index and what it became part of, in words.
    into: Vec<(usize, String)>,
}

impl<'a> Relations<'a> {
    fn new(trace: &Trace, journal: &'a Journal) -> Self {
        let mut relations = Relations::default();
        let (mut beginnings, mut makers, mut ends) = (Numbered::default(), Numbered::default(), Numbered::default());
        for (index, packet) in journal.packets.iter().enumerate() {
            let lineage = &packet.lineage;
            let (beginning, rest) = packet.heading.split_at(common(&packet.heading));
            relations.name.push(match beginning {
                "" => 0,
                _ => beginnings.number(beginning, || beginning),
            });
            relations.rest.push(rest);
            let nearest = lineage.parent.and_then(|(parent, _)| journal.nearest(parent));
            let up = nearest.map_or(0, |nearest| index.saturating_sub(nearest));
            relations.up.push(up as u32);
            let maker = lineage.parent.and_then(|(_, function)| {
                let name = trace.functions.get(function as usize)?;
                Some(makers.number(function, || visible(&name.name)))
            });
            relations.by.push(maker.unwrap_or(0));
            let end = lineage.end.map(|end| {
                let words = || (end.words(trace), u32::from(end.is_loss(trace)));
                ends.number((end.outcome, end.function), words)
            });
            relations.end.push(end.unwrap_or(0));
            if let Some((parent, _)) = lineage.parent
                && (up == 0 || journal.number(parent) != nearest)
            {
                relations.of.push((index, called(journal, parent)));
            }
            if let Some(whole) = lineage.whole {
                relations.into.push((index, called(journal, whole)));
            }
        }
        (relations.beginnings, relations.makers, relations.ends) = (beginnings.all, makers.all, ends.all);
        relations
    }
}

#[derive(Serialize)]
struct OnePacket<'a> {
    id: String,
    skb: String,
    /// Nanoseconds after the first event of the trace.
    start: i64,
    #[serde(skip_serializing_if = "is_zero")]
    cut: u32,
    calls: Calls<'a>,
}

#[derive(Serialize)]
struct Lost<'a> {
    total: String,
    ways: Vec<(&'a str, Option<u32>, String)>,
}

#[derive(Serialize)]
struct LeftOut {
    events: u64,
    packets: u64,
    limit: u64,
}

#[derive(Serialize)]
struct Totals<'a> {
    events: String,
    packets: String,
    attached: u32,
    skipped: Vec<(String, &'a str)>,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Calls of a packet, and the page's function numbers.
struct Calls<'a> {
    packet: &'a Packet,
    functions: &'a FxHashMap<u32, u32>,
}

impl Serialize for Calls<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let calls = &self.packet.calls;
        let mut list = serializer.serialize_seq(Some(STRIDE * calls.len()))?;
        let mut before = calls.first().map_or(0, |call| call.start);
        for (position, (call, parent)) in calls.iter().zip(self.packet.parents()).enumerate() {
            let duration = match call.end {
                End::Missing => MISSING,
                End::Orphan => ORPHAN,
                End::Returned { duration, .. } => i64::try_from(duration).unwrap_or(LARGEST).min(LARGEST),
            };
            let numbers: [i64; STRIDE] = [
                apart(call.start, before),
                duration,
                i64::from(self.functions.get(&call.function).copied().unwrap_or_default()),
                i64::from(call.cpu),
                i64::from(call.thread),
                parent.map_or(0, |parent| (position - parent) as i64),
                i64::from(call.fields),
                i64::from(call.return_fields),
            ];
            for number in numbers {
                list.serialize_element(&number)?;
            }
            before = call.start;
        }
        list.end()
    }
}

/// Returns the nanoseconds from `earlier` to `time`; negative if `time` is before it.
fn apart(time: u64, earlier: u64) -> i64 {
    let apart = i128::from(time) - i128::from(earlier);
    apart.clamp(i128::from(-LARGEST), i128::from(LARGEST)) as i64
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Report {
            trace,
            summary,
            journal,
            ..
        } = self;
        // Only functions that a packet passed, in the order of their first use.
        let mut numbers = FxHashMap::default();
        let mut functions = Vec::new();
        for call in journal.packets.iter().flat_map(|packet| &packet.calls) {
            numbers.entry(call.function).or_insert_with(|| {
                let function = trace.function(call.function);
                functions.push((
                    visible(&function.name),
                    visible(&function.module),
                    layers::layer(&function.name, &function.module),
                    u32::from(layers::drops(&function.name)),
                ));
                functions.len() as u32 - 1
            });
        }
        let starts = journal.packets.iter().filter_map(|packet| packet.calls.first());
        let began = starts.map(|call| call.start).next().unwrap_or_default();
        let packets = journal.packets.iter().map(|packet| OnePacket {
            id: hex(packet.identity),
            skb: hex(packet.skb),
            start: apart(packet.calls.first().map_or(began, |call| call.start), began),
            cut: u32::from(packet.cut),
            calls: Calls {
                packet,
                functions: &numbers,
            },
        });
        let has_names = journal.packets.iter().any(|packet| !packet.heading.is_empty());
        let ways = summary.losses.iter();
        let skipped = summary.skipped.iter();
        let data = Data {
            version: 1,
            title: self.title,
            axis: self.axis,
            trace: About {
                tracer: if trace.has_returns() {
                    "function_graph"
                } else {
                    "function"
                },
                backend: visible(&trace.backend),
                kernel: visible(&trace.kernel_release),
                mark: match trace.mask {
                    u32::MAX => format!("{:#x}", trace.mark),
                    mask => format!("{:#x} of {mask:#x}", trace.mark),
                },
                follow: u32::from(trace.is_followed()),
                command: command(&trace.command_line),
            },
            began: (i128::from(trace.clock_offset) + i128::from(began)).to_string(),
            layers: &layers::LAYERS,
            functions,
            fields: &self.rows.names.all,
            texts: &self.rows.texts.all,
            rows: &self.rows.rows,
            place: layers::places(self.rows.names.all.iter().map(String::as_str)),
            relations: (trace.is_followed() || has_names).then(|| Relations::new(trace, journal)),
            packets: packets.collect(),
            lost: Lost {
                total: summary.lost().to_string(),
                ways: ways
                    .map(|loss| (loss.kind.as_str(), loss.cpu, loss.count.to_string()))
                    .collect(),
            },
            missed: self.missed.to_string(),
            left_out: LeftOut {
                events: journal.events_left_out,
                packets: journal.packets_left_out(),
                limit: self.limit,
            },
            summary: Totals {
                events: summary.events.to_string(),
                packets: summary.packets.to_string(),
                attached: summary.attached,
                skipped: skipped
                    .map(|function| (visible(&function.name), function.reason.as_str()))
                    .collect(),
            },
        };
        data.serialize(serializer)
    }
}

/// Returns `#3`, or the identity of a packet that is not in the list.
fn called(journal: &Journal, identity: u64) -> String {
    match journal.number(identity) {
        Some(number) => format!("#{}", number + 1),
        None => hex(identity),
    }
}

/// Returns the length of the part of a name that packets of one connection have in common: numbers that count, and the
/// length, are behind it.
fn common(name: &str) -> usize {
    const COUNTER: &str = " seq ";
    let counter = name.find(COUNTER).map(|start| start + COUNTER.len());
    counter.or_else(|| name.rfind(", ")).unwrap_or(name.len())
}

/// Values that many packets have in common, with numbers that count from 1.
struct Numbered<K, V> {
    numbers: FxHashMap<K, u32>,
    all: Vec<V>,
}

impl<K, V> Default for Numbered<K, V> {
    fn default() -> Self {
        Numbered {
            numbers: FxHashMap::default(),
            all: Vec::new(),
        }
    }
}

impl<K: Eq + std::hash::Hash, V> Numbered<K, V> {
    /// Returns the number of a value, which is made if the key is new.
    fn number(&mut self, key: K, value: impl FnOnce() -> V) -> u32 {
        *self.numbers.entry(key).or_insert_with(|| {
            self.all.push(value());
            self.all.len() as u32
        })
    }
}

fn visible(name: &str) -> String {
    text::visible(name).to_string()
}

fn hex(value: u64) -> String {
    format!("{value:#018x}")
}

/// Quotes the command line for a shell.
fn command(words: &[String]) -> String {
    let plain = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=+.,:/@%".contains(&byte);
        !word.is_empty() && word.bytes().all(plain)
    };
    let quoted = |word: &String| match plain(word) {
        true => word.clone(),
        false => format!("'{}'", visible(word).replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_quoted_for_a_shell() {
        let words = |words: &[&str]| command(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            words(&["ipft", "-m", "0x1", "-r", "", "a b", "it's"]),
            r"ipft -m 0x1 -r '' 'a b' 'it'\''s'"
        );
        assert_eq!(words(&[]), "");
    }

    #[test]
    fn distant_times_stay_within_javascript_numbers() {
        assert_eq!(apart(5, 3), 2);
        assert_eq!(apart(3, 5), -2);
        assert_eq!(apart(u64::MAX, 0), LARGEST);
        assert_eq!(apart(0, u64::MAX), -LARGEST);
    }
}
