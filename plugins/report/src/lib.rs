//! The journey of each packet as swim lanes, in a single offline HTML page.
//!
//! During the trace the plugin stores events up to the user's limit, with entries and returns paired ([`journal`]). At
//! the end it writes the page ([`page`]) with the data as JSON ([`data`]); the reader's browser draws it.

mod data;
mod journal;
mod layers;
mod page;

use std::collections::BTreeMap;

use ipft_plugin::{Batch, Error, Event, Headings, Options, Output, Plugin, Summary, Trace, plugin};

use data::{Axis, Report, Rows};
use journal::{Journal, Room, Seen};

/// Maximum number of events of a page: a browser opens it in a few seconds.
const MOST_EVENTS: i64 = 5_000_000;

/// A report that is being built.
#[derive(Debug, Default)]
pub struct Page {
    title: String,
    axis: Axis,
    limit: u64,
    /// Whether to write only the data.
    data_only: bool,
    headings: Headings,
    journal: Journal,
    rows: Rows,
    /// The row of each payload so far. A tree, as in [`Rows`].
    payloads: BTreeMap<Vec<u8>, u32>,
    missed: u64,
}

plugin! {
    Page,
    about: "The journey of each packet as swim lanes, in one HTML page that works offline",
    options: [
        title: string = "", "What stands above the page";
        events: integer = 200000, "The most events that the page takes, from the first on; packets in it may take as many again to end";
        axis: choice["waits", "time", "even"] = "waits", "How time is drawn at first: long waits cut, to scale, or one step an event";
        format: choice["html", "json"] = "html", "The page, or only the data in it";
    ]
}

impl Plugin for Page {
    fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        self.title = options.get("title")?.to_owned();
        self.axis = match options.get("axis")? {
            "time" => Axis::Time,
            "even" => Axis::Even,
            _ => Axis::Waits,
        };
        self.limit = options.integer_in("events", 1..=MOST_EVENTS)? as u64;
        self.data_only = options.get("format")? == "json";
        self.headings = Headings::new(trace);
        self.journal = Journal::new(self.limit);
        Ok(())
    }

    fn events(&mut self, batch: &Batch, _out: &mut Output) -> Result<(), Error> {
        for event in batch.events {
            match event.kind {
                Event::ENTRY | Event::RETURN => {}
                Event::BORN | Event::JOINED | Event::ENDED => {
                    self.journal.note(event);
                    continue;
                }
                // Kinds of later versions.
                _ => continue,
            }
            if let Room::In(number) = self.journal.room(event.packet) {
                let fields = self.row(batch, event);
                let packet = &mut self.journal.packets[number];
                if packet.heading.is_empty()
                    && let Some(heading) = self.headings.of(batch.trace, batch.payload_of(event))
                {
                    packet.heading = heading;
                }
                packet.add(&Seen {
                    skb: event.skb,
                    timestamp: event.timestamp,
                    returned: event.is_return().then_some(event.entry_timestamp),
                    context: event.context(),
                    function: event.function,
                    cpu: event.cpu,
                    thread: event.thread,
                    fields,
                });
            }
        }
        Ok(())
    }

    fn missed(&mut self, events: u64) {
        self.missed = self.missed.saturating_add(events);
    }

    fn finish(&mut self, trace: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error> {
        let report = Report {
            title: &self.title,
            axis: self.axis,
            trace,
            summary,
            journal: &self.journal,
            rows: &self.rows,
            limit: self.limit,
            missed: self.missed.max(summary.missed),
        };
        match self.data_only {
            true => page::write_data(out, &report)?,
            false => page::write(out, &report)?,
        }
        Ok(())
    }
}

impl Page {
    /// Returns the row of the event's fields, counted from 1; 0 for none.
    fn row(&mut self, batch: &Batch, event: &Event) -> u32 {
        let payload = batch.payload_of(event);
        if payload.is_empty() {
            return 0;
        }
        if let Some(&row) = self.payloads.get(payload) {
            return row;
        }
        let mut row = Vec::new();
        for field in batch.fields(event) {
            row.push(
                self.rows
                    .names
                    .number(&ipft_plugin::text::visible(field.name).to_string()),
            );
            row.push(self.rows.texts.number(&field.to_string()));
        }
        let number = match row.is_empty() {
            true => 0,
            false => {
                self.rows.rows.push(row);
                self.rows.rows.len() as u32
            }
        };
        self.payloads.insert(payload.to_vec(), number);
        number
    }
}
