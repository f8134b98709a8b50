//! The recording of `ipft top`, which a key begins and stops. May import the sinks and `selection`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipft_core::event::{Batch, Function, Progress, Summary, Trace};
use ipft_core::message;
use ipft_core::selection::Packets;
use ipft_core::sink::{Record, Sink, SinkError};

/// Bytes for the numbers of packets, which are counted.
const MEMORY: u64 = 16 << 20;

/// Whether a recording is made: the view switches it on and off.
#[derive(Debug, Default)]
pub struct Switch {
    /// There is a file to record to.
    pub(super) present: AtomicBool,
    pub(super) on: AtomicBool,
    pub(super) failed: AtomicBool,
}

/// Passes what happens while the switch is on to a recording, which begins when it is switched on first. Until then the
/// file stays as it was.
pub struct Switched {
    name: String,
    record: Record,
    switch: Arc<Switch>,
    /// What was traced, until the recording begins.
    trace: Option<Trace>,
    begun: bool,
    events: u64,
    packets: Packets,
}

impl Switched {
    /// Records to the file of this name.
    pub fn new(name: String, record: Record, switch: Arc<Switch>) -> Self {
        switch.present.store(true, Ordering::Release);
        Switched {
            name,
            record,
            switch,
            trace: None,
            begun: false,
            events: 0,
            packets: Packets::new(MEMORY),
        }
    }

    fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if let Some(trace) = self.trace.take() {
            self.begun = true;
            self.record.start(&trace)?;
        }
        for event in batch.calls() {
            self.events += 1;
            self.packets.insert(event.packet);
        }
        self.record.events(batch)
    }

    /// Notes for the view that the recording has failed.
    fn noted(&self, result: Result<(), SinkError>) -> Result<(), SinkError> {
        if result.is_err() {
            self.switch.on.store(false, Ordering::Release);
            self.switch.failed.store(true, Ordering::Release);
        }
        result
    }
}

impl Sink for Switched {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.trace = Some(trace.clone());
        Ok(())
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        match &mut self.trace {
            Some(trace) => {
                trace.functions.extend_from_slice(new);
                Ok(())
            }
            None => {
                let result = self.record.functions(new);
                self.noted(result)
            }
        }
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if !self.switch.on.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.take(batch);
        self.noted(result)
    }

    fn progress(&mut self, progress: &Progress) -> Result<(), SinkError> {
        if !self.begun {
            return Ok(());
        }
        let result = self.record.progress(progress);
        self.noted(result)
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        if !self.begun {
            message!("Nothing was recorded in {}: the key w begins to record", self.name);
            return Ok(());
        }
        let own = Summary {
            events: self.events,
            packets: self.packets.count(),
            ..summary.clone()
        };
        self.record.finish(&own)?;
        message!(
            "Recorded {} events of {} packets in {}",
            own.events,
            own.packets,
            self.name
        );
        Ok(())
    }
}

impl std::fmt::Debug for Switched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Switched")
            .field("name", &self.name)
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}
