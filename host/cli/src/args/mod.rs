//! The command line: the user's request, as plain values.
//!
//! The old flags of ipftrace2 are the interface, word for word; new abilities are long options and subcommands. clap
//! stays inside this module: what leaves it is a [`Command`] or a [`UsageError`]. It may import plain values of
//! `ipft_core` (`event`, `limit`, `selection`) and `ipft_plugin_host::package`, nothing of this crate. Help,
//! completions, the manual page and `docs/src/command-line.md` are all made from these definitions.

mod drawing;
mod drops;
mod help;
mod number;
mod plugins;
mod replay;
mod request;
mod shared;
mod subcommand;
mod trace;
mod usage;
mod value;

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches};

pub use request::*;
use subcommand::{PluginSubcommand, Subcommand};
use trace::Args;
pub use usage::{EXIT_USAGE, UsageError};

/// Reads the command line; its first word is the program's name.
pub fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Command, UsageError> {
    use clap::error::ErrorKind;

    let matches = match Args::command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Command::Print(
                    without_trailing_spaces(&error.render().to_string()).into_bytes(),
                )),
                _ => Err(UsageError::from_clap(&error)),
            };
        }
    };
    let mut args = Args::from_arg_matches(&matches).map_err(|error| UsageError::from_clap(&error))?;
    match args.command.take() {
        Some(Subcommand::Doctor) => Ok(Command::Doctor),
        Some(Subcommand::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "ipft", &mut text);
            Ok(Command::Print(text))
        }
        Some(Subcommand::Man) => {
            let mut text = Vec::new();
            match clap_mangen::Man::new(Args::command()).render(&mut text) {
                Ok(()) => Ok(Command::Print(text)),
                Err(error) => Err(UsageError::new(format!("cannot render the manual page: {error}"))),
            }
        }
        Some(Subcommand::Lua { verbose, words }) => {
            let mut words = words.into_iter();
            let script = words.next().unwrap_or_default().into();
            Ok(Command::Lua(LuaOptions {
                verbose,
                script,
                arguments: words.collect(),
            }))
        }
        Some(Subcommand::Plugin { command }) => plugin_command(command, &matches),
        Some(Subcommand::Replay(replay)) => {
            let own = matches.subcommand().map_or(&matches, |(_, own)| own);
            Ok(Command::Replay(replay.into_options(own)?))
        }
        Some(Subcommand::Diff {
            first,
            second,
            top,
            keep_privileges,
        }) => {
            if first == second {
                return Err(UsageError::new(
                    "the two recordings are the same file\n\n  tip: ipft diff good.ipft bad.ipft",
                ));
            }
            Ok(Command::Diff(DiffOptions {
                files: [first, second],
                top: if top == 0 { usize::MAX } else { top as usize },
                keep_privileges,
            }))
        }
        Some(Subcommand::Drops(drops)) => {
            let own = matches.subcommand().map_or(&matches, |(_, own)| own);
            Ok(Command::Trace(drops.into_options(own)?))
        }
        Some(Subcommand::Top(trace)) => {
            let own = matches.subcommand().map_or(&matches, |(_, own)| own);
            Ok(Command::Trace(trace.into_options(own, true)?))
        }
        None => args.into_command(&matches),
    }
}

/// The step out of clap's world for `ipft plugin`.
fn plugin_command(command: PluginSubcommand, matches: &clap::ArgMatches) -> Result<Command, UsageError> {
    let own = matches.subcommand().and_then(|(_, plugin)| plugin.subcommand());
    let file = |path: &Path| match own {
        Some((_, own)) => plugins::for_one(own, path),
        None => Ok(PluginFile::new(path)),
    };
    Ok(Command::Plugin(match command {
        PluginSubcommand::List => PluginCommand::List,
        PluginSubcommand::Inspect { file, json } => PluginCommand::Inspect { path: file, json },
        PluginSubcommand::Check {
            file: path,
            keep_privileges,
            ..
        } => PluginCommand::Check {
            plugin: file(&path)?,
            keep_privileges,
        },
        PluginSubcommand::Run {
            file: path,
            recording,
            keep_privileges,
            ..
        } => PluginCommand::Run {
            plugin: file(&path)?,
            recording,
            keep_privileges,
        },
        PluginSubcommand::New { dir, lang, name } => {
            let of_dir = || dir.file_name().map(|name| name.to_string_lossy().into_owned());
            PluginCommand::New {
                language: lang.into(),
                name: name.or_else(of_dir).unwrap_or_default(),
                dir,
            }
        }
        PluginSubcommand::Pack {
            file,
            description,
            output,
        } => PluginCommand::Pack {
            out: output.unwrap_or_else(|| file.clone()),
            path: file,
            description,
        },
    }))
}

/// clap pads empty lines of the long help.
fn without_trailing_spaces(text: &str) -> String {
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[cfg(test)]
mod tests;
