//! Messages of a plugin to the user.

use std::cell::RefCell;

/// Severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An error.
    Error,
    /// A possible problem.
    Warning,
    /// Information.
    Info,
    /// Shown with `-v` only.
    Debug,
}

/// Receives the messages of one thread.
type Logger = Box<dyn FnMut(Level, &str)>;

thread_local! {
    static LOGGER: RefCell<Option<Logger>> = const { RefCell::new(None) };
}

/// Prints a message to standard error, prefixed with the plugin's name. Control characters are escaped.
pub fn log(level: Level, message: &str) {
    LOGGER.with_borrow_mut(|logger| {
        if let Some(logger) = logger {
            logger(level, message);
        }
    });
}

/// Sets the destination of this thread's messages; the glue of each kind of plugin calls it before the plugin runs.
#[doc(hidden)]
pub fn set_logger(logger: impl FnMut(Level, &str) + 'static) {
    LOGGER.set(Some(Box::new(logger)));
}
