//! A row of a list of `ipft top`: what it is of, and what its cells and details say. May import `sink::top`.

use ipft_core::advice::Class;
use ipft_core::sink::FlowKey;
use ipft_core::sink::top::{DropCount, FlowCount, FunctionCount, Model, Packet};
use ipft_core::text::{grouped, short_time};

use super::number::{bytes, counted};
use super::screen::{Look, Row};

/// A row, whatever its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKey {
    Packet(u64),
    Flow(FlowKey),
    Drop(u64),
    Function(u32),
}

/// A row with what it shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    Packet(&'a Packet),
    Flow(&'a FlowCount),
    Drop(&'a DropCount),
    Function(&'a FunctionCount),
}

impl Item<'_> {
    pub(super) fn key(&self) -> RowKey {
        match self {
            Item::Packet(packet) => RowKey::Packet(packet.number()),
            Item::Flow(flow) => RowKey::Flow(flow.key),
            Item::Drop(drop) => RowKey::Drop(drop.key()),
            Item::Function(count) => RowKey::Function(count.function()),
        }
    }
}

/// Returns a row. `sum`: the calls of all functions that are listed.
pub(super) fn row(item: Item<'_>, model: &Model, sum: u64) -> Row {
    let words = model.words();
    match item {
        Item::Packet(packet) => {
            let said = words.packet(packet);
            Row {
                look: match (said.is_loss, said.ended) {
                    (true, _) => Look::Loss,
                    (_, true) => Look::Dim,
                    _ => Look::Plain,
                },
                cells: vec![
                    packet.number().to_string(),
                    said.heading,
                    packet.calls().to_string(),
                    said.place,
                ],
            }
        }
        Item::Flow(flow) => Row {
            look: if flow.drops > 0 { Look::Loss } else { Look::Plain },
            cells: vec![
                grouped(flow.packets),
                bytes(flow.bytes),
                grouped(flow.drops),
                words.flow(flow),
            ],
        },
        Item::Drop(drop) => {
            let said = words.drops(drop);
            Row {
                look: match said.class {
                    Class::Lost => Look::Loss,
                    _ => Look::Dim,
                },
                cells: vec![
                    grouped(drop.count()),
                    said.class.name().to_owned(),
                    said.reason,
                    said.function,
                    said.packet,
                ],
            }
        }
        Item::Function(count) => {
            let share = 100.0 * count.count as f64 / sum.max(1) as f64;
            let mut cells = vec![grouped(count.count), format!("{share:.1} %")];
            if words.has_times() {
                cells.push(short_time(count.time));
                cells.push(short_time(count.time / count.count.max(1)));
            }
            cells.push(words.function(count.function()).to_owned());
            Row {
                cells,
                look: Look::Plain,
            }
        }
    }
}

/// Returns two lines about a row, with what does not fit into it.
pub(super) fn details(item: Item<'_>, model: &Model) -> [String; 2] {
    let words = model.words();
    match item {
        Item::Packet(packet) => {
            let said = words.packet(packet);
            [said.heading, said.place]
        }
        Item::Flow(flow) => {
            let (packets, bytes) = (counted(flow.packets, "packet"), counted(flow.bytes, "byte"));
            let counts = format!("{packets}, {bytes}, {} lost", grouped(flow.drops));
            [words.flow(flow), counts]
        }
        Item::Drop(drop) => {
            let said = words.drops(drop);
            match said.advice {
                Some(advice) => [advice.why.to_owned(), advice.remedy.to_owned()],
                None => {
                    let place = format!("{} in {}", said.reason, said.function);
                    [place.trim_start().to_owned(), said.packet]
                }
            }
        }
        Item::Function(count) => [words.function(count.function()).to_owned(), String::new()],
    }
}
