//! `ipft plugin check`: runs a plugin on the built-in traces, each in a new instance, and a decoder on bytes of all
//! kinds, and reports its author's mistakes.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipft_plugin::testing::{self, Recording};

use super::convert;
use super::replay::replay;
use super::run::options;
use crate::args::PluginFile;
use crate::command::{drawing, plugins};
use ipft_core::event::{Batch, Event, EventKind};
use ipft_core::extension::decode::{DATA, Decode};
use ipft_core::sink::{Destination, Sinks};
use ipft_plugin_host::decoder::WasmDecoder;
use ipft_plugin_host::host::Log;
use ipft_plugin_host::host::wasm::{Compiler, Component, Engine, Level};
use ipft_plugin_host::package::inspect::Need;
use ipft_plugin_host::package::{Folders, Grants, OptionValues, inspect};

/// Nanoseconds per event above which a plugin falls behind a busy trace.
const SLOW: u128 = 2_000;

/// Prints the findings. Returns `false` if the plugin failed.
pub(super) fn check(
    folders: &Folders,
    file: &PluginFile,
    keep_privileges: bool,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let (path, bytes) = plugins::read(folders, &file.path)?;
    let inspection = inspect::inspect(&bytes).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let engine = Engine::new()?.compiling_in(Compiler::this_program(None)?);
    let start = Instant::now();
    // Without the cache, to show the compile time.
    let component = Component::load(&engine, &file.name, &bytes, None, || {}, &mut |_| {})?;
    let compiled = start.elapsed();
    if !keep_privileges {
        let mut drawing = options(file, Path::new(""), false).drawing;
        // Its output is only checked.
        drawing.plugins.iter_mut().for_each(|plugin| plugin.grants.out = None);
        drawing::confine(&drawing, false)?;
    }
    let description = component.description();
    writeln!(
        out,
        "{} {}: {}",
        description.name, description.version, description.about
    )?;
    writeln!(
        out,
        "{} KiB, compiled in {} ms; the next start takes it from the cache",
        bytes.len().div_ceil(1024),
        compiled.as_millis()
    )?;
    let values = description
        .values(&file.grants.options)
        .map_err(|error| anyhow::anyhow!("{}: {error}", file.name))?;
    let mut good = true;
    if component.exports().program {
        good &= check_object(&component, &file.grants, &values, out)?;
    }
    if component.exports().decoder {
        good &= check_decoder(&component, &file.grants, &values, out)?;
    }
    if component.exports().draws() {
        for recording in testing::traces() {
            good &= check_trace(&component, &file.grants, &values, &recording, out)?;
        }
    }
    advise(&inspection, out)?;
    writeln!(out, "{}", if good { "All is well." } else { "The plugin failed." })?;
    out.flush()?;
    Ok(good)
}

fn check_object(
    component: &Component,
    grants: &Grants,
    values: &OptionValues,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let object = match component.object(grants, values, plugins::log(&component.description().name, true)) {
        Ok(object) => object,
        Err(error) => {
            writeln!(out, "  program                 failed: {error}")?;
            return Ok(false);
        }
    };
    match ipft_core::extension::object::check(&object) {
        Ok(_) => writeln!(out, "  program                 ok: {} bytes of BPF", object.len())?,
        Err(error) => {
            writeln!(out, "  program                 its object cannot be used: {error}")?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Payloads for a decoder: more than fit into one call.
const PAYLOADS: usize = 10_000;

/// Checks a decoder: it must handle any payload, as another version of the kernel code may have filled it.
fn check_decoder(
    component: &Component,
    grants: &Grants,
    values: &OptionValues,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let reported = Rc::new(RefCell::new(None));
    let first = reported.clone();
    let tell = move |failure: &str| *first.borrow_mut() = Some(failure.to_owned());
    let log = plugins::log(&component.description().name, true);
    let decoder = component.decoder(grants, values.clone(), log)?;
    let mut decoder = WasmDecoder::new(decoder, Box::new(tell));
    let mut trace = convert::trace(&ipft_plugin::Trace::default());
    trace.schema.size = DATA as u32;
    write!(out, "  {:22}  ", "decoder")?;
    if let Err(error) = decoder.start(&trace) {
        writeln!(out, "failed: {error}")?;
        return Ok(false);
    }
    let mut batch = arbitrary_payloads();
    let start = Instant::now();
    decoder.decode(&mut batch);
    let each = start.elapsed().as_nanos() / PAYLOADS as u128;
    let report = decoder.finish();
    match reported.take().or_else(|| report.messages.first().cloned()) {
        Some(failure) => {
            writeln!(out, "failed at {} of {PAYLOADS} payloads: {failure}", report.failed)?;
            Ok(false)
        }
        None => {
            let names = batch.names.len();
            writeln!(
                out,
                "ok: {PAYLOADS} payloads of arbitrary bytes, {names} names, {each} ns each"
            )?;
            Ok(true)
        }
    }
}

/// Returns the same bytes in every run (xorshift64); the first payload is zero, as without kernel code.
fn arbitrary_payloads() -> Batch {
    let mut batch = Batch::default();
    batch.payload.resize(DATA, 0);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while batch.payload.len() < PAYLOADS * DATA {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        batch.payload.extend_from_slice(&state.to_le_bytes());
    }
    batch.events = (0..PAYLOADS)
        .map(|index| Event {
            packet: 1,
            skb: 1,
            timestamp: index as u64,
            entry_timestamp: 0,
            function: 0,
            cpu: 0,
            kind: EventKind::ENTRY,
            thread: 1,
            payload_offset: (index * DATA) as u32,
            payload_len: DATA as u32,
            spare: 0,
        })
        .collect();
    batch
}

/// Output of a plugin.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<(u64, blake3::Hasher)>>);

impl Written {
    fn end(&self) -> (u64, blake3::Hash) {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (written.0, written.1.finalize())
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.0 += bytes.len() as u64;
        written.1.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Result of a run.
struct Ran {
    written: (u64, blake3::Hash),
    time: Duration,
    memory: usize,
    missed: u64,
    complained: bool,
    failure: Option<String>,
}

fn run(component: &Component, grants: &Grants, values: &OptionValues, recording: &Recording) -> anyhow::Result<Ran> {
    let written = Written::default();
    let complained = Arc::new(AtomicBool::new(false));
    let noted = complained.clone();
    let log: Log = Arc::new(move |level, _: &str| {
        if matches!(level, Level::Error | Level::Warning) {
            noted.store(true, Ordering::Relaxed);
        }
    });
    let sink = component.sink(grants, values.clone(), Box::new(written.clone()), log)?;
    let usage = sink.usage();
    let mut sinks = Sinks::new(Box::new(|_, _| {}));
    sinks.add("plugin", Destination::Elsewhere, Box::new(sink));
    let start = Instant::now();
    replay(recording, &mut sinks);
    Ok(Ran {
        written: written.end(),
        time: start.elapsed(),
        memory: usage.memory(),
        missed: usage.missed(),
        complained: complained.load(Ordering::Relaxed),
        failure: sinks.failures().next().map(|(_, error)| error.to_string()),
    })
}

fn check_trace(
    component: &Component,
    grants: &Grants,
    values: &OptionValues,
    recording: &Recording,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let ran = run(component, grants, values, recording)?;
    write!(out, "  {:22}  ", recording.name)?;
    if let Some(failure) = ran.failure {
        writeln!(out, "failed: {failure}")?;
        return Ok(false);
    }
    let events: usize = recording.chunks.iter().map(|chunk| chunk.events.len()).sum();
    write!(
        out,
        "ok: {} bytes written, {} KiB of memory",
        ran.written.0,
        ran.memory.div_ceil(1024)
    )?;
    // Starting takes longer than a few events.
    if events >= 10_000 {
        let each = ran.time.as_nanos() / events as u128;
        write!(out, ", {each} ns an event")?;
        if each > SLOW {
            write!(out, " (slow: it will miss events of a busy trace)")?;
        }
    }
    if ran.missed > 0 {
        write!(out, ", {} events missed", ran.missed)?;
    }
    if ran.complained {
        write!(out, ", it complained")?;
    }
    let again = run(component, grants, values, recording)?;
    if again.written.1 != ran.written.1 && again.missed == 0 && ran.missed == 0 {
        write!(out, ", and something else the second time")?;
    }
    writeln!(out)?;
    Ok(true)
}

fn advise(inspection: &inspect::Inspection, out: &mut impl Write) -> io::Result<()> {
    let needs: Vec<&str> = inspection.needs().iter().copied().map(Need::description).collect();
    if needs.is_empty() {
        return writeln!(
            out,
            "It imports nothing but the contract: it can be proved harmless by its imports."
        );
    }
    writeln!(out, "It may ask for (many do, and never use it):")?;
    for need in needs {
        writeln!(out, "  {need}")?;
    }
    Ok(())
}
