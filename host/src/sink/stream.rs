//! What a plugin of any kind may ask of its host: a stream that takes its bytes, and a log that takes its messages.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wasm::{Failure, Level, Text};

/// What is called with a plugin's messages.
pub type Log = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// Messages of one plugin that are passed on; a plugin that says more says nothing.
const MAX_MESSAGES: u32 = 1000;

/// Bytes that are gathered before the stream's writer gets them.
const BUFFER: usize = 64 << 10;

/// A thing that several ways lead to.
pub(super) type Shared<T> = Arc<Mutex<T>>;

/// The plugin's stream.
pub(super) struct Output {
    writer: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    /// Bytes that may still be written.
    left: u64,
    limit: u64,
    /// It takes nothing any more.
    ended: bool,
    /// Why, until somebody asks.
    failure: Option<Failure>,
}

/// The stream takes no more; why, it says to the one who asks for its failure.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stream takes no more")]
pub(super) struct Ended;

/// The plugin's log.
pub(super) struct Messages {
    log: Log,
    count: u32,
}

impl Output {
    /// `limit`: bytes that may be written.
    pub(super) fn new(writer: Box<dyn Write + Send>, limit: u64) -> Self {
        Output {
            writer,
            buffer: Vec::new(),
            left: limit,
            limit,
            ended: false,
            failure: None,
        }
    }

    /// Takes bytes over; the time that the writer took. After a failure, which is kept, the plugin must end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Duration, Ended> {
        if self.ended {
            return Err(Ended);
        }
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(self.end(Failure::Output { limit: self.limit }));
        };
        self.left = left;
        if self.has_room(bytes) {
            self.buffer.extend_from_slice(bytes);
            return Ok(Duration::ZERO);
        }
        let start = Instant::now();
        match self.write_through(bytes) {
            Ok(()) => Ok(start.elapsed()),
            Err(error) => Err(self.end(failure(error))),
        }
    }

    /// Whether these bytes do not go to the writer yet, so that nobody waits for it.
    pub(super) fn has_room(&self, bytes: &[u8]) -> bool {
        self.buffer.len() + bytes.len() <= BUFFER
    }

    /// Hands what was written to the writer. Fails if it fails, or if it has failed and nobody has asked why.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.take_failure() {
            return Err(failure);
        }
        if self.ended || self.buffer.is_empty() {
            return Ok(());
        }
        let flushed = self.write_buffer().and_then(|()| self.writer.flush());
        flushed.map_err(|error| {
            self.ended = true;
            failure(error)
        })
    }

    /// Why no more can be written, if so; once.
    pub(super) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_buffer()?;
        if bytes.len() < BUFFER {
            self.buffer.extend_from_slice(bytes);
            Ok(())
        } else {
            self.writer.write_all(bytes)
        }
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let written = self.writer.write_all(&self.buffer);
        // Also after a failure: nothing is written twice.
        self.buffer.clear();
        written
    }

    fn end(&mut self, failure: Failure) -> Ended {
        self.ended = true;
        self.failure = Some(failure);
        Ended
    }
}

impl Messages {
    pub(super) fn new(log: Log) -> Self {
        Messages { log, count: 0 }
    }

    pub(super) fn say(&mut self, level: Level, message: &str) {
        if self.count > MAX_MESSAGES {
            return;
        }
        self.count += 1;
        if self.count > MAX_MESSAGES {
            (self.log)(Level::Warning, "it said more than is shown");
        } else {
            (self.log)(level, Text::line(message).as_str());
        }
    }
}

fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::Write(error),
    }
}

/// A lock that a panic elsewhere cannot take away: what it guards is whole after each call.
pub(super) fn locked<T: ?Sized>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
