//! Where a text sink's bytes go: a buffer that is filled while a batch is drawn, and a writer that gets it whole.

use std::io::Write;

use super::SinkError;

/// The buffer is handed to the writer early when it holds this much, so that a large batch needs no large buffer.
const FULL: usize = 64 << 10;

/// A reused buffer in front of a writer.
#[derive(Debug)]
pub(super) struct Output<W> {
    /// Bytes that the writer has not seen.
    pub(super) buffer: Vec<u8>,
    writer: W,
}

impl<W: Write> Output<W> {
    pub(super) fn new(writer: W) -> Self {
        // Twice what makes it full: what is appended after the last check never makes it grow, short of a line of
        // that size.
        let buffer = Vec::with_capacity(2 * FULL);
        Output { buffer, writer }
    }

    /// To be called after every line: writes the buffer if it is full.
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

    /// Where the bytes go, for what is not writing. What is in the buffer has not gone there.
    pub(super) fn writer(&mut self) -> &mut W {
        &mut self.writer
    }

    #[cold]
    fn write(&mut self) -> Result<(), SinkError> {
        let written = self.writer.write_all(&self.buffer);
        // Also after an error: the sink is set aside then, and must not write the same bytes again.
        self.buffer.clear();
        Ok(written?)
    }
}
