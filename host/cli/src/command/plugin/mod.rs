//! `ipft plugin`: finds, examines, tries and begins plugins. Nothing here traces, so that nothing needs root.

mod check;
mod convert;
mod inspect;
mod replay;
mod run;

pub use replay::replay;

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::args::PluginCommand;
use ipft_core::message;
use ipft_core::output::Stream;
use ipft_core::text::visible;
use ipft_plugin_host::package::{Folders, Language, inspect as inspection, new, pack};

/// Runs the command. Returns `false` after a failure that has been reported.
pub fn run(command: &PluginCommand, out: &mut impl Write) -> anyhow::Result<bool> {
    let folders = Folders::of_environment();
    match command {
        PluginCommand::List => list(&folders, out).map(|()| true),
        PluginCommand::Inspect { path, json } => inspect::inspect(&folders, path, *json, out).map(|()| true),
        PluginCommand::Check {
            plugin,
            keep_privileges,
        } => check::check(&folders, plugin, *keep_privileges, out),
        PluginCommand::New { dir, language, name } => begin(dir, *language, name).map(|()| true),
        PluginCommand::Pack { path, description, out } => describe(path, description, out).map(|()| true),
        PluginCommand::Run {
            plugin,
            recording,
            keep_privileges,
        } => run::run(plugin, recording, *keep_privileges),
    }
}

fn list(folders: &Folders, out: &mut impl Write) -> anyhow::Result<()> {
    let installed = folders.installed().context("cannot list the installed plugins")?;
    for why in &installed.skipped {
        message!("ipft: {why}");
    }
    let installed = installed.plugins;
    if installed.is_empty() {
        let paths: Vec<String> = folders.paths().iter().map(|path| path.display().to_string()).collect();
        message!(
            "no plugins found in {}; copy a .wasm file there to install one",
            paths.join(" or ")
        );
        return Ok(());
    }
    let names: Vec<String> = (installed.iter().map(|plugin| visible(&plugin.name).into_owned())).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    for (plugin, name) in installed.iter().zip(&names) {
        let said = match &plugin.hidden_by {
            Some(other) => format!("(not used: {} comes first)", other.display()),
            None => inspect::one_line(&plugin.path),
        };
        writeln!(out, "{name:width$}  {said}")?;
    }
    Ok(out.flush()?)
}

fn begin(dir: &Path, language: Language, name: &str) -> anyhow::Result<()> {
    new::write(dir, language, name)?;
    message!(
        "{} holds a plugin that builds as it is; its README.md says how.",
        dir.display()
    );
    Ok(())
}

fn describe(path: &Path, description: &Path, out: &Path) -> anyhow::Result<()> {
    let component = inspection::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let json = fs::read(description).with_context(|| format!("cannot read {}", description.display()))?;
    let packed = pack::pack(&component, &json).with_context(|| format!("cannot pack {}", path.display()))?;
    let written = Stream::public_file(out).and_then(|mut stream| {
        stream.write_all(&packed)?;
        stream.complete()
    });
    written.with_context(|| format!("cannot write {}", out.display()))
}
