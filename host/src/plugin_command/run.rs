//! `ipft plugin run`: a plugin on a trace that was kept.

use anyhow::Context;
use ipft_plugin::testing::Recording;

use super::replay::replay;
use crate::cli::PluginFile;
use crate::plugins::Plugins;
use crate::sink::Sinks;
use std::path::Path;

/// Runs it. `false` if the plugin failed, which has been told.
pub(super) fn run(plugin: &PluginFile, recording: &Path) -> anyhow::Result<bool> {
    let mut plugins = Plugins::load(std::slice::from_ref(plugin), None, false)?;
    anyhow::ensure!(
        plugins.draw(),
        "the plugin {} draws nothing: it only adds fields to a trace that is being made",
        plugin.name
    );
    let recording = Recording::read(recording)
        .with_context(|| format!("{} is not what 'ipft -o jsonl' writes", recording.display()))?;
    let mut sinks = Sinks::new(Box::new(|name, error| eprintln!("ipft: {name}: {error}")));
    plugins.add_to(&mut sinks)?;
    replay(&recording, &mut sinks);
    Ok(plugins.complete(&sinks) && sinks.failures().next().is_none())
}
