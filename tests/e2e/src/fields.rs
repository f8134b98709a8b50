//! The fields of events, as text, which all outputs have in common.
//!
//! Two tracers of the same traffic give equal [`Picture`]s, independent of the output format and of the kind of
//! extension.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

/// The fields of an event, as text.
pub type Fields = BTreeMap<String, String>;

/// For each packet its functions, with the fields of each entry; all sorted, as two tracers may see events of two CPUs
/// in different orders.
pub type Picture = Vec<Vec<(String, Fields)>>;

fn sorted(packets: impl IntoIterator<Item = Vec<(String, Fields)>>) -> Picture {
    let mut packets: Picture = packets.into_iter().collect();
    packets.iter_mut().for_each(|events| events.sort());
    packets.sort();
    packets
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    let value = object.get(key).and_then(Value::as_str);
    value.with_context(|| format!("{object:?} has no text {key}"))
}

/// Formats a value of JSON lines like the other outputs.
fn shown(value: &Value) -> Result<String> {
    Ok(match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Array(flags) if flags.is_empty() => "<none>".to_owned(),
        Value::Array(flags) => {
            let flags: Option<Vec<&str>> = flags.iter().map(Value::as_str).collect();
            flags.with_context(|| format!("{value} is no list of flags"))?.join("|")
        }
        other => anyhow::bail!("{other} is no field's value"),
    })
}

/// Reads the picture from JSON lines. Returns must have no fields.
pub fn of_jsonl(path: &Path) -> Result<Picture> {
    let mut packets: BTreeMap<String, Vec<(String, Fields)>> = BTreeMap::new();
    for line in read(path)?.lines() {
        let object: Map<String, Value> = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if object.get("type") != Some(&Value::from("event")) {
            continue;
        }
        let fields = object.get("fields").and_then(Value::as_object);
        if text(&object, "kind")? != "entry" {
            ensure!(fields.is_none(), "a return has fields: {line}");
            continue;
        }
        let fields = fields.into_iter().flatten();
        let fields: Result<Fields> = fields.map(|(name, value)| Ok((name.clone(), shown(value)?))).collect();
        let event = (text(&object, "function")?.to_owned(), fields?);
        packets
            .entry(text(&object, "packet")?.to_owned())
            .or_default()
            .push(event);
    }
    Ok(sorted(packets.into_values()))
}

/// Reads the picture from the old JSON, where a field is an additional key of the event, with a text.
pub fn of_json(path: &Path) -> Result<Picture> {
    let mut packets: BTreeMap<String, Vec<(String, Fields)>> = BTreeMap::new();
    for line in read(path)?.lines() {
        let mut object: Map<String, Value> = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let packet = text(&object, "packet_id")?.to_owned();
        let function = text(&object, "function")?.to_owned();
        for key in [
            "packet_id",
            "timestamp",
            "processor_id",
            "module",
            "function",
            "is_return",
        ] {
            ensure!(object.remove(key).is_some(), "no {key}: {line}");
        }
        let fields: Result<Fields> = object
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().with_context(|| format!("{name} is no text: {line}"))?;
                Ok((name.clone(), value.to_owned()))
            })
            .collect();
        packets.entry(packet).or_default().push((function, fields?));
    }
    Ok(sorted(packets.into_values()))
}

/// Reads the picture from an aggregate of `-t function`. Values with spaces are ambiguous there.
pub fn of_aggregate(path: &Path) -> Result<Picture> {
    let mut packets: Picture = Vec::new();
    for line in read(path)?.lines().skip(1) {
        if line == "===" {
            packets.push(Vec::new());
            continue;
        }
        let packet = packets.last_mut().with_context(|| format!("no packet: {line}"))?;
        let (event, fields) = match line.split_once(" ( ") {
            Some((event, fields)) => (event, fields.strip_suffix(" )").with_context(|| line.to_owned())?),
            None => (line, ""),
        };
        let function = event.split_whitespace().nth(3).with_context(|| line.to_owned())?;
        let words: Vec<&str> = fields.split_whitespace().collect();
        let fields: Result<Fields> = words
            .chunks(2)
            .map(|pair| match pair {
                [name, value] if name.ends_with(':') => Ok((name.trim_end_matches(':').into(), (*value).into())),
                _ => anyhow::bail!("not pairs of name and value: {line}"),
            })
            .collect();
        packet.push((function.to_owned(), fields?));
    }
    Ok(sorted(packets))
}

/// Reads the picture from any output.
pub fn of(output: &str, path: &Path) -> Result<Picture> {
    let picture = match output {
        "jsonl" => of_jsonl(path),
        "json" => of_json(path),
        "aggregate" => of_aggregate(path),
        other => anyhow::bail!("{other} is no output"),
    };
    picture.with_context(|| format!("in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(output: &str, text: &str) -> Picture {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ipft-fields-{}-{number}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let picture = of(output, &path);
        std::fs::remove_file(&path).unwrap();
        picture.unwrap()
    }

    #[test]
    fn three_outputs_of_an_event_give_one_picture() {
        let fields = [("kind", "a|b"), ("len", "84")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let expected: Picture = vec![vec![("ip_rcv".to_owned(), fields.into_iter().collect())]];
        let jsonl = concat!(
            r#"{"type":"trace"}"#,
            "\n",
            r#"{"type":"event","packet":"1","function":"ip_rcv","kind":"entry","fields":{"len":84,"kind":["a","b"]}}"#,
            "\n",
            r#"{"type":"event","packet":"1","function":"ip_rcv","kind":"return"}"#,
            "\n"
        );
        assert_eq!(picture("jsonl", jsonl), expected);
        let json = concat!(
            r#"{"packet_id":"1","timestamp":1,"processor_id":0,"module":"vmlinux","function":"ip_rcv","#,
            r#""is_return":false,"len":"84","kind":"a|b"}"#
        );
        assert_eq!(picture("json", json), expected);
        let aggregate = "Timestamp CPU Module Function\n===\n1 000 vmlinux ip_rcv ( len: 84 kind: a|b )\n";
        assert_eq!(picture("aggregate", aggregate), expected);
    }
}
