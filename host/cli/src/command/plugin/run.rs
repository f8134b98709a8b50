//! `ipft plugin run`: a plugin on a trace that was kept, by `--record` or as what `-o jsonl` wrote.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use ipft_plugin::testing::Recording;

use crate::args::{Drawing, Output, PluginFile, ReplayOptions, Selection, TextStyle};
use crate::command::drawing;
use crate::command::plugins::Plugins;
use crate::command::replay;
use crate::command::report::Outcome;
use ipft_core::message;
use ipft_core::recording::layout::MAGIC;
use ipft_core::sink::Sinks;

/// Runs a plugin. Returns `false` if the plugin failed, which has been reported.
pub(super) fn run(plugin: &PluginFile, recording: &Path, keep_privileges: bool) -> anyhow::Result<bool> {
    let options = options(plugin, recording, keep_privileges);
    if is_recording(recording) {
        return Ok(replay::replay(&options)? == Outcome::Done);
    }
    let mut plugins = Plugins::load(std::slice::from_ref(plugin), None, false, None)?;
    anyhow::ensure!(
        plugins.draw(),
        "the plugin {} draws nothing: it only adds fields to a trace that is being made",
        plugin.name
    );
    let recording = Recording::read(recording).with_context(|| {
        format!(
            "{} is neither a recording nor what 'ipft -o jsonl' writes",
            recording.display()
        )
    })?;
    let mut sinks = Sinks::new(Box::new(|name, error| message!("ipft: {name}: {error}")));
    plugins.add_to(&mut sinks)?;
    if !keep_privileges {
        drawing::confine(&options.drawing, false)?;
    }
    super::replay(&recording, &mut sinks);
    Ok(plugins.complete(&sinks) && sinks.failures().next().is_none())
}

/// Returns whether the file begins like a recording. Read errors are reported later, by the reader.
fn is_recording(path: &Path) -> bool {
    let mut bytes = [0; MAGIC.len()];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut bytes).is_ok()) && bytes == MAGIC
}

/// Replays a recording like 'ipft replay RECORDING --plugin PLUGIN'.
pub(super) fn options(plugin: &PluginFile, recording: &Path, keep_privileges: bool) -> ReplayOptions {
    ReplayOptions {
        files: vec![recording.to_owned()],
        info: false,
        drawing: Drawing {
            output: Output::Aggregate,
            output_given: false,
            text: TextStyle::default(),
            plugins: vec![plugin.clone()],
            record: None,
            pcapng: None,
            max_memory: None,
        },
        selection: Selection::default(),
        extension: None,
        keep_privileges,
        verbose: false,
    }
}
