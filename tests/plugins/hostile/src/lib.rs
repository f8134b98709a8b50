//! A misbehaving plugin, for the tests of the plugin host.
//!
//! Its option `at` selects the call, its option `do` the behaviour: see `act`. It writes to its stream anything that
//! it should not have been able to reach. Otherwise it writes down its arguments. It is built for WebAssembly only, and
//! uses the contract without the SDK, which would prevent most of this.

#![cfg(target_family = "wasm")]

use std::cell::RefCell;
use std::hint::black_box;

#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
mod bindings {
    #[cfg(not(feature = "raw"))]
    wit_bindgen::generate!({ path: "../../../wit", world: "complete-plugin" });
    #[cfg(feature = "raw")]
    wit_bindgen::generate!({ path: "../../../wit", world: "complete-raw-plugin" });

    export!(Hostile);
    use super::Hostile;
}

use bindings::exports::ipft::plugin::{decoder, program};
use bindings::ipft::plugin::host;
use bindings::ipft::plugin::types::{Function, Summary, Trace};

const DESCRIPTION: &str = r#"{"contract":"0.1.0","name":"hostile","version":"0.1.0","license":"MIT OR Apache-2.0",
"about":"Does what no plugin should","options":[
{"name":"at","type":"string","default":"","help":"In which call"},
{"name":"do","type":"string","default":"","help":"What"}]}"#;

#[used]
#[unsafe(link_section = "ipft-plugin")]
static SECTION: [u8; DESCRIPTION.len()] = {
    let mut bytes = [0; DESCRIPTION.len()];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = DESCRIPTION.as_bytes()[index];
        index += 1;
    }
    bytes
};

struct Hostile;

thread_local! {
    /// The call, and the behaviour.
    static PLAN: RefCell<(String, String)> = RefCell::default();
}

/// The options and their values.
type Options = Vec<(String, String)>;

fn plan(options: &Options) {
    let value = |name: &str| {
        let found = options.iter().find(|option| option.0 == name);
        found.map(|option| option.1.clone()).unwrap_or_default()
    };
    PLAN.set((value("at"), value("do")));
}

fn planned(call: &str) -> Option<String> {
    PLAN.with_borrow(|(at, what)| (at == call).then(|| what.clone()))
}

/// Misbehaves as configured for this call.
fn at(call: &str) -> Result<(), String> {
    planned(call).map_or(Ok(()), |what| act(&what))
}

fn act(what: &str) -> Result<(), String> {
    match what {
        "loop" => loop {
            black_box(());
        },
        "trap" => core::arch::wasm32::unreachable(),
        "panic" => panic!("a \x1b[31mred\x1b[0m panic"),
        "recurse" => recurse(1),
        "exit" => std::process::exit(3),
        "allocate" => {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                kept.push(vec![1; 1 << 20]);
                black_box(&kept);
            }
        }
        "write" => loop {
            host::write(&[b'x'; 1 << 16]);
        },
        "write-at-once" => host::write(&vec![b'x'; 100 << 20]),
        "print" => loop {
            print!("{}", "x".repeat(1 << 12));
        },
        "error" => return Err("\x1b[2J\u{202e}bad\nworse\x07".to_owned()),
        "long-error" => return Err("long ".repeat(1 << 20)),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(1 << 30)),
        "short-sleep" => std::thread::sleep(std::time::Duration::from_millis(1)),
        "log" => {
            for number in 0..1_000_000 {
                host::log(host::Level::Info, &format!("message {number}"));
            }
        }
        "log-control" => host::log(host::Level::Error, &"\x1b[2J\n".repeat(1000)),
        "stdio" => {
            println!("to standard output");
            eprintln!("to standard \x1berror");
        }
        "files" => {
            for path in [
                "/etc/shadow",
                "/etc/passwd",
                "/proc/self/environ",
                "/dev/null",
                ".",
                "../../etc/passwd",
            ] {
                found(path, std::fs::read(path));
            }
            found("a listing", std::fs::read_dir("/"));
            found("a new file", std::fs::write("/tmp/hostile", "x"));
            found(
                "a working directory",
                std::env::current_dir()
                    .ok()
                    .filter(|path| path.as_os_str() != "/")
                    .ok_or(()),
            );
        }
        "granted" => {
            say(&format!(
                "{:?}\n",
                std::fs::read_to_string("/data/in").map_err(|_| "no")
            ));
            say(&format!("{:?}\n", std::fs::write("/data/out", "x").map_err(|_| "no")));
            found("beyond", std::fs::read("/data/../secret"));
            found("behind a link", std::fs::read("/data/link"));
        }
        "pipe" => {
            let read = std::fs::read("/data/pipe").map(|_| ());
            let written = std::fs::OpenOptions::new().write(true).open("/data/pipe").map(|_| ());
            say(&format!(
                "{:?} {:?}\n",
                read.map_err(|error| error.kind()),
                written.map_err(|error| error.kind())
            ));
        }
        "leased" => found("a leased file", std::fs::read("/data/in")),
        "fill" => {
            let mut file = std::fs::File::create("/data/large").map_err(|error| error.to_string())?;
            loop {
                std::io::Write::write_all(&mut file, &[b'x'; 1 << 12]).map_err(|error| error.to_string())?;
            }
        }
        "stretch" => {
            let file = std::fs::File::create("/data/long").map_err(|error| error.to_string())?;
            file.set_len(1 << 40).map_err(|error| error.to_string())?;
        }
        "many-files" => {
            for number in 0_u64.. {
                std::fs::create_dir(format!("/data/{number}")).map_err(|error| error.to_string())?;
            }
        }
        "many-open" => {
            let mut kept = Vec::new();
            while let Ok(file) = std::fs::File::open("/data/in") {
                kept.push(file);
            }
            say(&format!("{} open\n", kept.len()));
        }
        "environment" => {
            let mut variables: Vec<_> = std::env::vars().collect();
            variables.sort();
            say(&format!("{variables:?} {:?}\n", std::env::args().collect::<Vec<_>>()));
        }
        "network" => {
            found("a listener", std::net::TcpListener::bind("127.0.0.1:0"));
            found("a connection", std::net::TcpStream::connect("127.0.0.1:22"));
            found("a socket", std::net::UdpSocket::bind("127.0.0.1:0"));
            found("a name", std::net::ToSocketAddrs::to_socket_addrs("localhost:80"));
        }
        "time" => {
            let start = std::time::Instant::now();
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            for _ in 0..1 << 20 {
                black_box(());
            }
            say(&format!("{since:?} {:?}\n", start.elapsed()));
        }
        "random" => {
            use std::hash::{BuildHasher, RandomState};
            say(&format!("{:x}\n", RandomState::new().hash_one(1)));
        }
        _ => return Err(format!("there is nothing called {what}")),
    }
    Ok(())
}

#[expect(unconditional_recursion, reason = "it is what is wanted")]
fn recurse(depth: u64) {
    recurse(black_box(depth + 1));
    black_box(depth);
}

/// Reports what should not be reachable.
fn found<T, E>(what: &str, result: Result<T, E>) {
    if result.is_ok() {
        say(&format!("FOUND {what}\n"));
    }
}

fn say(text: &str) {
    host::write(text.as_bytes());
}

fn start(trace: &Trace, options: &Options) -> Result<(), String> {
    plan(options);
    at("start")?;
    if planned("echo").is_some() {
        say(&format!("{trace:?} {options:?}\n"));
    }
    Ok(())
}

fn learn(functions: &[Function], names: &[String]) {
    if planned("learn").is_some_and(|what| act(&what).is_err()) {
        panic!("no action");
    }
    if planned("echo").is_some() {
        say(&format!("{functions:?} {names:?}\n"));
    }
}

fn events(events: &[u8], payload: &[u8]) -> Result<(), String> {
    at("events")?;
    if planned("echo").is_some() {
        host::write(events);
        host::write(payload);
        host::write(b"\n");
    }
    Ok(())
}

fn missed(events: u64) {
    if planned("missed").is_some_and(|what| act(&what).is_err()) {
        panic!("no action");
    }
    say(&format!("missed {events}\n"));
}

fn finish(summary: &Summary) -> Result<(), String> {
    at("finish")?;
    say(&format!("{summary:?}\n"));
    Ok(())
}

#[cfg(not(feature = "raw"))]
impl bindings::exports::ipft::plugin::sink::Guest for Hostile {
    fn start(trace: Trace, options: Options) -> Result<(), String> {
        start(&trace, &options)
    }

    fn learn(functions: Vec<Function>, names: Vec<String>) {
        learn(&functions, &names);
    }

    fn events(list: Vec<bindings::ipft::plugin::types::Event>, payload: Vec<u8>) -> Result<(), String> {
        // Field by field: the record's values, independent of its layout in memory.
        let mut bytes = Vec::new();
        if planned("echo").is_some() {
            for event in &list {
                for number in [event.packet, event.skb, event.timestamp, event.entry_timestamp] {
                    bytes.extend(number.to_le_bytes());
                }
                for number in [event.function, event.cpu, event.kind, event.thread] {
                    bytes.extend(number.to_le_bytes());
                }
                bytes.extend(event.payload_offset.to_le_bytes());
                bytes.extend(event.payload_len.to_le_bytes());
                bytes.extend(event.spare.to_le_bytes());
            }
        }
        events(&bytes, &payload)
    }

    fn missed(events: u64) {
        missed(events);
    }

    fn finish(summary: Summary) -> Result<(), String> {
        finish(&summary)
    }
}

#[cfg(feature = "raw")]
impl bindings::exports::ipft::plugin::raw_sink::Guest for Hostile {
    fn start(trace: Trace, options: Options) -> Result<(), String> {
        start(&trace, &options)
    }

    fn learn(functions: Vec<Function>, names: Vec<String>) {
        learn(&functions, &names);
    }

    fn events(bytes: Vec<u8>, payload: Vec<u8>) -> Result<(), String> {
        events(&bytes, &payload)
    }

    fn missed(events: u64) {
        missed(events);
    }

    fn finish(summary: Summary) -> Result<(), String> {
        finish(&summary)
    }
}

impl decoder::Guest for Hostile {
    fn start(_: Trace, options: Options) -> Result<(), String> {
        plan(&options);
        at("start")
    }

    fn decode(payloads: Vec<u8>, size: u32) -> Result<decoder::Decoded, String> {
        let value = |payload, name, content| decoder::Value { payload, name, content };
        let count = payloads.len() as u32 / size.max(1);
        let Some(what) = planned("decode") else {
            // The first byte of each, under a name.
            let values = payloads
                .chunks(size as usize)
                .zip(0..)
                .map(|(payload, index)| value(index, 0, decoder::Content::Integer(payload[0].into())));
            return Ok(decoder::Decoded {
                names: vec!["first".to_owned()],
                values: values.collect(),
            });
        };
        let names = |count: usize| (0..count).map(|number| format!("name {number}")).collect();
        let text = |length: usize| decoder::Content::Text("x".repeat(length));
        let (names, values) = match what.as_str() {
            "names" => (names(1_000_000), vec![]),
            "unknown-name" => (vec![], vec![value(0, 7, text(1))]),
            "unknown-payload" => (names(1), vec![value(count, 0, text(1))]),
            "order" => (names(1), vec![value(1, 0, text(1)), value(0, 0, text(1))]),
            "long-text" => (names(1), vec![value(0, 0, text(100_000))]),
            "much" => (names(1), (0..20_000).map(|_| value(0, 0, text(1))).collect()),
            "all-types" => (
                vec!["a".to_owned(), "b\x1b".to_owned(), "c".to_owned()],
                vec![
                    value(0, 0, decoder::Content::Integer(-1)),
                    value(0, 1, decoder::Content::Float(0.5)),
                    value(0, 2, decoder::Content::Text("t\u{e9}xt".to_owned())),
                ],
            ),
            _ => {
                act(&what)?;
                (vec![], vec![])
            }
        };
        Ok(decoder::Decoded { names, values })
    }

    fn finish() -> Result<(), String> {
        at("finish")
    }
}

impl program::Guest for Hostile {
    fn object(options: Options) -> Result<Vec<u8>, String> {
        plan(&options);
        at("object")?;
        Ok(match planned("size") {
            Some(size) => vec![0; size.parse().map_err(|_| "no size")?],
            None => b"\x7fELF and nothing else".to_vec(),
        })
    }
}
