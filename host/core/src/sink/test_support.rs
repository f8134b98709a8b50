//! Shared by the tests of this module.

use std::io::Write;
use std::sync::{Arc, Mutex};

use crate::event::{Schema, Trace, Tracer};

/// A trace of no function.
pub(super) fn trace() -> Trace {
    Trace {
        tracer: Tracer::FunctionGraph,
        backend: "kprobe".to_owned(),
        functions: Vec::new(),
        schema: Schema::default(),
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: "6.12.0".to_owned(),
        mark: 1,
        mask: u32::MAX,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    }
}

/// A writer whose content can be read by the one who gave it away.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
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
