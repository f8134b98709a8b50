//! Checks that the returns of a `function_graph` trace match their entries, without leftovers.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::jsonl::{Context, Event, Kind, Recording};

/// Checks a trace whose traffic began after the tracer was ready and ended before it was stopped, so that every call is
/// complete. Each return must match the innermost open call of its packet and context, with that call's sk_buff and the
/// time since its entry. Returns the number of calls, each with its depth.
pub fn check(recording: &Recording) -> Result<Vec<(String, usize)>> {
    let mut stacks: BTreeMap<(u64, Context), Vec<&Event>> = BTreeMap::new();
    let mut calls = Vec::new();
    for event in &recording.events {
        let stack = stacks.entry((event.packet, event.context())).or_default();
        if event.kind == Kind::Entry {
            calls.push((event.function.clone(), stack.len()));
            stack.push(event);
            continue;
        }
        let names: Vec<&str> = stack.iter().map(|call| call.function.as_str()).collect();
        let Some(entry) = stack.pop() else {
            anyhow::bail!("a return without an entry: {event:?}");
        };
        ensure!(
            entry.function_index == event.function_index,
            "{event:?} is not the return of the innermost of the open calls {names:?}"
        );
        ensure!(
            event.duration == Some(event.timestamp - entry.timestamp),
            "{event:?} began at {}",
            entry.timestamp
        );
        ensure!(
            event.skb == entry.skb,
            "{event:?} does not have the sk_buff of {entry:?}"
        );
    }
    if let Some(open) = stacks.values().flatten().next() {
        anyhow::bail!("an entry without a return: {open:?}");
    }
    Ok(calls)
}
