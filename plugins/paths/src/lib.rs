//! Paths of packets through the kernel, most frequent first, and where the rare ones diverge from the common ones.
//!
//! A path is the sequence of functions that a packet entered. [`trie`] stores common prefixes once, and each packet's
//! position, so that memory grows with the number of paths and little with that of packets. This file has the plugin
//! and writes the paths. Where packets are followed, each path has the name of one of its packets, and their ends.

mod trie;

use std::io::Write;

use ipft_plugin::{Batch, End, Error, Headings, Options, Output, Plugin, Summary, Trace, plugin, text};
use trie::{Fork, Taken, Trie};

/// The plugin.
#[derive(Default)]
pub struct Paths {
    top: usize,
    trie: Trie,
    headings: Headings,
    missed: u64,
}

plugin! {
    Paths,
    about: "The distinct paths that packets took, and where the rare ones left the common ones",
    options: [
        top: integer = 10, "How many paths are shown; 0 shows all";
    ]
}

impl Plugin for Paths {
    fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        self.top = match options.integer_in("top", 0..=i64::from(i32::MAX))? {
            0 => usize::MAX,
            top => top as usize,
        };
        self.headings = Headings::new(trace);
        Ok(())
    }

    fn events(&mut self, batch: &Batch, _out: &mut Output) -> Result<(), Error> {
        for event in batch.events {
            if event.outcome().is_some() {
                self.trie.ended(event);
            }
            if !event.is_entry() {
                continue;
            }
            self.trie.enter(event);
            if self.headings.are_there()
                && self.trie.wants_name(event.packet)
                && let Some(name) = self.headings.of(batch.trace, batch.payload_of(event))
            {
                self.trie.name(event.packet, name);
            }
        }
        Ok(())
    }

    fn missed(&mut self, events: u64) {
        self.missed += events;
    }

    fn finish(&mut self, trace: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error> {
        let paths = self.trie.finish();
        let packets: u64 = paths.iter().map(|path| path.packets).sum();
        match paths.len() as u64 {
            0 => writeln!(out, "No packet entered a traced function.")?,
            1 => writeln!(out, "{} took one path.", number_of(packets))?,
            several => writeln!(out, "{} took {} paths.", number_of(packets), text::count(several))?,
        }
        for (index, path) in paths.iter().enumerate().take(self.top) {
            write(trace, &paths, index, packets, out)?;
            write_packets(trace, path, out)?;
            self.functions(trace, path, out)?;
        }
        if paths.len() > self.top {
            let hidden = &paths[self.top..];
            let took = hidden.iter().map(|path| path.packets).sum();
            writeln!(
                out,
                "\nPaths that are not shown (`top=0` shows all): {}, which {} took.",
                text::count(hidden.len() as u64),
                number_of(took)
            )?;
        }
        for (count, what) in [
            (
                self.trie.cut,
                "Packets whose path is too long or too rare to be kept whole",
            ),
            (
                self.trie.ended_early,
                "Packets that were quiet for so long that they were taken to be over",
            ),
            (summary.lost(), "Events that were lost, so that paths have gaps"),
            (
                self.missed,
                "Events that came too fast for this plugin, so that paths have gaps",
            ),
        ] {
            if count > 0 {
                writeln!(out, "\n{what}: {}", text::count(count))?;
            }
        }
        Ok(())
    }
}

impl Paths {
    /// Returns the functions of the path's own part.
    fn functions(&self, trace: &Trace, path: &Taken, out: &mut Output) -> Result<(), Error> {
        let functions = self.trie.functions(path.end);
        let shared = path.fork.as_ref().map_or(0, |fork| fork.depth);
        // Repeat the last shared function: it is the place to look at.
        let from = shared.saturating_sub(1);
        for (number, function) in (1..).zip(&functions).skip(from) {
            writeln!(out, "{number:>6}  {}", name(trace, *function))?;
        }
        Ok(())
    }
}

/// Formats `Path 1: 12,034 packets (99.98 %) took this path, 3 left it at `nf_hook_slow``.
fn write(trace: &Trace, paths: &[Taken], index: usize, all: u64, out: &mut Output) -> Result<(), Error> {
    let path = &paths[index];
    let share = text::percent(path.packets, all);
    write!(out, "\nPath {}: {} ({share})", index + 1, number_of(path.packets))?;
    match &path.fork {
        None => write!(out, " took this path")?,
        Some(fork) if fork.depth == 0 => write!(out, " came another way from the beginning on")?,
        Some(fork) => {
            let (left, place) = (fork.left + 1, name(trace, fork.function));
            match (path.length == fork.depth, paths[fork.left].length == fork.depth) {
                (true, _) => write!(out, " took path {left} as far as `{place}`")?,
                (_, true) => write!(out, " took path {left} and went on after `{place}`")?,
                _ => write!(out, " left path {left} at `{place}`")?,
            }
        }
    }
    // Where packets left it, in the order of the path.
    let mut left: Vec<(usize, u32, u64)> = Vec::new();
    for fork in paths
        .iter()
        .filter_map(|path| Some((path.fork.as_ref()?, path.packets)))
    {
        let (
            Fork {
                left: from,
                depth,
                function,
                ..
            },
            packets,
        ) = fork;
        if *from != index || *depth == 0 || *depth == path.length {
            continue;
        }
        match left.iter_mut().find(|(other, ..)| other == depth) {
            Some((.., sum)) => *sum += packets,
            None => left.push((*depth, *function, packets)),
        }
    }
    left.sort_unstable();
    for (number, (_, function, packets)) in left.iter().enumerate() {
        let what = if number == 0 { " left it" } else { "" };
        write!(out, ", {}{what} at `{}`", text::count(*packets), name(trace, *function))?;
    }
    Ok(writeln!(out)?)
}

/// Writes one of the path's packets, and where packets are followed, how they ended.
fn write_packets(trace: &Trace, path: &Taken, out: &mut Output) -> Result<(), Error> {
    if let Some(name) = &path.example {
        writeln!(out, "        {}{name}", if path.packets == 1 { "" } else { "such as " })?;
    }
    if !trace.is_followed() {
        return Ok(());
    }
    for (end, packets) in &path.ends {
        let words = match end {
            Some((outcome, function)) => End {
                outcome: *outcome,
                function: *function,
                timestamp: 0,
            }
            .words(trace),
            None => "not ended".to_owned(),
        };
        writeln!(out, "        {} {words}", text::count(*packets))?;
    }
    Ok(())
}

fn number_of(packets: u64) -> String {
    let noun = if packets == 1 { "packet" } else { "packets" };
    format!("{} {noun}", text::count(packets))
}

/// Formats `ipt_do_table [ip_tables]`.
fn name(trace: &Trace, function: u32) -> String {
    let function = trace.function(function);
    match function.module.as_str() {
        "vmlinux" => text::visible(&function.name).to_string(),
        module => format!("{} [{}]", text::visible(&function.name), text::visible(module)),
    }
}
