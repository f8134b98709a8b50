//! The JSON parts of a recording: properties of the trace before its events, between them, and after.
//!
//! They are few and for everybody to read, so they are text, with the words of `-o jsonl`. The symbols of the kernel, which
//! `-o jsonl` leaves out, are here: fields of the format `symbol` are shown by them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::limits::{
    self, Entry, List, MAX_FIELD_NAMES, MAX_FLAGS, MAX_MEMBERS, MAX_PAYLOAD, Name, TooLarge, Word, at_most,
};
use crate::event::{
    Bits, EnumMember, Field, FieldFormat, FieldType, Function, Loss, LossKind, Schema, SkippedFunction, Summary, Trace,
    Tracer,
};

/// Content of the `TRCE` block.
#[derive(Serialize, Deserialize)]
struct TraceDocument {
    kernel: Name,
    tracer: Name,
    backend: Name,
    mark: u32,
    mask: u32,
    #[serde(default, skip_serializing_if = "is_empty")]
    filter: Word,
    #[serde(default, skip_serializing_if = "is_false")]
    follow: bool,
    /// Nanoseconds.
    clock_offset: i64,
    command_line: List<Word>,
    functions: List<FunctionDocument>,
    schema: SchemaDocument,
    #[serde(default, skip_serializing_if = "List::is_empty")]
    symbols: List<SymbolDocument>,
    #[serde(default, skip_serializing_if = "List::is_empty")]
    drop_reasons: List<ReasonDocument>,
}

#[derive(Serialize, Deserialize)]
struct FunctionDocument {
    name: Name,
    module: Name,
    address: u64,
}

#[derive(Serialize, Deserialize)]
struct SchemaDocument {
    size: u32,
    /// Bytes of `size` that belong to the built-in fields.
    #[serde(default, skip_serializing_if = "is_zero")]
    builtin: u32,
    /// [`Schema::tail`], by the name that it has in `-o jsonl`.
    tagged: bool,
    fields: List<FieldDocument>,
}

fn is_empty(word: &Word) -> bool {
    word.0.is_empty()
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
struct FieldDocument {
    name: Name,
    offset: u32,
    size: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bits: Option<BitsDocument>,
    #[serde(rename = "type")]
    kind: Name,
    format: Name,
    #[serde(default, skip_serializing_if = "List::is_empty")]
    members: List<MemberDocument>,
}

#[derive(Serialize, Deserialize)]
struct BitsDocument {
    offset: u8,
    width: u8,
}

#[derive(Serialize, Deserialize)]
struct MemberDocument {
    name: Name,
    /// As 64 bits without a sign, whatever the field's type.
    value: u64,
}

/// A [`MemberDocument`] of which there can be more.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct SymbolDocument(MemberDocument);

/// A [`MemberDocument`] that names a reason to drop packets.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct ReasonDocument(MemberDocument);

/// Content of a `FUNC` block.
#[derive(Serialize, Deserialize)]
struct FunctionsDocument {
    /// The index of the first of them.
    first: u32,
    functions: List<FunctionDocument>,
}

/// Content of a `LOSS` block.
#[derive(Serialize, Deserialize)]
struct LossesDocument {
    losses: List<LossDocument>,
}

#[derive(Serialize, Deserialize)]
struct LossDocument {
    kind: Name,
    cpu: Option<u32>,
    count: u64,
}

/// Content of the `DONE` block.
#[derive(Serialize, Deserialize)]
struct SummaryDocument {
    events: u64,
    packets: u64,
    losses: List<LossDocument>,
    attached: u32,
    skipped: List<SkippedDocument>,
}

#[derive(Serialize, Deserialize)]
struct SkippedDocument {
    name: Name,
    module: Name,
    reason: Name,
}

impl Entry for Word {
    const LIST: &'static str = "command_line";
    const MOST: usize = 1 << 16;
}

impl Entry for FunctionDocument {
    const LIST: &'static str = "functions";
    const MOST: usize = 1 << 16;
}

impl Entry for FieldDocument {
    const LIST: &'static str = "schema.fields";
    const MOST: usize = 1 << 12;
}

impl Entry for MemberDocument {
    const LIST: &'static str = "members";
    const MOST: usize = 1 << 16;
}

impl Entry for SymbolDocument {
    const LIST: &'static str = "symbols";
    const MOST: usize = 1 << 20;
}

impl Entry for ReasonDocument {
    const LIST: &'static str = "drop_reasons";
    const MOST: usize = 1 << 16;
}

impl Entry for LossDocument {
    const LIST: &'static str = "losses";
    const MOST: usize = 1 << 16;
}

impl Entry for SkippedDocument {
    const LIST: &'static str = "skipped";
    const MOST: usize = 1 << 16;
}

/// The reason why JSON is invalid.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    TooLarge(#[from] limits::TooLarge),
    #[error("`tracer` is no tracer that this ipft knows")]
    Tracer,
}

const TYPES: [FieldType; 6] = [
    FieldType::Unsigned,
    FieldType::Signed,
    FieldType::Bool,
    FieldType::Char,
    FieldType::Pointer,
    FieldType::Bytes,
];

const KINDS: [LossKind; 7] = [
    LossKind::BufferFull,
    LossKind::Recursion,
    LossKind::ReturnMissed,
    LossKind::MapFull,
    LossKind::RateLimit,
    LossKind::NoBuffer,
    LossKind::Undecodable,
];

/// The JSON of a trace.
pub(super) fn write_trace(trace: &Trace) -> Vec<u8> {
    let symbols = trace.schema.fields.iter().find_map(|field| match &field.format {
        FieldFormat::Symbol(symbols) if !symbols.is_empty() => Some(members(symbols).map(SymbolDocument).collect()),
        _ => None,
    });
    to_json(&TraceDocument {
        kernel: limits::Text(trace.kernel_release.clone()),
        tracer: trace.tracer.name().into(),
        backend: limits::Text(trace.backend.clone()),
        mark: trace.mark,
        mask: trace.mask,
        filter: trace.filter.as_str().into(),
        follow: trace.follow,
        clock_offset: trace.clock_offset,
        command_line: trace.command_line.iter().map(|word| word.as_str().into()).collect(),
        functions: trace.functions.iter().map(write_function).collect(),
        schema: SchemaDocument {
            size: trace.schema.size,
            builtin: trace.schema.builtin,
            tagged: trace.schema.tail,
            fields: trace.schema.fields.iter().map(write_field).collect(),
        },
        symbols: symbols.unwrap_or_default(),
        drop_reasons: members(&trace.drop_reasons).map(ReasonDocument).collect(),
    })
}

/// The trace of a `TRCE` block.
pub(super) fn read_trace(json: &[u8]) -> Result<Trace, DocumentError> {
    let document: TraceDocument = serde_json::from_slice(json)?;
    check(&document.schema)?;
    let symbols = document.symbols.0.into_iter().map(|symbol| read_member(symbol.0));
    let symbols: Arc<[EnumMember]> = symbols.collect();
    let fields = (document.schema.fields.0.into_iter()).map(|field| read_field(field, &symbols));
    let reasons = document.drop_reasons.0.into_iter();
    let mut drop_reasons: Vec<EnumMember> = reasons.map(|reason| read_member(reason.0)).collect();
    // Names are looked up by value.
    drop_reasons.sort_by_key(|reason| reason.value);
    Ok(Trace {
        tracer: [Tracer::Function, Tracer::FunctionGraph]
            .into_iter()
            .find(|tracer| tracer.name() == document.tracer.0)
            .ok_or(DocumentError::Tracer)?,
        backend: document.backend.0,
        functions: document.functions.0.into_iter().map(read_function).collect(),
        schema: Schema {
            size: document.schema.size,
            fields: fields.collect(),
            builtin: document.schema.builtin,
            tail: document.schema.tagged,
        },
        clock_offset: document.clock_offset,
        command_line: document.command_line.0.into_iter().map(|word| word.0).collect(),
        kernel_release: document.kernel.0,
        mark: document.mark,
        mask: document.mask,
        filter: document.filter.0,
        follow: document.follow,
        drop_reasons,
    })
}

/// Compares the numbers of a schema with what they can be.
fn check(schema: &SchemaDocument) -> Result<(), TooLarge> {
    let size = at_most("schema.size", schema.size.into(), MAX_PAYLOAD)?;
    at_most("schema.builtin", schema.builtin.into(), size)?;
    let (mut names, mut members) = (0, 0);
    for field in &schema.fields.0 {
        at_most("schema.fields.offset", field.offset.into(), size)?;
        at_most("schema.fields.size", field.size.into(), size - u64::from(field.offset))?;
        let flags = field.format.0 == FieldFormat::Flags(Vec::new()).name();
        let own = field.members.0.len() as u64;
        at_most(
            "schema.fields.members",
            own,
            if flags { MAX_FLAGS } else { MAX_MEMBERS },
        )?;
        members += own;
        names += field.name.0.len() as u64;
        if flags {
            // A value may show all of them.
            names += field
                .members
                .0
                .iter()
                .map(|member| member.name.0.len() as u64)
                .sum::<u64>();
        }
    }
    at_most("schema.fields.members", members, MAX_MEMBERS)?;
    at_most("bytes in the names of schema.fields", names, MAX_FIELD_NAMES)?;
    Ok(())
}

/// The JSON of functions that were appended, from that with the index `first` on.
pub(super) fn write_functions(first: u32, functions: &[Function]) -> Vec<u8> {
    to_json(&FunctionsDocument {
        first,
        functions: functions.iter().map(write_function).collect(),
    })
}

/// Parses a `FUNC` block: the index of the first function, and the functions.
pub(super) fn read_functions(json: &[u8]) -> Option<(u32, Vec<Function>)> {
    let document: FunctionsDocument = serde_json::from_slice(json).ok()?;
    let functions = document.functions.0.into_iter().map(read_function).collect();
    Some((document.first, functions))
}

/// The JSON of all that was lost until now.
pub(super) fn write_losses(losses: &[Loss]) -> Vec<u8> {
    to_json(&LossesDocument {
        losses: losses.iter().map(write_loss).collect(),
    })
}

/// Parses a `LOSS` block.
pub(super) fn read_losses(json: &[u8]) -> Option<Vec<Loss>> {
    let document: LossesDocument = serde_json::from_slice(json).ok()?;
    Some(document.losses.0.into_iter().map(read_loss).collect())
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
                name: skipped.name.as_str().into(),
                module: skipped.module.as_str().into(),
                reason: skipped.reason.as_str().into(),
            })
            .collect(),
    })
}

/// Parses a `DONE` block.
pub(super) fn read_summary(json: &[u8]) -> Option<Summary> {
    let document: SummaryDocument = serde_json::from_slice(json).ok()?;
    Some(Summary {
        events: document.events,
        packets: document.packets,
        losses: document.losses.0.into_iter().map(read_loss).collect(),
        attached: document.attached,
        skipped: (document.skipped.0.into_iter())
            .map(|skipped| SkippedFunction {
                name: skipped.name.0,
                module: skipped.module.0,
                reason: skipped.reason.0,
            })
            .collect(),
    })
}

/// Text and numbers always become JSON.
fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

fn write_function(function: &Function) -> FunctionDocument {
    FunctionDocument {
        name: function.name.as_str().into(),
        module: function.module.as_str().into(),
        address: function.address,
    }
}

fn read_function(function: FunctionDocument) -> Function {
    Function {
        name: function.name.0,
        module: function.module.0,
        address: function.address,
    }
}

fn write_field(field: &Field) -> FieldDocument {
    FieldDocument {
        name: field.name.as_str().into(),
        offset: field.offset,
        size: field.size,
        bits: field.bits.map(|bits| BitsDocument {
            offset: bits.offset,
            width: bits.width,
        }),
        kind: field.kind.name().into(),
        format: field.format.name().into(),
        members: match &field.format {
            FieldFormat::Enum(list) | FieldFormat::Flags(list) => members(list).collect(),
            _ => List::default(),
        },
    }
}

/// A type or format that a later minor version may have added is shown as bytes.
fn read_field(field: FieldDocument, symbols: &Arc<[EnumMember]>) -> Field {
    let formats = [
        FieldFormat::Plain,
        FieldFormat::Hex,
        FieldFormat::Enum(Vec::new()),
        FieldFormat::Flags(Vec::new()),
        FieldFormat::Ipv4,
        FieldFormat::Ipv6,
        FieldFormat::Ip,
        FieldFormat::Mac,
        FieldFormat::Be16,
        FieldFormat::Be32,
        FieldFormat::Ktime,
        FieldFormat::Symbol(Arc::clone(symbols)),
    ];
    let kind = TYPES.into_iter().find(|kind| kind.name() == field.kind.0);
    let mut format = formats.into_iter().find(|format| format.name() == field.format.0);
    if let Some(FieldFormat::Enum(members) | FieldFormat::Flags(members)) = &mut format {
        *members = field.members.0.into_iter().map(read_member).collect();
    }
    let (kind, format) = kind.zip(format).unwrap_or((FieldType::Bytes, FieldFormat::Plain));
    Field {
        name: field.name.0,
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

fn members(list: &[EnumMember]) -> impl Iterator<Item = MemberDocument> {
    list.iter().map(|member| MemberDocument {
        name: member.name.as_str().into(),
        value: member.value,
    })
}

fn read_member(member: MemberDocument) -> EnumMember {
    EnumMember {
        name: member.name.0,
        value: member.value,
    }
}

fn write_loss(loss: &Loss) -> LossDocument {
    LossDocument {
        kind: loss.kind.name().into(),
        cpu: loss.cpu,
        count: loss.count,
    }
}

/// A way of losing events that a later minor version may have added counts all the same.
fn read_loss(loss: LossDocument) -> Loss {
    let kind = KINDS.into_iter().find(|kind| kind.name() == loss.kind.0);
    Loss {
        kind: kind.unwrap_or(LossKind::Undecodable),
        cpu: loss.cpu,
        count: loss.count,
    }
}
