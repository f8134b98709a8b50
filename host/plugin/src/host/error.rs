//! Why a plugin could not go on, in words that name the plugin, the cause and what to do.
//!
//! Much of it was written by the plugin: function names, messages. All of that is bounded, and nothing of it can steer a
//! terminal.

use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::package::inspect::{InspectError, Refusal};
use ipft_core::text::steers;

/// Lines of a backtrace that are shown, and made.
pub(super) const MAX_FRAMES: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Characters of a module's and of a function's name in a backtrace.
const MAX_MODULE: usize = 60;
const MAX_FUNCTION: usize = 300;

/// Characters of a line that a plugin may have written.
const MAX_LINE: usize = 400;

/// Lines of a message that a plugin may have written.
const MAX_LINES: usize = 20;

/// What compiling would have needed more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Memory.
    #[error("{} MiB of memory", .0 >> 20)]
    Memory(u64),
    /// Time of processors.
    #[error("{} seconds", .0.as_secs())]
    Time(Duration),
}

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
    /// Compiling it takes more than a plugin is granted.
    #[error("cannot be compiled within {0}, and no plugin gets more; it is too large, or made to be")]
    CompileLimit(Limit),
    /// The process that compiles plugins does not run.
    #[error("cannot be compiled: the process that does that cannot be run: {0}")]
    Compiler(std::io::Error),
    /// The process that compiled it ended without a result.
    #[error(
        "cannot be compiled: the process that does that ended: {0}; if nobody has ended it, the file is damaged, or the machine has too little memory"
    )]
    CompilerEnded(Text),
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
    push_cut(out, line, MAX_LINE);
}

/// Appends so many characters at most, whatever the length of the text.
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

/// Where a plugin was, innermost function first; one line each. Empty if nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames(Vec<String>);

impl Frames {
    /// The functions of a plugin that were running.
    ///
    /// The names are the plugin's, and shown as they are in its file: a demangler may make gigabytes of a few hundred
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

    /// The lines.
    pub fn frames(&self) -> &[String] {
        &self.0
    }
}

/// One frame: its place in the file, its module, and its function's name or number.
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
    fn what_a_plugin_wrote_is_bounded_and_steers_nothing() {
        let text = Text::new(&format!("\x1b[2Jred\u{202e}\n{}\n", "x".repeat(100_000)));
        assert!(text.as_str().starts_with("\\u{1b}[2Jred\\u{202e}\n  xxx"));
        assert!(text.as_str().len() < 1000);
        assert!(Text::new(&"\n".repeat(1_000_000)).as_str().len() < 1000);
        assert_eq!(Text::line("a\nb\r").as_str(), "a\\nb");
    }

    #[test]
    fn names_in_a_backtrace_are_cut_and_steer_nothing() {
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
