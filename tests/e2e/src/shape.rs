//! The entries and returns of each packet, which the three outputs of one trace have in common. Not their order: two
//! tracers may see events of two CPUs in different orders.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::jsonl::{Kind, Recording};

/// An entry into a function, or a return.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The function's module.
    pub module: String,
    /// The function; empty in an aggregate's return.
    pub function: String,
    /// Whether it is a return.
    pub is_return: bool,
}

/// The packets of a trace and their steps, sorted, so that two traces of the same traffic are equal.
pub type Shape = Vec<Vec<Step>>;

fn step(module: &str, function: &str, is_return: bool) -> Step {
    Step {
        module: module.to_owned(),
        function: function.to_owned(),
        is_return,
    }
}

fn sorted(mut packets: Shape) -> Shape {
    packets.iter_mut().for_each(|steps| steps.sort());
    packets.sort();
    packets
}

/// Reads the shape of a trace in JSON lines.
pub fn of_jsonl(recording: &Recording) -> Shape {
    let packets = recording.packets().into_values().map(|events| {
        let steps = events.iter();
        steps
            .map(|event| step(&event.module, &event.function, event.kind == Kind::Return))
            .collect()
    });
    sorted(packets.collect())
}

/// Reduces a shape to that of an aggregate, which does not name the functions of returns.
pub fn without_names_of_returns(mut shape: Shape) -> Shape {
    for step in shape.iter_mut().flatten().filter(|step| step.is_return) {
        step.function.clear();
    }
    sorted(shape)
}

#[derive(Deserialize)]
struct Object {
    packet_id: String,
    module: String,
    function: String,
    is_return: bool,
}

/// Reads the shape of a trace in the old JSON.
pub fn of_json(text: &str) -> Result<Shape> {
    let mut packets: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for line in text.lines() {
        let object: Object = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let step = step(&object.module, &object.function, object.is_return);
        packets.entry(object.packet_id).or_default().push(step);
    }
    Ok(sorted(packets.into_values().collect()))
}

/// Reads the shape of an aggregate, and checks its layout: the columns, and the order of packets and of events.
pub fn of_aggregate(text: &str) -> Result<Shape> {
    let mut lines = text.lines();
    let header = lines.next().context("the aggregate is empty")?;
    ensure!(
        header == format!("{:<20} {:>3} {:>24} {:>32}", "Timestamp", "CPU", "Module", "Function"),
        "the header is '{header}'"
    );
    let (mut packets, mut first, mut last) = (Shape::new(), 0, 0);
    for line in lines {
        if line == "===" {
            packets.push(Vec::new());
            last = 0;
            continue;
        }
        let packet = packets.last_mut().context("an event before the first packet")?;
        // The module's column has a variable width, so the columns before it are cut by position and the rest is split.
        let (timestamp, rest) = line.split_at_checked(21).with_context(|| line.to_owned())?;
        let timestamp: u64 = timestamp.trim_end().parse().with_context(|| line.to_owned())?;
        let mut words = rest.split_whitespace();
        let (cpu, module) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        ensure!(
            cpu.len() >= 3 && cpu.parse::<u32>().is_ok(),
            "'{cpu}' is no CPU: {line}"
        );
        ensure!(
            timestamp >= last,
            "a packet's events are not in the order of time: {line}"
        );
        if packet.is_empty() {
            ensure!(timestamp >= first, "packets are not in the order of time: {line}");
            first = timestamp;
        }
        last = timestamp;
        let call = words.next().with_context(|| line.to_owned())?;
        packet.push(match (call, words.next()) {
            ("}", Some("/*")) => step(module, "", true),
            (call, Some("{")) => {
                let name = call.strip_suffix("()").with_context(|| line.to_owned())?;
                step(module, name, false)
            }
            (name, None) => step(module, name, false),
            _ => bail!("neither an entry nor a return: {line}"),
        });
    }
    Ok(sorted(packets))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Timestamp            CPU                   Module                         Function";

    #[test]
    fn an_aggregate_is_read_line_by_line() {
        let text = format!(
            "{HEADER}\n===\n1000000100           000                  vmlinux dev_queue_xmit() {{   \n\
             1000000600           001                     veth }} /* 0.500 us */   \n"
        );
        let packet = vec![step("veth", "", true), step("vmlinux", "dev_queue_xmit", false)];
        assert_eq!(of_aggregate(&text).unwrap(), [packet]);
        let function =
            format!("{HEADER}\n===\n464048546191357      005                  vmlinux                 ip_rcv\n");
        assert_eq!(of_aggregate(&function).unwrap(), [[step("vmlinux", "ip_rcv", false)]]);
    }

    #[test]
    fn an_aggregate_out_of_order_is_refused() {
        let event = |time: u64| format!("{time:<20} 000                  vmlinux                 ip_rcv\n");
        let text = format!("{HEADER}\n===\n{}{}", event(2), event(1));
        assert!(of_aggregate(&text).unwrap_err().to_string().contains("order of time"));
        let text = format!("{HEADER}\n===\n{}===\n{}", event(2), event(1));
        assert!(of_aggregate(&text).unwrap_err().to_string().contains("packets are not"));
    }

    #[test]
    fn json_with_several_packets_keeps_them_apart() {
        let line = |packet: u32| {
            format!(
                "{{\"packet_id\":\"0x{packet:016x}\",\"timestamp\":5,\"processor_id\":0,\"module\":\"vmlinux\",\
                 \"function\":\"ip_rcv\",\"is_return\":false}}\n"
            )
        };
        let text = format!("{}{}{}", line(1), line(2), line(1));
        assert_eq!(of_json(&text).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    }
}
