//! A flame graph of where packets spent their time: all call paths over all packets; the width is the time.
//!
//! Calls are summed in a tree of call paths, so that memory grows with the number of paths, not of packets; `inferno`
//! draws it. If returns are not traced, no call is known to contain another; the graph then stacks the functions that
//! each packet passed, and the width is the number of packets that reached the function.
//!
//! Packets can be kept apart, by how they ended or each on its own: a group has a tree of its own, and a frame below
//! it.

use std::collections::BTreeMap;

use inferno::flamegraph;
use ipft_plugin::{
    Batch, Error, Headings, Journey, Journeys, Options, Output, Plugin, Summary, Trace, Tree, plugin, text,
};

/// Bytes of events whose packets may still continue. Reusing memory is faster than allocating it.
const MEMORY: usize = 16 << 20;

/// Largest total that fits inferno's `usize`, which has 32 bits on WebAssembly.
const MAX_TOTAL: u64 = u32::MAX as u64;

/// Limit of groups; packets beyond are one group.
const MOST_GROUPS: usize = 100;

/// Name of the group of packets beyond the limit.
const OTHERS: &str = "(other packets)";

/// Units of time, with their length in nanoseconds.
const UNITS: [(u64, &str); 4] = [(1, "ns"), (1_000, "us"), (1_000_000, "ms"), (1_000_000_000, "s")];

/// The plugin.
#[derive(Default)]
pub struct Flame {
    by: String,
    title: String,
    width: u64,
    split: Split,
    headings: Headings,
    journeys: Journeys,
    /// By the name of the group; one without a name if packets are not kept apart.
    groups: BTreeMap<String, Tree>,
}

/// By what packets are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Split {
    #[default]
    Nothing,
    Outcome,
    Packet,
}

plugin! {
    Flame,
    about: "An interactive flame graph (SVG) of time per call path over all packets",
    options: [
        by: choice["time", "count", "packet"] = "time",
            "What makes a frame wide: time in it, calls of it, or packets, each counted once per call path";
        split: choice["nothing", "outcome", "packet"] = "nothing",
            "What has a frame of its own at the bottom: each outcome where packets are followed, or each of the first packets";
        title: string = "Packets in kernel functions", "What is written above the picture";
        width: integer = 1200, "Width of the picture in pixels, where it is not fitted to the window";
    ]
}

impl Plugin for Flame {
    fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        self.by = if trace.has_returns() {
            options.get("by")?
        } else {
            "packet"
        }
        .to_owned();
        self.title = options.get("title")?.to_owned();
        self.width = options.integer_in("width", 200..=20_000)? as u64;
        self.split = match options.get("split")? {
            "outcome" => Split::Outcome,
            "packet" => Split::Packet,
            _ => Split::Nothing,
        };
        self.headings = Headings::new(trace);
        self.journeys = Journeys::with_limit(MEMORY);
        if self.split != Split::Packet {
            self.journeys = std::mem::take(&mut self.journeys).without_payloads();
        }
        Ok(())
    }

    fn events(&mut self, batch: &Batch, _out: &mut Output) -> Result<(), Error> {
        let over = self.journeys.add(batch);
        over.iter().for_each(|journey| self.see(batch.trace, journey));
        Ok(())
    }

    fn finish(&mut self, trace: &Trace, _summary: &Summary, out: &mut Output) -> Result<(), Error> {
        let over = self.journeys.take();
        over.iter().for_each(|journey| self.see(trace, journey));
        let total = |groups: &BTreeMap<String, Tree>| {
            let totals = groups.values().map(Tree::total);
            totals.fold(0, u64::saturating_add)
        };
        let (unit, unit_name) = unit(&self.by, total(&self.groups));
        let share = MAX_TOTAL * unit / self.groups.len().max(1) as u64;
        if total(&self.groups) > MAX_TOTAL * unit {
            self.groups.values_mut().for_each(|tree| tree.limit_total(share));
        }
        // Frames narrower than a twentieth of a pixel are not drawn.
        let least = total(&self.groups) / (20 * self.width);
        let mut lines = Vec::new();
        for (group, tree) in &mut self.groups {
            tree.prune(least);
            tree.visit(trace, |functions, own| {
                let names = functions.iter().map(|index| frame(&trace.function(*index).name));
                let group = Some(frame(group)).filter(|_| !group.is_empty());
                let names: Vec<String> = group.into_iter().chain(names).collect();
                lines.push(format!("{} {}", names.join(";"), own / unit));
            });
        }
        if lines.is_empty() {
            lines.push("(no packet was seen, or no call ended) 1".to_owned());
        }
        let mut options = flamegraph::Options::default();
        options.title = text::visible_in_xml(&self.title);
        options.subtitle = Some(text::visible_in_xml(&format!("Linux {}", trace.kernel_release)));
        options.count_name = unit_name;
        options.image_width = Some(self.width as usize);
        options.deterministic = true;
        // The lines are in the tree's order. Sorting them as text would put `ip_rcv.part.0` between `ip_rcv` and its
        // callees. Only the reversed order is accepted without a check.
        options.flame_chart = true;
        let lines = lines.iter().rev().map(String::as_str);
        Ok(flamegraph::from_lines(&mut options, lines, out)?)
    }
}

impl Flame {
    /// Adds a packet's calls to the tree.
    fn see(&mut self, trace: &Trace, journey: &Journey) {
        let calls = journey.calls();
        let group = self.group(trace, journey);
        let tree = self.groups.entry(group).or_default();
        let paths = tree.place(trace, &calls);
        let of_calls = calls.iter().map(|call| if self.by == "time" { call.own } else { 1 });
        match self.by.as_str() {
            "packet" => {
                let innermost = tree.innermost(paths);
                innermost.iter().for_each(|path| tree.add(*path, 1));
            }
            _ => paths
                .iter()
                .zip(of_calls)
                .for_each(|(path, value)| tree.add(*path, value)),
        }
    }

    /// Returns the name of a packet's group.
    fn group(&self, trace: &Trace, journey: &Journey) -> String {
        let name = match self.split {
            Split::Nothing => return String::new(),
            Split::Packet => journey.heading(trace, &self.headings),
            Split::Outcome => {
                let end = journey.lineage.end.map(|end| end.words(trace));
                end.unwrap_or_else(|| "not ended".to_owned())
            }
        };
        match self.groups.len() < MOST_GROUPS || self.groups.contains_key(&name) {
            true => name,
            false => OTHERS.to_owned(),
        }
    }
}

/// The counted quantity and its unit: the smallest one in which the total fits.
fn unit(by: &str, total: u64) -> (u64, String) {
    let [shorter @ .., longest] = UNITS;
    let fits = shorter.into_iter().find(|(unit, _)| total / unit <= MAX_TOTAL);
    match (by, fits.unwrap_or(longest)) {
        ("time", (unit, name)) => (unit, name.to_owned()),
        _ => (1, format!("{by}s")),
    }
}

/// Formats a function for inferno's lines, where spaces and `;` are separators.
fn frame(name: &str) -> String {
    let shown = text::visible_in_xml(if name.is_empty() { "?" } else { name });
    shown.replace(char::is_whitespace, "_").replace(';', ":")
}
