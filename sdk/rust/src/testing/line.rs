//! The lines of `ipft -o jsonl` (`docs/jsonl.schema.json`).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

/// One line.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Line {
    Trace(Box<TraceLine>),
    Functions(FunctionsLine),
    Event(EventLine),
    Born(LifeLine),
    Joined(LifeLine),
    Ended(LifeLine),
    Decided(LifeLine),
    Lost(LossLine),
    Summary(SummaryLine),
    /// A line of a later version.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub(super) struct TraceLine {
    pub(super) version: u32,
    pub(super) kernel: String,
    pub(super) tracer: String,
    pub(super) backend: String,
    pub(super) mark: u32,
    pub(super) mask: u32,
    pub(super) filter: Option<String>,
    #[serde(default)]
    pub(super) follow: bool,
    pub(super) clock_offset: ClockOffset,
    pub(super) command_line: Vec<String>,
    pub(super) functions: Vec<FunctionLine>,
    pub(super) schema: Schema,
}

#[derive(Deserialize)]
pub(super) struct ClockOffset {
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

#[derive(Deserialize)]
pub(super) struct FunctionLine {
    pub(super) name: String,
    pub(super) module: String,
    pub(super) address: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Schema {
    pub(super) size: u32,
    pub(super) fields: Vec<FieldLine>,
    #[serde(default)]
    pub(super) tagged: bool,
}

#[derive(Deserialize)]
pub(super) struct FieldLine {
    pub(super) name: String,
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) bits: Option<BitsLine>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) format: String,
    #[serde(default)]
    pub(super) members: Vec<MemberLine>,
}

#[derive(Deserialize)]
pub(super) struct BitsLine {
    pub(super) offset: u32,
    pub(super) width: u32,
}

#[derive(Deserialize)]
pub(super) struct MemberLine {
    pub(super) name: String,
    pub(super) value: serde_json::Number,
}

#[derive(Deserialize)]
pub(super) struct EventLine {
    pub(super) packet: String,
    pub(super) skb: Option<String>,
    pub(super) timestamp: u64,
    pub(super) cpu: u32,
    pub(super) thread: u32,
    pub(super) function_index: u32,
    pub(super) kind: String,
    pub(super) duration: Option<u64>,
    pub(super) fields: Option<Fields>,
}

/// Functions that were added during the trace.
#[derive(Deserialize)]
pub(super) struct FunctionsLine {
    pub(super) functions: Vec<FunctionLine>,
}

/// The birth or the end of a packet.
#[derive(Clone, Deserialize)]
pub(super) struct LifeLine {
    pub(super) packet: String,
    pub(super) parent: Option<String>,
    pub(super) into: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) decision: Option<String>,
    pub(super) skb: Option<String>,
    pub(super) timestamp: u64,
    pub(super) cpu: u32,
    pub(super) thread: u32,
    pub(super) function_index: Option<u32>,
    pub(super) outcome: Option<String>,
    pub(super) reason_number: Option<u32>,
    pub(super) reason: Option<String>,
    pub(super) class: Option<String>,
    pub(super) why: Option<String>,
    pub(super) remedy: Option<String>,
    pub(super) stack: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct LossLine {
    pub(super) kind: String,
    pub(super) cpu: Option<u32>,
    pub(super) count: u64,
}

#[derive(Deserialize)]
pub(super) struct SummaryLine {
    pub(super) events: u64,
    pub(super) packets: u64,
    pub(super) attached: u32,
    pub(super) skipped: Vec<SkippedLine>,
}

#[derive(Deserialize)]
pub(super) struct SkippedLine {
    pub(super) name: String,
    pub(super) module: String,
    pub(super) reason: String,
}

/// Names and values in order. A script may give two values the same name, which a map would merge.
pub(super) struct Fields(pub(super) Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Fields(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}
