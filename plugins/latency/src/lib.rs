//! Function latency: calls, percentiles and a histogram per function, and the time between two functions.
//!
//! Durations come from return events, so that the only state per packet is when it passed the function named by `from`.
//! [`times`] has the histograms, [`between`] the times from one function to another; this file has the plugin and the
//! table.

mod between;
mod times;

use std::io::Write;

use between::Between;
use ipft_plugin::{Batch, Error, Function, Options, Output, Plugin, Summary, Trace, plugin, text};
use times::{Times, spark};

/// Width of the column of function names, if they fit.
const NAME: usize = 36;

/// The plugin.
#[derive(Default)]
pub struct Latency {
    by: String,
    top: usize,
    has_returns: bool,
    functions: Vec<Timed>,
    between: Option<Between>,
    missed: u64,
}

/// Statistics of one function.
#[derive(Default)]
struct Timed {
    calls: u64,
    times: Times,
}

plugin! {
    Latency,
    about: "How long functions take: calls, p50, p90, p99, max and a histogram of each",
    options: [
        by: choice["total", "calls", "p50", "p90", "p99", "max", "name"] = "total", "What the table is sorted by";
        top: integer = 40, "How many functions are shown; 0 shows all";
        from: string = "", "With `to`: the function from whose entry time is measured";
        to: string = "", "With `from`: the function to whose next entry with the same packet time is measured";
    ]
}

impl Plugin for Latency {
    fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        self.by = options.get("by")?.to_owned();
        self.top = match options.integer_in("top", 0..=i64::from(i32::MAX))? {
            0 => usize::MAX,
            top => top as usize,
        };
        self.has_returns = trace.has_returns();
        self.between = match (options.get("from")?, options.get("to")?) {
            ("", "") => None,
            ("", _) => return Err("the option 'to' is of use with 'from' only".into()),
            (_, "") => return Err("the option 'from' is of use with 'to' only".into()),
            (from, to) => Some(Between::new(from, to)),
        };
        Ok(())
    }

    fn learn(&mut self, trace: &Trace) {
        self.functions.resize_with(trace.functions.len(), Timed::default);
        if let Some(between) = &mut self.between {
            between.learn(&trace.functions);
        }
    }

    fn events(&mut self, batch: &Batch, _out: &mut Output) -> Result<(), Error> {
        for event in batch.events {
            let Some(function) = self.functions.get_mut(event.function as usize) else {
                continue;
            };
            function.calls += u64::from(event.is_entry());
            if let Some(duration) = event.duration() {
                function.times.record(duration);
            }
            if let Some(between) = &mut self.between
                && event.is_entry()
            {
                between.enter(event);
            }
        }
        Ok(())
    }

    fn missed(&mut self, events: u64) {
        self.missed += events;
    }

    fn finish(&mut self, trace: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error> {
        self.table(trace, out)?;
        if let Some(between) = &self.between {
            writeln!(out)?;
            between.write(trace, out)?;
        }
        let (lost, missed) = (summary.lost(), self.missed);
        if lost > 0 {
            writeln!(
                out,
                "\nEvents that were lost, so that calls are missing here: {}",
                text::count(lost)
            )?;
        }
        if missed > 0 {
            let missed = text::count(missed);
            writeln!(
                out,
                "\nEvents that came too fast for this plugin, so that calls are missing here: {missed}"
            )?;
        }
        Ok(())
    }
}

impl Latency {
    fn table(&self, trace: &Trace, out: &mut Output) -> Result<(), Error> {
        let mut rows: Vec<(&Function, &Timed)> = trace.functions.iter().zip(&self.functions).collect();
        rows.retain(|(_, timed)| timed.calls > 0 || timed.times.count() > 0);
        if rows.is_empty() {
            return Ok(writeln!(out, "No packet came through a traced function.")?);
        }
        rows.sort_by_cached_key(|(function, timed)| {
            let largest = match (self.by.as_str(), self.has_returns) {
                ("name", _) => 0,
                ("calls", _) | (_, false) => timed.calls,
                ("total", _) => timed.times.total(),
                ("p50", _) => timed.times.percentile(50.0),
                ("p90", _) => timed.times.percentile(90.0),
                ("p99", _) => timed.times.percentile(99.0),
                (_, _) => timed.times.max(),
            };
            (
                std::cmp::Reverse(largest),
                function.name.clone(),
                function.module.clone(),
            )
        });
        let hidden = rows.len().saturating_sub(self.top);
        rows.truncate(self.top);
        if self.has_returns {
            self.durations(&rows, out)?;
        } else {
            writeln!(out, "{:<NAME$} {:>10}", "function", "calls")?;
            for (function, timed) in &rows {
                writeln!(out, "{} {:>10}", name(function), text::count(timed.calls))?;
            }
            writeln!(
                out,
                "\nReturns were not traced, so that calls have no duration; `-t function_graph` traces them."
            )?;
        }
        if hidden > 0 {
            writeln!(
                out,
                "\nFunctions that are not shown (`top=0` shows all): {}",
                text::count(hidden as u64)
            )?;
        }
        Ok(())
    }

    fn durations(&self, rows: &[(&Function, &Timed)], out: &mut Output) -> Result<(), Error> {
        let span = times::span(rows.iter().map(|(_, timed)| &timed.times));
        write!(out, "{:<NAME$} {:>10}", "function", "calls")?;
        for title in ["p50", "p90", "p99", "max", "total"] {
            write!(out, " {title:>11}")?;
        }
        match &span {
            Some(span) => writeln!(
                out,
                "  {} to {}",
                text::duration(span.low()),
                text::duration(span.high())
            )?,
            None => writeln!(out)?,
        }
        let mut without = 0;
        for (function, timed) in rows {
            write!(out, "{} {:>10}", name(function), text::count(timed.calls))?;
            without += timed.calls.saturating_sub(timed.times.count());
            if timed.times.count() == 0 {
                writeln!(out, " {:>11}", "-")?;
                continue;
            }
            for value in [50.0, 90.0, 99.0].map(|percentile| timed.times.percentile(percentile)) {
                write!(out, " {:>11}", text::duration(value))?;
            }
            write!(out, " {:>11}", text::duration(timed.times.max()))?;
            write!(out, " {:>11}", text::duration(timed.times.total()))?;
            match &span {
                Some(span) => writeln!(out, "  {}", spark(&timed.times, span))?,
                None => writeln!(out)?,
            }
        }
        if without > 0 {
            writeln!(
                out,
                "\nCalls without a duration, as their return was lost or is still to come: {}",
                text::count(without)
            )?;
        }
        Ok(())
    }
}

/// Formats `ipt_do_table [ip_tables]` for its column.
fn name(function: &Function) -> String {
    let module = match function.module.as_str() {
        "vmlinux" => String::new(),
        module => format!(" [{}]", text::visible(module)),
    };
    let name = format!("{}{module}", text::visible(&function.name));
    format!("{name:<NAME$}")
}
