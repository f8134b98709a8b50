//! The plugin as a shared library: the C interface of `sdk/native/ipft_plugin.h` on one side, a [`Driver`] on the other.
//!
//! The header is the definition; a test compares every size and offset here with it. Panics do not leave a function
//! that the host calls: they end the plugin with an error, as on WebAssembly.

mod records;

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use crate::event::Event;
use crate::trace::Function;
use crate::{Driver, Level, Options, Output, Plugin, set_logger};
use records::*;

/// `IPFT_PLUGIN_VERSION`.
const VERSION: u32 = 0x00_01_00;

/// `struct ipft_host`.
#[derive(Clone, Copy)]
#[repr(C)]
struct HostTable {
    struct_size: u64,
    context: *mut c_void,
    write: unsafe extern "C" fn(*mut c_void, *const c_void, u64) -> i32,
    log: unsafe extern "C" fn(*mut c_void, u32, *const c_char, u64),
}

/// An error, or null.
type Answer = *const c_char;

/// `struct ipft_plugin`: the library's export.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    version: u32,
    struct_size: u32,
    description: Text,
    start:
        unsafe extern "C" fn(*const HostTable, *const TraceRecord, *const FactRecord, u64, *mut *mut c_void) -> Answer,
    learn: unsafe extern "C" fn(*mut c_void, *const FunctionRecord, u64, *const Text, u64),
    events: unsafe extern "C" fn(*mut c_void, *const Event, u64, *const u8, u64) -> Answer,
    missed: unsafe extern "C" fn(*mut c_void, u64),
    finish: unsafe extern "C" fn(*mut c_void, *const SummaryRecord) -> Answer,
    destroy: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: it contains functions, and a pointer to static immutable text.
unsafe impl Sync for Table {}

impl Table {
    /// Returns the table of a plugin with this description.
    pub const fn new<P: Plugin + Default + 'static>(description: &'static [u8]) -> Self {
        Table {
            version: VERSION,
            struct_size: size_of::<Table>() as u32,
            description: Text {
                data: description.as_ptr(),
                len: description.len() as u64,
            },
            start: start::<P>,
            learn: learn::<P>,
            events: events::<P>,
            missed: missed::<P>,
            finish: finish::<P>,
            destroy: destroy::<P>,
        }
    }
}

/// An instance for the host.
struct Instance<P> {
    driver: Driver<P>,
    /// Whether the stream is closed, so that the next call returns an error.
    ended: Rc<Cell<bool>>,
    /// The error of a call that cannot return one.
    failure: Option<String>,
    /// The last error, which the host reads until the next call.
    answer: CString,
}

impl<P: Plugin> Instance<P> {
    /// Calls the plugin, and converts the result for the host.
    fn answer(&mut self, call: impl FnOnce(&mut Driver<P>) -> Result<(), crate::Error>) -> Answer {
        let result = match self.failure.take() {
            Some(failure) => Err(failure),
            None => guarded(|| call(&mut self.driver).map_err(|error| error.to_string())).flatten(),
        };
        match result {
            // The host knows the reason.
            Ok(()) if self.ended.get() => self.say("the stream takes no more"),
            Ok(()) => ptr::null(),
            Err(error) => self.say(&error),
        }
    }

    /// Calls the plugin for a function without a result.
    fn tell(&mut self, call: impl FnOnce(&mut Driver<P>)) {
        if self.failure.is_none() {
            self.failure = guarded(|| call(&mut self.driver)).err();
        }
    }

    fn say(&mut self, error: &str) -> Answer {
        self.answer = CString::new(error.replace('\0', "\\0")).unwrap_or_default();
        self.answer.as_ptr()
    }
}

/// Returns the message of a panic, which must not leave the library. The panic hook has printed its location.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // After a panic, the only further call drops the plugin.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let message = panic.downcast_ref::<&str>().copied();
        let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("it panicked: {}", message.unwrap_or("without a message"))
    })
}

/// These functions rely on the header's guarantees: pointers and counts are those of lists that are valid until the
/// call returns, and the instance was created by `start` and is used by one thread at a time. Data that is kept is
/// copied. `host`, which is kept itself, is valid until `destroy` returns.
unsafe extern "C" fn start<P: Plugin + Default + 'static>(
    host: *const HostTable,
    trace: *const TraceRecord,
    options: *const FactRecord,
    option_count: u64,
    instance: *mut *mut c_void,
) -> Answer {
    // SAFETY: see above; the host's table and the trace are never null.
    let (host, record) = unsafe { (*host, *trace) };
    let ended = Rc::new(Cell::new(false));
    let full = Rc::clone(&ended);
    let output = Output::new(move |bytes| {
        // SAFETY: the header defines the function so, and permits this call, since the driver that contains it is
        // dropped in `destroy`.
        let result = unsafe { (host.write)(host.context, bytes.as_ptr().cast(), bytes.len() as u64) };
        if result != 0 {
            full.set(true);
        }
    });
    set_logger(move |level, message| {
        // SAFETY: as above; `destroy` sets another logger.
        unsafe {
            (host.log)(
                host.context,
                number(level),
                message.as_ptr().cast(),
                message.len() as u64,
            )
        };
    });
    let made = guarded(|| Driver::new(P::default(), output));
    let driver = match made {
        Ok(driver) => driver,
        // Without an instance the text has no owner: it is leaked, once.
        Err(error) => return CString::new(error.replace('\0', "\\0")).unwrap_or_default().into_raw(),
    };
    let made = Box::into_raw(Box::new(Instance {
        driver,
        ended,
        failure: None,
        answer: CString::default(),
    }));
    // SAFETY: see above; the host provides this location, and the value was allocated right here.
    let made = unsafe {
        *instance = made.cast();
        &mut *made
    };
    // SAFETY: see above.
    let (trace, options) = unsafe { (of_trace(&record), of_facts(options, option_count)) };
    let options = Options::new(options);
    made.answer(|driver| driver.start(trace, &options))
}

unsafe extern "C" fn learn<P: Plugin + 'static>(
    instance: *mut c_void,
    functions: *const FunctionRecord,
    function_count: u64,
    names: *const Text,
    name_count: u64,
) {
    // SAFETY: see `start`.
    let (functions, names) = unsafe { (slice(functions, function_count), slice(names, name_count)) };
    let function = |record: &FunctionRecord| Function {
        // SAFETY: see `start`.
        name: unsafe { text(record.name) },
        // SAFETY: see `start`.
        module: unsafe { text(record.module) },
        address: record.address,
    };
    let functions = functions.iter().map(function).collect();
    // SAFETY: see `start`.
    let names = names.iter().map(|name| unsafe { text(*name) }).collect();
    // SAFETY: see `start`.
    let Some(instance) = (unsafe { of_instance::<P>(instance) }) else {
        return;
    };
    instance.tell(|driver| driver.learn(functions, names));
}

unsafe extern "C" fn events<P: Plugin + 'static>(
    instance: *mut c_void,
    events: *const Event,
    event_count: u64,
    payload: *const u8,
    payload_len: u64,
) -> Answer {
    // SAFETY: see `start`.
    let (events, payload) = unsafe { (slice(events, event_count), slice(payload, payload_len)) };
    // SAFETY: see `start`.
    let Some(instance) = (unsafe { of_instance::<P>(instance) }) else {
        return NOT_STARTED;
    };
    instance.answer(|driver| driver.events(events, payload))
}

unsafe extern "C" fn missed<P: Plugin + 'static>(instance: *mut c_void, events: u64) {
    // SAFETY: see `start`.
    if let Some(instance) = unsafe { of_instance::<P>(instance) } {
        instance.tell(|driver| driver.missed(events));
    }
}

unsafe extern "C" fn finish<P: Plugin + 'static>(instance: *mut c_void, summary: *const SummaryRecord) -> Answer {
    // SAFETY: see `start`; the summary is never null.
    let summary = unsafe { of_summary(&*summary) };
    // SAFETY: see `start`.
    let Some(instance) = (unsafe { of_instance::<P>(instance) }) else {
        return NOT_STARTED;
    };
    instance.answer(|driver| driver.finish(&summary))
}

unsafe extern "C" fn destroy<P: Plugin + 'static>(instance: *mut c_void) {
    if !instance.is_null() {
        // SAFETY: see `start`, which created it from a box; this is the last call.
        let instance = unsafe { Box::from_raw(instance.cast::<Instance<P>>()) };
        // An error cannot be returned; the panic hook has printed it.
        let _ = guarded(|| drop(instance));
    }
    // The old one refers to the host's table.
    set_logger(|_, _| {});
}

/// The result of a failed `start`; the host makes no further calls.
const NOT_STARTED: Answer = c"it was not started".as_ptr();

/// # Safety
///
/// `instance` was created by `start` of the same plugin, or is null, and has no other user.
unsafe fn of_instance<'a, P: Plugin>(instance: *mut c_void) -> Option<&'a mut Instance<P>> {
    // SAFETY: guaranteed by the caller.
    unsafe { instance.cast::<Instance<P>>().as_mut() }
}

fn number(level: Level) -> u32 {
    match level {
        Level::Error => 0,
        Level::Warning => 1,
        Level::Info => 2,
        Level::Debug => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::mem::offset_of;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::trace::{Summary, Trace};

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
        let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../native");
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

    /// A plugin that panics in the call named by its only option, and writes in all others.
    #[derive(Default)]
    struct Fragile {
        at: String,
    }

    impl Fragile {
        fn call(&self, name: &str) {
            assert_ne!(self.at, name, "a\0b");
        }
    }

    impl Plugin for Fragile {
        fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), crate::Error> {
            self.at = options.get("at")?.to_owned();
            crate::log(Level::Warning, &trace.tracer);
            self.call("start");
            Ok(())
        }

        fn learn(&mut self, _: &Trace) {
            self.call("learn");
        }

        fn events(&mut self, batch: &crate::Batch<'_>, out: &mut Output) -> Result<(), crate::Error> {
            self.call("events");
            out.push(batch.payload);
            Ok(())
        }

        fn missed(&mut self, _: u64) {
            self.call("missed");
        }

        fn finish(&mut self, _: &Trace, _: &Summary, out: &mut Output) -> Result<(), crate::Error> {
            self.call("finish");
            out.push(b"finish");
            Ok(())
        }
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            self.call("destroy");
        }
    }

    /// The host's view: output and messages, and whether the stream is full.
    #[derive(Default)]
    struct Seen {
        written: Vec<u8>,
        said: Vec<(u32, String)>,
        full: bool,
    }

    unsafe extern "C" fn append(context: *mut c_void, bytes: *const c_void, len: u64) -> i32 {
        // SAFETY: the context is that of `host`, and the bytes come from a plugin that follows the header.
        let (seen, bytes) = unsafe { (&mut *context.cast::<Seen>(), slice(bytes.cast::<u8>(), len)) };
        seen.written.extend_from_slice(bytes);
        if seen.full { -1 } else { 0 }
    }

    unsafe extern "C" fn say(context: *mut c_void, level: u32, message: *const c_char, len: u64) {
        // SAFETY: as in `append`.
        let (seen, message) = unsafe { (&mut *context.cast::<Seen>(), slice(message.cast::<u8>(), len)) };
        seen.said.push((level, String::from_utf8(message.to_vec()).unwrap()));
    }

    fn text_of(text: &'static str) -> Text {
        Text {
            data: text.as_ptr(),
            len: text.len() as u64,
        }
    }

    fn none<T>() -> List<T> {
        List {
            data: ptr::null(),
            len: 0,
        }
    }

    /// Makes all calls of one instance like a host, up to the first that fails; the error is the last entry.
    fn live(at: &'static str, full: bool) -> (Seen, Option<String>) {
        let table = Table::new::<Fragile>(b"{}");
        let mut seen = Seen {
            full,
            ..Seen::default()
        };
        let host = HostTable {
            struct_size: size_of::<HostTable>() as u64,
            context: (&raw mut seen).cast(),
            write: append,
            log: say,
        };
        let trace = TraceRecord {
            struct_size: size_of::<TraceRecord>() as u32,
            payload_size: 0,
            tracer: text_of("function"),
            backend: text_of(""),
            fields: none(),
            clock_offset: 0,
            command_line: none(),
            kernel_release: text_of(""),
            mark: 0,
            mask: 0,
            tail: 0,
            unused: 0,
            more: none(),
        };
        let summary = SummaryRecord {
            struct_size: size_of::<SummaryRecord>() as u32,
            attached: 0,
            events: 0,
            packets: 0,
            missed: 0,
            losses: none(),
            skipped: none(),
            more: none(),
        };
        let option = FactRecord {
            name: text_of("at"),
            value: text_of(at),
        };
        let mut instance = ptr::null_mut();
        let error = |answer: Answer| {
            // SAFETY: the result is null or NUL-terminated text.
            (!answer.is_null()).then(|| unsafe { std::ffi::CStr::from_ptr(answer) }.to_str().unwrap().to_owned())
        };
        // SAFETY: all arguments are as the header requires, and valid until `destroy` has returned.
        let error = unsafe {
            let mut failed = error((table.start)(&host, &trace, &option, 1, &mut instance));
            if failed.is_none() {
                (table.learn)(instance, ptr::null(), 0, ptr::null(), 0);
                (table.missed)(instance, 3);
                failed = error((table.events)(instance, ptr::null(), 0, b"payload".as_ptr(), 7));
            }
            if failed.is_none() {
                failed = error((table.finish)(instance, &summary));
            }
            (table.destroy)(instance);
            failed
        };
        (seen, error)
    }

    #[test]
    fn a_panic_in_any_call_becomes_an_error() {
        for at in ["start", "learn", "missed", "events", "finish"] {
            let (_, error) = live(at, false);
            let error = error.unwrap_or_else(|| panic!("{at}"));
            assert!(error.starts_with("it panicked: ") && error.contains("a\\0b"), "{error}");
        }
        // The error has no receiver, but there is no further effect.
        let (seen, error) = live("destroy", false);
        assert_eq!((&seen.written[..], error), (&b"payloadfinish"[..], None));
    }

    #[test]
    fn a_plugin_writes_and_logs_through_the_host() {
        let (seen, error) = live("", false);
        assert_eq!((&seen.written[..], error), (&b"payloadfinish"[..], None));
        assert_eq!(seen.said, [(1, "function".to_owned())]);
    }

    #[test]
    fn a_closed_stream_ends_the_plugin() {
        let (seen, error) = live("", true);
        assert_eq!(
            (&seen.written[..], error.as_deref()),
            (&b"payload"[..], Some("the stream takes no more"))
        );
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
            Table is "ipft_plugin" {
                version = "version", struct_size = "struct_size", description = "description",
                start = "start", learn = "learn", events = "events", missed = "missed", finish = "finish",
                destroy = "destroy",
            }
        }
        let (entry, ret) = (Event::ENTRY, Event::RETURN);
        writeln!(
            text,
            "_Static_assert(IPFT_PLUGIN_VERSION == {VERSION} && IPFT_ENTRY == {entry} && IPFT_RETURN == {ret}, \"\");"
        )
        .unwrap();
        writeln!(text, "const struct ipft_plugin *(*entry)(void) = ipft_plugin_v0;").unwrap();
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
