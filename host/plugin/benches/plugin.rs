//! Measures the cost of passing events to a WebAssembly plugin, and of loading one.
//!
//! ```text
//! cargo build --profile plugin --target wasm32-wasip2 -p counting -p flame
//! cargo bench --bench plugin -- TARGET/wasm32-wasip2/plugin
//! ```
//!
//! The same events go through a sink as in a trace, in batches of some size, at a pace that the plugin keeps up with.
//! Two costs are reported per event: that of the trace's thread to hand it over, and that of the plugin's thread to
//! take it, pass it on, and run the plugin. Both are CPU time, so that other processes on a busy machine matter little.
//! The counting plugin also runs natively, from the same source.
//!
//! For the other files given, or `flame.wasm` in the folder: the time to compile them, and to load them once compiled.
//! That is wall-clock time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use counting::Counting;
use ipft_core::event::*;
use ipft_core::sink::Sink;
use ipft_plugin::{Driver, Options, Output};
use ipft_plugin_host::host::wasm::{Cache, Component, Engine};
use ipft_plugin_host::package::{Grants, inspect};
use rustix::time::{ClockId, clock_gettime};

/// Events per run, and number of repetitions: the best counts.
const EVENTS: usize = 1 << 21;
const RUNS: usize = 7;

/// How far the trace may be ahead of the plugin.
const AHEAD: u64 = 1 << 14;

/// Packets in flight at once, and events per packet.
const PACKETS: u64 = 4096;
const EVENTS_OF_PACKET: u64 = 32;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let folder = PathBuf::from(
        arguments
            .next()
            .context("the folder of built plugins is missing: see this file")?,
    );
    let mut files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    if files.is_empty() {
        files = vec![folder.join("counting.wasm"), folder.join("flame.wasm")];
    }
    let engine = Engine::new()?;
    let counting = load(&engine, &folder.join("counting.wasm"), None)?.0;
    for what in ["nothing", "packets"] {
        for size in [256, 4096] {
            let (trace, plugin) = best(|| run(&counting, what, size))?;
            println!(
                "{what:8} batches of {size:4}: {trace:5.2} ns an event on the trace's thread, {plugin:5.2} ns on the plugin's"
            );
        }
    }
    let (native, _) = best(|| Ok((natively(), 0.0)))?;
    println!("packets  natively        : {native:5.2} ns an event");
    for file in files {
        loads(&engine, &file)?;
    }
    Ok(())
}

/// Returns the best of each cost over several runs.
fn best(mut run: impl FnMut() -> Result<(f64, f64)>) -> Result<(f64, f64)> {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        let (first, second) = run()?;
        best = (best.0.min(first), best.1.min(second));
    }
    Ok(best)
}

/// Returns nanoseconds per event of the trace's thread and the plugin's.
fn run(component: &Component, what: &str, size: usize) -> Result<(f64, f64)> {
    let batches = batches(size);
    let batches: Vec<&Batch> = batches.iter().cycle().take(EVENTS / size).collect();
    // Neither includes start and end.
    let nothing = pass_on(component, what, &[])?;
    let all = pass_on(component, what, &batches)?;
    Ok((handing(component, what, &batches)?, (all - nothing) / EVENTS as f64))
}

/// Measures nanoseconds per event of the trace's thread: some batches are handed over, then the benchmark waits for the
/// plugin, which a trace does not do and which is not counted.
fn handing(component: &Component, what: &str, batches: &[&Batch]) -> Result<f64> {
    let mut sink = sink(component, what)?;
    let usage = sink.usage();
    sink.start(&trace())?;
    let (mut sent, mut took) = (0, 0.0);
    for some in batches.chunks(AHEAD as usize / batches[0].events.len()) {
        let start = time(ClockId::ThreadCPUTime);
        for batch in some {
            sink.events(batch)?;
            sent += batch.events.len() as u64;
        }
        took += time(ClockId::ThreadCPUTime) - start;
        while usage.delivered() < sent {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
    sink.finish(&Summary::default())?;
    Ok(took / sent as f64)
}

fn sink(component: &Component, what: &str) -> Result<ipft_plugin_host::host::PluginSink> {
    let values = component
        .description()
        .values(&[("what".to_owned(), what.to_owned())])?;
    Ok(component.sink(
        &Grants::default(),
        values,
        Box::new(std::io::sink()),
        Arc::new(|_, _| ()),
    )?)
}

/// Returns the CPU time of the plugin's thread in nanoseconds.
fn pass_on(component: &Component, what: &str, batches: &[&Batch]) -> Result<f64> {
    let mut sink = sink(component, what)?;
    let usage = sink.usage();
    let others = || time(ClockId::ProcessCPUTime) - time(ClockId::ThreadCPUTime);
    let start = others();
    sink.start(&trace())?;
    let mut sent = 0;
    for batch in batches {
        while sent > usage.delivered() + AHEAD {
            std::thread::sleep(Duration::from_micros(20));
        }
        sink.events(batch)?;
        sent += batch.events.len() as u64;
    }
    sink.finish(&Summary::default())?;
    let took = others() - start;
    ensure!(usage.missed() == 0, "the plugin missed {} events", usage.missed());
    Ok(took)
}

/// Measures nanoseconds per event of the same code, natively, in batches as the plugin gets them.
fn natively() -> f64 {
    let batches = batches(4096);
    let events: Vec<Vec<ipft_plugin::Event>> = batches
        .iter()
        .map(|batch| batch.events.iter().map(of).collect())
        .collect();
    let mut driver = Driver::new(Counting::default(), Output::new(|_| ()));
    let options = Options::new(vec![("what".to_owned(), "packets".to_owned())]);
    driver
        .start(ipft_plugin::Trace::default(), &options)
        .expect("it starts");
    let start = time(ClockId::ThreadCPUTime);
    for events in events.iter().cycle().take(EVENTS / 4096) {
        driver.events(events, &[]).expect("it counts");
    }
    (time(ClockId::ThreadCPUTime) - start) / EVENTS as f64
}

fn of(event: &Event) -> ipft_plugin::Event {
    ipft_plugin::Event {
        packet: event.packet,
        skb: event.skb,
        timestamp: event.timestamp,
        entry_timestamp: event.entry_timestamp,
        function: event.function,
        cpu: event.cpu,
        kind: event.kind.0,
        thread: event.thread,
        ..ipft_plugin::Event::default()
    }
}

/// Measures the loading time of a file, compiled and not.
fn loads(engine: &Engine, file: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cache = Cache::new(folder.path().join("ipft"));
    let mut cold = f64::INFINITY;
    let mut cached = f64::INFINITY;
    for _ in 0..3 {
        cold = cold.min(load(engine, file, None)?.1);
    }
    load(engine, file, Some(&cache))?;
    for _ in 0..20 {
        cached = cached.min(load(engine, file, Some(&cache))?.1);
    }
    println!(
        "{}: {} KiB, compiled in {cold:.1} ms, loaded from the cache in {cached:.2} ms",
        file.file_name().unwrap_or_default().display(),
        file.metadata()?.len() >> 10
    );
    Ok(())
}

/// Loads a file; returns the milliseconds from its bytes to a component that can be started.
fn load(engine: &Engine, file: &Path, cache: Option<&Cache>) -> Result<(Component, f64)> {
    let bytes = inspect::read(file).with_context(|| format!("read {}", file.display()))?;
    let start = Instant::now();
    let component = Component::load(engine, "bench", &bytes, cache, || (), &mut |message| {
        eprintln!("{message}")
    })?;
    Ok((component, start.elapsed().as_secs_f64() * 1e3))
}

/// Reads a clock in nanoseconds.
fn time(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn trace() -> Trace {
    Trace {
        tracer: Tracer::FunctionGraph,
        backend: "kprobe-session".to_owned(),
        functions: (0..1500)
            .map(|number| Function {
                name: format!("function_{number}"),
                module: "vmlinux".to_owned(),
                address: 0,
            })
            .collect(),
        schema: Schema::default(),
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: String::new(),
        mark: 1,
        mask: u32::MAX,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    }
}

/// Generates events of short-lived packets, in batches of this size.
fn batches(size: usize) -> Vec<Batch> {
    let events = (0..PACKETS * EVENTS_OF_PACKET).map(|number| Event {
        // Some packets are in flight at once, and their events alternate.
        packet: 1 + number / (16 * EVENTS_OF_PACKET) * 16 + number % 16,
        skb: 0xffff_8da1_f50b_7f00,
        timestamp: 1_000_000 + 100 * number,
        entry_timestamp: if number / 16 % 2 == 1 {
            1_000_000 + 100 * number - 1600
        } else {
            0
        },
        function: (number % 1500) as u32,
        cpu: (number % 4) as u32,
        kind: if number / 16 % 2 == 1 {
            EventKind::RETURN
        } else {
            EventKind::ENTRY
        },
        thread: 0,
        payload_offset: 0,
        payload_len: 0,
        spare: 0,
    });
    let events: Vec<Event> = events.collect();
    let batch = |events: &[Event]| Batch {
        events: events.to_vec(),
        ..Batch::default()
    };
    events.chunks(size).map(batch).collect()
}
