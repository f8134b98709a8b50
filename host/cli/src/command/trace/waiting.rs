//! Progress of long operations: on a terminal in a line that is rewritten, elsewhere in one line after some seconds.
//! Imports `message`.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use ipft_core::message;

/// Usual duration; shorter operations print nothing.
const QUIET: Duration = Duration::from_millis(700);

/// Delay of the message without a terminal.
const LONG: Duration = Duration::from_secs(4);

/// Interval of rewriting a terminal's line.
const EVERY: Duration = Duration::from_millis(250);

/// Shows progress until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'scope> {
    over: Option<Sender<()>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Waiting<'scope> {
    /// `line` returns the terminal's line, and `once` the message without a terminal.
    pub(super) fn show<'env>(
        scope: &'scope Scope<'scope, 'env>,
        line: impl Fn() -> String + Send + 'scope,
        once: impl Fn() -> String + Send + 'scope,
    ) -> Self {
        let (over, end) = mpsc::channel();
        let terminal = io::stderr().is_terminal();
        let run = move || {
            let wait = |time| end.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            match terminal {
                true => on_terminal(wait, line),
                false if wait(LONG) => message!("{}", once()),
                false => {}
            }
        };
        // Without the thread nothing is shown, and everything else continues.
        let thread = std::thread::Builder::new()
            .name("waiting".into())
            .spawn_scoped(scope, run);
        Waiting {
            over: Some(over),
            thread: thread.ok(),
        }
    }
}

fn on_terminal(wait: impl Fn(Duration) -> bool, line: impl Fn() -> String) {
    if !wait(QUIET) {
        return;
    }
    loop {
        message::rewrite_line(&line());
        if !wait(EVERY) {
            message::rewrite_line("");
            return;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Formats a number of functions.
pub(super) fn functions(count: usize) -> String {
    match count {
        1 => "1 function".to_owned(),
        count => format!("{count} functions"),
    }
}

/// Formats `done` of `total`, with the estimated remaining time, once known.
pub(super) fn share(done: usize, total: usize, since: Instant) -> String {
    let elapsed = since.elapsed();
    if done == 0 || done >= total {
        return format!("{total}");
    }
    let left = elapsed.as_secs_f64() * (total - done) as f64 / done as f64;
    match elapsed < Duration::from_secs(2) {
        true => format!("{done} of {total}"),
        false => format!("{done} of {total}, about {left:.0} s more"),
    }
}

/// Estimates the total seconds from the progress so far.
pub(super) fn estimate(done: usize, total: usize, since: Instant) -> String {
    match done {
        0 => "some time".to_owned(),
        done => format!(
            "about {:.0} s",
            since.elapsed().as_secs_f64() * total as f64 / done as f64
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_estimated_from_what_is_done() {
        let since = Instant::now() - Duration::from_secs(10);
        assert_eq!(share(100, 300, since), "100 of 300, about 20 s more");
        assert_eq!(estimate(100, 300, since), "about 30 s");
        assert_eq!(estimate(0, 300, since), "some time");
        assert_eq!(share(0, 300, since), "300");
        assert_eq!(share(1, 300, Instant::now()), "1 of 300");
    }

    #[test]
    fn one_function_is_singular() {
        assert_eq!(functions(1), "1 function");
        assert_eq!(functions(1613), "1613 functions");
    }

    #[test]
    fn a_short_wait_is_not_shown() {
        std::thread::scope(|scope| {
            let reported = || -> String { panic!("reported") };
            drop(Waiting::show(scope, reported, reported));
        });
    }
}
