//! The time from a packet's entry into one function to its next entry into another.

use std::collections::HashMap;
use std::io::Write;

use ipft_plugin::{Error, Event, Function, Output, Trace, text};
use rustc_hash::FxBuildHasher;

use crate::times::{Times, bars};

/// Limit of packets between the two functions. Above it, the half that started first is assumed never to arrive.
const LIMIT: usize = 1 << 20;

/// Measures the time from one function to another.
#[derive(Debug)]
pub(crate) struct Between {
    from: String,
    to: String,
    /// For each function, whether it is one of the two. Several functions may share a name.
    is_from: Vec<bool>,
    is_to: Vec<bool>,
    /// Time at which each packet started.
    on_the_way: HashMap<u64, u64, FxBuildHasher>,
    given_up: u64,
    times: Times,
    limit: usize,
}

impl Between {
    pub(crate) fn new(from: &str, to: &str) -> Self {
        Between {
            from: from.to_owned(),
            to: to.to_owned(),
            is_from: Vec::new(),
            is_to: Vec::new(),
            on_the_way: HashMap::default(),
            given_up: 0,
            times: Times::default(),
            limit: LIMIT,
        }
    }

    /// Adds new functions. The list only grows.
    pub(crate) fn learn(&mut self, functions: &[Function]) {
        let known = self.is_from.len();
        for function in functions.get(known..).unwrap_or_default() {
            self.is_from.push(function.name == self.from);
            self.is_to.push(function.name == self.to);
        }
    }

    /// Handles a packet's entry into a function. A packet that starts again is measured from the later start.
    pub(crate) fn enter(&mut self, event: &Event) {
        let is = |list: &[bool]| list.get(event.function as usize).copied().unwrap_or_default();
        if is(&self.is_to)
            && let Some(set_out) = self.on_the_way.remove(&event.packet)
        {
            self.times.record(event.timestamp.saturating_sub(set_out));
        }
        if is(&self.is_from) {
            if self.on_the_way.len() >= self.limit {
                self.give_up();
            }
            self.on_the_way.insert(event.packet, event.timestamp);
        }
    }

    #[cold]
    fn give_up(&mut self) {
        let mut times: Vec<u64> = self.on_the_way.values().copied().collect();
        let middle = times.len() / 2;
        let (_, &mut middle, _) = times.select_nth_unstable(middle);
        let before = self.on_the_way.len();
        self.on_the_way.retain(|_, set_out| *set_out > middle);
        self.given_up += (before - self.on_the_way.len()) as u64;
    }

    /// Writes the result.
    pub(crate) fn write(&self, trace: &Trace, out: &mut Output) -> Result<(), Error> {
        let (from, to) = (text::visible(&self.from), text::visible(&self.to));
        writeln!(out, "From `{from}` to `{to}`")?;
        for (name, is) in [(&self.from, &self.is_from), (&self.to, &self.is_to)] {
            if !is.contains(&true) {
                let functions = text::count(trace.functions.len() as u64);
                writeln!(
                    out,
                    "\nNone of the {functions} traced functions is `{}`.",
                    text::visible(name)
                )?;
                return Ok(());
            }
        }
        let times = &self.times;
        if times.count() > 0 {
            let [p50, p90, p99] = [50.0, 90.0, 99.0].map(|percentile| text::duration(times.percentile(percentile)));
            writeln!(
                out,
                "\n{} times: p50 {p50}, p90 {p90}, p99 {p99}, max {}\n",
                text::count(times.count()),
                text::duration(times.max())
            )?;
        }
        for (low, count, bar) in bars(times) {
            let line = format!("{:>11} {:>10} |{bar}", text::duration(low), text::count(count));
            writeln!(out, "{line}")?;
        }
        let never = self.given_up + self.on_the_way.len() as u64;
        if never > 0 {
            writeln!(
                out,
                "\nTimes that a packet set out and did not arrive: {}",
                text::count(never)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(limit: usize) -> Between {
        let functions = ["a", "b", "a"].map(|name| Function {
            name: name.to_owned(),
            ..Function::default()
        });
        let mut between = Between::new("a", "b");
        between.limit = limit;
        between.learn(&functions[..1]);
        between.learn(&functions);
        between
    }

    fn enter(between: &mut Between, packet: u64, function: u32, timestamp: u64) {
        between.enter(&Event {
            packet,
            function,
            timestamp,
            ..Event::default()
        });
    }

    #[test]
    fn last_start_to_first_arrival_is_measured() {
        let mut between = between(LIMIT);
        for (packet, function, time) in [
            (1, 1, 5),
            (1, 0, 10),
            (2, 2, 11),
            (1, 2, 20),
            (1, 1, 50),
            (1, 1, 60),
            (2, 1, 111),
        ] {
            enter(&mut between, packet, function, time);
        }
        assert_eq!((between.times.count(), between.times.total()), (2, 30 + 100));
        assert_eq!((between.times.max(), between.on_the_way.len()), (100, 0));
    }

    #[test]
    fn lost_packets_are_counted_in_bounded_memory() {
        let mut between = between(100);
        for packet in 1..=1000 {
            enter(&mut between, packet, 0, packet);
            assert!(between.on_the_way.len() <= 100);
        }
        assert_eq!(between.given_up + between.on_the_way.len() as u64, 1000);
        enter(&mut between, 1000, 1, 1001);
        assert_eq!(between.times.total(), 1);
    }
}
