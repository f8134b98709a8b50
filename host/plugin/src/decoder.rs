//! Decoder plugins: their checked results become tagged values.
//!
//! [`crate::host::wasm`] runs the plugin. This module has the trace's side: which events have a payload, the names so
//! far, and the events that the plugin could not decode.

use crate::host::wasm::{Content, Decoded, Decoder, Failure, PluginError};
use ipft_core::event::{Batch, MAX_TAGGED, Trace, Value};
use ipft_core::extension::decode::{DATA, Decode, Report, Tell, parts};

/// Limit of distinct field names in one trace. A plugin that makes names from data would fill the memory.
pub const MAX_NAMES: usize = 4096;

/// Maximum bytes of a name.
pub const MAX_NAME: usize = 256;

/// Payloads per call: the result needs memory as well.
const MAX_CALL: usize = 4096;

/// A plugin that decodes the payloads of a trace.
#[derive(Debug)]
pub struct WasmDecoder {
    plugin: Plugin,
    /// Names that the plugin has defined.
    names: usize,
    /// Events that have no fields because of a failure.
    failed: u64,
    /// Size of the built-in fields, which stay in front.
    builtin: usize,
    /// Decoded events of the current batch, their built-in fields, and the decoded values, stored one after the other.
    entries: Vec<usize>,
    fronts: Vec<u8>,
    data: Vec<u8>,
    /// The new payloads of the batch.
    payload: Vec<u8>,
}

/// The plugin, as long as it can be called.
struct Plugin {
    decoder: Decoder,
    over: bool,
    reported: bool,
    tell: Tell,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.decoder.fmt(formatter)
    }
}

/// An invalid result of the plugin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Nonsense {
    #[error("it made more than {MAX_NAMES} names, or one of more than {MAX_NAME} bytes")]
    Names,
    #[error("it returned a value whose name it had not listed")]
    Name,
    #[error("it returned values of payloads that are not there, or out of order")]
    Order,
}

impl WasmDecoder {
    /// Creates a decoder from a new plugin. Its first failure at an event is reported through `tell`.
    pub fn new(decoder: Decoder, tell: Tell) -> Self {
        WasmDecoder {
            plugin: Plugin {
                decoder,
                over: false,
                reported: false,
                tell,
            },
            names: 0,
            failed: 0,
            builtin: 0,
            entries: Vec::new(),
            fronts: Vec::new(),
            data: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Decodes some payloads of the batch, whose events have none so far.
    fn decode_some(&mut self, batch: &mut Batch, entries: std::ops::Range<usize>) {
        let payloads = &self.data[entries.start * DATA..entries.end * DATA];
        let decoded = self.plugin.decode(payloads).and_then(|decoded| {
            let nonsense = self.check(&decoded, entries.len()).err();
            if let Some(nonsense) = &nonsense {
                self.plugin.over = true;
                self.plugin.tell(&nonsense.to_string());
            }
            nonsense.is_none().then_some(decoded)
        });
        // Without values, the built-in fields remain.
        let decoded = decoded.unwrap_or_else(|| {
            self.failed += entries.len() as u64;
            Decoded::default()
        });
        self.names += decoded.names.len();
        batch.names.extend(decoded.names);
        let mut values = decoded.values.iter().peekable();
        for (index, entry) in entries.enumerate() {
            let event = self.entries[entry];
            let first = self.payload.len();
            let front = &self.fronts[entry * self.builtin..(entry + 1) * self.builtin];
            self.payload.extend_from_slice(front);
            let start = self.payload.len();
            while let Some(value) = values.next_if(|value| value.payload as usize == index) {
                let content = match &value.content {
                    Content::Integer(number) => Value::Integer(*number),
                    Content::Float(number) => Value::Float(*number),
                    Content::Text(text) => Value::Text(text.as_bytes()),
                };
                // Values beyond an event's limit are not kept either.
                if self.payload.len() - start <= MAX_TAGGED {
                    content.push(&mut self.payload, value.name);
                }
            }
            if self.payload.len() - start > MAX_TAGGED {
                self.payload.truncate(start);
                self.failed += 1;
                self.plugin
                    .tell(&format!("it made more than {MAX_TAGGED} bytes of one payload"));
            }
            // A batch whose events are all at their limit is far below 4 GiB.
            batch.events[event].payload_offset = first as u32;
            batch.events[event].payload_len = (self.payload.len() - first) as u32;
        }
    }

    /// Checks a result: a plugin may return anything.
    fn check(&self, decoded: &Decoded, payloads: usize) -> Result<(), Nonsense> {
        let names = self.names + decoded.names.len();
        if names > MAX_NAMES || decoded.names.iter().any(|name| name.len() > MAX_NAME) {
            return Err(Nonsense::Names);
        }
        if decoded.values.iter().any(|value| value.name as usize >= names) {
            return Err(Nonsense::Name);
        }
        let last = decoded.values.last().map_or(0, |value| value.payload as usize);
        if !decoded.values.is_sorted_by_key(|value| value.payload) || (last >= payloads && !decoded.values.is_empty()) {
            return Err(Nonsense::Order);
        }
        Ok(())
    }
}

impl Plugin {
    fn decode(&mut self, payloads: &[u8]) -> Option<Decoded> {
        if self.over {
            return None;
        }
        match self.decoder.decode(payloads, DATA as u32) {
            Ok(decoded) => Some(decoded),
            Err(error) => {
                self.over = !matches!(error.failure, Failure::Returned(_));
                self.tell(&error.to_string());
                None
            }
        }
    }

    /// Reports the first failure.
    fn tell(&mut self, failure: &str) {
        if !std::mem::replace(&mut self.reported, true) {
            (self.tell)(&format!(
                "the plugin {} failed at an event, which is shown without fields, as others will be where it fails: {failure}",
                self.decoder.plugin()
            ));
        }
    }
}

impl Decode for WasmDecoder {
    fn start(&mut self, trace: &Trace) -> Result<(), String> {
        self.builtin = trace.schema.size as usize;
        self.plugin.decoder.start(trace).map_err(|error: PluginError| {
            self.plugin.over = true;
            error.to_string()
        })
    }

    fn decode(&mut self, batch: &mut Batch) {
        self.entries.clear();
        self.fronts.clear();
        self.data.clear();
        self.payload.clear();
        for (index, event) in batch.events.iter_mut().enumerate() {
            if let Some((front, data)) = parts(event, &batch.payload, self.builtin) {
                self.entries.push(index);
                self.fronts.extend_from_slice(front);
                self.data.extend_from_slice(data);
            }
            event.payload_offset = 0;
            event.payload_len = 0;
        }
        for start in (0..self.entries.len()).step_by(MAX_CALL) {
            let end = self.entries.len().min(start + MAX_CALL);
            self.decode_some(batch, start..end);
        }
        std::mem::swap(&mut batch.payload, &mut self.payload);
    }

    fn finish(&mut self) -> Report {
        let mut report = Report::new(self.failed, &format_args!("plugin {}", self.plugin.decoder.plugin()));
        if !self.plugin.over
            && let Err(error) = self.plugin.decoder.finish()
        {
            report.messages.push(error.to_string());
        }
        report
    }
}
