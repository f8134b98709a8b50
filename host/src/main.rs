//! The `ipft` binary: reads the command line, runs what it asks for, and turns the result into an exit code.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use ipft::cli::{self, Command, Generate};
use ipft::doctor;
use ipft::extension::generate;
use ipft::info;
use ipft::kernel::Root;
use ipft::message;
use ipft::plugin_command;
use ipft::replay;
use ipft::session::{self, Outcome};
use ipft::signals;
use ipft::sink::wasm::{COMPILE, compile_for_parent};
use ipft::text::Terminal;

/// Whether stdout was closed when the program was started.
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks at stdout before the standard library does: it opens `/dev/null` in the place of a stdin, stdout or stderr that is
/// closed, so that no file gets its number, and then nobody can tell that what is printed is lost.
extern "C" fn look_at_stdout() {
    // SAFETY: F_GETFD takes no third argument, and only reads the flags of a descriptor, or says that there is none.
    let closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
    STDOUT_CLOSED.store(closed, Ordering::Relaxed);
}

// SAFETY: what is in this section are pointers to functions that are called, with arguments that may be ignored, before
// `main` is; this one needs nothing that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look_at_stdout;

fn main() -> ExitCode {
    if STDOUT_CLOSED.load(Ordering::Relaxed) {
        message!("ipft: stdout is closed; redirect it to a file, or to /dev/null if nobody needs it");
        return ExitCode::FAILURE;
    }
    signals::survive_file_limit();
    let command_line: Vec<_> = std::env::args_os().collect();
    // Not an option: ipft calls itself so.
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
    let command = match cli::parse(&command_line) {
        Ok(command) => command,
        Err(error) => {
            message!("ipft: {error}");
            return ExitCode::from(cli::EXIT_USAGE);
        }
    };
    let shown = command_line
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match run(command, shown) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            message!("ipft: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and what caused it, in a line. Errors that are shown alone elsewhere name their cause themselves; it is not
/// told twice.
fn told(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |told, cause| {
            if told.is_empty() {
                cause
            } else if told.contains(&cause) {
                told
            } else {
                format!("{told}: {cause}")
            }
        })
}

/// Does what was asked for. `false` if that went wrong in a way that has been told already.
fn run(command: Command, command_line: Vec<String>) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match command {
        Command::Trace(options) => {
            drop(stdout);
            Ok(session::trace(&options, command_line)? == Outcome::Done)
        }
        Command::Replay(options) if options.info => {
            info::print(&options.files, &mut Terminal::new(stdout))?;
            Ok(true)
        }
        Command::Replay(options) => {
            drop(stdout);
            Ok(replay::replay(&options)? == Outcome::Done)
        }
        Command::List(options) => {
            session::list(&options, &mut stdout)?;
            Ok(true)
        }
        Command::Doctor => Ok(doctor::examine(&Root::system(), &mut Terminal::new(stdout))?),
        Command::Generate(what) => {
            match what {
                Generate::Skeleton => stdout.write_all(generate::skeleton().as_bytes())?,
                Generate::Header => stdout.write_all(generate::HEADER.as_bytes())?,
            }
            stdout.flush()?;
            Ok(true)
        }
        Command::Plugin(command) => {
            // A plugin writes to stdout from a thread of its own.
            drop(stdout);
            plugin_command::run(&command, &mut Terminal::new(std::io::stdout()))
        }
        Command::Print(text) => {
            stdout.write_all(&text)?;
            stdout.flush()?;
            Ok(true)
        }
    }
}

/// `ipft -l | head` ends when `head` does, and that is no failure.
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
    fn every_cause_is_told_once() {
        let source = std::io::Error::other("the disk is gone");
        let result: Result<(), _> = Err(Unreadable { source });
        let error = result.context("no trace").unwrap_err();
        assert_eq!(
            told(&error),
            "no trace: cannot read it: the disk is gone\nread another one"
        );
        assert_eq!(told(&anyhow!("alone")), "alone");
    }
}
