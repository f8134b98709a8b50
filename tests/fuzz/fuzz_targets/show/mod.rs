//! Shows a layout like a trace: every sink must accept it, and an event with any bytes.

use ipft_core::event::*;
use ipft_core::extension::layout::{LayoutError, MAX_EVENT};
use ipft_core::sink::{Aggregate, Json, Jsonl, Sink};

pub fn show(layout: Result<Schema, LayoutError>) {
    let schema = match layout {
        Ok(schema) => schema,
        Err(error) => return message(&error),
    };
    assert!(schema.size <= MAX_EVENT);
    let mut batch = Batch::default();
    for byte in [0, 0x5a, 0xff] {
        batch.events.push(Event {
            packet: 1,
            skb: 1,
            timestamp: 1,
            entry_timestamp: 0,
            function: 0,
            cpu: 0,
            kind: EventKind::ENTRY,
            thread: 0,
            payload_offset: batch.payload.len() as u32,
            payload_len: schema.size,
            spare: 0,
        });
        batch.payload.resize(batch.payload.len() + schema.size as usize, byte);
    }
    let trace = Trace {
        tracer: Tracer::Function,
        backend: String::new(),
        functions: Vec::new(),
        schema,
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: String::new(),
        mark: 0,
        mask: 0,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    };
    let draw = |mut sink: Box<dyn Sink>| {
        sink.start(&trace).expect("a layout can be shown");
        sink.events(&batch).expect("events can be shown");
        sink.finish(&Summary::default()).expect("the sink finishes");
    };
    draw(Box::new(Aggregate::new(std::io::sink())));
    draw(Box::new(Json::new(std::io::sink())));
    draw(Box::new(Jsonl::new(std::io::sink())));
}

/// Errors must be short and free of terminal control characters.
pub fn message(error: &dyn std::error::Error) {
    let text = error.to_string();
    assert!(text.len() < 8192, "{} bytes", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}
