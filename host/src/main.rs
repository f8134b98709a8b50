//! The `ipft` binary: reads the command line, runs what it asks for, and turns the result into an exit code.

use std::io::Write;
use std::process::ExitCode;

use ipft::cli::{self, Command};
use ipft::session::{self, Outcome};

fn main() -> ExitCode {
    let command_line: Vec<_> = std::env::args_os().collect();
    let command = match cli::parse(&command_line) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("ipft: {error}");
            return ExitCode::from(cli::EXIT_USAGE);
        }
    };
    let shown = command_line
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let result = match command {
        Command::Trace(options) => session::trace(&options, shown),
        Command::List(options) => session::list(&options).map(|()| Outcome::Done),
        Command::Doctor => unreachable!(),
        Command::Print(text) => std::io::stdout()
            .write_all(&text)
            .map(|()| Outcome::Done)
            .map_err(Into::into),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::SinkFailed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ipft: {error:#}");
            ExitCode::FAILURE
        }
    }
}
