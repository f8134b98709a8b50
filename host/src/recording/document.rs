//! The parts of a recording that are JSON: what is known of the trace before its events, between them, and after.
//!
//! They are few and for everybody to read, so they are text, with the words of `-o jsonl`. The symbols of the kernel, which
//! `-o jsonl` leaves out, are here: fields of the format `symbol` are shown by them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{
    Bits, Encoding, EnumMember, Field, FieldFormat, FieldType, Function, Loss, LossKind, Schema, SkippedFunction,
    Summary, Trace, Tracer,
};

/// What the `TRCE` block says.
#[derive(Serialize, Deserialize)]
struct TraceDocument {
    kernel: String,
    tracer: String,
    backend: String,
    mark: u32,
    mask: u32,
    /// Nanoseconds.
    clock_offset: i64,
    command_line: Vec<String>,
    functions: Vec<FunctionDocument>,
    schema: SchemaDocument,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    symbols: Vec<MemberDocument>,
}

#[derive(Serialize, Deserialize)]
struct FunctionDocument {
    name: String,
    module: String,
    address: u64,
}

#[derive(Serialize, Deserialize)]
struct SchemaDocument {
    size: u32,
    tagged: bool,
    fields: Vec<FieldDocument>,
}

#[derive(Serialize, Deserialize)]
struct FieldDocument {
    name: String,
    offset: u32,
    size: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bits: Option<BitsDocument>,
    #[serde(rename = "type")]
    kind: String,
    format: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberDocument>,
}

#[derive(Serialize, Deserialize)]
struct BitsDocument {
    offset: u8,
    width: u8,
}

#[derive(Serialize, Deserialize)]
struct MemberDocument {
    name: String,
    /// As 64 bits without a sign, whatever the field's type.
    value: u64,
}

/// What a `LOSS` block says.
#[derive(Serialize, Deserialize)]
struct LossesDocument {
    losses: Vec<LossDocument>,
}

#[derive(Serialize, Deserialize)]
struct LossDocument {
    kind: String,
    cpu: Option<u32>,
    count: u64,
}

/// What the `DONE` block says.
#[derive(Serialize, Deserialize)]
struct SummaryDocument {
    events: u64,
    packets: u64,
    losses: Vec<LossDocument>,
    attached: u32,
    skipped: Vec<SkippedDocument>,
}

#[derive(Serialize, Deserialize)]
struct SkippedDocument {
    name: String,
    module: String,
    reason: String,
}

const TYPES: [FieldType; 6] = [
    FieldType::Unsigned,
    FieldType::Signed,
    FieldType::Bool,
    FieldType::Char,
    FieldType::Pointer,
    FieldType::Bytes,
];

const KINDS: [LossKind; 5] = [
    LossKind::BufferFull,
    LossKind::Recursion,
    LossKind::ReturnMissed,
    LossKind::MapFull,
    LossKind::Undecodable,
];

/// Fields of a schema at most, for a reader, whose sinks keep some hundred bytes for each. A payload has 64 bytes.
const MAX_FIELDS: usize = 1 << 12;

/// The JSON of a trace.
pub(super) fn write_trace(trace: &Trace) -> Vec<u8> {
    let symbols = trace.schema.fields.iter().find_map(|field| match &field.format {
        FieldFormat::Symbol(symbols) if !symbols.is_empty() => Some(members(symbols)),
        _ => None,
    });
    to_json(&TraceDocument {
        kernel: trace.kernel_release.clone(),
        tracer: trace.tracer.name().to_owned(),
        backend: trace.backend.clone(),
        mark: trace.mark,
        mask: trace.mask,
        clock_offset: trace.clock_offset,
        command_line: trace.command_line.clone(),
        functions: (trace.functions.iter())
            .map(|function| FunctionDocument {
                name: function.name.clone(),
                module: function.module.clone(),
                address: function.address,
            })
            .collect(),
        schema: SchemaDocument {
            size: trace.schema.size,
            tagged: trace.schema.encoding == Encoding::Tagged,
            fields: trace.schema.fields.iter().map(write_field).collect(),
        },
        symbols: symbols.unwrap_or_default(),
    })
}

/// The trace of a `TRCE` block; `None` if it does not make sense.
pub(super) fn read_trace(json: &[u8]) -> Option<Trace> {
    let document: TraceDocument = serde_json::from_slice(json).ok()?;
    if document.schema.fields.len() > MAX_FIELDS {
        return None;
    }
    let symbols: Arc<[EnumMember]> = read_members(document.symbols).into();
    let fields = (document.schema.fields.into_iter()).map(|field| read_field(field, &symbols));
    Some(Trace {
        tracer: [Tracer::Function, Tracer::FunctionGraph]
            .into_iter()
            .find(|tracer| tracer.name() == document.tracer)?,
        backend: document.backend,
        functions: (document.functions.into_iter())
            .map(|function| Function {
                name: function.name,
                module: function.module,
                address: function.address,
            })
            .collect(),
        schema: Schema {
            size: document.schema.size,
            fields: fields.collect(),
            encoding: match document.schema.tagged {
                true => Encoding::Tagged,
                false => Encoding::Fixed,
            },
        },
        clock_offset: document.clock_offset,
        command_line: document.command_line,
        kernel_release: document.kernel,
        mark: document.mark,
        mask: document.mask,
    })
}

/// The JSON of all that was lost until now.
pub(super) fn write_losses(losses: &[Loss]) -> Vec<u8> {
    to_json(&LossesDocument {
        losses: losses.iter().map(write_loss).collect(),
    })
}

/// What a `LOSS` block says.
pub(super) fn read_losses(json: &[u8]) -> Option<Vec<Loss>> {
    let document: LossesDocument = serde_json::from_slice(json).ok()?;
    Some(document.losses.into_iter().map(read_loss).collect())
}

/// The JSON of a summary.
pub(super) fn write_summary(summary: &Summary) -> Vec<u8> {
    to_json(&SummaryDocument {
        events: summary.events,
        packets: summary.packets,
        losses: summary.losses.iter().map(write_loss).collect(),
        attached: summary.attached,
        skipped: (summary.skipped.iter())
            .map(|skipped| SkippedDocument {
                name: skipped.name.clone(),
                module: skipped.module.clone(),
                reason: skipped.reason.clone(),
            })
            .collect(),
    })
}

/// What a `DONE` block says.
pub(super) fn read_summary(json: &[u8]) -> Option<Summary> {
    let document: SummaryDocument = serde_json::from_slice(json).ok()?;
    Some(Summary {
        events: document.events,
        packets: document.packets,
        losses: document.losses.into_iter().map(read_loss).collect(),
        attached: document.attached,
        skipped: (document.skipped.into_iter())
            .map(|skipped| SkippedFunction {
                name: skipped.name,
                module: skipped.module,
                reason: skipped.reason,
            })
            .collect(),
    })
}

/// Text and numbers always become JSON.
fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

fn write_field(field: &Field) -> FieldDocument {
    FieldDocument {
        name: field.name.clone(),
        offset: field.offset,
        size: field.size,
        bits: field.bits.map(|bits| BitsDocument {
            offset: bits.offset,
            width: bits.width,
        }),
        kind: field.kind.name().to_owned(),
        format: field.format.name().to_owned(),
        members: match &field.format {
            FieldFormat::Enum(list) | FieldFormat::Flags(list) => members(list),
            _ => Vec::new(),
        },
    }
}

/// A type or format that a later minor version may have added is shown as bytes.
fn read_field(field: FieldDocument, symbols: &Arc<[EnumMember]>) -> Field {
    let members = read_members(field.members);
    let formats = [
        FieldFormat::Plain,
        FieldFormat::Hex,
        FieldFormat::Enum(members.clone()),
        FieldFormat::Flags(members),
        FieldFormat::Ipv4,
        FieldFormat::Ipv6,
        FieldFormat::Mac,
        FieldFormat::Be16,
        FieldFormat::Be32,
        FieldFormat::Ktime,
        FieldFormat::Symbol(Arc::clone(symbols)),
    ];
    let kind = TYPES.into_iter().find(|kind| kind.name() == field.kind);
    let format = formats.into_iter().find(|format| format.name() == field.format);
    let (kind, format) = kind.zip(format).unwrap_or((FieldType::Bytes, FieldFormat::Plain));
    Field {
        name: field.name,
        offset: field.offset,
        size: field.size,
        bits: field.bits.map(|bits| Bits {
            offset: bits.offset,
            width: bits.width,
        }),
        kind,
        format,
    }
}

fn members(list: &[EnumMember]) -> Vec<MemberDocument> {
    let member = |member: &EnumMember| MemberDocument {
        name: member.name.clone(),
        value: member.value,
    };
    list.iter().map(member).collect()
}

fn read_members(list: Vec<MemberDocument>) -> Vec<EnumMember> {
    let member = |member: MemberDocument| EnumMember {
        name: member.name,
        value: member.value,
    };
    list.into_iter().map(member).collect()
}

fn write_loss(loss: &Loss) -> LossDocument {
    LossDocument {
        kind: loss.kind.name().to_owned(),
        cpu: loss.cpu,
        count: loss.count,
    }
}

/// A way of losing events that a later minor version may have added counts all the same.
fn read_loss(loss: LossDocument) -> Loss {
    let kind = KINDS.into_iter().find(|kind| kind.name() == loss.kind);
    Loss {
        kind: kind.unwrap_or(LossKind::Undecodable),
        cpu: loss.cpu,
        count: loss.count,
    }
}
