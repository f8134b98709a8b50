//! Usage errors of the command line.

/// Exit code for wrong usage.
pub const EXIT_USAGE: u8 = 2;

/// Wrong usage: print this to stderr after the program's name and exit with [`EXIT_USAGE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    message: String,
}

impl UsageError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        UsageError {
            message: format!("{}\n\nFor more information, try 'ipft --help'.", message.into()),
        }
    }

    pub(super) fn from_clap(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let mut text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        if let Some((before, _)) = text.rsplit_once("\n\nFor more information") {
            text = before;
        }
        UsageError::new(text)
    }
}
