//! All parts of a plugin in one: `program`, `decoder` and `sink`, written against `wit/` alone.
//!
//! The decoder's fields are `length`, `twice` and `word`. The sink writes a line for each event with fields, and the
//! number of events. The option `suffix` is appended to `word`; `fails` makes the sink fail at its first events.

#![cfg(target_family = "wasm")]
#![expect(unsafe_code, missing_docs, reason = "generated code and a link section")]

wit_bindgen::generate!({
    path: "../../../wit/plugin-0.1.0.wit",
    world: "complete-plugin",
});

use std::cell::RefCell;

use exports::ipft::plugin::{decoder, program, sink};
use ipft::plugin::host;

const DESCRIPTION: &str = r#"{
    "contract": "0.1.0", "name": "complete", "version": "1.0.0", "license": "MIT OR Apache-2.0",
    "about": "Brings kernel code, decodes what it collects, and draws it",
    "options": [
        { "name": "suffix", "type": "string", "default": "!", "help": "What the word ends with" },
        { "name": "fails", "type": "choice", "values": ["no", "trap", "loop"], "default": "no", "help": "At events" }
    ]
}"#;

#[used]
#[unsafe(link_section = "ipft-plugin")]
static SECTION: [u8; DESCRIPTION.len()] = *DESCRIPTION.as_bytes().first_chunk().unwrap();

struct Complete;

export!(Complete);

type Options = Vec<(String, String)>;

#[derive(Default)]
struct State {
    suffix: String,
    reported: bool,
    names: Vec<String>,
    functions: Vec<String>,
    events: u64,
    /// Bytes in front of the values, if there are any.
    values_at: Option<usize>,
    fails: String,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

fn with<T>(change: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(change)
}

fn value(options: Options, name: &str) -> String {
    let found = options.into_iter().find(|option| option.0 == name);
    found.map(|option| option.1).unwrap_or_default()
}

impl program::Guest for Complete {
    fn object(_: Options) -> Result<Vec<u8>, String> {
        Ok(include_bytes!(concat!(env!("OUT_DIR"), "/length.o")).to_vec())
    }
}

impl decoder::Guest for Complete {
    fn start(_: decoder::Trace, options: Options) -> Result<(), String> {
        with(|state| state.suffix = value(options, "suffix"));
        Ok(())
    }

    fn decode(payloads: Vec<u8>, size: u32) -> Result<decoder::Decoded, String> {
        let names = match with(|state| std::mem::replace(&mut state.reported, true)) {
            true => Vec::new(),
            false => ["length", "twice", "word"].map(String::from).to_vec(),
        };
        let mut values = Vec::new();
        for (payload, bytes) in payloads.chunks_exact(size as usize).enumerate() {
            let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let word = format!("is {}{}", number(0), with(|state| state.suffix.clone()));
            let contents = [
                decoder::Content::Integer(number(0).into()),
                decoder::Content::Integer(number(4).into()),
                decoder::Content::Text(word),
            ];
            for (name, content) in contents.into_iter().enumerate() {
                values.push(decoder::Value {
                    payload: payload as u32,
                    name: name as u32,
                    content,
                });
            }
        }
        Ok(decoder::Decoded { names, values })
    }

    fn finish() -> Result<(), String> {
        Ok(())
    }
}

impl sink::Guest for Complete {
    fn start(trace: sink::Trace, options: Options) -> Result<(), String> {
        // Without its own fields there is nothing to show: it only counts.
        with(|state| {
            state.values_at = trace.tail.then_some(trace.payload_size as usize);
            state.fails = value(options, "fails");
        });
        Ok(())
    }

    fn learn(functions: Vec<sink::Function>, names: Vec<String>) {
        with(|state| {
            state
                .functions
                .extend(functions.into_iter().map(|function| function.name));
            state.names.extend(names);
        });
    }

    fn events(events: Vec<sink::Event>, payload: Vec<u8>) -> Result<(), String> {
        match with(|state| state.fails.clone()).as_str() {
            "trap" => core::arch::wasm32::unreachable(),
            "loop" => loop {
                std::hint::black_box(());
            },
            _ => {}
        }
        // Other kinds are for later versions.
        for event in events.iter().filter(|event| event.kind <= 1) {
            let start = event.payload_offset as usize;
            let bytes = payload
                .get(start..start + event.payload_len as usize)
                .ok_or("a payload outside the batch's")?;
            let line = with(|state| {
                state.events += 1;
                let values = state.values_at.and_then(|start| bytes.get(start..));
                let fields = fields(&state.names, values.unwrap_or_default());
                (!fields.is_empty()).then(|| {
                    let function = &state.functions[event.function as usize];
                    format!("{function} {}\n", fields.join(" "))
                })
            });
            if let Some(line) = line {
                host::write(line.as_bytes());
            }
        }
        Ok(())
    }

    fn missed(_: u64) {}

    fn finish(summary: sink::Summary) -> Result<(), String> {
        host::write(format!("{} of {} events\n", with(|state| state.events), summary.events).as_bytes());
        host::log(host::Level::Info, "done");
        Ok(())
    }
}

/// Tagged values as text. They end where the bytes are not what they should be.
fn fields(names: &[String], mut bytes: &[u8]) -> Vec<String> {
    let mut fields = Vec::new();
    while let Some((field, rest)) = field(names, bytes) {
        fields.push(field);
        bytes = rest;
    }
    fields
}

fn field<'a>(names: &[String], bytes: &'a [u8]) -> Option<(String, &'a [u8])> {
    let (head, rest) = bytes.split_first_chunk::<5>()?;
    let name = names.get(u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize)?;
    let (value, rest) = match head[4] {
        0 => {
            let (value, rest) = rest.split_first_chunk::<8>()?;
            (i64::from_le_bytes(*value).to_string(), rest)
        }
        1 => {
            let (value, rest) = rest.split_first_chunk::<8>()?;
            (f64::from_le_bytes(*value).to_string(), rest)
        }
        2 => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            (String::from_utf8_lossy(text).into_owned(), rest)
        }
        _ => return None,
    };
    Some((format!("{name}={value}"), rest))
}
