//! What a plugin tells the user besides its picture.

use std::cell::RefCell;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something went wrong.
    Error,
    /// Something may be wrong.
    Warning,
    /// Something is worth knowing.
    Info,
    /// Shown with `-v` only.
    Debug,
}

/// Takes the messages of one thread.
type Logger = Box<dyn FnMut(Level, &str)>;

thread_local! {
    static LOGGER: RefCell<Option<Logger>> = const { RefCell::new(None) };
}

/// Says something to the user, on standard error, with the plugin's name in front. Control characters are escaped.
pub fn log(level: Level, message: &str) {
    LOGGER.with_borrow_mut(|logger| {
        if let Some(logger) = logger {
            logger(level, message);
        }
    });
}

/// Says where this thread's messages go; the glue of each kind of plugin does so before the plugin runs.
#[doc(hidden)]
pub fn set_logger(logger: impl FnMut(Level, &str) + 'static) {
    LOGGER.set(Some(Box::new(logger)));
}
