//! Scripts of both generations, their errors, and the messages for the user.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use super::super::decode::DATA;
use super::*;
use crate::event::{Event, EventKind, Schema, Trace, Tracer, Value as Field, Values};

mod coroutine;

/// A folder of its own for every test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ipft-lua-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.0.join("s.lua");
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Reported = Rc<RefCell<Vec<String>>>;

fn load(test: &str, text: &str) -> (Result<Script, ScriptError>, Reported, Folder) {
    let folder = Folder::new(test);
    let reported = Reported::default();
    let tell: Tell = Box::new({
        let reported = reported.clone();
        move |message| reported.borrow_mut().push(message.to_owned())
    });
    let script = Script::load(&folder.script(text), Print::Stdout, None, tell);
    (script, reported, folder)
}

/// The message with the folder's name taken out, which differs from run to run.
fn plain(folder: &Folder, message: &str) -> String {
    let name = folder.0.display().to_string();
    // Lua cuts a long name at its start.
    let message = message.replace(&name, "DIR");
    match message.split_once("...") {
        None => message,
        Some(_) => message
            .split("...")
            .enumerate()
            .map(|(index, part)| match part.find("/s.lua") {
                Some(end) if index > 0 => format!("DIR{}", &part[end..]),
                _ => part.to_owned(),
            })
            .collect(),
    }
}

fn refusal(test: &str, text: &str) -> String {
    let (script, _, folder) = load(test, text);
    plain(&folder, &script.expect_err("it is refused").to_string())
}

fn event(kind: EventKind, data: &[u8], batch: &mut Batch) {
    batch.events.push(Event {
        packet: 1,
        skb: 2,
        timestamp: 3,
        entry_timestamp: 0,
        function: 0,
        cpu: 0,
        kind,
        thread: 0,
        payload_offset: batch.payload.len() as u32,
        payload_len: data.len() as u32,
        spare: 0,
    });
    batch.payload.extend_from_slice(data);
}

/// `name=value` of every field of every event.
fn fields(batch: &Batch) -> Vec<Vec<String>> {
    let shown = |(name, value): (u32, Field<'_>)| {
        let value = match value {
            Field::Integer(value) => value.to_string(),
            Field::Float(value) => format!("{value:?}"),
            Field::Text(bytes) => bytes.escape_ascii().to_string(),
        };
        format!("{}={value}", batch.names[name as usize])
    };
    let of = |event: &Event| Values::new(batch.payload_of(event)).map(shown).collect();
    batch.events.iter().map(of).collect()
}

/// Returns the fields that a valid script makes from these bytes, padded with zeros, and its messages.
fn decoded(test: &str, text: &str, data: &[u8]) -> (Vec<String>, Vec<String>) {
    let (script, reported, folder) = load(test, text);
    let mut script = script.unwrap();
    let mut batch = Batch::default();
    let mut bytes = data.to_vec();
    bytes.resize(DATA, 0);
    event(EventKind::ENTRY, &bytes, &mut batch);
    script.decode(&mut batch);
    let mut said: Vec<String> = reported
        .borrow()
        .iter()
        .map(|message| plain(&folder, message))
        .collect();
    said.extend(script.finish().messages.iter().map(|message| plain(&folder, message)));
    (fields(&batch).remove(0), said)
}

const GSO: &str = r#"
return {
  len = len, gso_size = size, gso_segs = segs, gso_type = type & 1 ~= 0 and "tcpv4" or "none"
}
"#;

fn gso(program: &str, decode: &str) -> String {
    format!(
        "api_version = 1\n{program}\nfunction {decode}(data)\n len, size, segs, type = string.unpack('=I4I2I2I4', data)\n{GSO}end\n"
    )
}

#[test]
fn both_generations_have_a_program_and_sorted_fields() {
    let data = [&2688u32.to_ne_bytes()[..], &[0xa8, 5, 2, 0, 1, 0, 0, 0]].concat();
    for (test, program, decode) in [
        ("new", "program = '\\x7fELF\\0'", "decode"),
        ("old", "function emit() return '\\x7fELF\\0' end", "dump"),
    ] {
        let text = gso(program, decode);
        let (script, ..) = load(test, &text);
        assert_eq!(script.unwrap().program(), Some(&b"\x7fELF\0"[..]));
        let (fields, said) = decoded(test, &text, &data);
        assert_eq!(fields, ["gso_segs=2", "gso_size=1448", "gso_type=tcpv4", "len=2688"]);
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn the_manuals_example_decodes_all_flags() {
    let folder = Folder::new("example");
    fs::write(folder.0.join("gso.bpf.o"), b"\x7fELF\xff").unwrap();
    let script = folder.script(include_str!("../../../../../docs/examples/gso.lua"));
    let mut script = Script::load(&script, Print::Stdout, None, Box::new(|message| panic!("{message}"))).unwrap();
    assert_eq!(script.program(), Some(&b"\x7fELF\xff"[..]));
    let mut batch = Batch::default();
    for gso_type in [1_u32, 0, 0x8000_0012, 1 << 18, 1] {
        let mut data = [
            &2948_u32.to_ne_bytes()[..],
            &1448_u16.to_ne_bytes(),
            &2_u16.to_ne_bytes(),
        ]
        .concat();
        data.extend(gso_type.to_ne_bytes());
        data.resize(DATA, 0);
        event(EventKind::ENTRY, &data, &mut batch);
    }
    script.decode(&mut batch);
    let types = ["TCPV4", "<none>", "DODGY|TCPV6|0x80000000", "FRAGLIST", "TCPV4"];
    let expected = types.map(|gso_type| {
        [
            "gso_segs=2",
            "gso_size=1448",
            &format!("gso_type={gso_type}"),
            "len=2948",
        ]
        .map(str::to_owned)
    });
    assert_eq!(fields(&batch), expected);
}

#[test]
fn of_two_generations_in_one_script_the_newer_counts() {
    let text = "api_version = 1
        program = 'new'; function emit() return 'old' end
        function decode() return {name = 'new'} end
        function dump() return {name = 'old'} end";
    let (script, ..) = load("both", text);
    assert_eq!(script.unwrap().program(), Some(&b"new"[..]));
    assert_eq!(decoded("both", text, &[]).0, ["name=new"]);
}

#[test]
fn sides_are_optional_and_init_may_define_globals() {
    let (script, ..) = load("neither", "api_version = 1");
    let mut script = script.unwrap();
    assert_eq!((script.program(), script.has_decoder()), (None, false));
    let mut batch = Batch::default();
    event(EventKind::ENTRY, &[1; DATA], &mut batch);
    script.decode(&mut batch);
    assert!(fields(&batch)[0].is_empty());
    assert_eq!(script.finish(), Report::default());
    let text = "api_version = 1
        function init() program = 'image'; function decode() return {count = 1} end end";
    let (script, ..) = load("late", text);
    assert_eq!(script.unwrap().program(), Some(&b"image"[..]));
    assert_eq!(decoded("late", text, &[]).0, ["count=1"]);
}

#[test]
fn only_entries_are_decoded_missing_data_is_zero() {
    let text = "api_version = 1
        function decode(data) return {size = #data, sum = data:byte(1) + data:byte(64)} end";
    let (script, ..) = load("entries", text);
    let mut script = script.unwrap();
    let mut batch = Batch::default();
    event(EventKind::ENTRY, &[3; DATA], &mut batch);
    event(EventKind::RETURN, &[3; DATA], &mut batch);
    event(EventKind::ENTRY, &[], &mut batch);
    script.decode(&mut batch);
    assert_eq!(
        fields(&batch),
        [vec!["size=64", "sum=6"], vec![], vec!["size=64", "sum=0"]]
    );
    // Existing fields stay the same in the next batch, and names keep their numbers.
    batch.clear();
    event(EventKind::ENTRY, &[1; DATA], &mut batch);
    script.decode(&mut batch);
    assert_eq!(fields(&batch), [["size=64", "sum=2"]]);
    assert_eq!(batch.names.len(), 2);
}

/// A trace whose payloads begin with so many bytes of built-in fields.
fn built_in(size: u32) -> Trace {
    Trace {
        tracer: Tracer::Function,
        backend: String::new(),
        functions: Vec::new(),
        schema: Schema {
            size,
            builtin: size,
            tail: true,
            ..Schema::default()
        },
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: String::new(),
        mark: 1,
        mask: 1,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    }
}

#[test]
fn built_in_fields_stay_in_front_of_a_scripts() {
    let decode = "function decode(data)
          if data:byte(1) == 0 then error('zero') end
          return {first = data:byte(1)}
        end";
    for decode in [decode, ""] {
        let (script, ..) = load("front", &format!("api_version = 1\n{decode}"));
        let mut script = script.unwrap();
        script.start(&built_in(8)).unwrap();
        let mut batch = Batch::default();
        let front = [1, 2, 3, 4, 5, 6, 7, 8];
        for first in [5, 0] {
            event(EventKind::ENTRY, &[&front[..], &[first; DATA]].concat(), &mut batch);
            event(EventKind::RETURN, &[], &mut batch);
        }
        event(EventKind::ENTRY, &front[..7], &mut batch);
        event(EventKind(77), &[&front[..], &[5; DATA]].concat(), &mut batch);
        script.decode(&mut batch);
        let mut decoded = front.to_vec();
        Field::Integer(5).push(&mut decoded, 0);
        if decode.is_empty() {
            decoded.truncate(8);
        }
        let payloads: Vec<&[u8]> = batch.events.iter().map(|event| batch.payload_of(event)).collect();
        assert_eq!(payloads, [&decoded[..], &[], &front, &[], &[], &[]]);
        assert_eq!(script.finish().failed, u64::from(!decode.is_empty()));
    }
}

#[test]
fn strings_integers_and_floats_become_fields() {
    let text = "api_version = 1
        function decode() return {
          text = 'a\\0\\255', empty = '', integer = math.mininteger, float = 0.5, whole = 2.0, large = 1e300
        } end";
    let (fields, said) = decoded("types", text, &[]);
    let expected = [
        "empty=",
        "float=0.5",
        "integer=-9223372036854775808",
        "large=1e300",
        r"text=a\x00\xff",
        "whole=2.0",
    ];
    assert_eq!(fields, expected);
    assert!(said.is_empty(), "{said:?}");
    for nothing in ["return {}", "return nil", "return", ""] {
        let (fields, said) = decoded(
            "nothing",
            &format!("api_version = 1 function decode() {nothing} end"),
            &[],
        );
        assert!(fields.is_empty() && said.is_empty(), "{nothing}: {said:?}");
    }
    let line = "api_version = 1 function dump() return 'a line' end";
    assert_eq!(decoded("line", line, &[]).0, ["dump=a line"]);
}

#[test]
fn names_keep_their_order_however_tables_differ() {
    // Every table has other keys, made at run time, some longer than what Lua keeps only once.
    let text = "api_version = 1
        count = 0
        function decode()
          count = count + 1
          local fields = {}
          for index = 1, count % 7 do
            fields[('k'):rep((index * count) % 50 + 1) .. index] = index
          end
          return fields
        end";
    let (script, reported, _folder) = load("order", text);
    let mut script = script.unwrap();
    let mut batch = Batch::default();
    for round in 1..=30 {
        batch.clear();
        for _ in 0..10 {
            event(EventKind::ENTRY, &[0; DATA], &mut batch);
        }
        script.decode(&mut batch);
        for (index, fields) in fields(&batch).iter().enumerate() {
            let count = (round - 1) * 10 + index + 1;
            let mut expected: Vec<String> = (1..=count % 7)
                .map(|index| format!("{}{index}={index}", "k".repeat((index * count) % 50 + 1)))
                .collect();
            expected.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
            assert_eq!(*fields, expected, "event {count}");
        }
    }
    assert!(reported.borrow().is_empty());
}

#[test]
fn a_script_of_another_version_or_none_is_refused() {
    for (text, found) in [
        ("", "no api_version"),
        ("api_version = 2", "api_version = 2"),
        ("api_version = 1.5", "api_version = 1.5"),
        ("api_version = 'new\\27'", "api_version = \"new\\u{1b}\""),
        ("api_version = true", "a boolean as its api_version"),
        ("api_version = {}", "a table as its api_version"),
    ] {
        assert_eq!(
            refusal("version", text),
            format!(
                "the script DIR/s.lua has {found}; supported are api_version = 1 (set it as a global of the script) and, \
                 for a function in the kernel, the line 'api_version = 2'"
            )
        );
    }
    for text in ["api_version = 1.0", "api_version = '1'"] {
        assert!(load("version", text).0.is_ok(), "{text}");
    }
}

#[test]
fn globals_of_a_wrong_type_are_named() {
    for (text, message) in [
        (
            "program = 1",
            "`program` is an integer; it must be an ELF image in a string",
        ),
        (
            "program = {}",
            "`program` is a table; it must be an ELF image in a string",
        ),
        (
            "function emit() end",
            "`emit()` is nil; it must be an ELF image in a string",
        ),
        ("emit = 'image'", "`emit` is a string; it must be a function"),
        ("init = 1", "`init` is an integer; it must be a function"),
        ("fini = true", "`fini` is a boolean; it must be a function"),
        ("decode = {}", "`decode` is a table; it must be a function"),
        ("dump = 1.5", "`dump` is a number; it must be a function"),
    ] {
        assert_eq!(
            refusal("globals", &format!("api_version = 1 {text}")),
            format!("in the script DIR/s.lua, {message}")
        );
    }
}

#[test]
fn an_error_at_load_or_in_a_call_names_file_and_line() {
    assert_eq!(
        refusal("syntax", "api_version = 1\nfunction ("),
        "cannot load the script: DIR/s.lua:2: <name> expected near '('"
    );
    assert_eq!(
        refusal("main", "api_version = 1\nlocal function f() error('no\\27') end\nf()"),
        "the script DIR/s.lua failed in its main part: DIR/s.lua:2: no\\u{1b}\n\
         stack traceback:\n\
         \t[C]: in function 'error'\n\
         \tDIR/s.lua:2: in local 'f'\n\
         \tDIR/s.lua:3: in main chunk\n\
         \t[C]: in ?"
    );
    assert_eq!(
        refusal("init", "api_version = 1\nfunction init()\n  local x = nil + 1\nend"),
        "the script DIR/s.lua failed in init(): DIR/s.lua:3: attempt to perform arithmetic on a nil value\n\
         stack traceback:\n\
         \tDIR/s.lua:3: in function 'init'\n\
         \t[C]: in ?"
    );
    assert_eq!(
        refusal("emit", "api_version = 1\nfunction emit() error({}) end"),
        "the script DIR/s.lua failed in emit(): (the error is a table, no text)"
    );
    let folder = Folder::new("none");
    let missing = folder.0.join("none.lua");
    let error = Script::load(&missing, Print::Stdout, None, Box::new(|_| ())).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("cannot load the script: cannot open ") && message.contains("none.lua"),
        "{message}"
    );
}

#[test]
fn an_error_at_an_event_is_shown_once_and_counted() {
    let text = "api_version = 1
        count = 0
        function decode(data)
          count = count + 1
          if count % 2 == 0 then error('even\\27', 1) end
          return {count = count}
        end
        function fini() error('and at the end') end";
    let (script, reported, folder) = load("event", text);
    let mut script = script.unwrap();
    let mut batch = Batch::default();
    for _ in 0..2 {
        batch.clear();
        for _ in 0..3 {
            event(EventKind::ENTRY, &[0; DATA], &mut batch);
        }
        script.decode(&mut batch);
    }
    assert_eq!(fields(&batch), [vec![], vec!["count=5"], vec![]]);
    let reported: Vec<String> = reported
        .borrow()
        .iter()
        .map(|message| plain(&folder, message))
        .collect();
    assert_eq!(
        reported,
        [
            "the script DIR/s.lua failed at an event, which is shown without fields, as others will be where it fails: \
             DIR/s.lua:5: even\\u{1b}\n\
             stack traceback:\n\
             \t[C]: in function 'error'\n\
             \tDIR/s.lua:5: in function 'decode'\n\
             \t[C]: in ?"
        ]
    );
    let report = script.finish();
    assert_eq!(report.failed, 3);
    let messages: Vec<String> = report.messages.iter().map(|message| plain(&folder, message)).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(
        messages[0],
        "3 events are shown without fields, because the script DIR/s.lua failed at them"
    );
    assert!(
        messages[1].starts_with("the script DIR/s.lua failed in fini(): DIR/s.lua:8: and at the end\nstack traceback:"),
        "{messages:?}"
    );
    // Once is once.
    assert_eq!(script.finish().messages.len(), 1);
}

#[test]
fn an_invalid_result_names_the_key_and_the_type() {
    for (result, message) in [
        (
            "{flags = {}}",
            "returned a table whose field `flags` is a table; fields must be strings or numbers",
        ),
        (
            "{a = 1, ok = true}",
            "returned a table whose field `ok` is a boolean; fields must be strings or numbers",
        ),
        (
            "{['\\27x'] = print}",
            "returned a table whose field `\\u{1b}x` is a function; fields must be strings or numbers",
        ),
        (
            "{co = coroutine.create(print)}",
            "returned a table whose field `co` is a thread; fields must be strings or numbers",
        ),
        (
            "{f = io.stdout}",
            "returned a table whose field `f` is a userdata; fields must be strings or numbers",
        ),
        ("{7}", "returned a table with the key 1, a number; keys must be strings"),
        (
            "{[1.5] = 7}",
            "returned a table with the key 1.5, a number; keys must be strings",
        ),
        (
            "{[true] = 7}",
            "returned a table with the key true, a boolean; keys must be strings",
        ),
        (
            "{[{}] = 7}",
            "returned a table with the key ?, a table; keys must be strings",
        ),
        ("7", "returned a number; it must return a table of fields, or nil"),
        ("'text'", "returned a string; it must return a table of fields, or nil"),
        ("{s = ('x'):rep(70000)}", "returned more than 64 KiB of fields"),
    ] {
        let text = format!("api_version = 1\nfunction decode() return {result} end");
        let (fields, said) = decoded("result", &text, &[]);
        assert!(fields.is_empty(), "{fields:?}");
        assert_eq!(said.len(), 2);
        let reported = said[0].split_once("where it fails: ").unwrap().1;
        assert_eq!(reported, format!("DIR/s.lua:2: decode() {message}"));
    }
}

#[test]
fn out_of_memory_only_loses_fields() {
    let text = "api_version = 1 function decode() return {n = 1} end";
    let (script, reported, _folder) = load("memory", text);
    let mut script = script.unwrap();
    let mut batch = Batch::default();
    for _ in 0..3 {
        event(EventKind::ENTRY, &[0; DATA], &mut batch);
    }
    let mut undecoded = batch.clone();
    // Nothing is left, not even for the string that the decoder is called with, nor anything to be collected.
    script.lua.gc_collect().unwrap();
    script.lua.gc_collect().unwrap();
    script.lua.set_memory_limit(script.lua.used_memory() + 1).unwrap();
    script.decode(&mut batch);
    assert!(fields(&batch).iter().all(Vec::is_empty));
    assert!(
        reported.borrow()[0].contains("memory error: not enough memory"),
        "{reported:?}"
    );
    script.lua.set_memory_limit(0).unwrap();
    script.decode(&mut undecoded);
    assert_eq!(fields(&undecoded), [["n=1"], ["n=1"], ["n=1"]]);
    assert_eq!(script.finish().failed, 3);
}

#[test]
fn names_without_end_are_an_error_known_ones_go_on() {
    let text = "api_version = 1
        count = 0
        function decode() count = count + 1; return {['name' .. count % 5000] = count} end";
    let (script, reported, folder) = load("names", text);
    let mut script = script.unwrap();
    let mut batch = Batch::default();
    for _ in 0..5001 {
        event(EventKind::ENTRY, &[0; DATA], &mut batch);
    }
    script.decode(&mut batch);
    assert_eq!(fields(&batch)[5000], ["name1=5001"]);
    assert_eq!(script.finish().failed, 5000 - 4096);
    let reported = plain(&folder, &reported.borrow()[0]);
    assert!(
        reported.ends_with("decode() has used 4096 different field names, and may use no more"),
        "{reported}"
    );
}

#[test]
fn a_name_that_is_too_long_costs_the_event_its_fields() {
    let text = "api_version = 1
        count = 1023
        function decode() count = count + 1; return {[string.rep('n', count)] = 1} end";
    let (script, reported, folder) = load("long-name", text);
    let mut script = script.unwrap();
    let mut batch = Batch::default();
    event(EventKind::ENTRY, &[0; DATA], &mut batch);
    event(EventKind::ENTRY, &[0; DATA], &mut batch);
    script.decode(&mut batch);
    assert_eq!(fields(&batch)[0].len(), 1);
    assert_eq!(script.finish().failed, 1);
    let reported = plain(&folder, &reported.borrow()[0]);
    assert!(
        reported.ends_with("decode() has a field whose name has more than 1024 bytes"),
        "{reported}"
    );
}

#[test]
fn the_whole_standard_library_is_available() {
    let folder = Folder::new("library");
    fs::write(folder.0.join("helper.lua"), "return {answer = 42}").unwrap();
    let text = format!(
        "#!/usr/bin/lua\nlocal dir = [[{}]]
         package.path = dir .. '/?.lua;' .. package.path
         api_version = 1
         local file = assert(io.open(dir .. '/helper.lua')); local size = #file:read('a'); file:close()
         assert(debug.getinfo(1).currentline == 6)
         function decode() return {{answer = require('helper').answer, size = size, time = math.type(os.time())}} end",
        folder.0.display()
    );
    let (fields, said) = decoded("library", &text, &[]);
    assert_eq!(fields, ["answer=42", "size=20", "time=integer"]);
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_compiled_script_is_taken_as_it_always_was() {
    let (script, _, folder) = load(
        "compiled",
        "api_version = 1
         local function chunk() api_version = 1 function decode() return {n = 7} end end
         local file = io.open(debug.getinfo(1).source:sub(2):gsub('s.lua', 'c.lua'), 'wb')
         file:write(string.dump(chunk)); file:close()",
    );
    script.unwrap();
    let mut script = Script::load(&folder.0.join("c.lua"), Print::Stdout, None, Box::new(|_| ())).unwrap();
    let mut batch = Batch::default();
    event(EventKind::ENTRY, &[0; DATA], &mut batch);
    script.decode(&mut batch);
    assert_eq!(fields(&batch), [["n=7"]]);
}

/// A descriptor that is readable from the start: the trace was stopped already.
fn stopped() -> Option<OwnedFd> {
    Some(rustix::event::eventfd(1, rustix::event::EventfdFlags::CLOEXEC).unwrap())
}

#[test]
fn a_decoder_that_does_not_end_is_interrupted() {
    for (test, body) in [
        ("loop", "while true do end"),
        ("pcall", "while true do pcall(function() while true do end end) end"),
        ("call", "local function f() return f() end f()"),
    ] {
        let folder = Folder::new(test);
        let text = format!(
            "api_version = 1
             function decode(data) if data:byte(1) == 1 then\n{body}\nend return {{fine = 1}} end
             function fini() for index = 1, 1000 do end end"
        );
        let reported = Reported::default();
        let tell: Tell = Box::new({
            let reported = reported.clone();
            move |message| reported.borrow_mut().push(message.to_owned())
        });
        let mut script = Script::load(&folder.script(&text), Print::Stdout, stopped(), tell).unwrap();
        let mut batch = Batch::default();
        for first in [0, 1, 0] {
            event(EventKind::ENTRY, &[first; DATA], &mut batch);
        }
        script.decode(&mut batch);
        // It is not called again: the next event would take as long.
        assert_eq!(fields(&batch), [vec!["fine=1"], vec![], vec![]]);
        let reported = plain(&folder, &reported.borrow()[0]);
        let (_, failure) = reported.split_once("where it fails: ").unwrap();
        assert!(
            failure.starts_with("DIR/s.lua:3: interrupted: the call did not end\nstack traceback:\n\tDIR/s.lua:3: in "),
            "{failure}"
        );
        let report = script.finish();
        assert_eq!((report.failed, report.messages.len()), (2, 1), "{report:?}");
    }
}

#[test]
fn a_script_that_does_not_end_is_interrupted() {
    for (place, text) in [
        ("its main part", "while true do end"),
        ("init()", "api_version = 1; function init()\nwhile true do end end"),
        ("emit()", "api_version = 1; function emit()\nrepeat until false end"),
    ] {
        let folder = Folder::new("before");
        let script = Script::load(&folder.script(text), Print::Stdout, stopped(), Box::new(|_| ()));
        let message = plain(&folder, &script.unwrap_err().to_string());
        let (head, rest) = message.split_once(" failed in ").unwrap();
        assert_eq!(head, "the script DIR/s.lua");
        assert!(rest.starts_with(&format!("{place}: DIR/s.lua:")), "{message}");
        assert!(
            rest.contains("interrupted: the call did not end\nstack traceback:"),
            "{message}"
        );
    }
}

#[test]
fn a_call_that_ends_after_waiting_is_not_interrupted() {
    let folder = Folder::new("drain");
    // It waits for longer than the patience of the watch, and then executes fewer instructions than it may.
    let text = "api_version = 1
        function decode(data)
          if data:byte(1) == 1 then os.execute('sleep 1') end
          local sum = 0 for index = 1, 50000 do sum = sum + 1 end return {sum = sum}
        end";
    let mut script = Script::load(&folder.script(text), Print::Stdout, stopped(), Box::new(|_| ())).unwrap();
    let mut batch = Batch::default();
    for index in 0..200 {
        event(EventKind::ENTRY, &[u8::from(index == 10); DATA], &mut batch);
    }
    script.decode(&mut batch);
    assert!(fields(&batch).iter().all(|fields| fields == &["sum=50000"]));
    assert_eq!(script.finish(), Report::default());
}

/// Set in a copy of the test program that plays ipft.
const CHILD: &str = "IPFT_LUA_TEST_CHILD";

/// Runs the named test again in a process of its own, where it finds [`CHILD`] set to this.
fn child(test: &str, value: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("extension::lua::tests::{test}"))
        .env(CHILD, value)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn prints_are_in_order_with_output_or_on_stderr() {
    const SCRIPT: &str = "api_version = 1
        print('lua loads', nil, 1.0)
        function init() io.write('lua ', 'writes\\n') end
        function decode() print('lua decodes') end
        function fini() io.stdout:write('lua ends\\n') end";
    if let Ok(print) = std::env::var(CHILD) {
        let print = if print == "stdout" {
            Print::Stdout
        } else {
            Print::Stderr
        };
        let say = |line: &str| {
            let mut stdout = std::io::stdout();
            writeln!(stdout, "{line}").and_then(|()| stdout.flush()).unwrap();
        };
        // The test framework has begun a line.
        say("");
        let folder = Folder::new("print");
        let mut script = Script::load(&folder.script(SCRIPT), print, None, Box::new(|_| ())).unwrap();
        say("rust one");
        let mut batch = Batch::default();
        event(EventKind::ENTRY, &[0; DATA], &mut batch);
        script.decode(&mut batch);
        say("rust two");
        script.finish();
        say("rust three");
        return;
    }
    let ours = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| line.starts_with("lua") || line.starts_with("rust"));
        lines.map(str::to_owned).collect()
    };
    for (print, stdout, stderr) in [
        (
            "stdout",
            &[
                "lua loads\tnil\t1.0",
                "lua writes",
                "rust one",
                "lua decodes",
                "rust two",
                "lua ends",
                "rust three",
            ][..],
            &[][..],
        ),
        (
            "stderr",
            &["rust one", "rust two", "rust three"],
            &["lua loads\tnil\t1.0", "lua writes", "lua decodes", "lua ends"],
        ),
    ] {
        let child = child("prints_are_in_order_with_output_or_on_stderr", print);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(ours(&String::from_utf8(output.stdout).unwrap()), stdout);
        assert_eq!(ours(&String::from_utf8(output.stderr).unwrap()), stderr);
    }
}

#[test]
fn control_c_ends_a_decoder_that_does_not_end() {
    if std::env::var_os(CHILD).is_some() {
        let signals = crate::signals::Signals::install().unwrap();
        let stop = signals.fd().try_clone_to_owned().unwrap();
        let folder = Folder::new("signal");
        let text = "api_version = 1
            function decode() print('\\nlooping') io.stdout:flush() while true do end end";
        let tell: Tell = Box::new(|message| println!("reported: {message}"));
        let mut script = Script::load(&folder.script(text), Print::Stdout, Some(stop), tell).unwrap();
        let mut batch = Batch::default();
        event(EventKind::ENTRY, &[0; DATA], &mut batch);
        script.decode(&mut batch);
        println!(
            "stopped: {} {}",
            signals.stop_requested(),
            script.finish().messages.len()
        );
        return;
    }
    let mut child = child("control_c_ends_a_decoder_that_does_not_end", "1");
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.any(|line| line == "looping"));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    assert!(lines.any(|line| line.starts_with("reported: ") && line.ends_with("interrupted: the call did not end")));
    assert!(lines.any(|line| line == "stopped: true 1"));
    let mut rest = String::new();
    child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
}
