//! Tests of the loop that reads events, with a source that needs no kernel.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use ipft_bpf::wire;

use super::*;
use crate::event::{Event, EventKind, Function, Summary};
use crate::kernel::Root;
use crate::limit::StopAfter;
use crate::sink::{Destination, Sink, SinkError};
use crate::stream::{Rest, StreamError};

/// A buffer that is never empty: each packet has two events, which lie a batch apart.
struct Flood {
    /// Events in a batch.
    size: u64,
    packets: u64,
}

impl Source for Flood {
    fn wait(&self, _: BorrowedFd<'_>, _: Duration) -> Result<(), StreamError> {
        unreachable!("there is always something to read")
    }

    fn read(&mut self, _: &mut Decoder, batch: &mut Batch) -> Result<Rest, StreamError> {
        let first = self.packets;
        self.packets += self.size / 2;
        let before = first.saturating_sub(self.size / 2)..first;
        for packet in before.chain(first..self.packets) {
            batch.events.push(event(packet + 1));
        }
        Ok(Rest::More)
    }
}

fn event(packet: u64) -> Event {
    Event {
        packet,
        skb: 1,
        timestamp: monotonic(),
        entry_timestamp: 0,
        function: 0,
        cpu: 0,
        kind: EventKind::ENTRY,
        thread: 1,
        payload_offset: 0,
        payload_len: 0,
        spare: 0,
    }
}

/// A buffer in which one event lies behind a record that is being written: until so many looks, or for ever.
struct Stuck {
    behind: Event,
    looks: Option<u32>,
}

impl Source for Stuck {
    fn wait(&self, _: BorrowedFd<'_>, _: Duration) -> Result<(), StreamError> {
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn read(&mut self, _: &mut Decoder, batch: &mut Batch) -> Result<Rest, StreamError> {
        match &mut self.looks {
            None => return Ok(Rest::Unfinished),
            Some(0) => {}
            Some(looks) => {
                *looks -= 1;
                if *looks > 0 {
                    return Ok(Rest::Unfinished);
                }
                batch.events.push(self.behind);
            }
        }
        Ok(Rest::Nothing)
    }
}

#[derive(Clone, Debug, Default)]
struct Seen {
    packets: Vec<u64>,
    progress: Vec<Progress>,
}

/// Notes what it is given; of events, the first thousand.
struct Notes(Rc<RefCell<Seen>>);

impl Sink for Notes {
    fn functions(&mut self, _: &[Function]) -> Result<(), SinkError> {
        Ok(())
    }

    fn start(&mut self, _: &Trace) -> Result<(), SinkError> {
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let mut seen = self.0.borrow_mut();
        let room = 1000_usize.saturating_sub(seen.packets.len());
        seen.packets
            .extend(batch.events.iter().take(room).map(|event| event.packet));
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> Result<(), SinkError> {
        self.0.borrow_mut().progress.push(progress.clone());
        Ok(())
    }

    fn finish(&mut self, _: &Summary) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Reads a flood until a limit is reached: why it ended, how many events there were, and what a sink saw.
fn flooded(duration: Option<Duration>, stop_after: Option<StopAfter>) -> (Option<Reached>, u64, Seen) {
    read(Box::new(Flood { size: 64, packets: 0 }), duration, stop_after)
}

/// A reader of any source. The function table has one function.
fn reader<'a>(source: Box<dyn Source + 'a>, extension: &'a mut Extension) -> Reader<'a> {
    Reader {
        source,
        decoder: Decoder::new(FunctionIds::new([0]), 0),
        extension,
        calls: None,
        batch: Batch::default(),
        follow: false,
        droppers: Droppers::default(),
        stacks: Stacks::default(),
        deciders: Deciders::default(),
        counting: None,
        outcomes: Outcomes::default(),
        not_specified: 0,
        events: 0,
        ended: 0,
        alone: 0,
    }
}

/// Reads from any source.
fn read(
    source: Box<dyn Source>,
    duration: Option<Duration>,
    stop_after: Option<StopAfter>,
) -> (Option<Reached>, u64, Seen) {
    let seen = Rc::<RefCell<Seen>>::default();
    let mut sinks = Sinks::new(Box::new(|name, error| panic!("{name}: {error}")));
    sinks.add("notes", Destination::Elsewhere, Box::new(Notes(Rc::clone(&seen))));
    let mut extension = Extension::default();
    let mut reader = reader(source, &mut extension);
    let signals = Signals::none().unwrap();
    let mut limit = Limit::new(duration, stop_after, monotonic());
    let mut losses = || {
        vec![Loss {
            kind: LossKind::BufferFull,
            cpu: Some(1),
            count: 5,
        }]
    };
    let reached = reader.run(&signals, &mut limit, &mut sinks, &mut losses, None).unwrap();
    (reached, reader.events, seen.take())
}

#[test]
fn duration_and_progress_are_checked_in_a_flood() {
    // One word on the progress is due within that time.
    let duration = Duration::from_millis(1500);
    let (reached, events, seen) = flooded(Some(duration), None);
    assert_eq!(reached, Some(Reached::Duration(duration)));
    assert!(events > 0);
    assert_eq!(seen.progress[0].losses[0].count, 5);
}

#[test]
fn exactly_the_limit_of_events_is_delivered() {
    for wanted in [1, 31, 32, 33, 64, 500] {
        let (reached, events, seen) = flooded(None, Some(StopAfter::Events(wanted)));
        assert_eq!(reached, Some(Reached::StopAfter(StopAfter::Events(wanted))));
        assert_eq!((events, seen.packets.len() as u64), (wanted, wanted));
    }
}

#[test]
fn the_first_packets_are_delivered_whole_in_a_flood() {
    // The last of them is in a batch with others, and its second event in the next.
    let wanted = StopAfter::Packets(40);
    let (reached, events, seen) = flooded(None, Some(wanted));
    assert_eq!(reached, Some(Reached::StopAfter(wanted)));
    let mut packets = seen.packets;
    packets.sort_unstable();
    let twice: Vec<u64> = (1..=40).flat_map(|packet| [packet, packet]).collect();
    assert_eq!(packets, twice);
    assert_eq!(events, 80);
}

#[test]
fn the_end_waits_briefly_for_unfinished_records() {
    let duration = Duration::from_millis(1);
    for (looks, expected) in [(Some(3), vec![7]), (None, vec![])] {
        let source = Stuck {
            behind: event(7),
            looks,
        };
        let (reached, _, seen) = read(Box::new(source), Some(duration), None);
        assert_eq!(reached, Some(Reached::Duration(duration)));
        assert_eq!(seen.packets, expected, "{looks:?}");
    }
}

#[test]
fn drops_of_places_without_a_slot_have_a_row() {
    let mut extension = Extension::default();
    let mut sinks = Sinks::new(Box::new(|name, error| panic!("{name}: {error}")));
    let source = Box::new(Flood { size: 0, packets: 0 });
    let totals = DropTotals::default();
    let elsewhere = || {
        vec![DropCount {
            location: 0,
            reason: 0,
            count: 7,
        }]
    };
    let mut reader = reader(source, &mut extension).of_drops(Box::new(elsewhere), totals.clone());
    for _ in 0..2 {
        reader.count_drops(&mut sinks);
        let all = totals.get();
        // Behind the function of the table, and appended once.
        assert_eq!((all.len(), all[0].function, all[0].count), (1, Some(1), 7));
        assert_eq!(reader.decoder.functions(), 2);
    }
}

/// Where the code of the dropping function begins.
const DROPPER: u64 = 0xffff_ffff_8100_0000;

/// A buffer with drops of packets of which nothing else was seen, each of them from another place of the function.
struct Dropped {
    packets: u64,
}

impl Source for Dropped {
    fn wait(&self, _: BorrowedFd<'_>, _: Duration) -> Result<(), StreamError> {
        Ok(())
    }

    fn read(&mut self, decoder: &mut Decoder, batch: &mut Batch) -> Result<Rest, StreamError> {
        for packet in 1..=std::mem::take(&mut self.packets) {
            let words = [packet, 1, monotonic(), wire::ENDED, 0];
            let mut record: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            record.extend([wire::DROP_ALONE, 12].iter().flat_map(|half| half.to_ne_bytes()));
            let mut frames = [0; wire::FRAMES];
            frames[0] = DROPPER + packet;
            let rest = [0, frames[0]].into_iter().chain(frames);
            record.extend(rest.flat_map(u64::to_ne_bytes));
            decoder.decode(&record, batch);
        }
        Ok(Rest::Nothing)
    }
}

/// Notes the events, and the functions that are appended. One whose reader is gone takes no function.
#[derive(Clone, Default)]
struct Table {
    events: Rc<RefCell<Vec<Event>>>,
    functions: Rc<RefCell<Vec<String>>>,
    closed: bool,
}

impl Sink for Table {
    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        if self.closed {
            return Err(SinkError::Closed);
        }
        let names = new.iter().map(|function| function.name.clone());
        self.functions.borrow_mut().extend(names);
        Ok(())
    }

    fn start(&mut self, _: &Trace) -> Result<(), SinkError> {
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.events.borrow_mut().extend(&batch.events);
        Ok(())
    }

    fn finish(&mut self, _: &Summary) -> Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn files_get_the_batch_at_which_stdout_closes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("proc")).unwrap();
    let symbols = format!("{DROPPER:016x} t nft_do_chain\t[nf_tables]\n");
    std::fs::write(folder.path().join("proc/kallsyms"), symbols).unwrap();
    let mut sinks = Sinks::new(Box::new(|name, error| panic!("{name}: {error}")));
    let stdout = Table {
        closed: true,
        ..Table::default()
    };
    let file = Table::default();
    sinks.add("stdout", Destination::Stdout, Box::new(stdout.clone()));
    sinks.add("file", Destination::Elsewhere, Box::new(file.clone()));
    let mut extension = Extension::default();
    let mut reader = reader(Box::new(Dropped { packets: 2 }), &mut extension)
        .with_code(Code::open(&Root::at(folder.path())))
        .of_drops(Box::new(Vec::new), DropTotals::default());
    reader.follow = true;
    let signals = Signals::none().unwrap();
    // For the case that it goes on without stdout.
    let mut limit = Limit::new(Some(Duration::from_secs(1)), None, monotonic());
    let reached = reader
        .run(&signals, &mut limit, &mut sinks, &mut Vec::new, None)
        .unwrap();
    assert_eq!((reached, reader.events, reader.alone), (None, 2, 2));
    let functions = file.functions.borrow();
    let events = file.events.borrow();
    // Function 0 is that of the reader's table.
    let name = |event: &Event| functions[event.function as usize - 1].as_str();
    let all: Vec<_> = events
        .iter()
        .map(|event| (event.packet, event.kind, name(event)))
        .collect();
    assert_eq!(
        all,
        [
            (1, EventKind::ENTRY, "nft_do_chain"),
            (1, EventKind::STACK, "nft_do_chain+0x1 [nf_tables]"),
            (1, EventKind::ENDED, "nft_do_chain"),
            (2, EventKind::ENTRY, "nft_do_chain"),
            (2, EventKind::STACK, "nft_do_chain+0x2 [nf_tables]"),
            (2, EventKind::ENDED, "nft_do_chain"),
        ]
    );
    assert!(stdout.events.borrow().is_empty());
}
