//! A model of the rings' protocol for loom, which runs it in each order of its threads, with each value that the memory
//! model lets a load see. The writers are the kernel's (`kernel/bpf/ringbuf.c`), the reader is [`Merge`].
//!
//! What it assumes: reading the clock orders memory. On x86-64 the kernel's and ours do (`rdtsc_ordered()`,
//! `arch/x86/include/asm/msr.h`), and stores of one CPU become visible in their order.

use std::sync::Mutex;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;

use super::super::ring::BUSY;
use super::tests::{Check, bytes, decoder, record};
use super::*;

/// Records that fit in a ring.
const SLOTS: usize = 2;

/// The memory of a ring, and where its records' bytes are. Positions count records.
#[derive(Default)]
struct Memory {
    reserved: AtomicU64,
    headers: [AtomicU32; SLOTS],
    /// Numbers of records in `texts`, from 1. A load that may see an older value finds none.
    words: [AtomicU64; SLOTS],
    /// The records, which no thread waits for: what orders them is the protocol alone.
    texts: Mutex<Vec<&'static [u8]>>,
}

impl Memory {
    /// As `__bpf_ringbuf_reserve()`, of the ring's only writer.
    fn reserve(&self) -> usize {
        let position = self.reserved.load(Ordering::Relaxed);
        self.headers[position as usize].store(BUSY, Ordering::Relaxed);
        self.reserved.store(position + 1, Ordering::Release);
        position as usize
    }

    /// As `bpf_ringbuf_commit()`, after the record was written.
    fn submit(&self, slot: usize, text: [u64; 5]) {
        let number = {
            let mut texts = self.texts.lock().unwrap();
            texts.push(Box::leak(Box::new(bytes(text))));
            texts.len()
        };
        self.words[slot].store(number as u64, Ordering::Relaxed);
        self.headers[slot].swap(0, Ordering::AcqRel);
    }
}

struct Ring {
    memory: Arc<Memory>,
    consumed: u64,
}

impl Records for Ring {
    fn consumed(&self) -> u64 {
        self.consumed
    }

    fn reserved(&self) -> u64 {
        self.memory.reserved.load(Ordering::Acquire)
    }

    fn find(&self, position: u64) -> Found<'_> {
        let slot = position as usize;
        if self.memory.headers[slot].load(Ordering::Acquire) & BUSY != 0 {
            return Found::Busy;
        }
        let number = self.memory.words[slot].load(Ordering::Relaxed) as usize;
        let text = number
            .checked_sub(1)
            .map(|index| self.memory.texts.lock().unwrap()[index]);
        Found::Record {
            bytes: text.expect("a record whose header is written is written"),
            next: position + 1,
        }
    }

    fn release(&mut self, position: u64) {
        self.consumed = position;
    }
}

fn tick(clock: &AtomicU64) -> u64 {
    clock.fetch_add(1, Ordering::AcqRel)
}

/// Two CPUs write the events of packet 0, one after the other. The first may interrupt a program for that which writes an
/// event of packet 1. The reader looks while they write, and once more when they are done.
fn packet_moves(interrupt: bool) {
    let clock = Arc::new(AtomicU64::new(1));
    let memories = [Arc::new(Memory::default()), Arc::new(Memory::default())];
    let moved = Arc::new(AtomicU64::new(0));

    let (memory, time, done) = (Arc::clone(&memories[0]), Arc::clone(&clock), Arc::clone(&moved));
    let first = thread::spawn(move || {
        let interrupted = interrupt.then(|| (tick(&time), memory.reserve()));
        let now = tick(&time);
        let slot = memory.reserve();
        memory.submit(slot, record(0, 0, now));
        done.store(1, Ordering::Release);
        if let Some((now, slot)) = interrupted {
            memory.submit(slot, record(1, 0, now));
        }
    });
    let (memory, time) = (Arc::clone(&memories[1]), Arc::clone(&clock));
    let second = thread::spawn(move || {
        // The packet is there later, or not at all in this order of the threads.
        if moved.load(Ordering::Acquire) == 0 {
            return false;
        }
        let now = tick(&time);
        let slot = memory.reserve();
        memory.submit(slot, record(0, 1, now));
        true
    });

    let rings = memories.map(|memory| Ring { memory, consumed: 0 });
    let mut merged = Merge::new(rings.into(), || tick(&clock));
    let (mut decoder, mut batch, mut check) = (decoder(), Batch::default(), Check::default());
    merged.read(&mut decoder, &mut batch);
    check.see(&batch, false);

    first.join().unwrap();
    let came = second.join().unwrap();
    batch.clear();
    assert_eq!(merged.read(&mut decoder, &mut batch), Rest::Nothing);
    check.see(&batch, false);
    let events = 1 + u64::from(interrupt) + u64::from(came);
    assert_eq!((check.events, decoder.undecodable()), (events, 0));
}

/// Runs the model in each order that takes the CPU from a thread at most this often; without a limit it takes 13 s.
fn explore(preemptions: usize, interrupt: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || packet_moves(interrupt));
}

#[test]
fn events_keep_their_order_in_all_orders_of_threads() {
    explore(4, false);
}

#[test]
fn an_interrupted_writer_keeps_the_order_of_events() {
    explore(3, true);
}
