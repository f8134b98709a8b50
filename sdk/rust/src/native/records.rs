//! The records of `sdk/native/ipft_plugin.h` in their C layout, and their conversion into SDK types: copies that the
//! plugin may keep.

use crate::trace::{Field, Format, Kind, Loss, Member, Skipped, Summary, Trace};

/// `struct ipft_text`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Text {
    pub(super) data: *const u8,
    pub(super) len: u64,
}

/// A pointer and a count, in the order of the structs.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct List<T> {
    pub(super) data: *const T,
    pub(super) len: u64,
}

/// `struct ipft_fact`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct FactRecord {
    pub(super) name: Text,
    pub(super) value: Text,
}

/// `struct ipft_function`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct FunctionRecord {
    pub(super) name: Text,
    pub(super) module: Text,
    pub(super) address: u64,
}

/// `struct ipft_member`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct MemberRecord {
    pub(super) name: Text,
    pub(super) value: u64,
}

/// `struct ipft_field`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct FieldRecord {
    pub(super) name: Text,
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) bit_offset: u32,
    pub(super) bit_width: u32,
    pub(super) kind: Text,
    pub(super) format: Text,
    pub(super) members: List<MemberRecord>,
}

/// `struct ipft_trace`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct TraceRecord {
    pub(super) struct_size: u32,
    pub(super) payload_size: u32,
    pub(super) tracer: Text,
    pub(super) backend: Text,
    pub(super) fields: List<FieldRecord>,
    pub(super) clock_offset: i64,
    pub(super) command_line: List<Text>,
    pub(super) kernel_release: Text,
    pub(super) mark: u32,
    pub(super) mask: u32,
    pub(super) tail: u32,
    pub(super) unused: u32,
    pub(super) more: List<FactRecord>,
}

/// `struct ipft_loss`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct LossRecord {
    pub(super) kind: Text,
    pub(super) count: u64,
    pub(super) cpu: u32,
    pub(super) has_cpu: u32,
}

/// `struct ipft_skipped`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct SkippedRecord {
    pub(super) name: Text,
    pub(super) module: Text,
    pub(super) reason: Text,
}

/// `struct ipft_summary`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct SummaryRecord {
    pub(super) struct_size: u32,
    pub(super) attached: u32,
    pub(super) events: u64,
    pub(super) packets: u64,
    pub(super) missed: u64,
    pub(super) losses: List<LossRecord>,
    pub(super) skipped: List<SkippedRecord>,
    pub(super) more: List<FactRecord>,
}

/// # Safety
///
/// `data` has `len` valid items, or is null; they do not change while they are borrowed.
pub(super) unsafe fn slice<'a, T>(data: *const T, len: u64) -> &'a [T] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: guaranteed by the caller. Plugins have 64 bits, so that no length is cut.
    unsafe { std::slice::from_raw_parts(data, len as usize) }
}

/// # Safety
///
/// As for [`slice`].
pub(super) unsafe fn text(text: Text) -> String {
    // SAFETY: guaranteed by the caller.
    String::from_utf8_lossy(unsafe { slice(text.data, text.len) }).into_owned()
}

/// # Safety
///
/// As for [`slice`]; so are the texts.
pub(super) unsafe fn of_facts(facts: *const FactRecord, count: u64) -> Vec<(String, String)> {
    // SAFETY: the caller's.
    let facts = unsafe { slice(facts, count) };
    // SAFETY: the caller's.
    let fact = |fact: &FactRecord| unsafe { (text(fact.name), text(fact.value)) };
    facts.iter().map(fact).collect()
}

/// # Safety
///
/// As for [`slice`], for everything in it.
pub(super) unsafe fn of_trace(record: &TraceRecord) -> Trace {
    // SAFETY: the caller's; so is everything in here.
    unsafe {
        let fields = slice(record.fields.data, record.fields.len);
        let command_line = slice(record.command_line.data, record.command_line.len);
        Trace {
            tracer: text(record.tracer),
            backend: text(record.backend),
            fields: fields.iter().map(|field| of_field(field)).collect(),
            payload_size: record.payload_size,
            tail: record.tail != 0,
            clock_offset: record.clock_offset,
            command_line: command_line.iter().map(|word| text(*word)).collect(),
            kernel_release: text(record.kernel_release),
            mark: record.mark,
            mask: record.mask,
            more: of_facts(record.more.data, record.more.len),
            functions: Vec::new(),
            names: Vec::new(),
        }
    }
}

/// # Safety
///
/// As for [`of_trace`].
pub(super) unsafe fn of_field(record: &FieldRecord) -> Field {
    // SAFETY: the caller's; so is everything in here.
    unsafe {
        let members = slice(record.members.data, record.members.len);
        let member = |member: &MemberRecord| Member {
            name: text(member.name),
            value: member.value,
        };
        Field {
            name: text(record.name),
            offset: record.offset,
            size: record.size,
            bit_offset: record.bit_offset,
            bit_width: record.bit_width,
            kind: Kind::named(&text(record.kind)),
            format: Format::named(&text(record.format)),
            members: members.iter().map(member).collect(),
        }
    }
}

/// # Safety
///
/// As for [`of_trace`].
pub(super) unsafe fn of_summary(record: &SummaryRecord) -> Summary {
    // SAFETY: the caller's; so is everything in here.
    unsafe {
        let losses = slice(record.losses.data, record.losses.len);
        let skipped = slice(record.skipped.data, record.skipped.len);
        let loss = |loss: &LossRecord| Loss {
            kind: text(loss.kind),
            cpu: (loss.has_cpu != 0).then_some(loss.cpu),
            count: loss.count,
        };
        let skip = |skipped: &SkippedRecord| Skipped {
            name: text(skipped.name),
            module: text(skipped.module),
            reason: text(skipped.reason),
        };
        Summary {
            events: record.events,
            packets: record.packets,
            losses: losses.iter().map(loss).collect(),
            missed: record.missed,
            attached: record.attached,
            skipped: skipped.iter().map(skip).collect(),
            more: of_facts(record.more.data, record.more.len),
        }
    }
}
