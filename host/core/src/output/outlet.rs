//! A stream whose reader may be slow: stdout, a pipe, a terminal. Imports `signals` only.
//!
//! A separate thread writes the queue, so that waiting writers react to signals, and other outputs need not wait. Bytes
//! come in whole buffers, never per event.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::signals;

/// Bytes that wait for a slow reader at most.
const MAX_QUEUE: usize = 64 << 20;
/// Buffers that are kept to be used again.
const SPARE: usize = 4;
/// Interval in which a waiting writer checks for a signal.
const LOOK: Duration = Duration::from_millis(50);
/// How long a reader may block after the signal.
const GRACE: Duration = Duration::from_secs(2);

/// Policy for bytes that come while [`MAX_QUEUE`] bytes wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Full {
    /// Writers wait until all is written: the stream is alone, or waiting loses nothing.
    #[default]
    Wait,
    /// They are dropped, and their lines are counted.
    Drop,
    /// The stream fails: half of it would be of no use.
    Fail,
}

/// The stream. Clones are the same stream.
#[derive(Clone)]
pub struct Outlet(Arc<Channel>);

struct Channel {
    state: Mutex<State>,
    /// There is something to write.
    work: Condvar,
    /// Something was written, or cannot be.
    done: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    /// Bytes in the queue, and in the piece that is being written.
    queued: usize,
    spare: Vec<Vec<u8>>,
    full: Full,
    /// Pieces that were written.
    written: u64,
    /// Lines that were dropped.
    dropped: u64,
    /// Whether a signal had come before the first bytes; `None` before these.
    late: Option<bool>,
    /// Nothing can be written any more.
    over: Option<Over>,
    /// The thread's writer, until it is started.
    writer: Option<Box<dyn Write + Send>>,
    thread: Thread,
}

/// The thread that writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// Not started yet.
    #[default]
    None,
    /// The outlet's thread.
    Runs,
    /// The writer itself: no thread could be created (`RLIMIT_NPROC`, `RLIMIT_AS`).
    Impossible,
}

/// The reason why nothing can be written any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Over {
    #[error("{}", io::Error::from(*.0))]
    Kind(io::ErrorKind),
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    System(i32),
    #[error("its reader is slower than the trace: {} MiB wait for it", MAX_QUEUE >> 20)]
    Slow,
    #[error("its reader took nothing for {} s after the signal", GRACE.as_secs())]
    Stuck,
}

impl From<Over> for io::Error {
    fn from(over: Over) -> Self {
        match over {
            Over::Kind(kind) => kind.into(),
            Over::System(code) => io::Error::from_raw_os_error(code),
            Over::Slow | Over::Stuck => io::Error::new(io::ErrorKind::TimedOut, over),
        }
    }
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        error.raw_os_error().map_or(Over::Kind(error.kind()), Over::System)
    }
}

/// Standard output, of which there is one.
pub fn stdout() -> Outlet {
    static STDOUT: OnceLock<Outlet> = OnceLock::new();
    STDOUT.get_or_init(|| Outlet::new(Stdout(io::stdout()))).clone()
}

/// Stdout without the buffer of the standard library, which writes what follows the last line feed when it likes.
struct Stdout(io::Stdout);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0.as_fd(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Outlet {
    /// One that writes there.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Outlet(Arc::new(Channel {
            state: Mutex::new(State {
                writer: Some(Box::new(writer)),
                ..State::default()
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        }))
    }

    /// Policy for a slow reader.
    pub fn when_full(&self, full: Full) {
        self.0.lock().full = full;
    }

    /// Lines that were dropped up to now.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Writes from the calling thread what cannot be queued.
    fn write_here(state: &mut State, bytes: &[u8]) -> io::Result<()> {
        let written = match &mut state.writer {
            Some(writer) => writer.write_all(bytes).and_then(|()| writer.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(|error| {
            let over = Over::from(error);
            state.over = Some(over);
            over.into()
        })
    }
}

impl Write for Outlet {
    /// Takes all of the bytes, or fails.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let channel = &self.0;
        let mut state = channel.lock();
        state.late.get_or_insert_with(signals::stop_requested);
        if state.full == Full::Wait {
            state = channel.wait(state)?;
        }
        if let Some(over) = state.over {
            return Err(over.into());
        }
        if state.queued > 0 && state.queued + bytes.len() > MAX_QUEUE {
            match state.full {
                Full::Wait => {}
                Full::Drop => {
                    state.dropped = state.dropped.saturating_add(lines(bytes));
                    return Ok(bytes.len());
                }
                Full::Fail => {
                    state.over = Some(Over::Slow);
                    state.queue.clear();
                    return Err(Over::Slow.into());
                }
            }
        }
        if state.thread == Thread::None {
            let running = channel.clone();
            let spawned = std::thread::Builder::new()
                .name("output".into())
                .spawn(move || running.run());
            state.thread = spawned.map_or(Thread::Impossible, |_| Thread::Runs);
        }
        if state.thread == Thread::Impossible {
            Outlet::write_here(&mut state, bytes)?;
            return Ok(bytes.len());
        }
        let mut piece = state.spare.pop().unwrap_or_default();
        piece.extend_from_slice(bytes);
        state.queue.push_back(piece);
        state.queued += bytes.len();
        drop(state);
        channel.work.notify_one();
        Ok(bytes.len())
    }

    /// Waits until all is written, if that is how the stream is.
    fn flush(&mut self) -> io::Result<()> {
        let channel = &self.0;
        let mut state = channel.lock();
        if state.full == Full::Wait {
            state = channel.wait(state)?;
        }
        state.over.map_or(Ok(()), |over| Err(over.into()))
    }
}

impl Channel {
    /// A lock that a panic elsewhere cannot take away: what it guards is whole after each change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the queue is empty. After a signal, a blocked reader is not waited for, unless the signal came
    /// before the first bytes: that signal requested them, and the next one ends the program.
    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> io::Result<MutexGuard<'a, State>> {
        let mut since = None;
        let mut written = state.written;
        while state.queued > 0 && state.over.is_none() {
            state = (self.done.wait_timeout(state, LOOK))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.written != written {
                written = state.written;
                since = None;
            } else if signals::stop_requested() && state.late == Some(false) {
                let since = since.get_or_insert_with(Instant::now);
                if since.elapsed() >= GRACE {
                    let left = state
                        .queue
                        .iter()
                        .map(|piece| lines(piece))
                        .fold(0, u64::saturating_add);
                    state.dropped = state.dropped.saturating_add(left);
                    state.queue.clear();
                    state.over = Some(Over::Stuck);
                }
            }
        }
        match state.over {
            Some(over) => Err(over.into()),
            None => Ok(state),
        }
    }
}

impl Channel {
    /// The thread. It ends with the program, or when nothing can be written any more.
    fn run(&self) {
        let Some(mut writer) = self.lock().writer.take() else {
            return;
        };
        loop {
            let mut state = (self.work)
                .wait_while(self.lock(), |state| state.queue.is_empty() && state.over.is_none())
                .unwrap_or_else(PoisonError::into_inner);
            let Some(mut piece) = state.queue.pop_front() else {
                return;
            };
            drop(state);
            let result = writer.write_all(&piece).and_then(|()| writer.flush());
            let mut state = self.lock();
            state.queued = state.queued.saturating_sub(piece.len());
            match result {
                Ok(()) => state.written += 1,
                Err(error) => {
                    state.over.get_or_insert(error.into());
                    state.queue.clear();
                }
            }
            if state.spare.len() < SPARE {
                piece.clear();
                state.spare.push(piece);
            }
            drop(state);
            self.done.notify_all();
        }
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.lock();
        formatter
            .debug_struct("Outlet")
            .field("queued", &state.queued)
            .field("full", &state.full)
            .field("over", &state.over)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A writer whose content can be read by the one who gave it away.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// A reader that takes a piece for each word.
    struct Slow(Receiver<()>, Shared);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.1.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow(full: Full) -> (Outlet, Sender<()>, Shared) {
        let ((send, receive), shared) = (channel(), Shared::default());
        let outlet = Outlet::new(Slow(receive, shared.clone()));
        outlet.when_full(full);
        (outlet, send, shared)
    }

    /// A piece of half of what may wait, of two lines.
    fn half() -> Vec<u8> {
        let mut piece = vec![b'x'; MAX_QUEUE / 2];
        let middle = piece.len() / 2;
        for end in [middle, MAX_QUEUE / 2 - 1] {
            piece[end] = b'\n';
        }
        piece
    }

    #[test]
    fn drops_of_a_slow_reader_are_counted() {
        let (mut outlet, send, shared) = slow(Full::Drop);
        for _ in 0..5 {
            outlet.write_all(&half()).unwrap();
            outlet.flush().unwrap();
        }
        assert_eq!(outlet.dropped(), 6);
        // When the trace has ended, what waits is waited for.
        outlet.when_full(Full::Wait);
        for _ in 0..2 {
            send.send(()).unwrap();
        }
        outlet.flush().unwrap();
        assert_eq!(shared.text().len(), MAX_QUEUE);
    }

    #[test]
    fn undroppable_output_fails_without_waiting() {
        let (mut outlet, _send, _) = slow(Full::Fail);
        outlet.write_all(&half()).unwrap();
        outlet.write_all(&half()).unwrap();
        let said = outlet.write_all(&half()).unwrap_err().to_string();
        assert_eq!(said, "its reader is slower than the trace: 64 MiB wait for it");
        assert_eq!(outlet.flush().unwrap_err().to_string(), said);
    }

    #[test]
    fn one_that_is_alone_waits_and_bytes_come_in_order() {
        let (mut outlet, send, shared) = slow(Full::Wait);
        for _ in 0..3 {
            send.send(()).unwrap();
        }
        for piece in ["a\n", "b\n", "c\n"] {
            outlet.write_all(piece.as_bytes()).unwrap();
        }
        outlet.flush().unwrap();
        assert_eq!((shared.text().as_str(), outlet.dropped()), ("a\nb\nc\n", 0));
    }

    #[test]
    fn a_closed_reader_is_reported_as_such() {
        let (mut outlet, send, _) = slow(Full::Wait);
        drop(send);
        outlet.write_all(b"a").unwrap();
        for _ in 0..2 {
            assert_eq!(outlet.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
        assert_eq!(outlet.write(b"b").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
