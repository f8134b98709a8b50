//! The number of events so far, shown on the terminal while a sink that prints at the end is still collecting.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Interval of updates: short enough to look alive, long enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(100);

/// A line that rewrites itself. Errors in writing it are ignored: it has no reader then.
pub struct Counter {
    terminal: Box<dyn Write + Send>,
    interval: Duration,
    /// When it was last shown; `None` while the line is empty.
    shown: Option<Instant>,
    /// Characters on the line.
    width: usize,
    count: u64,
}

impl Counter {
    /// On stderr if that is a terminal; elsewhere it would only be noise, and there is none.
    pub fn on_stderr() -> Option<Self> {
        let stderr = std::io::stderr();
        stderr.is_terminal().then(|| Counter::new(stderr, INTERVAL))
    }

    fn new(terminal: impl Write + Send + 'static, interval: Duration) -> Self {
        Counter {
            terminal: Box::new(terminal),
            interval,
            shown: None,
            width: 0,
            count: 0,
        }
    }

    /// Counts, and shows the sum when it is time to.
    pub fn add(&mut self, events: usize) {
        self.count += events as u64;
        let now = Instant::now();
        if self.shown.is_some_and(|shown| now - shown < self.interval) {
            return;
        }
        let line = format!("{} traces", self.count);
        self.width = self.width.max(line.len());
        let _ = write!(self.terminal, "\r{line}").and_then(|()| self.terminal.flush());
        self.shown = Some(now);
    }

    /// Empties the line, so that what is printed next begins at its start.
    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(self.terminal, "\r{:width$}\r", "", width = self.width).and_then(|()| self.terminal.flush());
        }
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Counter")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Drop for Counter {
    /// A run that ends early leaves no number behind either.
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::test_support::Shared;

    #[test]
    fn the_line_is_rewritten_and_emptied() {
        let terminal = Shared::default();
        let mut counter = Counter::new(terminal.clone(), Duration::ZERO);
        counter.add(9);
        counter.add(1);
        counter.clear();
        counter.clear();
        drop(counter);
        assert_eq!(terminal.text(), "\r9 traces\r10 traces\r         \r");
    }

    #[test]
    fn within_the_interval_nothing_is_shown_twice() {
        let terminal = Shared::default();
        let mut counter = Counter::new(terminal.clone(), Duration::MAX);
        counter.add(1);
        counter.add(1);
        assert_eq!(terminal.text(), "\r1 traces");
    }
}
