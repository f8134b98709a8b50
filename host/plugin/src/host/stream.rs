//! Output of plugins of any kind: a stream for bytes, and a log for messages.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::component::{ComponentType, Lift, Lower};

use super::error::{Failure, Text};

/// Severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum Level {
    /// An error.
    #[component(name = "error")]
    Error,
    /// A warning.
    #[component(name = "warning")]
    Warning,
    /// Information.
    #[component(name = "info")]
    Info,
    /// For the plugin's author: shown only with `-v`.
    #[component(name = "debug")]
    Debug,
}

/// A callback for a plugin's messages.
pub type Log = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// Limit of messages per plugin; later ones are dropped.
const MAX_MESSAGES: u32 = 1000;

/// Buffered bytes before the stream's writer gets them.
const BUFFER: usize = 64 << 10;

/// A shared value.
pub(super) type Shared<T> = Arc<Mutex<T>>;

/// The plugin's stream.
pub(super) struct Output {
    writer: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    /// Remaining bytes of the limit.
    left: u64,
    limit: u64,
    /// Whether it is closed.
    ended: bool,
    /// The reason, until it is fetched.
    failure: Option<Failure>,
}

/// The stream is closed; `failure` has the reason.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stream takes no more")]
pub(super) struct Ended;

/// The plugin's log.
pub(super) struct Messages {
    log: Log,
    count: u32,
}

impl Output {
    /// `limit`: maximum bytes of output.
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

    /// Appends bytes; returns the time that the writer took. After a failure, which is stored, the plugin must end.
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

    /// Returns whether these bytes only go to the buffer, so that the call does not wait.
    pub(super) fn has_room(&self, bytes: &[u8]) -> bool {
        self.buffer.len() + bytes.len() <= BUFFER
    }

    /// Flushes to the writer. Fails if the writer fails, or if the stream was closed and the reason was not fetched.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = match self.buffer.is_empty() {
            true => Ok(()),
            // Also after the end: output before the limit is still written.
            false => self.write_buffer().and_then(|()| self.writer.flush()),
        };
        if flushed.is_err() {
            self.ended = true;
        }
        match self.take_failure() {
            Some(failure) => Err(failure),
            None => flushed.map_err(failure),
        }
    }

    /// Returns the reason why the stream was closed, if it was; once.
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

/// Locks a mutex, ignoring poisoning: its content is valid after each call.
pub(super) fn locked<T: ?Sized>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts this many calls, then fails.
    /// A writer whose content stays readable through a clone.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(locked(&self.0).clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            locked(&self.0).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing(u32, Kept);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_come_in_order_and_those_of_one_call_together() {
        let kept = Kept::default();
        let mut output = Output::new(Box::new(kept.clone()), u64::MAX);
        let mut all = String::new();
        for (index, length) in [1, BUFFER - 1, 1, 0, BUFFER, 3 * BUFFER, 5].into_iter().enumerate() {
            let piece = index.to_string().repeat(length);
            assert_eq!(output.has_room(piece.as_bytes()), matches!(index, 0 | 1 | 3 | 6));
            output.write(piece.as_bytes()).unwrap();
            all.push_str(&piece);
        }
        output.flush().unwrap();
        assert!(kept.text() == all);
    }

    #[test]
    fn a_failure_is_reported_once_and_ends_the_output() {
        let kept = Kept::default();
        let mut output = Output::new(Box::new(Failing(1, kept.clone())), u64::MAX);
        let piece = vec![b'x'; BUFFER];
        output.write(&piece).unwrap();
        output.write(&piece).unwrap_err();
        output.write(b"y").unwrap_err();
        assert!(matches!(output.flush(), Err(Failure::Write(_))));
        assert!(output.take_failure().is_none());
        output.flush().unwrap();
        assert_eq!(kept.text().len(), BUFFER);
    }

    #[test]
    fn output_is_written_up_to_the_limit() {
        let kept = Kept::default();
        let mut output = Output::new(Box::new(kept.clone()), 10);
        output.write(b"0123456").unwrap();
        output.write(b"789a").unwrap_err();
        assert!(matches!(output.take_failure(), Some(Failure::Output { limit: 10 })));
        output.write(b"7").unwrap_err();
        output.flush().unwrap();
        assert_eq!(kept.text(), "0123456");
    }
}
