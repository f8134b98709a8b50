//! `sdk/native/ipft_plugin.h` in Rust: the C structs, and their construction.
//!
//! The header is the definition and documents all of them; a test compares every size and offset with it. A record
//! borrows what it points to, so that none of them outlives the call that it is made for.

#![allow(dead_code, reason = "what is written here is read by plugins")]

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;

use ipft_core::event::{Event, Field, FieldFormat, Function, Loss, SkippedFunction, Summary};

/// `IPFT_PLUGIN_VERSION` of this ipft.
pub(super) const VERSION: u32 = 0x00_01_00;

/// The symbol that a library exports.
pub(super) const SYMBOL: &str = "ipft_plugin_v0";

/// The type of the symbol.
pub(super) type Entry = unsafe extern "C" fn() -> *const Plugin;

/// `struct ipft_text`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Text<'a> {
    pub(super) data: *const u8,
    pub(super) len: u64,
    borrow: PhantomData<&'a str>,
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text {
            data: text.as_ptr(),
            len: text.len() as u64,
            borrow: PhantomData,
        }
    }
}

/// A pointer and a count, in the order of the structs.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct List<'a, T> {
    data: *const T,
    len: u64,
    borrow: PhantomData<&'a [T]>,
}

impl<'a, T> From<&'a [T]> for List<'a, T> {
    fn from(list: &'a [T]) -> Self {
        List {
            data: list.as_ptr(),
            len: list.len() as u64,
            borrow: PhantomData,
        }
    }
}

/// `struct ipft_fact`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct FactRecord<'a> {
    name: Text<'a>,
    value: Text<'a>,
}

impl<'a> From<&'a (String, String)> for FactRecord<'a> {
    fn from((name, value): &'a (String, String)) -> Self {
        FactRecord {
            name: name.as_str().into(),
            value: value.as_str().into(),
        }
    }
}

/// `struct ipft_function`.
#[repr(C)]
pub(super) struct FunctionRecord<'a> {
    name: Text<'a>,
    module: Text<'a>,
    address: u64,
}

impl<'a> From<&'a Function> for FunctionRecord<'a> {
    fn from(function: &'a Function) -> Self {
        FunctionRecord {
            name: function.name.as_str().into(),
            module: function.module.as_str().into(),
            address: function.address,
        }
    }
}

/// `struct ipft_member`.
#[repr(C)]
pub(super) struct MemberRecord<'a> {
    name: Text<'a>,
    value: u64,
}

/// `struct ipft_field`.
#[repr(C)]
pub(super) struct FieldRecord<'a> {
    name: Text<'a>,
    offset: u32,
    size: u32,
    bit_offset: u32,
    bit_width: u32,
    kind: Text<'a>,
    format: Text<'a>,
    members: List<'a, MemberRecord<'a>>,
}

impl<'a> FieldRecord<'a> {
    /// `members`: the result of [`members`] for the field.
    pub(super) fn new(field: &'a Field, members: &'a [MemberRecord<'a>]) -> Self {
        FieldRecord {
            name: field.name.as_str().into(),
            offset: field.offset,
            size: field.size,
            bit_offset: field.bits.map_or(0, |bits| bits.offset.into()),
            bit_width: field.bits.map_or(0, |bits| bits.width.into()),
            kind: field.kind.name().into(),
            format: field.format.name().into(),
            members: members.into(),
        }
    }
}

/// Returns a field's names of values.
pub(super) fn members(field: &Field) -> Vec<MemberRecord<'_>> {
    let members = match &field.format {
        FieldFormat::Enum(members) | FieldFormat::Flags(members) => &members[..],
        FieldFormat::Symbol(members) => members,
        _ => &[],
    };
    let members = members.iter().map(|member| MemberRecord {
        name: member.name.as_str().into(),
        value: member.value,
    });
    members.collect()
}

/// `struct ipft_trace`.
#[repr(C)]
pub(super) struct TraceRecord<'a> {
    struct_size: u32,
    payload_size: u32,
    tracer: Text<'a>,
    backend: Text<'a>,
    fields: List<'a, FieldRecord<'a>>,
    clock_offset: i64,
    command_line: List<'a, Text<'a>>,
    kernel_release: Text<'a>,
    mark: u32,
    mask: u32,
    tail: u32,
    unused: u32,
    more: List<'a, FactRecord<'a>>,
}

impl<'a> TraceRecord<'a> {
    /// `fields`, `command_line` and `facts`: those of the trace, as records.
    pub(super) fn new(
        trace: &'a ipft_core::event::Trace,
        fields: &'a [FieldRecord<'a>],
        command_line: &'a [Text<'a>],
        facts: &'a [FactRecord<'a>],
    ) -> Self {
        TraceRecord {
            struct_size: size_of::<Self>() as u32,
            payload_size: trace.schema.size,
            tracer: trace.tracer.name().into(),
            backend: trace.backend.as_str().into(),
            fields: fields.into(),
            clock_offset: trace.clock_offset,
            command_line: command_line.into(),
            kernel_release: trace.kernel_release.as_str().into(),
            mark: trace.mark,
            mask: trace.mask,
            tail: trace.schema.tail.into(),
            unused: 0,
            more: facts.into(),
        }
    }
}

/// `struct ipft_loss`.
#[repr(C)]
pub(super) struct LossRecord<'a> {
    kind: Text<'a>,
    count: u64,
    cpu: u32,
    has_cpu: u32,
}

impl From<&Loss> for LossRecord<'static> {
    fn from(loss: &Loss) -> Self {
        LossRecord {
            kind: loss.kind.name().into(),
            count: loss.count,
            cpu: loss.cpu.unwrap_or_default(),
            has_cpu: loss.cpu.is_some().into(),
        }
    }
}

/// `struct ipft_skipped`.
#[repr(C)]
pub(super) struct SkippedRecord<'a> {
    name: Text<'a>,
    module: Text<'a>,
    reason: Text<'a>,
}

impl<'a> From<&'a SkippedFunction> for SkippedRecord<'a> {
    fn from(skipped: &'a SkippedFunction) -> Self {
        SkippedRecord {
            name: skipped.name.as_str().into(),
            module: skipped.module.as_str().into(),
            reason: skipped.reason.as_str().into(),
        }
    }
}

/// `struct ipft_summary`.
#[repr(C)]
pub(super) struct SummaryRecord<'a> {
    struct_size: u32,
    attached: u32,
    events: u64,
    packets: u64,
    missed: u64,
    losses: List<'a, LossRecord<'a>>,
    skipped: List<'a, SkippedRecord<'a>>,
    more: List<'a, FactRecord<'a>>,
}

impl<'a> SummaryRecord<'a> {
    /// `losses` and `skipped`: those of the summary, as records. `missed`: events that this plugin missed.
    pub(super) fn new(
        summary: &'a Summary,
        losses: &'a [LossRecord<'a>],
        skipped: &'a [SkippedRecord<'a>],
        missed: u64,
    ) -> Self {
        SummaryRecord {
            struct_size: size_of::<Self>() as u32,
            attached: summary.attached,
            events: summary.events,
            packets: summary.packets,
            missed,
            losses: losses.into(),
            skipped: skipped.into(),
            more: List::from(&[][..]),
        }
    }
}

/// `struct ipft_host`.
#[repr(C)]
pub(super) struct HostTable {
    pub(super) struct_size: u64,
    pub(super) context: *mut c_void,
    pub(super) write: unsafe extern "C" fn(*mut c_void, *const c_void, u64) -> i32,
    pub(super) log: unsafe extern "C" fn(*mut c_void, u32, *const c_char, u64),
}

/// The start of `struct ipft_plugin` in every version.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Head {
    pub(super) version: u32,
    pub(super) struct_size: u32,
}

/// `struct ipft_plugin`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Plugin {
    pub(super) head: Head,
    pub(super) description: Text<'static>,
    pub(super) start: Option<Start>,
    pub(super) learn: Option<Learn>,
    pub(super) events: Option<Events>,
    pub(super) missed: Option<Missed>,
    pub(super) finish: Option<Finish>,
    pub(super) destroy: Option<Destroy>,
}

/// An error, or null.
pub(super) type Answer = *const c_char;

pub(super) type Start = unsafe extern "C" fn(
    *const HostTable,
    *const TraceRecord<'_>,
    *const FactRecord<'_>,
    u64,
    *mut *mut c_void,
) -> Answer;
pub(super) type Learn = unsafe extern "C" fn(*mut c_void, *const FunctionRecord<'_>, u64, *const Text<'_>, u64);
pub(super) type Events = unsafe extern "C" fn(*mut c_void, *const Event, u64, *const u8, u64) -> Answer;
pub(super) type Missed = unsafe extern "C" fn(*mut c_void, u64);
pub(super) type Finish = unsafe extern "C" fn(*mut c_void, *const SummaryRecord<'_>) -> Answer;
pub(super) type Destroy = unsafe extern "C" fn(*mut c_void);

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::mem::offset_of;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    fn size_of_field<T, F>(_: impl Fn(&T) -> &F) -> usize {
        size_of::<F>()
    }

    /// One assertion per struct and per field, in C. `fields[..]` is the header's notation for a pointer and its count.
    macro_rules! assertions {
        ($text:ident, $($record:ident is $name:literal { $($field:ident $(. $inner:ident)* = $c:literal),* $(,)? })*) => {
            $({
                let size = size_of::<$record>();
                writeln!($text, "_Static_assert(sizeof(struct {}) == {size}, \"size of {}\");", $name, $name).unwrap();
                let mut total = 0;
                $({
                    let offset = offset_of!($record, $field $(. $inner)*);
                    let size = size_of_field(|record: &$record| &record.$field $(. $inner)*);
                    total += size;
                    let place = format!("{}.{}", $name, $c);
                    writeln!($text, "_Static_assert(offsetof(struct {}, {}) == {offset}, \"offset of {place}\");", $name, $c).unwrap();
                    writeln!($text, "_Static_assert(sizeof(((struct {} *)0)->{}) == {size}, \"size of {place}\");", $name, $c).unwrap();
                })*
                // There is no padding, and no field is left out here.
                assert_eq!(total, size, "{}", $name);
            })*
        };
    }

    fn compile(source: &str) -> std::process::Output {
        let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/native");
        let mut compiler = Command::new("cc");
        compiler.args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fsyntax-only",
            "-I",
        ]);
        compiler.arg(header).args(["-xc", "-"]);
        compiler.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut compiler = compiler.spawn().unwrap();
        compiler.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        compiler.wait_with_output().unwrap()
    }

    #[test]
    fn every_struct_has_the_layout_of_the_header() {
        let mut text = String::from("#include <stddef.h>\n#include \"ipft_plugin.h\"\n");
        assertions! { text,
            Text is "ipft_text" { data = "data", len = "len" }
            FactRecord is "ipft_fact" { name = "name", value = "value" }
            FunctionRecord is "ipft_function" { name = "name", module = "module", address = "address" }
            MemberRecord is "ipft_member" { name = "name", value = "value" }
            FieldRecord is "ipft_field" {
                name = "name", offset = "offset", size = "size", bit_offset = "bit_offset", bit_width = "bit_width",
                kind = "kind", format = "format", members.data = "members", members.len = "member_count",
            }
            TraceRecord is "ipft_trace" {
                struct_size = "struct_size", payload_size = "payload_size", tracer = "tracer", backend = "backend",
                fields.data = "fields", fields.len = "field_count", clock_offset = "clock_offset",
                command_line.data = "command_line", command_line.len = "command_line_count",
                kernel_release = "kernel_release", mark = "mark", mask = "mask", tail = "tail", unused = "unused",
                more.data = "more", more.len = "more_count",
            }
            Event is "ipft_event" {
                packet = "packet", skb = "skb", timestamp = "timestamp", entry_timestamp = "entry_timestamp",
                function = "function", cpu = "cpu", kind = "kind", thread = "thread",
                payload_offset = "payload_offset", payload_len = "payload_len", spare = "spare",
            }
            LossRecord is "ipft_loss" { kind = "kind", count = "count", cpu = "cpu", has_cpu = "has_cpu" }
            SkippedRecord is "ipft_skipped" { name = "name", module = "module", reason = "reason" }
            SummaryRecord is "ipft_summary" {
                struct_size = "struct_size", attached = "attached", events = "events", packets = "packets",
                missed = "missed", losses.data = "losses", losses.len = "loss_count", skipped.data = "skipped",
                skipped.len = "skipped_count", more.data = "more", more.len = "more_count",
            }
            HostTable is "ipft_host" { struct_size = "struct_size", context = "context", write = "write", log = "log" }
            Plugin is "ipft_plugin" {
                head.version = "version", head.struct_size = "struct_size", description = "description",
                start = "start", learn = "learn", events = "events", missed = "missed", finish = "finish",
                destroy = "destroy",
            }
        }
        let entry = ipft_core::event::EventKind::ENTRY.0;
        let ret = ipft_core::event::EventKind::RETURN.0;
        writeln!(
            text,
            "_Static_assert(IPFT_PLUGIN_VERSION == {VERSION} && IPFT_ENTRY == {entry} && IPFT_RETURN == {ret}, \"\");"
        )
        .unwrap();
        writeln!(text, "const struct ipft_plugin *(*entry)(void) = {SYMBOL};").unwrap();
        let good = compile(&text);
        assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));

        // A wrong one would be found.
        let wrong = text.replace(
            "offsetof(struct ipft_trace, mark) == ",
            "offsetof(struct ipft_trace, mark) == 1",
        );
        assert_ne!(wrong, text);
        let wrong = compile(&wrong);
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("offset of ipft_trace.mark"));
    }
}
