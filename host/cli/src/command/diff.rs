//! `ipft diff`: compares two recordings.

use std::io::Write;
use std::path::Path;

use crate::args::DiffOptions;
use crate::command::drawing::default_max_memory;
use crate::command::report::Outcome;
use anyhow::{Context, bail};
use ipft_core::event::{Batch, Summary};
use ipft_core::message;
use ipft_core::privileges::{self, Needs};
use ipft_core::signals::Signals;
use ipft_core::sink::difference::{self, Profile, Side};
use ipft_core::sink::{Counter, Sink};
use ipft_core::stream::Recorded;

/// Writes what differs between two recordings.
pub fn diff(options: &DiffOptions, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let signals = Signals::install().context("cannot listen for signals")?;
    let open = |path: &Path| -> anyhow::Result<Recorded> {
        let stop = signals.fd().try_clone_to_owned().context("cannot listen for signals")?;
        let mut recorded = Recorded::open(&[path.to_owned()], Some(stop))?;
        recorded.hold()?;
        Ok(recorded)
    };
    let [first, second] = &options.files;
    let mut recorded = [open(first)?, open(second)?];
    if !options.keep_privileges {
        privileges::reduce(&Needs::default())?;
    }
    let mut profiles = Vec::new();
    for recorded in &mut recorded {
        profiles.push(profile(recorded, &signals)?);
    }
    if let [ours, theirs] = &profiles[..] {
        let name = |path: &Path| match path.as_os_str() {
            stdin if stdin == "-" => "stdin".to_owned(),
            whole => path.file_name().unwrap_or(whole).to_string_lossy().into_owned(),
        };
        let (name, other) = match (name(first), name(second)) {
            (name, other) if name != other => (name, other),
            // Of different folders.
            _ => (first.display().to_string(), second.display().to_string()),
        };
        let side = |name, profile| Side { name, profile };
        difference::write(out, side(&name, ours), side(&other, theirs), options.top)?;
        out.flush()?;
    }
    for note in recorded.iter().flat_map(Recorded::notes) {
        message!("ipft: {note}");
    }
    for (path, profile) in options.files.iter().zip(&profiles) {
        if profile.packets() == 0 {
            message!("{} has no packets, so there is nothing to compare", path.display());
        }
        if profile.has_forgotten() {
            message!(
                "ipft: {} has more packets than there is memory for, so some are counted more than once",
                path.display()
            );
        }
    }
    Ok(match recorded.iter().any(Recorded::has_lost) {
        true => Outcome::Incomplete,
        false => Outcome::Done,
    })
}

/// Reads a whole recording.
fn profile(recorded: &mut Recorded, signals: &Signals) -> anyhow::Result<Profile> {
    // Both are in memory at the end.
    let mut profile = Profile::new(default_max_memory() / 2);
    let mut counter = Counter::on_stderr();
    profile.start(recorded.trace())?;
    let mut batch = Batch::default();
    loop {
        let read = recorded.read(&mut batch, |_| true);
        if signals.stop_requested() {
            bail!("stopped before both recordings were read, so nothing is compared");
        }
        for new in recorded.take_functions() {
            profile.functions(&new)?;
        }
        if !read? {
            break;
        }
        if let Some(counter) = &mut counter {
            counter.add(batch.events.len());
        }
        profile.events(&batch)?;
    }
    let summary = recorded.summary().cloned();
    profile.finish(&summary.unwrap_or_else(|| Summary {
        losses: recorded.losses().to_vec(),
        ..Summary::default()
    }))?;
    Ok(profile)
}
