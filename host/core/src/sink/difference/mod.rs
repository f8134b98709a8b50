//! What differs between two traces: how their packets ended, what decided about them, which functions they entered and
//! how often, and how long that took. Imports `text` besides its part [`profile`].
//!
//! Two traces never have the same packets, so that all numbers are rates: of 100 packets.

mod profile;

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::text::{grouped, short_time, visible};
use profile::Calls;
pub use profile::Profile;

/// Columns of a number.
const WIDTH: usize = 12;

/// Relative change of a function's entries, or of its mean duration, from which on it is shown: less is chance.
const CHANGE: f64 = 0.1;

/// Change of a function's entries of 100 packets from which on it is shown.
const ENTRIES: f64 = 1.0;

/// Change of a function's mean duration in nanoseconds from which on it is shown.
const DURATION: f64 = 1000.0;

/// A trace, and the name that the user knows it by.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The file's name.
    pub name: &'a str,
    /// What its packets did.
    pub profile: &'a Profile,
}

/// One line: what it is about, and the two numbers.
struct Row {
    name: String,
    first: f64,
    second: f64,
}

impl Row {
    fn change(&self) -> f64 {
        (self.second - self.first).abs()
    }

    /// The change as a part of the larger number.
    fn relative(&self) -> f64 {
        self.change() / self.first.max(self.second).max(f64::MIN_POSITIVE)
    }
}

/// Writes what differs, at most `top` lines of each kind.
pub fn write(out: &mut dyn Write, first: Side<'_>, second: Side<'_>, top: usize) -> io::Result<()> {
    let mut page = Page {
        out,
        first,
        second,
        top,
        same: true,
    };
    page.line(&column(first.name), &column(second.name), "")?;
    let packets = [first, second].map(|side| side.profile.packets());
    page.line(&grouped(packets[0]), &grouped(packets[1]), "packets")?;
    let lost = [first, second].map(|side| side.profile.lost());
    if lost != [0, 0] {
        page.line(
            &grouped(lost[0]),
            &grouped(lost[1]),
            "events lost, so that counts are too low",
        )?;
    }
    if packets.contains(&0) {
        return Ok(());
    }
    page.ends()?;
    page.functions()?;
    if page.same {
        // Of marked packets that were not followed, no trace has the ends.
        let followed = first.profile.is_followed() && second.profile.is_followed();
        let ended = if followed { "ended alike and " } else { "" };
        writeln!(page.out, "\nPackets {ended}entered the same functions.")?;
    }
    Ok(())
}

/// Puts two tables side by side, in order of their names.
fn joined<K: Ord, V>(first: BTreeMap<K, V>, second: BTreeMap<K, V>) -> impl Iterator<Item = (K, Option<V>, Option<V>)> {
    let mut both = BTreeMap::<K, (Option<V>, Option<V>)>::new();
    for (name, value) in first {
        both.entry(name).or_default().0 = Some(value);
    }
    for (name, value) in second {
        both.entry(name).or_default().1 = Some(value);
    }
    both.into_iter().map(|(name, (first, second))| (name, first, second))
}

/// The text so far.
struct Page<'a> {
    out: &'a mut dyn Write,
    first: Side<'a>,
    second: Side<'a>,
    top: usize,
    /// Nothing differed so far.
    same: bool,
}

impl Page<'_> {
    fn line(&mut self, first: &str, second: &str, what: &str) -> io::Result<()> {
        let line = format!("{first:>WIDTH$} {second:>WIDTH$}  {what}");
        writeln!(self.out, "{}", line.trim_end())
    }

    /// Writes rows under a heading, those that changed most first.
    fn section(&mut self, heading: &str, mut rows: Vec<Row>, number: fn(f64) -> String) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.same = false;
        rows.sort_by(|one, other| {
            other
                .change()
                .total_cmp(&one.change())
                .then_with(|| one.name.cmp(&other.name))
        });
        writeln!(self.out, "\n{heading}:")?;
        for row in rows.iter().take(self.top) {
            self.line(&number(row.first), &number(row.second), &row.name)?;
        }
        match rows.len().saturating_sub(self.top) {
            0 => Ok(()),
            hidden => self.line("", "", &format!("and {hidden} more (--top 0 shows all)")),
        }
    }

    /// Returns how many of 100 packets it is, of the first trace and of the second.
    fn of_hundred(&self, first: u64, second: u64) -> [f64; 2] {
        let rate = |count: u64, side: Side<'_>| count as f64 * 100.0 / side.profile.packets().max(1) as f64;
        [rate(first, self.first), rate(second, self.second)]
    }

    /// Returns the counts that differ, as rates.
    fn rates(&self, first: BTreeMap<String, u64>, second: BTreeMap<String, u64>) -> Vec<Row> {
        let rows = joined(first, second).map(|(name, first, second)| {
            let [first, second] = self.of_hundred(first.unwrap_or_default(), second.unwrap_or_default());
            Row { name, first, second }
        });
        rows.filter(|row| rate(row.first) != rate(row.second)).collect()
    }

    /// Writes what became of packets.
    fn ends(&mut self) -> io::Result<()> {
        let (first, second) = (self.first, self.second);
        match (first.profile.is_followed(), second.profile.is_followed()) {
            (true, true) => {
                self.times(&first.profile.times(), &second.profile.times())?;
                let ends = self.rates(first.profile.ends(), second.profile.ends());
                self.section("How packets ended, of 100", ends, rate)?;
            }
            (false, false) => {}
            (is_first, _) => {
                let followed = if is_first { first } else { second };
                writeln!(
                    self.out,
                    "\nHow packets ended is not compared: only the trace of {} followed them (with a filter or --follow).",
                    visible(followed.name)
                )?;
            }
        }
        let [ours, theirs] = [first, second].map(|side| side.profile.decisions());
        match (ours.is_empty(), theirs.is_empty()) {
            (false, false) => {
                let decided = self.rates(ours, theirs);
                self.section("What was decided about packets, of 100", decided, rate)
            }
            (true, true) => Ok(()),
            (is_first, _) => {
                // There may have been no rules, or nothing recorded what they decide.
                let without = if is_first { first } else { second };
                writeln!(
                    self.out,
                    "\nDecisions are not compared: the trace of {} has none (--show +netfilter,tc records them).",
                    visible(without.name)
                )
            }
        }
    }

    /// Writes which functions they entered.
    fn functions(&mut self) -> io::Result<()> {
        let (first, second) = (self.first, self.second);
        let (mut only_first, mut only_second, mut entered, mut durations) = (vec![], vec![], vec![], vec![]);
        // Nothing that only one trace could see is a difference.
        let mut untraced = [0, 0];
        for (name, ours, theirs) in joined(first.profile.calls(), second.profile.calls()) {
            let (ours, theirs) = match (ours, theirs) {
                (Some(ours), Some(theirs)) => (ours, theirs),
                (one, other) => {
                    let is_entered = |calls: Option<Calls>| usize::from(calls.is_some_and(|calls| calls.entries > 0));
                    untraced = [untraced[0] + is_entered(other), untraced[1] + is_entered(one)];
                    continue;
                }
            };
            let row = |[first, second]: [f64; 2]| Row {
                name: name.to_owned(),
                first,
                second,
            };
            let entries = row(self.of_hundred(ours.entries, theirs.entries));
            match (ours.entries, theirs.entries) {
                (0, 0) => {}
                (0, _) => only_second.push(entries),
                (_, 0) => only_first.push(entries),
                _ if entries.relative() >= CHANGE && entries.change() >= ENTRIES => entered.push(entries),
                _ => {}
            }
            if let (Some(ours), Some(theirs)) = (ours.mean(), theirs.mean()) {
                let mean = row([ours, theirs]);
                if mean.relative() >= CHANGE && mean.change() >= DURATION {
                    durations.push(mean);
                }
            }
        }
        for (side, rows) in [(second, only_second), (first, only_first)] {
            let heading = format!("Functions that only packets of {} entered, of 100", visible(side.name));
            self.section(&heading, rows, rate)?;
        }
        self.section(
            "Functions that were entered more or less often, by 100 packets",
            entered,
            rate,
        )?;
        self.section("Functions that took more or less time, on average", durations, time)?;
        for (side, count) in [first, second].into_iter().zip(untraced) {
            if count > 0 {
                let functions = if count == 1 { "function" } else { "functions" };
                let name = visible(side.name);
                writeln!(
                    self.out,
                    "\nNot compared: {count} {functions} that the trace of {name} could not see."
                )?;
            }
        }
        Ok(())
    }

    /// Writes how long packets were on their way.
    fn times(&mut self, first: &[u64], second: &[u64]) -> io::Result<()> {
        for (part, name) in [
            (50, "median time of a packet, from its first event to its end"),
            (99, "99th percentile"),
        ] {
            if let (Some(first), Some(second)) = (percentile(first, part), percentile(second, part)) {
                self.line(&time(first as f64), &time(second as f64), name)?;
            }
        }
        Ok(())
    }
}

/// Returns the value that so many of 100 do not exceed; `None` if there is none. They are in order.
fn percentile(sorted: &[u64], part: usize) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = (sorted.len() as u128 * part as u128).div_ceil(100) as usize;
    sorted.get(rank.saturating_sub(1).min(last)).copied()
}

/// Formats a file's name as the heading of a column: its end, which is what differs.
fn column(name: &str) -> String {
    let name = visible(name);
    let letters = name.chars().count();
    match letters > WIDTH {
        true => std::iter::once('~')
            .chain(name.chars().skip(letters + 1 - WIDTH))
            .collect(),
        false => name.into_owned(),
    }
}

/// Formats how many of 100 packets it was. None and few are not the same.
fn rate(value: f64) -> String {
    match value {
        0.0 => "-".to_owned(),
        few if few < 0.1 => "< 0.1".to_owned(),
        value => format!("{value:.1}"),
    }
}

/// Formats nanoseconds.
fn time(nanoseconds: f64) -> String {
    short_time(nanoseconds as u64)
}

#[cfg(test)]
mod tests;
