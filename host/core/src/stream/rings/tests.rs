//! Tests of the merge: of its rule with scripted writers, and of the protocol with threads that share memory.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ipft_bpf::wire;
use rustix::time::{ClockId, clock_gettime};

use super::super::ring::{BUSY, Mapping};
use super::super::{BATCH, FunctionIds};
use super::*;

/// A stream of pseudo-random numbers that is the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// The record of a packet's event with this number. Its words fit together, so that a torn record is noticed.
pub(super) fn record(packet: u64, number: u64, time: u64) -> [u64; 5] {
    [packet, number, time, 0, packet << 32 | (number & 0x7fff_ffff)]
}

pub(super) fn bytes(record: [u64; 5]) -> [u8; wire::EVENT_SIZE] {
    let mut bytes = [0; wire::EVENT_SIZE];
    for (place, word) in bytes.chunks_exact_mut(8).zip(record) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

pub(super) fn decoder() -> Decoder {
    Decoder::new(FunctionIds::new([0]), 0)
}

/// Checks that the events of each packet are whole, and come in their order. Returns how many of each there were.
#[derive(Default)]
pub(super) struct Check {
    next: Vec<u64>,
    pub(super) events: u64,
}

impl Check {
    pub(super) fn see(&mut self, batch: &Batch, gaps: bool) {
        for event in &batch.events {
            assert_eq!(
                (u64::from(event.thread), u64::from(event.cpu)),
                (event.packet, event.skb & 0x7fff_ffff),
                "torn"
            );
            let packet = event.packet as usize;
            if self.next.len() <= packet {
                self.next.resize(packet + 1, 0);
            }
            let expected = self.next[packet];
            assert!(
                event.skb == expected || (gaps && event.skb > expected),
                "packet {packet}: {} comes, not {expected}",
                event.skb
            );
            self.next[packet] = event.skb + 1;
            self.events += 1;
        }
    }
}

/// A record in a scripted ring.
enum Slot {
    Busy,
    Discarded,
    Written(&'static [u8]),
}

/// A program that runs on a CPU: what it does next.
struct Run {
    packet: usize,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    ReadTime,
    Reserve { time: u64 },
    Submit { time: u64, ring: usize, slot: usize },
}

/// CPUs that run programs step by step, in any order. A program may be interrupted after each step by another one on
/// its CPU. A packet is on one CPU at a time.
struct World {
    random: Random,
    clock: u64,
    rings: Vec<Vec<Slot>>,
    /// The programs on each CPU; the last one runs.
    cpus: Vec<Vec<Run>>,
    /// Whether a program works with the packet, and the packet's events so far.
    packets: Vec<(bool, u64)>,
    /// Events that may still begin.
    left: u64,
}

impl World {
    fn step(&mut self) {
        let cpu = self.random.below(self.cpus.len());
        self.clock += 1;
        let depth = self.cpus[cpu].len();
        if self.left > 0 && depth < 3 && (depth == 0 || self.random.below(4) == 0) {
            let packet = self.random.below(self.packets.len());
            if !self.packets[packet].0 {
                self.packets[packet].0 = true;
                self.left -= 1;
                self.cpus[cpu].push(Run {
                    packet,
                    stage: Stage::ReadTime,
                });
            }
            return;
        }
        let ring = cpu & (self.rings.len() - 1);
        let Some(run) = self.cpus[cpu].last_mut() else {
            return;
        };
        match run.stage {
            Stage::ReadTime => run.stage = Stage::Reserve { time: self.clock },
            Stage::Reserve { time } => {
                let slot = self.rings[ring].len();
                self.rings[ring].push(Slot::Busy);
                run.stage = Stage::Submit { time, ring, slot };
            }
            Stage::Submit { time, ring, slot } => {
                let (busy, number) = &mut self.packets[run.packet];
                self.rings[ring][slot] = match self.random.below(8) {
                    0 => Slot::Discarded,
                    _ => {
                        let record = bytes(record(run.packet as u64, *number, time));
                        *number += 1;
                        Slot::Written(Box::leak(Box::new(record)))
                    }
                };
                *busy = false;
                self.cpus[cpu].pop();
            }
        }
    }

    fn steps(&mut self, most: usize) {
        for _ in 0..self.random.below(most) {
            self.step();
        }
    }

    fn is_over(&self) -> bool {
        self.left == 0 && self.cpus.iter().all(Vec::is_empty)
    }
}

/// A ring of a scripted world, which goes on whenever the reader looks at it.
struct Scripted {
    world: Rc<RefCell<World>>,
    number: usize,
    consumed: u64,
}

impl Records for Scripted {
    fn consumed(&self) -> u64 {
        self.consumed
    }

    fn reserved(&self) -> u64 {
        let mut world = self.world.borrow_mut();
        world.steps(12);
        world.rings[self.number].len() as u64
    }

    fn find(&self, position: u64) -> Found<'_> {
        let mut world = self.world.borrow_mut();
        world.steps(2);
        let next = position + 1;
        match world.rings[self.number][position as usize] {
            Slot::Busy => Found::Busy,
            Slot::Discarded => Found::Discarded { next },
            Slot::Written(bytes) => Found::Record { bytes, next },
        }
    }

    fn release(&mut self, position: u64) {
        assert!(position >= self.consumed);
        self.consumed = position;
    }
}

#[test]
fn events_of_a_packet_stay_in_order_across_rings() {
    for seed in 1..400 {
        let rings = 1 << (seed % 4);
        let world = Rc::new(RefCell::new(World {
            random: Random(seed),
            clock: 0,
            rings: (0..rings).map(|_| Vec::new()).collect(),
            cpus: (0..2 + seed as usize % 7).map(|_| Vec::new()).collect(),
            packets: vec![(false, 0); 1 + seed as usize % 5],
            left: 2000,
        }));
        let ring = |number| Scripted {
            world: Rc::clone(&world),
            number,
            consumed: 0,
        };
        let clock = || {
            let mut world = world.borrow_mut();
            world.steps(12);
            world.clock
        };
        let mut merged = Merge::new((0..rings).map(ring).collect(), clock);
        let (mut decoder, mut batch, mut check) = (decoder(), Batch::default(), Check::default());
        loop {
            let over = world.borrow().is_over();
            batch.clear();
            let rest = merged.read(&mut decoder, &mut batch);
            check.see(&batch, false);
            // What was written before the last batch is in it.
            if over && rest == Rest::Nothing && batch.events.is_empty() {
                break;
            }
            world.borrow_mut().clock += 1;
        }
        let made: Vec<u64> = world.borrow().packets.iter().map(|(_, events)| *events).collect();
        check.next.resize(made.len(), 0);
        assert_eq!((check.next, decoder.undecodable()), (made, 0), "seed {seed}");
    }
}

/// A file laid out as the kernel maps a ring buffer. The copy of the data, which the kernel maps behind the data, is
/// separate here: reader and writer both go on into it with a record that does not fit before the end.
fn file(size: usize) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len((2 * ring::page_size() + 2 * size) as u64).unwrap();
    file
}

/// A writer, as the kernel's (`kernel/bpf/ringbuf.c`, `__bpf_ringbuf_reserve` and `bpf_ringbuf_commit`).
struct Writer {
    consumer: Mapping,
    producer: Mapping,
    size: u64,
    lost: u64,
    /// The kernel's lock, for writers that share a ring.
    lock: AtomicBool,
}

impl Writer {
    fn new(file: &File, size: usize) -> Self {
        let page = ring::page_size();
        let both = libc::PROT_READ | libc::PROT_WRITE;
        Writer {
            consumer: Mapping::new(file.as_fd(), page, both, 0).unwrap(),
            producer: Mapping::new(file.as_fd(), page + 2 * size, both, page).unwrap(),
            size: size as u64,
            lost: 0,
            lock: AtomicBool::new(false),
        }
    }

    /// Writes a record, whose writer takes its time. Returns false if the ring is full.
    fn write(&self, record: [u64; 5], pause: impl FnOnce()) -> bool {
        const LENGTH: u64 = 8 + wire::EVENT_SIZE as u64;
        while self.lock.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let consumed = self.consumer.position().load(Ordering::Acquire);
        let position = self.producer.position().load(Ordering::Relaxed);
        let full = position + LENGTH - consumed > self.size;
        let place = ring::page_size() + (position & (self.size - 1)) as usize;
        let header = self.producer.word(place);
        if !full {
            header.store(u64::from(wire::EVENT_SIZE as u32 | BUSY), Ordering::Relaxed);
            self.producer.position().store(position + LENGTH, Ordering::Release);
        }
        self.lock.store(false, Ordering::Release);
        if full {
            return false;
        }
        for (index, word) in record.into_iter().enumerate() {
            self.producer
                .word(place + 8 * (index + 1))
                .store(word, Ordering::Relaxed);
        }
        pause();
        header.store(wire::EVENT_SIZE as u64, Ordering::Release);
        true
    }
}

fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// Two writers pass packets to each other, and the reader is slow: no event is torn, lost without being counted, or out
/// of order within its packet.
#[test]
fn a_packet_that_moves_between_writers_stays_in_order() {
    const SIZE: usize = 1 << 16;
    const EVENTS: u64 = 60_000;
    let files = [file(SIZE), file(SIZE)];
    // The number of each packet's next event. Even ones are of the first writer.
    let packets: [AtomicU64; 3] = Default::default();
    let writing = AtomicU64::new(2);
    let write = |which: usize| {
        let mut writer = Writer::new(&files[which], SIZE);
        let mut random = Random(which as u64 + 1);
        let mut done = [false; 3];
        while !done.iter().all(|done| *done) {
            for (packet, next) in packets.iter().enumerate() {
                let number = next.load(Ordering::Acquire);
                done[packet] = number >= EVENTS / 3;
                if done[packet] || number % 2 != which as u64 {
                    continue;
                }
                let wait = random.below(64);
                let written = writer.write(record(packet as u64, number, now()), || {
                    (0..wait).for_each(|_| std::hint::spin_loop());
                });
                writer.lost += u64::from(!written);
                next.store(number + 1, Ordering::Release);
            }
            // The other writer may need this processor.
            thread::yield_now();
        }
        writing.fetch_sub(1, Ordering::Release);
        writer.lost
    };
    thread::scope(|scope| {
        let writers = [0, 1].map(|which| scope.spawn(move || write(which)));
        let rings = files
            .iter()
            .map(|file| RingBuffer::new(file.as_fd(), SIZE as u32).unwrap());
        let mut merged = Merge::new(rings.collect(), now);
        let (mut decoder, mut batch, mut check) = (decoder(), Batch::default(), Check::default());
        let mut random = Random(9);
        loop {
            let over = writing.load(Ordering::Acquire) == 0;
            batch.clear();
            let rest = merged.read(&mut decoder, &mut batch);
            assert!(batch.events.len() <= BATCH);
            check.see(&batch, true);
            if over && rest == Rest::Nothing && batch.events.is_empty() {
                break;
            }
            if random.below(50) == 0 {
                thread::sleep(Duration::from_millis(2));
            }
        }
        let lost: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        let made: u64 = packets.iter().map(|next| next.load(Ordering::Relaxed)).sum();
        assert_eq!((check.events + lost, decoder.undecodable()), (made, 0));
        assert!(check.events > made / 100, "{} of {made}", check.events);
    });
}

/// Returns how many events writers write a second, each with a processor of its own. The time is that of their threads,
/// so that other processes on the machine do not count.
fn rate(writers: usize, shared: bool) -> f64 {
    const EVENTS: usize = 1 << 20;
    let size = (writers * EVENTS * 48).next_power_of_two();
    let rings = if shared { 1 } else { writers };
    let rings: Vec<Writer> = (0..rings).map(|_| Writer::new(&file(size), size)).collect();
    let begun = AtomicU64::new(0);
    let slowest = Mutex::new(0.0_f64);
    let write = |which: usize| {
        let writer = &rings[which % rings.len()];
        // Twice: the first time the kernel gives the memory.
        for round in 1..=2 {
            writer.producer.position().store(0, Ordering::Relaxed);
            begun.fetch_add(1, Ordering::AcqRel);
            while begun.load(Ordering::Acquire) < (round * writers) as u64 {
                std::hint::spin_loop();
            }
            let time = || {
                let time = clock_gettime(ClockId::ThreadCPUTime);
                time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
            };
            let start = time();
            for number in 0..EVENTS as u64 {
                assert!(writer.write(record(which as u64, number, number), || ()));
            }
            let mut slowest = slowest.lock().unwrap();
            *slowest = if round == 1 { 0.0 } else { slowest.max(time() - start) };
        }
    };
    thread::scope(|scope| (0..writers).for_each(|which| drop(scope.spawn(move || write(which)))));
    let slowest = slowest.into_inner().unwrap();
    (writers * EVENTS) as f64 / slowest
}

/// `cargo test --workspace --lib two_writers -- --ignored --nocapture`, on a machine with two idle processors.
#[test]
#[ignore = "measures speed"]
fn two_writers_on_two_rings_are_twice_as_fast() {
    let best = |writers, shared| (0..10).map(|_| rate(writers, shared)).fold(0.0, f64::max);
    let (one, two, shared) = (best(1, false), best(2, false), best(2, true));
    println!(
        "million events a second: one writer {:.1}, two writers {:.1} ({:.2}), two on one ring {:.1} ({:.2})",
        one / 1e6,
        two / 1e6,
        two / one,
        shared / 1e6,
        shared / one
    );
    assert!(two / one >= 1.8, "{:.2}", two / one);
}
