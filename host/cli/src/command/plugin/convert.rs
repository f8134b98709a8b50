//! Converts traces of the SDK for the host: the built-in ones, and those read from `-o jsonl`.

use ipft_plugin as sdk;

use ipft_core::event::{
    Batch, Bits, EnumMember, Event, EventKind, Field, FieldFormat, FieldType, Function, Loss, LossKind, Schema,
    SkippedFunction, Summary, Trace, Tracer,
};

/// Converts the trace.
pub(super) fn trace(trace: &sdk::Trace) -> Trace {
    Trace {
        tracer: match trace.has_returns() {
            true => Tracer::FunctionGraph,
            false => Tracer::Function,
        },
        backend: trace.backend.clone(),
        functions: trace.functions.iter().map(function).collect(),
        schema: Schema {
            size: trace.payload_size,
            fields: trace.fields.iter().map(field).collect(),
            builtin: 0,
            tail: trace.tail,
        },
        clock_offset: trace.clock_offset,
        command_line: trace.command_line.clone(),
        kernel_release: trace.kernel_release.clone(),
        mark: trace.mark,
        mask: trace.mask,
        filter: trace.fact("filter").unwrap_or_default().to_owned(),
        follow: trace.is_followed(),
        drop_reasons: trace.drop_reasons().map(drop_reason).collect(),
    }
}

fn drop_reason((value, name): (u32, &str)) -> EnumMember {
    EnumMember {
        name: name.to_owned(),
        value: value.into(),
    }
}

/// Converts a batch.
pub(super) fn batch(events: &[sdk::Event], payload: &[u8], names: &[String]) -> Batch {
    Batch {
        events: events.iter().map(event).collect(),
        payload: payload.to_vec(),
        names: names.to_vec(),
        ..Batch::default()
    }
}

/// Converts the summary. The host itself counts the events that the SDK calls missed.
pub(super) fn summary(summary: &sdk::Summary) -> Summary {
    Summary {
        events: summary.events,
        packets: summary.packets,
        losses: summary.losses.iter().map(loss).collect(),
        attached: summary.attached,
        skipped: summary.skipped.iter().map(skipped).collect(),
    }
}

pub(super) fn function(function: &sdk::Function) -> Function {
    Function {
        name: function.name.clone(),
        module: function.module.clone(),
        address: function.address,
    }
}

fn field(field: &sdk::Field) -> Field {
    let members = || -> Vec<EnumMember> {
        let member = |member: &sdk::Member| EnumMember {
            name: member.name.clone(),
            value: member.value,
        };
        field.members.iter().map(member).collect()
    };
    Field {
        name: field.name.clone(),
        offset: field.offset,
        size: field.size,
        // The contract's widths fit; any other is not a bit-field.
        bits: (u8::try_from(field.bit_offset).ok())
            .zip(u8::try_from(field.bit_width).ok())
            .filter(|(_, width)| *width > 0)
            .map(|(offset, width)| Bits { offset, width }),
        kind: match field.kind {
            sdk::Kind::Unsigned => FieldType::Unsigned,
            sdk::Kind::Signed => FieldType::Signed,
            sdk::Kind::Bool => FieldType::Bool,
            sdk::Kind::Char => FieldType::Char,
            sdk::Kind::Pointer => FieldType::Pointer,
            sdk::Kind::Bytes => FieldType::Bytes,
        },
        format: match field.format {
            sdk::Format::Plain => FieldFormat::Plain,
            sdk::Format::Hex => FieldFormat::Hex,
            sdk::Format::Enum => FieldFormat::Enum(members()),
            sdk::Format::Flags => FieldFormat::Flags(members()),
            sdk::Format::Ipv4 => FieldFormat::Ipv4,
            sdk::Format::Ipv6 => FieldFormat::Ipv6,
            sdk::Format::Ip => FieldFormat::Ip,
            sdk::Format::Mac => FieldFormat::Mac,
            sdk::Format::Be16 => FieldFormat::Be16,
            sdk::Format::Be32 => FieldFormat::Be32,
            sdk::Format::Ktime => FieldFormat::Ktime,
            sdk::Format::Symbol => FieldFormat::Symbol(members().into()),
        },
    }
}

fn event(event: &sdk::Event) -> Event {
    Event {
        packet: event.packet,
        skb: event.skb,
        timestamp: event.timestamp,
        entry_timestamp: event.entry_timestamp,
        function: event.function,
        cpu: event.cpu,
        kind: EventKind(event.kind),
        thread: event.thread,
        payload_offset: event.payload_offset,
        payload_len: event.payload_len,
        spare: event.spare,
    }
}

fn loss(loss: &sdk::Loss) -> Loss {
    let kinds = [
        LossKind::BufferFull,
        LossKind::Recursion,
        LossKind::ReturnMissed,
        LossKind::MapFull,
        LossKind::RateLimit,
        LossKind::NoBuffer,
    ];
    Loss {
        kind: (kinds.into_iter())
            .find(|kind| kind.name() == loss.kind)
            .unwrap_or(LossKind::Undecodable),
        cpu: loss.cpu,
        count: loss.count,
    }
}

fn skipped(skipped: &sdk::Skipped) -> SkippedFunction {
    SkippedFunction {
        name: skipped.name.clone(),
        module: skipped.module.clone(),
        reason: skipped.reason.clone(),
    }
}
