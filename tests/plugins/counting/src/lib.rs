//! The plugin of `benches/plugin.rs`: it ignores events, or does the minimum of real plugins, which is to look up each
//! event's packet and add to its state. The same code runs as WebAssembly and natively.

use std::collections::HashMap;
use std::io::Write;

use ipft_plugin::{Batch, Error, Options, Output, Plugin, Summary, Trace, plugin};

/// Counts, if enabled.
#[derive(Debug, Default)]
pub struct Counting {
    packets: bool,
    of: HashMap<u64, Packet>,
}

#[derive(Debug, Default)]
struct Packet {
    events: u64,
    time: u64,
    last: u64,
}

impl Plugin for Counting {
    fn start(&mut self, _: &Trace, options: &Options) -> Result<(), Error> {
        self.packets = options.get("what")? == "packets";
        Ok(())
    }

    fn events(&mut self, batch: &Batch, _: &mut Output) -> Result<(), Error> {
        if self.packets {
            for event in batch.events {
                let packet = self.of.entry(event.packet).or_default();
                packet.events += 1;
                packet.time += event.duration().unwrap_or(0);
                packet.last = event.timestamp;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &Trace, _: &Summary, out: &mut Output) -> Result<(), Error> {
        let events: u64 = self.of.values().map(|packet| packet.events).sum();
        let time: u64 = self
            .of
            .values()
            .map(|packet| packet.time ^ packet.last)
            .fold(0, |a, b| a ^ b);
        writeln!(out, "{} packets, {events} events, {time}", self.of.len())?;
        Ok(())
    }
}

plugin! {
    Counting,
    about: "Does nothing with events, or counts them per packet",
    options: [
        what: choice["nothing", "packets"] = "nothing", "What it does";
    ]
}
