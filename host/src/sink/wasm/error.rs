//! Why a plugin could not go on, in words that name the plugin, the cause and what to do.
//!
//! Much of it was written by the plugin: function names, messages. All of that is bounded, and nothing of it can steer a
//! terminal.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::plugin::inspect::{InspectError, Refusal};
use crate::text::steers;

/// Lines of a backtrace that are shown.
const MAX_FRAMES: usize = 16;

/// Characters of a line that a plugin may have written.
const MAX_LINE: usize = 400;

/// Lines of a message that a plugin may have written.
const MAX_LINES: usize = 20;

/// What happened to which plugin.
#[derive(Debug, thiserror::Error)]
#[error("the plugin {plugin} {}{failure}", before(*during))]
pub struct PluginError {
    /// Its name, or the name of its file if it has none yet.
    pub plugin: String,
    /// What it was doing.
    pub during: During,
    /// What went wrong.
    pub failure: Failure,
}

/// Which call a plugin was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum During {
    /// None yet.
    Load,
    /// The function of the contract with this name.
    Call(&'static str),
}

fn before(during: During) -> String {
    match during {
        During::Load => String::new(),
        During::Call(call) => format!("was ended in `{call}`: it "),
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file is no component.
    #[error("cannot be used: {0}")]
    Inspect(#[from] InspectError),
    /// The component is no plugin.
    #[error("cannot be used: {0}")]
    Refused(#[from] Refusal),
    /// It cannot be compiled.
    #[error("cannot be compiled: {0}; it is damaged, or uses what this ipft does not know")]
    Compile(Text),
    /// Something that it imports is not there, or is of another type.
    #[error("does not fit this ipft: {0}")]
    Link(Text),
    /// A folder that it was granted cannot be opened.
    #[error("cannot be given the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no room for its thread.
    #[error("cannot be started: {0}")]
    Thread(std::io::Error),
    /// It crashed.
    #[error("crashed: {message}{backtrace}")]
    Trap {
        /// The kind of crash.
        message: Text,
        /// Where it was.
        backtrace: Frames,
    },
    /// It took too long.
    #[error("did not return within {limit:?}; if it needs longer, allow it with --plugin-timeout{backtrace}")]
    TimeOut {
        /// How long it may take.
        limit: Duration,
        /// Where it was.
        backtrace: Frames,
    },
    /// It took too long, and nothing can end it, as it is native code.
    #[error(
        "did not return within {limit:?}, and is left to itself, as native code cannot be ended; if it needs longer, \
         allow it with --plugin-timeout"
    )]
    Late {
        /// How long it may take.
        limit: Duration,
    },
    /// It wanted more memory than it may have.
    #[error("needs more than the {} MiB of memory that it may have; allow it more with --plugin-memory{backtrace}", limit >> 20)]
    Memory {
        /// Bytes that it may have.
        limit: usize,
        /// Where it was.
        backtrace: Frames,
    },
    /// Its calls went too deep.
    #[error("used up its stack, as functions do that call themselves without end{backtrace}")]
    Stack {
        /// Where it was.
        backtrace: Frames,
    },
    /// It wrote more than it may.
    #[error("wrote more than the {limit} bytes that it may; allow it more with --plugin-out-max")]
    Output {
        /// Bytes that it may write.
        limit: u64,
    },
    /// Its stream cannot be written.
    #[error("cannot write its output: {0}")]
    Write(std::io::Error),
    /// Whoever read its stream has gone.
    #[error("has nobody left who reads its output")]
    Closed,
    /// It returned an error.
    #[error("failed: {0}")]
    Returned(Text),
    /// It ended itself.
    #[error("called exit({0}), which a plugin may not")]
    Exit(i32),
    /// It did what the contract does not allow.
    #[error("broke the rules of the contract: {0}")]
    Contract(Text),
    /// It was told to end because nobody needs it any more.
    #[error("was stopped")]
    Stopped,
}

/// Text that a plugin may have written: bounded, and without what steers a terminal. It may have several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Takes what was written.
    pub fn new(text: &str) -> Self {
        let mut lines = text.trim_end().lines();
        let mut kept = String::new();
        for (index, line) in lines.by_ref().take(MAX_LINES).enumerate() {
            if index > 0 {
                kept.push_str("\n  ");
            }
            push_line(&mut kept, line);
        }
        if lines.next().is_some() {
            kept.push_str("\n  ...");
        }
        Text(kept)
    }

    /// As one line.
    pub fn line(text: &str) -> Self {
        let mut kept = String::new();
        push_line(&mut kept, text.trim_end());
        Text(kept)
    }

    /// What is left of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn push_line(out: &mut String, line: &str) {
    for (index, character) in line.chars().enumerate() {
        if index == MAX_LINE {
            out.push_str("...");
            return;
        }
        if steers(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
}

/// Where a plugin was, innermost function first; one line each. Empty if nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames(Vec<String>);

impl Frames {
    /// The functions of a plugin that were running.
    pub(super) fn new(frames: &wasmtime::WasmBacktrace) -> Self {
        let text = frames.to_string();
        // The first line is a heading.
        let lines = text.lines().skip(1).take(MAX_FRAMES);
        Frames(lines.map(|line| Text::line(line.trim()).0).collect())
    }

    /// The lines.
    pub fn frames(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() {
            formatter.write_str("\n  where it was:")?;
        }
        for frame in &self.0 {
            formatter.write_char('\n')?;
            write!(formatter, "    {frame}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_wrote_is_bounded_and_steers_nothing() {
        let text = Text::new(&format!("\x1b[2Jred\u{202e}\n{}\n", "x".repeat(100_000)));
        assert!(text.as_str().starts_with("\\u{1b}[2Jred\\u{202e}\n  xxx"));
        assert!(text.as_str().len() < 1000);
        assert!(Text::new(&"\n".repeat(1_000_000)).as_str().len() < 1000);
        assert_eq!(Text::line("a\nb\r").as_str(), "a\\nb");
    }

    #[test]
    fn a_message_names_the_plugin_the_call_and_the_remedy() {
        let error = PluginError {
            plugin: "flame".to_owned(),
            during: During::Call("events"),
            failure: Failure::TimeOut {
                limit: Duration::from_millis(200),
                backtrace: Frames(vec!["0: flame!spin".to_owned()]),
            },
        };
        assert_eq!(
            error.to_string(),
            "the plugin flame was ended in `events`: it did not return within 200ms; if it needs longer, allow it with \
             --plugin-timeout\n  where it was:\n    0: flame!spin"
        );
    }
}
