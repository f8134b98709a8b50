//! Hand-made traces, small enough to read, for the tests of the sinks.

mod journeys;
mod packet_fields;
mod payloads;
mod script;
mod traces;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ipft_core::event::*;
use ipft_core::sink::Sink;

use journeys::{decided, followed};
pub use packet_fields::{Fields, mapped};
use payloads::{bits, built_in, built_in_tagged, fields, tagged};
pub use script::Script;
use traces::{empty, function, graph, hostile, lossy, two_contexts};

/// A trace and its events, in batches.
pub struct Canned {
    pub name: &'static str,
    pub trace: Trace,
    pub batches: Vec<Batch>,
    pub summary: Summary,
}

/// Returns all of them.
pub fn all() -> Vec<Canned> {
    vec![
        empty(),
        function(),
        graph(),
        two_contexts(),
        lossy(),
        hostile(),
        fields(),
        tagged(),
        bits(),
        built_in(),
        built_in_tagged(),
        followed(),
        decided(),
    ]
}

/// Returns the same trace with events of unknown kinds between all others: of their own packets, of unknown functions,
/// with payloads.
pub fn with_other_kinds(canned: &Canned) -> Canned {
    let batches = canned.batches.iter().map(|batch| {
        let mut more = Batch {
            events: Vec::new(),
            ..batch.clone()
        };
        let size = canned.trace.schema.size;
        let offset = more.payload.len() as u32;
        more.payload.resize(offset as usize + size as usize, 0xff);
        for event in &batch.events {
            let other = |kind, packet, function| Event {
                packet,
                entry_timestamp: event.timestamp / 2,
                function,
                kind: EventKind(kind),
                payload_offset: offset,
                payload_len: size,
                spare: event.packet,
                ..*event
            };
            let decided = other(EventKind::DECIDED.0, event.packet ^ 1 << 40, event.function);
            more.events
                .extend([decided, *event, other(77, event.packet, u32::MAX >> 3)]);
        }
        more
    });
    Canned {
        name: canned.name,
        trace: canned.trace.clone(),
        batches: batches.collect(),
        summary: canned.summary.clone(),
    }
}

pub fn field(name: &str, offset: u32, size: u32, kind: FieldType, format: FieldFormat) -> Field {
    Field {
        name: name.to_owned(),
        offset,
        size,
        bits: None,
        kind,
        format,
    }
}

/// Returns a sink's output for the trace.
pub fn draw<S: Sink>(canned: &Canned, sink: impl FnOnce(Shared) -> S) -> String {
    let output = Shared::default();
    let mut sink = sink(output.clone());
    sink.start(&canned.trace).expect("the sink starts");
    for batch in &canned.batches {
        sink.events(batch).expect("the sink takes events");
    }
    sink.finish(&canned.summary).expect("the sink finishes");
    output.text()
}

/// Compares with the golden file of this name.
pub fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if let Some((number, (expected, actual))) = (1..)
        .zip(expected.lines().zip(actual.lines()))
        .find(|(_, (expected, actual))| expected != actual)
    {
        panic!("{name}, line {number}:\nexpected {expected}\n     got {actual}");
    }
    assert_eq!(expected, actual, "{name}");
}

/// A writer whose content stays readable through a clone.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("sinks write UTF-8")
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
