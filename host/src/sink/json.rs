//! `-o json`: one object a line, as the events come, in the shape that the old tool wrote.
//!
//! ```json
//! {"packet_id":"0x…","timestamp":N,"processor_id":N,"module":"…","function":"…","is_return":bool,"len":"2688"}
//! ```
//!
//! Fields of the payload follow as strings, under their own names. Losses have no place in this shape; the JSON lines
//! format ([`super::Jsonl`]) has one.

use std::io::Write;

use super::fields::{Fields, Style};
use super::output::Output;
use super::text::*;
use super::{Sink, SinkError};
use crate::event::{Batch, EventKind, Summary, Trace};

/// The sink behind `-o json`.
#[derive(Debug)]
pub struct Json {
    output: Output,
    /// `,"module":"…","function":"…","is_return":` of every function.
    functions: FunctionTexts,
    fields: Fields,
    clock: Clock,
    /// The packet of the event before, and how an event of it begins.
    packet: u64,
    beginning: [u8; 46],
}

impl Json {
    /// Writes to `writer`, once per batch.
    pub fn new(writer: impl Write + 'static) -> Self {
        Json {
            output: Output::new(writer),
            functions: FunctionTexts::default(),
            fields: Fields::default(),
            clock: Clock::default(),
            packet: 0,
            beginning: beginning(0),
        }
    }
}

/// `{"packet_id":"0x…","timestamp":`
fn beginning(packet: u64) -> [u8; 46] {
    let mut text = *b"{\"packet_id\":\"0x0000000000000000\",\"timestamp\":";
    text[14..32].copy_from_slice(&hex_wide(packet));
    text
}

impl Sink for Json {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.fields = Fields::new(&trace.schema, Style::JsonText)?;
        self.functions = FunctionTexts::new(&trace.functions, |out, function| {
            out.extend_from_slice(b",\"module\":");
            push_json_string(out, &function.module);
            out.extend_from_slice(b",\"function\":");
            push_json_string(out, &function.name);
            out.extend_from_slice(b",\"is_return\":");
        });
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.fields.learn(&batch.names);
        for event in &batch.events {
            let out = &mut self.output.buffer;
            if event.packet != self.packet {
                self.packet = event.packet;
                self.beginning = beginning(event.packet);
            }
            out.extend_from_slice(&self.beginning);
            self.clock.push(out, event.timestamp);
            out.extend_from_slice(b",\"processor_id\":");
            push_unsigned(out, u64::from(event.cpu));
            self.functions.push(out, event.function);
            match event.kind {
                EventKind::Entry => out.extend_from_slice(b"false"),
                EventKind::Return => out.extend_from_slice(b"true"),
            }
            self.fields.push(out, batch.payload_of(event));
            out.extend_from_slice(b"}\n");
            self.output.line_done()?;
        }
        self.output.flush()
    }

    fn finish(&mut self, _summary: &Summary) -> Result<(), SinkError> {
        self.output.flush()
    }
}
