//! Buffers a text sink's output: a buffer is filled while a batch is drawn, and passed to a writer as a whole.
//!
//! The writer is behind a pointer. It is called once in thousands of lines, and a sink that is no template over its
//! writer is compiled once and here, where everything that an event passes through can be inlined.

use std::io::Write;

use super::SinkError;

/// The buffer is handed to the writer early when it holds this much, so that a large batch needs no large buffer.
const FULL: usize = 64 << 10;

/// A reused buffer in front of a writer.
pub(super) struct Output {
    /// Bytes that the writer has not seen.
    pub(super) buffer: Vec<u8>,
    writer: Box<dyn Write + Send>,
}

impl Output {
    pub(super) fn new(writer: impl Write + Send + 'static) -> Self {
        // Twice what makes it full: what is appended after the last check never makes it grow, short of a line of
        // that size.
        let buffer = Vec::with_capacity(2 * FULL);
        Output {
            buffer,
            writer: Box::new(writer),
        }
    }

    /// To be called after every line: writes the buffer if it is full.
    #[inline]
    pub(super) fn line_done(&mut self) -> Result<(), SinkError> {
        if self.buffer.len() >= FULL {
            self.write()?;
        }
        Ok(())
    }

    /// Writes everything and flushes the writer: the end of a batch.
    pub(super) fn flush(&mut self) -> Result<(), SinkError> {
        self.write()?;
        Ok(self.writer.flush()?)
    }

    #[cold]
    fn write(&mut self) -> Result<(), SinkError> {
        let written = self.writer.write_all(&self.buffer);
        // Also after an error: the sink is set aside then, and must not write the same bytes again.
        self.buffer.clear();
        Ok(written?)
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Output")
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}
