//! Fuzzes the command line: parsing must not panic, hang or allocate without bound, and ends in a command or a message
//! for the user.
//!
//! The input is the words, one per line. The mutator changes whole words besides bytes, and knows the meaningful ones.
//! Run with `cargo xtask fuzz command_line`.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::LazyLock;

use ipft::args::{self, Command, Options, Output};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// Meaningful words besides the options, which come from the help.
const WORDS: &str = "\
    -m -t -r -l -e -s -o -b -v -h -V -- - = replay plugin doctor lua top drops completions man list inspect check new \
    pack run bash rust function_graph kprobe-multi jsonl f.wasm f.lua f.c a=b 0xdeadbeef 0 -1 \
    18446744073709551616 1e308 99999999999999999999d 3packets 16G ^(a|b){1,1000}$ [::1]:65536 \
    icmp (tcp --follow --no-follow --select-at --netns --ifname eth? --pid --comm --cgroup --sample 1/8 --max-packets-per-second";

/// Returns all words that the mutator knows.
static KNOWN: LazyLock<Vec<String>> = LazyLock::new(|| {
    let help = |words: &[&str]| match args::parse(words) {
        Ok(Command::Print(text)) => String::from_utf8_lossy(&text).into_owned(),
        _ => String::new(),
    };
    let texts = [
        help(&["ipft", "--help"]),
        help(&["ipft", "replay", "--help"]),
        help(&["ipft", "plugin", "run", "--help"]),
        help(&["ipft", "plugin", "new", "--help"]),
        help(&["ipft", "plugin", "pack", "--help"]),
    ];
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let mut words: Vec<String> = (texts.iter().flat_map(|text| text.split(|letter| !is_name(letter))))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(str::to_owned)
        .chain(WORDS.split(' ').map(str::to_owned))
        .collect();
    words.sort();
    words.dedup();
    assert!(words.len() > 60, "the help has options");
    words
});

/// Returns whether the words say which packets to trace: nothing but `ipft top` and `ipft drops` takes all of them.
fn is_of_some(options: &Options) -> bool {
    let by_filter = !options.packets.is_empty() || options.inner.is_some() || options.condition.is_some();
    let by_mark = options.mark & options.mask != 0;
    let takes_all = options.drops.is_some() || options.drawing.output == Output::Top;
    by_filter || by_mark || !options.place.is_any() || takes_all
}

fuzz_target!(|data: &[u8]| {
    let words = data
        .split(|byte| *byte == b'\n')
        .map(|word| OsString::from_vec(word.to_vec()));
    match args::parse(std::iter::once(OsString::from("ipft")).chain(words)) {
        Ok(Command::Trace(options)) => assert!(is_of_some(&options), "a trace of all packets"),
        Ok(Command::Print(text)) => assert!(!text.is_empty()),
        Ok(command) => drop(format!("{command:?}")),
        Err(error) => {
            let said = error.to_string();
            // As long as the words are, each a few times, and what a list of choices takes.
            assert!(!said.is_empty() && said.len() < 8192 + 16 * data.len(), "{said}");
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut words: Vec<&[u8]> = data[..size].split(|byte| *byte == b'\n').collect();
    let at = (seed >> 8) as usize % words.len();
    let known = KNOWN[(seed >> 16) as usize % KNOWN.len()].as_bytes();
    let joined;
    match seed % 8 {
        0..=2 => words.insert(at, known),
        3 => words[at] = known,
        4 => {
            joined = [known, b"=", words[at]].concat();
            words[at] = &joined;
        }
        5 if words.len() > 1 => drop(words.remove(at)),
        _ => return fuzzer_mutate(data, size, max_size),
    }
    let changed = words.join(&b'\n');
    if changed.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
