//! Fuzzes recordings: reading one must not panic, hang or allocate without bound, and every sink must draw its content.
//!
//! Checksums and compression hide their content from a fuzzer. An attacker can compute them, and so does this mutator:
//! it changes the content of a block, or a number in a block's header or in its JSON, and corrects the rest of the
//! block.
//!
//! Run with `cargo xtask fuzz recording`; any recording is a good seed.

#![no_main]

use std::io::{self, Cursor};

use ipft_core::event::Batch;
use ipft_core::recording::layout::{BLOCK_HEADER, BlockHeader, FILE_HEADER, FileHeader};
use ipft_core::recording::{Content, Input, Reader};
use ipft_core::sink::difference::{self, Profile, Side};
use ipft_core::sink::{Aggregate, Json, Jsonl, Sink, Text, TextOptions};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// Limit of events drawn per input.
const MOST: usize = 20_000;
/// Bytes of a block's content that the mutator changes.
const CONTENT: usize = 64 << 10;
/// Memory limit of the aggregate.
const MEMORY: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut reader = match Reader::open(Input::Stream(Box::new(Cursor::new(data.to_vec())))) {
        Ok(reader) => reader,
        Err(error) => {
            let said = error.to_string();
            return assert!(said.len() < 2048 && !said.contains(char::is_control), "{said:?}");
        }
    };
    let trace = reader.trace().clone();
    let mut sinks: Vec<Box<dyn Sink>> = vec![
        Box::new(Aggregate::new(io::sink()).with_max_memory(MEMORY, Box::new(|_| {}))),
        Box::new(Json::new(io::sink())),
        Box::new(Jsonl::new(io::sink())),
        Box::new(Text::new(io::sink(), TextOptions::default())),
    ];
    // Compared with itself at the end.
    let mut profile = Profile::new(MEMORY);
    profile.start(&trace).expect("it draws no fields");
    // A sink may refuse the fields that a recording claims to have.
    sinks.retain_mut(|sink| sink.start(&trace).is_ok());
    let mut summary = None;
    let mut batch = Batch::default();
    let mut events = 0;
    while let Some(content) = reader.next(|_| true).expect("memory can be read") {
        match content {
            Content::Events => {
                while events < MOST && reader.fill(&mut batch, 4096) {
                    events += batch.events.len();
                    profile.events(&batch).expect("it writes nothing");
                    for sink in &mut sinks {
                        sink.events(&batch).expect("whatever is in an event, it can be drawn");
                    }
                    batch.clear();
                }
            }
            Content::Losses(_) | Content::Functions(..) => {}
            Content::Done(done) => summary = Some(done),
        }
    }
    let seen = reader.seen();
    assert!(seen.end.is_some() && seen.damaged.0 >= seen.damage.len() as u64);
    let summary = summary.unwrap_or_default();
    for sink in &mut sinks {
        sink.finish(&summary)
            .expect("whatever is in a summary, it can be drawn");
    }
    profile.finish(&summary).expect("it writes nothing");
    let side = Side {
        name: "a.ipft",
        profile: &profile,
    };
    difference::write(&mut io::sink(), side, side, usize::MAX).expect("nothing is written");
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match seed % 10 {
        8 | 9 => number(data, size, max_size, seed / 10).unwrap_or_else(|| fuzzer_mutate(data, size, max_size)),
        0 => fuzzer_mutate(data, size, max_size),
        1 => {
            let size = fuzzer_mutate(data, size, max_size);
            mend(&mut data[..size]);
            size
        }
        _ => content(data, size, max_size, seed / 10).unwrap_or_else(|| fuzzer_mutate(data, size, max_size)),
    }
});

/// Changes the content of one block; `None` if there is none, or if the result does not fit.
fn content(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    rewrite(data, size, max_size, seed, |_, content| {
        let length = content.len();
        content.resize(CONTENT, 0);
        let length = fuzzer_mutate(content, length, CONTENT);
        content.truncate(length);
        true
    })
}

/// Boundary values and others.
const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0xffff,
    1 << 20,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

/// Changes one number in the header of a block, or in its JSON; `None` as in [`content`].
fn number(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let value = NUMBERS[(seed >> 12) as usize % NUMBERS.len()];
    rewrite(data, size, max_size, seed, |header, content| {
        let numbers = match content.first() {
            Some(b'{') => numbers(content),
            _ => Vec::new(),
        };
        match (seed >> 4) % 8 {
            0 => header.events = value as u32,
            1 => header.first = value,
            2 => header.last = value,
            3 => header.captures = value as u32,
            _ => {
                let Some((start, end)) = numbers.get((seed >> 6) as usize % numbers.len().max(1)).copied() else {
                    return false;
                };
                content.splice(start..end, value.to_string().into_bytes());
            }
        }
        true
    })
}

/// Finds the numbers in JSON.
fn numbers(json: &[u8]) -> Vec<(usize, usize)> {
    let mut numbers = Vec::new();
    let mut at = 0;
    while let Some(begin) = json[at..]
        .iter()
        .position(|byte| *byte == b':')
        .map(|colon| at + colon + 1)
    {
        let digits = json[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            numbers.push((begin, begin + digits));
        }
        at = begin + digits;
    }
    numbers
}

/// Changes one block with `change` and makes it valid again; `None` as in [`content`], or if nothing changed.
fn rewrite(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    change: impl FnOnce(&mut BlockHeader, &mut Vec<u8>) -> bool,
) -> Option<usize> {
    let blocks = blocks(&data[..size]);
    let start = *blocks.get(seed as usize % blocks.len().max(1))?;
    let mut header = BlockHeader::parse(data[start..].first_chunk()?)?;
    // The last block may be cut.
    let end = size.min(start + BLOCK_HEADER + header.stored as usize);
    let stored = data.get(start + BLOCK_HEADER..end)?;
    let mut content = zstd::bulk::decompress(stored, CONTENT).ok()?;
    if !change(&mut header, &mut content) {
        return None;
    }
    let stored = zstd::bulk::compress(&content, 1).ok()?;
    header.stored = stored.len() as u32;
    header.length = content.len() as u32;
    header.checksum = crc32fast::hash(&stored);
    let mut file = data[..start].to_vec();
    file.extend(header.to_bytes());
    file.extend(stored);
    file.extend(&data[end..size]);
    (file.len() <= max_size).then(|| {
        data[..file.len()].copy_from_slice(&file);
        file.len()
    })
}

/// Finds the blocks by their headers.
fn blocks(data: &[u8]) -> Vec<usize> {
    let mut blocks = Vec::new();
    let mut at = FILE_HEADER;
    while let Some(header) = data.get(at..).and_then(|rest| rest.first_chunk::<BLOCK_HEADER>()) {
        let Some(block) = BlockHeader::parse(header) else {
            break;
        };
        blocks.push(at);
        at += BLOCK_HEADER + block.stored as usize;
    }
    blocks
}

/// Corrects the checksums of the fixed parts of all blocks found.
fn mend(data: &mut [u8]) {
    let sum = |bytes: &mut [u8]| {
        let (content, checksum) = bytes.split_at_mut(bytes.len() - 4);
        checksum.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
    };
    if let Some(header) = data.first_chunk_mut::<FILE_HEADER>() {
        sum(header);
        if FileHeader::parse(header).is_none() {
            return;
        }
    }
    let mut at = FILE_HEADER;
    while let Some(header) = data
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut::<BLOCK_HEADER>())
    {
        sum(header);
        let Some(block) = BlockHeader::parse(header) else {
            break;
        };
        at += BLOCK_HEADER + block.stored as usize;
    }
}
