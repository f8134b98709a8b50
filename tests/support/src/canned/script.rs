//! Writes a canned trace event by event. Imports nothing of ours.

use ipft_core::event::*;

use super::Canned;

/// Writes a trace event by event. Time, CPU, thread and payload keep their last value.
pub struct Script {
    pub trace: Trace,
    pub summary: Summary,
    batches: Vec<Batch>,
    /// Names of tagged fields; those added later are only in later batches.
    pub(super) names: Vec<String>,
    timestamp: u64,
    cpu: u32,
    thread: u32,
    payload: Vec<u8>,
}

impl Script {
    pub fn new(tracer: Tracer, functions: &[(&str, &str)]) -> Self {
        let function = |(index, (name, module)): (usize, &(&str, &str))| Function {
            name: (*name).to_owned(),
            module: (*module).to_owned(),
            // The kernel does not expose every address.
            address: [0xffff_ffff_8100_0000 + 0x40 * index as u64, 0][usize::from(index == 3)],
        };
        Script {
            trace: Trace {
                tracer,
                backend: "kprobe-session".to_owned(),
                functions: functions.iter().enumerate().map(function).collect(),
                schema: Schema::default(),
                clock_offset: 1_767_225_600_123_456_789,
                command_line: ["ipft", "-m", "0xdeadbeef"].map(str::to_owned).to_vec(),
                kernel_release: "6.12.1".to_owned(),
                mark: 0xdead_beef,
                mask: u32::MAX,
                filter: String::new(),
                follow: false,
                drop_reasons: Vec::new(),
            },
            summary: Summary {
                attached: functions.len() as u32,
                ..Summary::default()
            },
            batches: vec![Batch::default()],
            names: Vec::new(),
            timestamp: 0,
            cpu: 0,
            thread: 0,
            payload: Vec::new(),
        }
    }

    pub fn at(&mut self, timestamp: u64) -> &mut Self {
        self.timestamp = timestamp;
        self
    }

    pub fn cpu(&mut self, cpu: u32) -> &mut Self {
        self.cpu = cpu;
        self
    }

    pub fn thread(&mut self, thread: u32) -> &mut Self {
        self.thread = thread;
        self
    }

    pub fn payload(&mut self, payload: Vec<u8>) -> &mut Self {
        self.payload = payload;
        self
    }

    pub fn enter(&mut self, packet: u64, function: u32) {
        self.event(EventKind::ENTRY, packet, function);
    }

    pub fn leave(&mut self, packet: u64, function: u32) {
        self.event(EventKind::RETURN, packet, function);
    }

    /// The packet was made of another one.
    pub fn born(&mut self, packet: u64, parent: u64, function: u32) {
        self.other(EventKind::BORN, packet, function, parent);
    }

    /// It became part of another one.
    pub fn join(&mut self, packet: u64, into: u64) {
        self.other(EventKind::JOINED, packet, NO_FUNCTION, into);
    }

    /// The packet ended, with this outcome.
    pub fn end(&mut self, packet: u64, function: u32, outcome: u64) {
        self.other(EventKind::ENDED, packet, function, outcome);
    }

    /// It was decided what becomes of it.
    pub fn decide(&mut self, packet: u64, function: u32, decision: Decision) {
        self.other(EventKind::DECIDED, packet, function, decision.to_word());
    }

    /// It is about to end as dropped, in this stack.
    pub fn stack(&mut self, packet: u64, stack: u32) {
        self.other(EventKind::STACK, packet, stack, 0);
    }

    fn other(&mut self, kind: EventKind, packet: u64, function: u32, spare: u64) {
        let payload = std::mem::take(&mut self.payload);
        self.event(kind, packet, function);
        self.payload = payload;
        let batch = self.batches.last_mut().expect("there is always one");
        if let Some(event) = batch.events.last_mut() {
            event.spare = spare;
        }
    }

    pub fn end_batch(&mut self) {
        self.batches.push(Batch::default());
    }

    fn event(&mut self, kind: EventKind, packet: u64, function: u32) {
        let batch = self.batches.last_mut().expect("there is always one");
        batch.names.clone_from(&self.names);
        let skb = match kind {
            EventKind::ENTRY => 0xffff_8da1_f50b_0000 | (packet & 0xff) << 8,
            _ => 0,
        };
        batch.events.push(Event {
            packet,
            skb,
            timestamp: self.timestamp,
            entry_timestamp: 0,
            function,
            cpu: self.cpu,
            kind,
            thread: self.thread,
            payload_offset: batch.payload.len() as u32,
            payload_len: self.payload.len() as u32,
            spare: 0,
        });
        batch.payload.extend_from_slice(&self.payload);
    }

    /// Returns the trace as sinks get it: returns know their entries.
    pub fn can(mut self, name: &'static str) -> Canned {
        let mut calls = OpenCalls::default();
        let mut packets = std::collections::BTreeSet::new();
        for batch in &mut self.batches {
            calls.pair(&mut batch.events);
            self.summary.events += batch.calls().count() as u64;
            packets.extend(batch.events.iter().map(|event| event.packet));
        }
        self.summary.packets = packets.len() as u64;
        Canned {
            name,
            trace: self.trace,
            batches: self.batches,
            summary: self.summary,
        }
    }
}
