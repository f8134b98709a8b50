//! Messages for the user, on stderr. This is the one place that writes them: [`message!`](macro@crate::message) never fails and
//! never panics, whatever stderr is, and what it writes cannot steer a terminal. Imports `text`.

use std::fmt;
use std::io::{self, Write};

use crate::text;

/// Writes a message and a line feed to stderr, in one call of the system. Arguments are those of [`format!`].
///
/// A stderr that is closed, full or has no reader costs the message and nothing else: a trace must not end because the
/// reader of its messages did.
#[macro_export]
macro_rules! message {
    ($($argument:tt)*) => {
        $crate::message::write(format_args!($($argument)*))
    };
}

/// Replaces the line that the cursor of a terminal is in, and leaves the cursor there. With nothing, it clears the line.
pub fn rewrite_line(text: &str) {
    let line = format!("\r{}\x1b[K", text::visible(text));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Implementation of [`message!`](macro@crate::message).
pub fn write(message: fmt::Arguments<'_>) {
    let mut line = text::visible_lines(&message.to_string()).into_owned();
    line.push('\n');
    // A failure to write the message cannot be reported.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}
