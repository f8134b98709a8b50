//! What a pane of `ipft top` lists: which items, as a search leaves them, in which order. May import `sink::top`.

use std::cmp::Reverse;
use std::collections::HashMap;

use ipft_core::advice::Class;
use ipft_core::sink::top::{DropCount, DropWords, FlowCount, FunctionCount, Packet, Seen, Words};

use super::item::{Item, RowKey};

/// Answers to a search that are remembered.
const MOST_ANSWERS: usize = 1 << 15;

/// Returns whether a text has the words of a search, which are in lower case.
fn has(text: &str, search: &str) -> bool {
    search.is_empty() || text.to_lowercase().contains(search)
}

/// Returns the packets that are listed. `only`: those of this flow or drop.
pub(super) fn packets<'a>(
    seen: &'a Seen,
    words: &Words,
    search: &str,
    only: Option<RowKey>,
    order: usize,
    answers: &mut HashMap<u64, (u64, bool)>,
) -> Vec<Item<'a>> {
    if answers.len() > MOST_ANSWERS {
        answers.clear();
    }
    let is_of = |packet: &Packet| match only {
        Some(RowKey::Flow(key)) => packet.flow() == Some(key),
        Some(RowKey::Drop(key)) => packet.drop_key() == Some(key),
        _ => true,
    };
    let mut is_found = |packet: &Packet| {
        let version = packet.version();
        if let Some((known, found)) = answers.get(&packet.number())
            && *known == version
        {
            return *found;
        }
        let said = words.packet(packet);
        let found = has(&said.heading, search) || has(&said.place, search);
        answers.insert(packet.number(), (version, found));
        found
    };
    let packets = (seen.packets())
        .filter(|(_, packet)| only.is_none() || is_of(packet))
        .filter(|(_, packet)| search.is_empty() || is_found(packet));
    let mut packets: Vec<(u64, u64, &Packet)> = match order {
        0 => packets.map(|(number, packet)| (0, number, packet)).collect(),
        _ => packets
            .map(|(number, packet)| (packet.calls(), number, packet))
            .collect(),
    };
    packets.sort_unstable_by_key(|(first, number, _)| Reverse((*first, *number)));
    packets.into_iter().map(|(_, _, packet)| Item::Packet(packet)).collect()
}

pub(super) fn flows<'a>(seen: &'a Seen, words: &Words, search: &str, order: usize) -> Vec<Item<'a>> {
    let flows = seen
        .flows()
        .filter(|flow| search.is_empty() || has(&words.flow(flow), search));
    let mut flows: Vec<&FlowCount> = flows.collect();
    flows.sort_unstable_by_key(|flow| {
        let first = [flow.packets, flow.bytes, flow.drops][order];
        (Reverse((first, flow.packets)), flow.key)
    });
    flows.into_iter().map(Item::Flow).collect()
}

pub(super) fn drops<'a>(seen: &'a Seen, words: &Words, search: &str, order: usize) -> Vec<Item<'a>> {
    let drops = seen.drops().map(|drop| (drop, words.drops(drop)));
    let mut drops: Vec<(&DropCount, DropWords)> = drops
        .filter(|(_, said)| has(&said.reason, search) || has(&said.function, search) || has(&said.packet, search))
        .collect();
    drops.sort_by(|(one, said), (other, said_of_other)| match order {
        0 => {
            let order = |drop: &DropCount, class| (class != Class::Lost, Reverse(drop.count()), drop.key());
            order(one, said.class).cmp(&order(other, said_of_other.class))
        }
        _ => (&said.reason, &said.function).cmp(&(&said_of_other.reason, &said_of_other.function)),
    });
    drops.into_iter().map(|(drop, _)| Item::Drop(drop)).collect()
}

pub(super) fn functions<'a>(seen: &'a Seen, words: &Words, search: &str, order: usize) -> Vec<Item<'a>> {
    let functions = seen
        .functions()
        .filter(|count| has(words.function(count.function()), search));
    let mut functions: Vec<&FunctionCount> = functions.collect();
    match order {
        0 => functions.sort_unstable_by_key(|count| (Reverse(count.count), count.function())),
        1 => functions.sort_unstable_by_key(|count| (Reverse((count.time, count.count)), count.function())),
        _ => functions.sort_unstable_by_key(|count| (words.function(count.function()), count.function())),
    }
    functions.into_iter().map(Item::Function).collect()
}
