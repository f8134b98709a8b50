//! The records of the contract (`wit/plugin-0.1.0.wit`) as Rust types that wasmtime can pass on.
//!
//! They borrow from the types of `event`: data is copied once, into the plugin's memory. The engine compares each of
//! them with the plugin's own types before the first call.

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::host::facts::facts;
use ipft_core::event::{Event, Field, FieldFormat, Function, Schema, Summary, Trace};

/// An option and its value.
pub(super) type OptionValue = (String, String);

/// The result of a call into a plugin.
pub(super) type Answer<T = ()> = (Result<T, String>,);

/// `record function`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct FunctionRecord<'a> {
    name: &'a str,
    module: &'a str,
    address: u64,
}

impl<'a> From<&'a Function> for FunctionRecord<'a> {
    fn from(function: &'a Function) -> Self {
        FunctionRecord {
            name: &function.name,
            module: &function.module,
            address: function.address,
        }
    }
}

/// `record member`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct MemberRecord<'a> {
    name: &'a str,
    value: u64,
}

/// `record field`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct FieldRecord<'a> {
    name: &'a str,
    offset: u32,
    size: u32,
    #[component(name = "bit-offset")]
    bit_offset: u32,
    #[component(name = "bit-width")]
    bit_width: u32,
    kind: &'a str,
    format: &'a str,
    members: Vec<MemberRecord<'a>>,
}

impl<'a> From<&'a Field> for FieldRecord<'a> {
    fn from(field: &'a Field) -> Self {
        let members = match &field.format {
            FieldFormat::Enum(members) | FieldFormat::Flags(members) => &members[..],
            FieldFormat::Symbol(members) => members,
            _ => &[],
        };
        FieldRecord {
            name: &field.name,
            offset: field.offset,
            size: field.size,
            bit_offset: field.bits.map_or(0, |bits| bits.offset.into()),
            bit_width: field.bits.map_or(0, |bits| bits.width.into()),
            kind: field.kind.name(),
            format: field.format.name(),
            members: members
                .iter()
                .map(|member| MemberRecord {
                    name: &member.name,
                    value: member.value,
                })
                .collect(),
        }
    }
}

/// `record trace`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct TraceRecord<'a> {
    tracer: &'a str,
    backend: &'a str,
    fields: Vec<FieldRecord<'a>>,
    #[component(name = "payload-size")]
    payload_size: u32,
    tail: bool,
    #[component(name = "clock-offset")]
    clock_offset: i64,
    #[component(name = "command-line")]
    command_line: &'a [String],
    #[component(name = "kernel-release")]
    kernel_release: &'a str,
    mark: u32,
    mask: u32,
    more: Vec<(String, String)>,
}

impl<'a> From<&'a Trace> for TraceRecord<'a> {
    fn from(trace: &'a Trace) -> Self {
        let schema: &Schema = &trace.schema;
        TraceRecord {
            tracer: trace.tracer.name(),
            backend: &trace.backend,
            fields: schema.fields.iter().map(FieldRecord::from).collect(),
            payload_size: schema.size,
            tail: schema.tail,
            clock_offset: trace.clock_offset,
            command_line: &trace.command_line,
            kernel_release: &trace.kernel_release,
            mark: trace.mark,
            mask: trace.mask,
            more: facts(trace),
        }
    }
}

/// `record loss`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct LossRecord<'a> {
    kind: &'a str,
    cpu: Option<u32>,
    count: u64,
}

/// `record skipped-function`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct SkippedRecord<'a> {
    name: &'a str,
    module: &'a str,
    reason: &'a str,
}

/// `record summary`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct SummaryRecord<'a> {
    events: u64,
    packets: u64,
    losses: Vec<LossRecord<'a>>,
    missed: u64,
    attached: u32,
    skipped: Vec<SkippedRecord<'a>>,
    more: Vec<(&'a str, &'a str)>,
}

impl<'a> SummaryRecord<'a> {
    /// `missed`: events that this plugin missed.
    pub(super) fn new(summary: &'a Summary, missed: u64) -> Self {
        SummaryRecord {
            events: summary.events,
            packets: summary.packets,
            losses: summary
                .losses
                .iter()
                .map(|loss| LossRecord {
                    kind: loss.kind.name(),
                    cpu: loss.cpu,
                    count: loss.count,
                })
                .collect(),
            missed,
            attached: summary.attached,
            skipped: summary
                .skipped
                .iter()
                .map(|skipped| SkippedRecord {
                    name: &skipped.name,
                    module: &skipped.module,
                    reason: &skipped.reason,
                })
                .collect(),
            more: Vec::new(),
        }
    }
}

/// `record event`, as wasmtime would pass it on field by field. It defines the layout of [`EventRecord`].
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct DerivedEvent {
    packet: u64,
    skb: u64,
    timestamp: u64,
    #[component(name = "entry-timestamp")]
    entry_timestamp: u64,
    function: u32,
    cpu: u32,
    kind: u32,
    thread: u32,
    #[component(name = "payload-offset")]
    payload_offset: u32,
    #[component(name = "payload-len")]
    payload_len: u32,
    spare: u64,
}

impl From<&Event> for DerivedEvent {
    fn from(event: &Event) -> Self {
        DerivedEvent {
            packet: event.packet,
            skb: event.skb,
            timestamp: event.timestamp,
            entry_timestamp: event.entry_timestamp,
            function: event.function,
            cpu: event.cpu,
            kind: event.kind.0,
            thread: event.thread,
            payload_offset: event.payload_offset,
            payload_len: event.payload_len,
            spare: event.spare,
        }
    }
}

/// `record event`, whose lists are passed on by one copy.
#[repr(transparent)]
pub(super) struct EventRecord(Event);

/// Converts events for passing on.
pub(super) fn records(events: &[Event]) -> &[EventRecord] {
    // SAFETY: `EventRecord` is `repr(transparent)` over `Event`, so a slice of one is a slice of the other; length and
    // lifetime stay the same.
    unsafe { std::slice::from_raw_parts(events.as_ptr().cast(), events.len()) }
}

/// Returns the bytes of events: those of `event`, little-endian, without padding.
pub(super) fn bytes(events: &[Event]) -> &[u8] {
    const {
        assert!(
            cfg!(target_endian = "little"),
            "the contract's events are little-endian"
        )
    }
    // SAFETY: `Event` is `repr(C)`, holds integers and an enum of `repr(u32)` only, and is as large as its fields
    // together (asserted beside it), so each of its bytes is initialised; any byte is a `u8`.
    unsafe { std::slice::from_raw_parts(events.as_ptr().cast(), size_of_val(events)) }
}

const _: () = assert!(<DerivedEvent as ComponentType>::SIZE32 == size_of::<Event>());
const _: () = assert!(<DerivedEvent as ComponentType>::ALIGN32 as usize == align_of::<Event>());

// SAFETY: everything is as in the derived implementation for a record with the same fields.
unsafe impl ComponentType for EventRecord {
    type Lower = <DerivedEvent as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <DerivedEvent as ComponentType>::ABI;
    const MAY_REQUIRE_REALLOC: bool = false;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        DerivedEvent::typecheck(ty, types)
    }
}

// SAFETY: one event is lowered by the derived implementation. A list is stored as the bytes of its events, which are
// those that the derived implementation would store one by one: the record's fields have the offsets of the canonical
// ABI (each is aligned to its size, in the order of the record; asserted at `Event`), and both sides are little-endian.
// A test compares the two.
unsafe impl Lower for EventRecord {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut std::mem::MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        DerivedEvent::from(&self.0).linear_lower_to_flat(cx, ty, dst)
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        DerivedEvent::from(&self.0).linear_lower_to_memory(cx, ty, offset)
    }

    fn linear_store_list_to_memory<T>(
        cx: &mut LowerContext<'_, T>,
        _: InterfaceType,
        offset: usize,
        items: &[Self],
    ) -> wasmtime::Result<()> {
        // SAFETY: as in `records`, in the other direction.
        let events: &[Event] = unsafe { std::slice::from_raw_parts(items.as_ptr().cast(), items.len()) };
        let bytes = bytes(events);
        cx.as_slice_mut()[offset..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// `variant content`.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift)]
#[component(variant)]
pub enum Content {
    /// An integer.
    #[component(name = "integer")]
    Integer(i64),
    /// A floating-point number.
    #[component(name = "float")]
    Float(f64),
    /// Text.
    #[component(name = "text")]
    Text(String),
}

/// `record value`: a field of one payload.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift)]
#[component(record)]
pub struct DecodedValue {
    /// Index of the payload in the call. Unchecked, like the rest: a plugin wrote it.
    pub payload: u32,
    /// Index of the field's name.
    pub name: u32,
    /// The value.
    pub content: Content,
}

/// `record decoded`: the result for some payloads.
#[derive(Clone, Debug, Default, PartialEq, ComponentType, Lift)]
#[component(record)]
pub struct Decoded {
    /// New names.
    pub names: Vec<String>,
    /// The fields.
    pub values: Vec<DecodedValue>,
}

#[cfg(test)]
mod tests;
