//! Plugin errors: they name the plugin, the cause and the remedy.
//!
//! Parts of them come from the plugin: function names, messages. Those are bounded and escaped for the terminal.

use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::package::inspect::{InspectError, Refusal};
use ipft_core::text::steers;

/// Maximum lines of a backtrace.
pub(super) const MAX_FRAMES: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Maximum characters of a module's and of a function's name in a backtrace.
const MAX_MODULE: usize = 60;
const MAX_FUNCTION: usize = 300;

/// Maximum characters of a line from a plugin.
const MAX_LINE: usize = 400;

/// Maximum lines of a message from a plugin.
const MAX_LINES: usize = 20;

/// The resource that compiling ran out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Memory.
    #[error("{} MiB of memory", .0 >> 20)]
    Memory(u64),
    /// CPU time.
    #[error("{} seconds", .0.as_secs())]
    Time(Duration),
}

/// The error of a plugin.
#[derive(Debug, thiserror::Error)]
#[error("the plugin {plugin} {}{failure}", before(*during))]
pub struct PluginError {
    /// The plugin's name, or the name of its file if it has none yet.
    pub plugin: String,
    /// The current call.
    pub during: During,
    /// The cause.
    pub failure: Failure,
}

/// The call during which the error occurred.
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

/// The cause of an error.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file is not a component.
    #[error("cannot be used: {0}")]
    Inspect(#[from] InspectError),
    /// The component is not a plugin.
    #[error("cannot be used: {0}")]
    Refused(#[from] Refusal),
    /// Compiling it failed.
    #[error("cannot be compiled: {0}; it is damaged, or uses what this ipft does not know")]
    Compile(Text),
    /// Compiling it takes more than a plugin is granted.
    #[error("cannot be compiled within {0}, and no plugin gets more; it is too large, or made to be")]
    CompileLimit(Limit),
    /// The compiler process did not start.
    #[error("cannot be compiled: the process that does that cannot be run: {0}")]
    Compiler(std::io::Error),
    /// The compiler process ended without a result.
    #[error(
        "cannot be compiled: the compiler process ended: {0}; if it was not killed, the file is damaged, or memory is short"
    )]
    CompilerEnded(Text),
    /// An import is missing, or has another type.
    #[error("does not fit this ipft: {0}")]
    Link(Text),
    /// A granted folder cannot be opened.
    #[error("cannot be given the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Its thread could not be created.
    #[error("cannot be started: {0}")]
    Thread(std::io::Error),
    /// It crashed.
    #[error("crashed: {message}{backtrace}")]
    Trap {
        /// The kind of crash.
        message: Text,
        /// The backtrace.
        backtrace: Frames,
    },
    /// It took too long.
    #[error("did not return within {limit:?}; if it needs longer, allow it with --plugin-timeout{backtrace}")]
    TimeOut {
        /// The time limit.
        limit: Duration,
        /// The backtrace.
        backtrace: Frames,
    },
    /// It took too long and cannot be interrupted, as it is native code.
    #[error(
        "did not return within {limit:?}, and is left to itself, as native code cannot be ended; if it needs longer, \
         allow it with --plugin-timeout"
    )]
    Late {
        /// The time limit.
        limit: Duration,
    },
    /// It exceeded its memory limit.
    #[error("needs more than the {} MiB of memory that it may have; allow it more with --plugin-memory{backtrace}", limit >> 20)]
    Memory {
        /// The limit in bytes.
        limit: usize,
        /// The backtrace.
        backtrace: Frames,
    },
    /// Stack overflow.
    #[error("stack overflow (unbounded recursion?){backtrace}")]
    Stack {
        /// The backtrace.
        backtrace: Frames,
    },
    /// It exceeded its output limit.
    #[error("wrote more than the {limit} bytes that it may; allow it more with --plugin-out-max")]
    Output {
        /// The limit in bytes.
        limit: u64,
    },
    /// Its stream cannot be written.
    #[error("cannot write its output: {0}")]
    Write(std::io::Error),
    /// The reader of its stream has closed it.
    #[error("output pipe closed by reader")]
    Closed,
    /// It returned an error.
    #[error("failed: {0}")]
    Returned(Text),
    /// It called exit.
    #[error("called exit({0}), which a plugin may not")]
    Exit(i32),
    /// It violated the contract.
    #[error("broke the rules of the contract: {0}")]
    Contract(Text),
    /// It was stopped because its sink was dropped.
    #[error("was stopped")]
    Stopped,
}

/// Text that a plugin may have written: bounded, and without terminal control characters. May have several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Bounds and escapes the text.
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

    /// Formats it as one line.
    pub fn line(text: &str) -> Self {
        let mut kept = String::new();
        push_line(&mut kept, text.trim_end());
        Text(kept)
    }

    /// Returns the remaining text.
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
    push_cut(out, line, MAX_LINE);
}

/// Appends at most this many characters, in time independent of the text's length.
fn push_cut(out: &mut String, text: &str, limit: usize) {
    for (index, character) in text.chars().enumerate() {
        if index == limit {
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

/// Backtrace of a plugin, innermost function first; one line each. Empty if nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames(Vec<String>);

impl Frames {
    /// Returns the plugin's functions that were running.
    ///
    /// Names are the plugin's own, shown as they are in its file: a demangler may produce gigabytes from a few hundred
    /// bytes, as a mangled name refers back to parts of itself.
    pub(super) fn new(backtrace: &wasmtime::WasmBacktrace) -> Self {
        let frames = backtrace.frames().iter().take(MAX_FRAMES.get()).enumerate();
        Frames(
            frames
                .map(|(index, frame)| {
                    let module = frame.module().name().unwrap_or("?");
                    line(
                        index,
                        frame.module_offset(),
                        module,
                        frame.func_name(),
                        frame.func_index(),
                    )
                })
                .collect(),
        )
    }

    /// Returns the lines.
    pub fn frames(&self) -> &[String] {
        &self.0
    }
}

/// Formats a frame: its offset in the file, its module, and its function's name or number.
fn line(index: usize, offset: Option<usize>, module: &str, function: Option<&str>, number: u32) -> String {
    let mut line = format!("{index}: ");
    if let Some(offset) = offset {
        line.push_str(&format!("{offset:#x} - "));
    }
    push_cut(&mut line, module, MAX_MODULE);
    line.push('!');
    match function {
        Some(name) => push_cut(&mut line, name, MAX_FUNCTION),
        None => line.push_str(&format!("<function {number}>")),
    }
    line
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
    fn text_of_a_plugin_is_bounded_and_escaped() {
        let text = Text::new(&format!("\x1b[2Jred\u{202e}\n{}\n", "x".repeat(100_000)));
        assert!(text.as_str().starts_with("\\u{1b}[2Jred\\u{202e}\n  xxx"));
        assert!(text.as_str().len() < 1000);
        assert!(Text::new(&"\n".repeat(1_000_000)).as_str().len() < 1000);
        assert_eq!(Text::line("a\nb\r").as_str(), "a\\nb");
    }

    #[test]
    fn names_in_a_backtrace_are_cut_and_escaped() {
        let long = "\x1b\u{202e}".repeat(1_000_000);
        let shown = line(3, Some(0x20), &long, Some(&long), 7);
        assert!(shown.starts_with("3: 0x20 - \\u{1b}\\u{202e}"), "{shown}");
        assert!(shown.len() < 4000 && shown.is_ascii(), "{} bytes", shown.len());
        assert_eq!(line(0, None, "m", None, 7), "0: m!<function 7>");
        assert_eq!(line(0, None, "m", Some("_ZN1f1gE"), 7), "0: m!_ZN1f1gE");
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
