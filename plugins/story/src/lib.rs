//! What happened to each packet, for people who do not read kernels: `#1 10.0.0.1 > 10.0.0.2 icmp echo request, 84 B:
//! received on eth0, routed on, DROPPED in nft_do_chain (NETFILTER_DROP).`
//!
//! Packets to which the same happened share a line. This file has the plugin and the groups; `packet` makes steps of
//! events, with the knowledge of `function`.

mod function;
mod packet;

use std::hash::{Hash, Hasher};
use std::io::Write;

use ipft_plugin::{Batch, End, Error, Event, Headings, Options, Outcome, Output, Plugin, Summary, Trace, plugin, text};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use packet::{FieldNames, Packet, Step};

/// Limit of packets that are followed at once.
const MOST_PACKETS: i64 = 10_000_000;

/// Limit of different stories; packets of further ones are only counted.
const MOST_GROUPS: usize = 10_000;

/// Limit of flows that are counted in one story and in all.
const MOST_FLOWS: usize = 100_000;

/// How packets end, in the order of the first line.
const WORDS: [&str; 8] = [
    "delivered",
    "forwarded",
    "sent",
    "joined",
    "released",
    "not ended",
    "dropped",
    "discarded",
];

/// The plugin.
#[derive(Debug, Default)]
pub struct Story {
    top: usize,
    limit: usize,
    /// Nanoseconds without an event that count as a wait.
    wait: u64,
    each: bool,
    long: bool,
    names: Option<FieldNames>,
    headings: Headings,
    packets: FxHashMap<u64, Packet>,
    groups: FxHashMap<Key, Group>,
    flows: FxHashSet<u64>,
    /// Packets so far.
    number: u64,
    /// Packets of stories beyond the limit.
    beyond: u64,
    /// Packets that were taken to be over.
    ended_early: u64,
    missed: u64,
}

/// What packets of a group share: their steps and their end. The number of the packet if each has a group of its own,
/// or else 0.
type Key = (Vec<Step>, Option<(Outcome, u32, Option<u32>)>, u64);

/// Packets to which the same happened.
#[derive(Debug)]
struct Group {
    packets: u64,
    /// Hashes of their flows.
    flows: FxHashSet<u64>,
    /// The first of them.
    first: Packet,
    /// The number of the packet that the first was made of.
    parent: Option<u64>,
    end: Option<End>,
    /// The shortest and the longest time from the first event to the last one, in nanoseconds.
    least: u64,
    most: u64,
}

plugin! {
    Story,
    about: "What happened to each packet, in words, and what to do about it",
    options: [
        top: integer = 100, "How many stories are shown, those of lost packets first; 0 shows all";
        wait: integer = 1000, "Microseconds in a queue that count as a wait; elsewhere, twenty times as many";
        each: bool = false, "Tell the story of each packet, also if it is the same";
        long: bool = false, "Tell each step on a line of its own, with its time";
        packets: integer = 100000, "Packets that are followed at once; beyond, those that were quiet for longest are taken to be over";
    ]
}

impl Plugin for Story {
    fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        self.top = match options.integer_in("top", 0..=i64::from(i32::MAX))? {
            0 => usize::MAX,
            top => top as usize,
        };
        self.wait = 1000 * options.integer_in("wait", 1..=3_600_000_000)? as u64;
        self.each = options.flag("each")?;
        self.long = options.flag("long")?;
        self.limit = options.integer_in("packets", 1..=MOST_PACKETS)? as usize;
        self.names = Some(FieldNames::new(trace));
        self.headings = Headings::new(trace);
        Ok(())
    }

    fn events(&mut self, batch: &Batch, _out: &mut Output) -> Result<(), Error> {
        let Some(names) = self.names.take() else {
            return Ok(());
        };
        for event in batch.events {
            if !matches!(event.kind, Event::ENTRY | Event::BORN | Event::ENDED | Event::DECIDED) {
                continue;
            }
            if self.packets.len() >= self.limit && !self.packets.contains_key(&event.packet) {
                self.make_room();
            }
            let packet = self.packets.entry(event.packet).or_insert_with(|| {
                self.number += 1;
                Packet::new(self.number, event.timestamp)
            });
            match event.kind {
                Event::BORN => packet.born(event, batch.trace),
                Event::DECIDED => packet.decided(event, batch.trace),
                Event::ENDED => packet.ended(event, batch.trace, self.wait),
                // What tears it down.
                _ if packet.end.is_some() => {}
                _ => packet.enter(batch, event, &names, &self.headings, self.wait),
            }
        }
        self.names = Some(names);
        Ok(())
    }

    fn missed(&mut self, events: u64) {
        self.missed = self.missed.saturating_add(events);
    }

    fn finish(&mut self, trace: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error> {
        let mut left: Vec<u64> = self.packets.keys().copied().collect();
        left.sort_unstable_by_key(|packet| self.packets[packet].number);
        // All at once, so that each finds its parent's number.
        let numbers: FxHashMap<u64, u64> = self.packets.iter().map(|(id, packet)| (*id, packet.number)).collect();
        for packet in left {
            self.tell(packet, |of| numbers.get(&of).copied());
        }
        let mut groups: Vec<Group> = std::mem::take(&mut self.groups).into_values().collect();
        let is_loss = |group: &Group| group.end.is_some_and(|end| end.is_loss(trace));
        groups.sort_unstable_by_key(|group| (!is_loss(group), group.first.number));
        self.head(trace, &groups, out)?;
        for group in groups.iter().take(self.top) {
            self.group(trace, group, out)?;
        }
        self.foot(&groups, summary, out)
    }
}

impl Story {
    /// Moves packets into their groups: those that have ended, and the half of the others that was quiet for longest if
    /// those are few.
    #[cold]
    fn make_room(&mut self) {
        let ended = self.packets.iter().filter(|(_, packet)| packet.end.is_some());
        let mut over: Vec<u64> = ended.map(|(id, _)| *id).collect();
        if over.len() < self.limit.div_ceil(4) {
            let going_on = self.packets.iter().filter(|(_, packet)| packet.end.is_none());
            let mut quiet: Vec<(u64, u64)> = going_on.map(|(id, packet)| (packet.latest, *id)).collect();
            quiet.sort_unstable();
            quiet.truncate(quiet.len().div_ceil(2));
            self.ended_early += quiet.len() as u64;
            over.extend(quiet.into_iter().map(|(_, id)| id));
        }
        over.sort_unstable_by_key(|packet| self.packets[packet].number);
        for packet in over {
            let parent = parent_of(&self.packets[&packet]);
            let parent = parent.and_then(|of| Some(self.packets.get(&of)?.number));
            self.tell(packet, |_| parent);
        }
    }

    /// Moves a packet into its group.
    fn tell(&mut self, packet: u64, number: impl Fn(u64) -> Option<u64>) {
        let Some(mut packet) = self.packets.remove(&packet) else {
            return;
        };
        let steps = packet.steps.iter().map(|(_, step)| step.common()).collect();
        let end = packet.end;
        let key: Key = (
            steps,
            end.map(|end| (end.outcome, end.function, packet.refused_by)),
            if self.each { packet.number } else { 0 },
        );
        let flow = packet.flow().map(|flow| {
            let mut hasher = FxHasher::default();
            flow.hash(&mut hasher);
            hasher.finish()
        });
        if let Some(flow) = flow
            && self.flows.len() < MOST_FLOWS
        {
            self.flows.insert(flow);
        }
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&key) {
            self.beyond += 1;
            return;
        }
        let took = packet.latest.saturating_sub(packet.first);
        let parent = parent_of(&packet).and_then(number);
        let group = self.groups.entry(key).or_insert_with(|| Group {
            packets: 0,
            flows: FxHashSet::default(),
            first: std::mem::take(&mut packet),
            parent,
            end,
            least: took,
            most: took,
        });
        group.packets += 1;
        group.least = group.least.min(took);
        group.most = group.most.max(took);
        if let Some(flow) = flow
            && group.flows.len() < MOST_FLOWS
        {
            group.flows.insert(flow);
        }
    }

    /// Writes `5 packets of 2 flows: 3 delivered, 2 dropped.`
    fn head(&self, trace: &Trace, groups: &[Group], out: &mut Output) -> Result<(), Error> {
        let packets: u64 = groups.iter().map(|group| group.packets).sum::<u64>() + self.beyond;
        if packets == 0 {
            return Ok(writeln!(out, "No packet entered a traced function.")?);
        }
        write!(out, "{}{}", number_of(packets, "packet"), of_flows(&self.flows))?;
        let mut ends = WORDS.map(|word| (word, 0));
        for group in groups.iter().filter(|_| trace.is_followed()) {
            let word = match group.end {
                None => "not ended",
                Some(end) if end.outcome.is_drop() && !end.is_loss(trace) => "discarded",
                Some(end) => end.outcome.name(),
            };
            if let Some((_, count)) = ends.iter_mut().find(|(other, _)| *other == word) {
                *count += group.packets;
            }
        }
        let mut before = ": ";
        for (word, count) in ends.iter().filter(|(_, count)| *count > 0) {
            write!(out, "{before}{} {word}", text::count(*count))?;
            before = ", ";
        }
        Ok(writeln!(out, ".")?)
    }

    fn group(&self, trace: &Trace, group: &Group, out: &mut Output) -> Result<(), Error> {
        let first = &group.first;
        let heading = first.heading.as_deref().unwrap_or("a packet without known addresses");
        writeln!(out)?;
        match group.packets {
            1 => write!(out, "#{} {heading}", first.number)?,
            packets => {
                let number = first.number;
                write!(
                    out,
                    "{}{}, such as #{number} {heading}",
                    number_of(packets, "packet"),
                    of_flows(&group.flows)
                )?;
            }
        }
        let words = |step: &Step| step.words(|_| group.parent);
        let end = end_words(trace, first, group.end);
        if self.long {
            writeln!(out, ":")?;
            for (timestamp, step) in &first.steps {
                let since = text::duration(timestamp.saturating_sub(first.first)).to_string();
                writeln!(out, "  {since:>12}  {}", words(step))?;
            }
            let since = text::duration(first.latest.saturating_sub(first.first)).to_string();
            writeln!(out, "  {since:>12}  {end}")?;
        } else {
            let mut before = ": ";
            for (_, step) in &first.steps {
                write!(out, "{before}{}", words(step))?;
                before = ", ";
            }
            writeln!(out, "{before}{end}.")?;
        }
        if group.packets > 1 {
            let (least, most) = (text::duration(group.least), text::duration(group.most));
            match group.least == group.most {
                true => writeln!(out, "    Each took {most}.")?,
                false => writeln!(out, "    They took {least} to {most}.")?,
            }
        }
        if let Some(end) = group.end
            && let Outcome::Dropped { reason } = end.outcome
            && let Some((why, remedy)) = trace.drop_advice(reason, end.function)
        {
            write!(out, "    {}", text::visible(why))?;
            match remedy {
                "" => writeln!(out)?,
                remedy => writeln!(out, " Look at: {}", text::visible(remedy))?,
            }
        }
        Ok(())
    }

    fn foot(&self, groups: &[Group], summary: &Summary, out: &mut Output) -> Result<(), Error> {
        let hidden: u64 = groups.iter().skip(self.top).map(|group| group.packets).sum();
        for (count, what) in [
            (hidden, "Packets whose story is not shown (`top=0` shows all)"),
            (self.beyond, "Packets whose story is one too many to be kept"),
            (
                self.ended_early,
                "Packets that were quiet for so long that they were taken to be over",
            ),
            (summary.lost(), "Events that were lost, so that stories have gaps"),
            (
                self.missed,
                "Events that came too fast for this plugin, so that stories have gaps",
            ),
        ] {
            if count > 0 {
                writeln!(out, "\n{what}: {}", text::count(count))?;
            }
        }
        Ok(())
    }
}

/// Returns the packet that a packet was made of.
fn parent_of(packet: &Packet) -> Option<u64> {
    packet.steps.iter().find_map(|(_, step)| match step {
        Step::Made { of, .. } => Some(*of),
        _ => None,
    })
}

/// Formats the end of a story: `delivered`, `DROPPED in nft_do_chain (NETFILTER_DROP)`.
fn end_words(trace: &Trace, packet: &Packet, end: Option<End>) -> String {
    let Some(end) = end else {
        return match packet.function {
            Some(function) => format!("last seen in {}", text::visible(&trace.function(function).name)),
            None => "not seen in any function".to_owned(),
        };
    };
    let Outcome::Dropped { reason } = end.outcome else {
        return end.outcome.name().to_owned();
    };
    let mut words = match end.is_loss(trace) {
        true => "DROPPED".to_owned(),
        false => "discarded".to_owned(),
    };
    let by = packet.refused_by.map(|function| ("by", function));
    let (word, function) = by.unwrap_or(("in", end.function));
    if let Some(function) = trace.functions.get(function as usize) {
        words.push_str(&format!(" {word} {}", text::visible(&function.name)));
    }
    match trace.drop_reason(reason) {
        Some(name) => words.push_str(&format!(" ({})", text::visible(name))),
        None if reason == 0 => {}
        None => words.push_str(&format!(" (reason {reason})")),
    }
    words
}

fn number_of(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", text::count(count))
}

/// Formats ` of 12 flows`; nothing if no addresses are known.
fn of_flows(flows: &FxHashSet<u64>) -> String {
    match flows.len() {
        0 => String::new(),
        count if count >= MOST_FLOWS => format!(" of {} flows or more", text::count(count as u64)),
        count => format!(" of {}", number_of(count as u64, "flow")),
    }
}
