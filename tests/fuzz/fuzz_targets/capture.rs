//! Fuzzes the way of packets from the ring buffer to a packet capture: records become events and captures, and these a
//! pcapng file, which must be complete and of one link type, and a recording, which must be readable.
//!
//! The input is a list of operations, so that most of them are almost valid records. Run with `cargo xtask fuzz
//! capture`.

#![no_main]

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};

use ipft_core::event::{Batch, Function, Schema, Summary, Trace, Tracer};
use ipft_core::recording::{Content, Input, Reader, Writer};
use ipft_core::sink::{Pcapng, Sink, SinkError};
use ipft_core::stream::{Decoder, FunctionIds};
use libfuzzer_sys::fuzz_target;

/// Functions of the trace, and the address of the first.
const FUNCTIONS: u32 = 8;
const ADDRESS: u64 = 0xffff_ffff_8100_0000;
/// Marks a capture, in the place of a function (`bpf/src/core/wire.h`).
const CAPTURE: u64 = u64::MAX;

/// Why the lock is never poisoned.
const ONE_THREAD: &str = "the target has one thread";

/// Memory with two handles, as the sink requires.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect(ONE_THREAD).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The rest of the input.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn bytes(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// Returns a number that is small, or near a limit of 32 bits.
    fn number(&mut self) -> u32 {
        match self.byte() {
            small @ ..0xf0 => small.into(),
            byte @ ..0xf8 => (u32::from(byte & 7) << 16) + u32::from(self.byte()),
            byte => u32::MAX - u32::from(byte & 7),
        }
    }
}

/// Builds the record of one operation like a program in the kernel.
fn record(rest: &mut Rest<'_>, by_address: bool) -> Vec<u8> {
    let word = |function: u32| match by_address {
        true => ADDRESS + 16 * u64::from(function),
        false => u64::from(function),
    };
    let operation = rest.byte();
    let packet = u64::from(rest.byte() % 16);
    let time = u64::from(rest.number()) * 1000;
    let mut record = packet.to_ne_bytes().to_vec();
    if operation % 2 == 0 {
        record.extend([0xff; 8]);
        record.extend(time.to_ne_bytes());
        record.extend(word(rest.number() % (FUNCTIONS + 1)).to_ne_bytes());
        record.extend((u32::from(rest.byte() % 2) << 31 | u32::from(operation / 128)).to_ne_bytes());
        record.extend(rest.number().to_ne_bytes());
    } else {
        let length = rest.number();
        // Usually the real length, so that the packet's content is examined.
        let bytes = rest.byte().into();
        let bytes = rest.bytes(bytes).to_vec();
        let captured = match operation & 0x70 {
            0 => rest.number(),
            _ => bytes.len() as u32,
        };
        let length = if operation & 0x0e == 0 {
            length
        } else {
            length.max(captured)
        };
        record.extend(length.to_ne_bytes());
        record.extend(captured.to_ne_bytes());
        record.extend(time.to_ne_bytes());
        record.extend(CAPTURE.to_ne_bytes());
        record.extend(u32::from(operation >> 7 | u8::from(operation & 0x7e == 0x7e) << 1).to_ne_bytes());
        record.extend([0; 4]);
        record.extend(bytes);
    }
    record
}

fuzz_target!(|data: &[u8]| {
    let mut rest = Rest(data);
    let flags = rest.byte();
    let graph = flags & 1 != 0;
    let by_address = flags & 2 != 0;
    let limit = 1usize << (10 + 2 * (flags >> 5));
    let ids = FunctionIds::new((0..FUNCTIONS).map(|index| match by_address {
        true => ADDRESS + 16 * u64::from(index),
        false => 0,
    }));
    let trace = Trace {
        tracer: if graph { Tracer::FunctionGraph } else { Tracer::Function },
        backend: String::new(),
        functions: (0..FUNCTIONS)
            .map(|index| Function {
                name: format!("function_{index}"),
                module: "vmlinux".to_owned(),
                address: 0,
            })
            .collect(),
        schema: Schema::default(),
        clock_offset: if flags & 4 != 0 { i64::MIN } else { 1 },
        command_line: Vec::new(),
        kernel_release: String::new(),
        mark: 1,
        mask: 1,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    };
    let mut decoder = Decoder::new(ids, 0);
    let file = Shared::default();
    let mut pcapng = Pcapng::new(file.clone(), |_| Ok(()), Box::new(|_| {})).with_limit(limit);
    pcapng.start(&trace).expect("memory can be written");
    let mut recording = Writer::new(Vec::new(), &trace, 1).expect("memory can be written");
    let (mut events, mut captures) = (0, 0);
    let mut batch = Batch::default();
    while !rest.0.is_empty() {
        let whole = rest.0[0] % 8 == 7;
        let record = record(&mut rest, by_address);
        decoder.decode(&record, &mut batch);
        if whole || rest.0.is_empty() {
            events += batch.events.len();
            captures += batch.captures.len();
            pcapng.events(&batch).expect("memory can be written");
            recording.push(&batch).expect("memory can be written");
            batch.clear();
        }
    }
    match pcapng.finish(&Summary::default()) {
        Ok(()) => check(&file.0.lock().expect(ONE_THREAD)),
        Err(error) => assert!(matches!(error, SinkError::NoBytes), "{error}"),
    }
    recording.finish(&Summary::default()).expect("memory can be written");
    assert_eq!(counted(std::mem::take(recording.get_mut())), (events, captures));
});

/// Visits the blocks of a pcapng file.
fn check(file: &[u8]) {
    let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().expect("four bytes"));
    let (mut at, mut links) = (0, Vec::new());
    while at < file.len() {
        let length = word(at + 4) as usize;
        assert!(length >= 12 && length % 4 == 0, "a block of {length} bytes");
        assert_eq!(word(at + length - 4) as usize, length);
        match word(at) {
            0x0a0d_0d0a => assert_eq!(at, 0),
            1 => links.push(word(at + 8) & 0xffff),
            6 => {
                assert!(
                    (word(at + 8) as usize) < links.len(),
                    "an interface that was not described"
                );
                let (captured, whole) = (word(at + 20), word(at + 24));
                assert!(captured <= whole && captured as usize <= length - 32);
            }
            kind => panic!("a block of kind {kind:#x}"),
        }
        at += length;
    }
    assert_eq!(at, file.len());
    links.dedup();
    assert!(links.len() <= 1, "link types {links:?}");
}

/// Counts events and captures in a recording.
fn counted(file: Vec<u8>) -> (usize, usize) {
    let mut reader = Reader::open(Input::Stream(Box::new(Cursor::new(file)))).expect("what was written can be read");
    let mut batch = Batch::default();
    let (mut events, mut captures) = (0, 0);
    while let Some(content) = reader.next(|_| true).expect("memory can be read") {
        while matches!(content, Content::Events) && reader.fill(&mut batch, 4096) {
            events += batch.events.len();
            captures += batch.captures.len();
            batch.clear();
        }
    }
    assert!(reader.seen().damage.is_empty());
    (events, captures)
}
