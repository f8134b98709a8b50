//! Fuzzes plugin files: inspecting one must not panic, hang or allocate without bound, and messages about it must be
//! short and free of terminal control characters.
//!
//! The mutator knows the structure of a component: it changes the content of one section, of the component or nested in
//! it, and corrects the lengths around it; in a description it changes values and keeps it valid JSON.
//!
//! Run with `cargo xtask fuzz component`; any component is a good seed.

#![no_main]

use ipft_plugin_host::package::SECTION;
use ipft_plugin_host::package::inspect::inspect;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

mod show;

fuzz_target!(|data: &[u8]| {
    let inspection = match inspect(data) {
        Ok(inspection) => inspection,
        Err(error) => return show::message(&error),
    };
    let harmless = |text: &str| assert!(text.len() < 2048 && !text.contains(char::is_control), "{text:?}");
    for interface in inspection.imports.iter().chain(&inspection.exports) {
        harmless(&interface.name);
        interface.functions.iter().for_each(|name| harmless(name));
    }
    for (what, name, version) in &inspection.producers {
        [what, name, version].into_iter().for_each(|text| harmless(text));
    }
    inspection
        .contract_versions()
        .iter()
        .for_each(|version| harmless(version));
    inspection.needs();
    match inspection.check() {
        Ok(description) => {
            harmless(&description.about);
            harmless(&description.name);
            for option in &description.options {
                harmless(&option.name);
                harmless(&option.help);
            }
            description.values(&[]).expect("the defaults are values");
            assert_ne!(inspection.roles(), Default::default());
        }
        Err(refusal) => show::message(&refusal),
    }
});

/// Bytes of a module's or component's header.
const HEADER: usize = 8;
/// Section kinds: custom sections in both, and those of a component that nest modules and components.
const CUSTOM: u8 = 0;
const MODULE: u8 = 1;
const COMPONENT: u8 = 4;
/// Values that are tried in a description.
const VALUES: [&str; 14] = [
    "0",
    "-1",
    "1e400",
    "18446744073709551616",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "\"\\u001b[2J\"",
    "\"\\u202e\"",
    "\"choice\"",
    "\"0.1.0\"",
    "[\"a\",\"a\"]",
];

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    match changed(&data[..size], max_size, seed / 4, 0) {
        Some(changed) if changed.len() <= max_size => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});

/// Returns the component with one section changed; `None` if it has none.
fn changed(bytes: &[u8], max_size: usize, seed: u32, depth: u32) -> Option<Vec<u8>> {
    let mut sections = Vec::new();
    let mut at = HEADER;
    while let Some((kind, start, end)) = section(bytes, at) {
        sections.push((at, kind, start, end));
        at = end;
    }
    // The description is one section of a hundred, and the most valuable one to change.
    let described = |&(_, kind, start, end): &(_, u8, usize, usize)| {
        kind == CUSTOM
            && bytes[start..end]
                .get(1..)
                .is_some_and(|rest| rest.starts_with(SECTION.as_bytes()))
    };
    let description = sections.iter().find(|section| described(section));
    let chosen = match description {
        Some(section) if seed % 3 == 0 => section,
        _ => sections.get(seed as usize / 3 % sections.len().max(1))?,
    };
    let &(begin, kind, start, end) = chosen;
    let content = &bytes[start..end];
    let is_component = bytes.get(6) == Some(&1);
    let content = if described(chosen) {
        let name = 1 + SECTION.len();
        let json = json(&content[name..], seed / 3).unwrap_or_else(|| mutated(&content[name..], max_size));
        [&content[..name], &json].concat()
    } else if is_component && matches!(kind, MODULE | COMPONENT) && depth < 8 {
        changed(
            content,
            max_size,
            seed.rotate_right(5).wrapping_mul(0x9e37_79b9),
            depth + 1,
        )?
    } else {
        mutated(content, max_size)
    };
    let mut file = bytes[..begin].to_vec();
    // Or duplicate a section.
    if seed & 0x8000_0000 != 0 {
        file.extend_from_slice(&bytes[begin..end]);
    }
    file.push(kind);
    push_length(&mut file, content.len());
    file.extend(content);
    file.extend_from_slice(&bytes[end..]);
    Some(file)
}

/// Returns the kind of the section that starts there, and the range of its content.
fn section(bytes: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let kind = *bytes.get(at)?;
    let (mut length, mut start) = (0usize, at + 1);
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(start)?;
        start += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let end = start.checked_add(length).filter(|end| *end <= bytes.len())?;
            return Some((kind, start, end));
        }
    }
    None
}

/// Appends a length in LEB128.
fn push_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn mutated(content: &[u8], max_size: usize) -> Vec<u8> {
    let mut content = content.to_vec();
    let length = content.len();
    content.resize(max_size.max(length), 0);
    let most = content.len();
    let length = fuzzer_mutate(&mut content, length, most);
    content.truncate(length);
    content
}

/// Returns the JSON with one value replaced; `None` if it has none.
fn json(text: &[u8], seed: u32) -> Option<Vec<u8>> {
    let colons: Vec<usize> = (text.iter().enumerate())
        .filter_map(|(at, byte)| (*byte == b':').then_some(at + 1))
        .collect();
    let start = *colons.get(seed as usize % colons.len().max(1))?;
    let end = text[start..].iter().position(|byte| matches!(byte, b',' | b'}'))? + start;
    let value = VALUES[(seed >> 8) as usize % VALUES.len()];
    Some([&text[..start], value.as_bytes(), &text[end..]].concat())
}
