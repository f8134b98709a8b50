//! {{name}}: how often packets entered each function, as a table when the trace ends.

use std::cmp::Reverse;
use std::io::Write;

use ipft_plugin::{Batch, Error, Options, Output, Plugin, Summary, Trace, plugin, text};

/// The plugin. Each trace creates one with `Default`.
#[derive(Default)]
pub struct Entries {
    /// Entries per function, in the order of `Trace::functions`.
    entered: Vec<u64>,
    /// The option `top`.
    top: usize,
}

impl Plugin for Entries {
    fn start(&mut self, _trace: &Trace, options: &Options) -> Result<(), Error> {
        self.top = match options.integer("top")? {
            0 => usize::MAX,
            top => usize::try_from(top)
                .map_err(|_| "the option 'top' is a number of functions, and cannot be negative")?,
        };
        Ok(())
    }

    // Functions come in parts: with the first events that need them.
    fn learn(&mut self, trace: &Trace) {
        self.entered.resize(trace.functions.len(), 0);
    }

    fn events(&mut self, batch: &Batch, _out: &mut Output) -> Result<(), Error> {
        for event in batch.events.iter().filter(|event| event.is_entry()) {
            if let Some(entered) = self.entered.get_mut(event.function as usize) {
                *entered += 1;
            }
        }
        Ok(())
    }

    fn finish(&mut self, trace: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error> {
        let functions = trace.functions.iter().zip(&self.entered);
        let mut ranked: Vec<_> = functions.filter(|(_, entered)| **entered > 0).collect();
        ranked.sort_by_key(|(_, entered)| Reverse(**entered));

        writeln!(out, "     ENTERED  FUNCTION")?;
        for (function, entered) in ranked.iter().take(self.top) {
            // Names come from the kernel and may contain anything, even terminal escapes.
            write!(out, "{entered:>12}  {}", text::visible(&function.name))?;
            if function.module != "vmlinux" {
                write!(out, " [{}]", text::visible(&function.module))?;
            }
            writeln!(out)?;
        }
        if ranked.len() > self.top {
            writeln!(out, "and {} more functions", ranked.len() - self.top)?;
        }
        let lost = summary.lost().saturating_add(summary.missed);
        if lost > 0 {
            writeln!(out, "{lost} events were lost: the numbers are too low")?;
        }
        Ok(())
    }
}

plugin! {
    Entries,
    about: "how often packets entered each function",
    options: [
        top: integer = 20, "how many functions to show, 0 for all";
    ]
}
