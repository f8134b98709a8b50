//! The program: parses the command line, runs the command, and converts the result to an exit code. The binary is
//! little more than this, so that a test can run it with faults. May import everything of the crate.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::args::{self, Command, Generate};
use crate::command::diff;
use crate::command::doctor;
use crate::command::lua;
use crate::command::plugin;
use crate::command::replay;
use crate::command::replay::info;
use crate::command::report::Outcome;
use crate::command::{list, trace};
use ipft_core::extension::generate;
use ipft_core::filter::FilterError;
use ipft_core::kernel::Root;
use ipft_core::message;
use ipft_core::privileges::UserError;
use ipft_core::signals;
use ipft_core::text::Terminal;
use ipft_plugin_host::host::wasm::{COMPILE, compile_for_parent};

/// Runs the program. The first argument is its name.
pub fn main_with(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_with_start(words, || {})
}

/// Runs the program; calls `start` after parsing the command line, before any action.
pub fn main_with_start(words: impl IntoIterator<Item = OsString>, start: impl FnOnce()) -> ExitCode {
    signals::survive_file_limit();
    let command_line: Vec<_> = words.into_iter().collect();
    // Not an option: ipft starts itself with it.
    if let [_, word, arguments @ ..] = &command_line[..]
        && word == COMPILE
    {
        return match compile_for_parent(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                message!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let command = match args::parse(&command_line) {
        Ok(command) => command,
        Err(error) => {
            message!("ipft: {error}");
            return ExitCode::from(args::EXIT_USAGE);
        }
    };
    let shown = command_line
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    start();
    match run(command, shown) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            message!("ipft: {}", reported(&error));
            // Words of the command line, like any other unknown one.
            let unknown_user = matches!(error.downcast_ref(), Some(UserError::Unknown { .. }));
            match unknown_user || error.is::<FilterError>() {
                true => ExitCode::from(args::EXIT_USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// Formats an error and its causes in one line. Errors that are also shown alone contain their cause; it is not
/// repeated.
fn reported(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |reported, cause| {
            if reported.is_empty() {
                cause
            } else if reported.contains(&cause) {
                reported
            } else {
                format!("{reported}: {cause}")
            }
        })
}

/// Runs the command. Returns `false` after a failure that has been reported.
fn run(command: Command, command_line: Vec<String>) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match command {
        Command::Trace(options) => {
            drop(stdout);
            Ok(trace::trace(&options, command_line)? == Outcome::Done)
        }
        Command::Replay(options) if options.info => {
            info::print(&options.files, &mut Terminal::new(stdout))?;
            Ok(true)
        }
        Command::Replay(options) => {
            drop(stdout);
            Ok(replay::replay(&options)? == Outcome::Done)
        }
        Command::Diff(options) => Ok(diff::diff(&options, &mut Terminal::new(stdout))? == Outcome::Done),
        Command::List(options) => {
            list::list(&options, &mut stdout)?;
            Ok(true)
        }
        Command::Doctor => Ok(doctor::examine(&Root::system(), &mut Terminal::new(stdout))?),
        Command::Generate(what) => {
            match what {
                Generate::Skeleton => stdout.write_all(generate::skeleton().as_bytes())?,
                Generate::Header => stdout.write_all(generate::HEADER.as_bytes())?,
                Generate::LuaSkeleton => stdout.write_all(generate::LUA_SKELETON.as_bytes())?,
            }
            stdout.flush()?;
            Ok(true)
        }
        Command::Lua(options) => {
            // Lua writes to stdout by itself.
            drop(stdout);
            lua::run(&options)?;
            Ok(true)
        }
        Command::Plugin(command) => {
            // A plugin writes to stdout from its own thread.
            drop(stdout);
            plugin::run(&command, &mut Terminal::new(std::io::stdout()))
        }
        Command::Print(text) => {
            stdout.write_all(&text)?;
            stdout.flush()?;
            Ok(true)
        }
    }
}

/// `ipft -l | head` ends when `head` does, which is not a failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it: {source}\nread another one")]
    struct Unreadable {
        source: std::io::Error,
    }

    #[test]
    fn every_cause_is_printed_once() {
        let source = std::io::Error::other("the disk is gone");
        let result: Result<(), _> = Err(Unreadable { source });
        let error = result.context("no trace").unwrap_err();
        assert_eq!(
            reported(&error),
            "no trace: cannot read it: the disk is gone\nread another one"
        );
        assert_eq!(reported(&anyhow!("alone")), "alone");
    }
}
