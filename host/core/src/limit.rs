//! Limits that end a trace: its duration, a number of events, a number of packets.
//!
//! `run` passes every batch to [`Limit::admit`] first, which removes late events, and then checks whether the trace is
//! over. Nothing here reads a clock: times are given, in nanoseconds of `CLOCK_MONOTONIC`, like those of events. It may
//! import `event`.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use crate::event::{Batch, Event};
use crate::seeded::Seeded;

/// Quiet time, in nanoseconds, after which the selected packets are considered complete.
/// The last event of a packet is not marked.
const QUIET: u64 = 1_000_000_000;

/// Packets that are counted at most where events are limited, to bound the memory to some 20 MB. A trace with more of
/// them says how many the kernel has seen, which is some more.
const MOST_COUNTED: usize = 1 << 20;

/// The limit of a trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAfter {
    /// This many events.
    Events(u64),
    /// The packets that are seen first, so many.
    Packets(u64),
}

impl fmt::Display for StopAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopAfter::Events(1) => f.write_str("1 event"),
            StopAfter::Events(count) => write!(f, "{count} events"),
            StopAfter::Packets(1) => f.write_str("1 packet"),
            StopAfter::Packets(count) => write!(f, "{count} packets"),
        }
    }
}

/// The limit that ended a trace; other ends are signals and closed readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It was long enough.
    Duration(Duration),
    /// There was enough of it.
    StopAfter(StopAfter),
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reached::Duration(duration) => humantime::format_duration(*duration).fmt(f),
            Reached::StopAfter(amount) => amount.fmt(f),
        }
    }
}

/// The limits of one trace, and how much of it there was.
#[derive(Debug)]
pub struct Limit {
    duration: Option<Duration>,
    deadline: u64,
    stop_after: Option<StopAfter>,
    /// Events that may still come.
    events_left: u64,
    /// The packets that were seen first, or those of the events so far.
    packets: HashSet<u64, Seeded>,
    /// When the newest of their events was.
    latest: u64,
    /// Everything before this time has been seen.
    seen: u64,
}

impl Limit {
    /// For a trace that begins `now`.
    pub fn new(duration: Option<Duration>, stop_after: Option<StopAfter>, now: u64) -> Self {
        let length = duration.map_or(u64::MAX, |duration| {
            u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
        });
        Limit {
            duration,
            deadline: now.saturating_add(length),
            stop_after,
            events_left: match stop_after {
                Some(StopAfter::Events(wanted)) => wanted,
                _ => u64::MAX,
            },
            packets: HashSet::default(),
            latest: now,
            seen: now,
        }
    }

    /// Takes out of the batch what the trace is not to have. `seen` says until when everything has come in by now.
    pub fn admit(&mut self, batch: &mut Batch, seen: u64) {
        self.seen = self.seen.max(seen);
        match self.stop_after {
            None => return,
            Some(StopAfter::Events(_)) => {
                // Entries and returns count, and other events come with them.
                let mut left = self.events_left;
                batch.events.retain(|event| {
                    let fits = left > 0;
                    left -= u64::from(fits && event.kind.is_call());
                    fits
                });
                self.events_left = left;
                for event in &batch.events {
                    if self.packets.len() < MOST_COUNTED {
                        self.packets.insert(event.packet);
                    }
                }
            }
            Some(StopAfter::Packets(wanted)) => batch.events.retain(|event| self.is_wanted(event, wanted)),
        }
        // A packet's capture may come before its first event, and even a batch before.
        if self.has_all_packets() {
            batch.captures.retain(|capture| self.packets.contains(&capture.packet));
        }
    }

    /// The reader is to read on until it has all that happened before `now`, and then to end.
    pub fn time_is_over(&self, now: u64) -> Option<Reached> {
        self.duration.filter(|_| now >= self.deadline).map(Reached::Duration)
    }

    /// The trace has all that was wanted, and is to end at once.
    pub fn is_complete(&self) -> Option<Reached> {
        let complete = match self.stop_after? {
            StopAfter::Events(_) => self.events_left == 0,
            StopAfter::Packets(wanted) => self.is_full(wanted) && self.seen.saturating_sub(self.latest) >= QUIET,
        };
        self.stop_after.filter(|_| complete).map(Reached::StopAfter)
    }

    /// Returns the number of packets of the trace, given the number that the kernel has seen.
    pub fn packets(&self, seen: u64) -> u64 {
        if self.has_all_packets() {
            seen.min(self.packets.len() as u64)
        } else {
            seen
        }
    }

    /// Returns whether the packets of the trace are known, so that no other will belong to it.
    fn has_all_packets(&self) -> bool {
        match self.stop_after {
            None => false,
            Some(StopAfter::Events(_)) => self.events_left == 0 && self.packets.len() < MOST_COUNTED,
            Some(StopAfter::Packets(wanted)) => self.is_full(wanted),
        }
    }

    fn is_full(&self, wanted: u64) -> bool {
        self.packets.len() as u64 >= wanted
    }

    fn is_wanted(&mut self, event: &Event, wanted: u64) -> bool {
        let known = if self.is_full(wanted) {
            self.packets.contains(&event.packet)
        } else {
            self.packets.insert(event.packet);
            true
        };
        if known {
            self.latest = self.latest.max(event.timestamp);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Capture, EventKind, Link};

    /// Events of these packets at these times, and a capture of each packet that is new in the batch.
    fn batch(events: &[(u64, u64)]) -> Batch {
        let mut batch = Batch::default();
        for &(packet, timestamp) in events {
            if !batch.captures.iter().any(|capture| capture.packet == packet) {
                batch.captures.push(Capture {
                    packet,
                    timestamp,
                    link: Link::Ip,
                    length: 1,
                    offset: batch.captured.len() as u32,
                    captured_len: 1,
                });
                batch.captured.push(packet as u8);
            }
            batch.payload.push(timestamp as u8);
            batch.events.push(Event {
                packet,
                skb: packet,
                timestamp,
                entry_timestamp: 0,
                function: 0,
                cpu: 0,
                kind: EventKind::ENTRY,
                thread: 1,
                payload_offset: batch.payload.len() as u32 - 1,
                payload_len: 1,
                spare: 0,
            });
        }
        batch
    }

    /// Returns the admitted packets and times, and the packets of the captures. Checks that each has its bytes.
    /// `drained` is when the buffer was found empty; `None` if it was not.
    fn admitted(limit: &mut Limit, events: &[(u64, u64)], drained: Option<u64>) -> (Vec<(u64, u64)>, Vec<u64>) {
        let mut batch = batch(events);
        let newest = events.last().map_or(0, |(_, timestamp)| *timestamp);
        limit.admit(&mut batch, drained.unwrap_or(newest));
        for event in &batch.events {
            assert_eq!(batch.payload_of(event), [event.timestamp as u8]);
        }
        for capture in &batch.captures {
            assert_eq!(batch.bytes_of(capture), [capture.packet as u8]);
        }
        (
            batch
                .events
                .iter()
                .map(|event| (event.packet, event.timestamp))
                .collect(),
            batch.captures.iter().map(|capture| capture.packet).collect(),
        )
    }

    #[test]
    fn without_a_limit_everything_passes_and_nothing_ends() {
        let mut limit = Limit::new(None, None, 0);
        let events = [(1, 10), (2, 20)];
        assert_eq!(
            admitted(&mut limit, &events, Some(u64::MAX)),
            (events.to_vec(), vec![1, 2])
        );
        assert_eq!((limit.time_is_over(u64::MAX), limit.is_complete()), (None, None));
        assert_eq!(limit.packets(7), 7);
    }

    #[test]
    fn a_duration_is_over_when_it_is_over() {
        let limit = Limit::new(Some(Duration::from_nanos(50)), None, 100);
        assert_eq!(limit.time_is_over(149), None);
        let reached = limit.time_is_over(150).unwrap();
        assert_eq!(reached, Reached::Duration(Duration::from_nanos(50)));
        assert_eq!(limit.is_complete(), None);
        assert_eq!(
            Reached::Duration(Duration::from_millis(90_500)).to_string(),
            "1m 30s 500ms"
        );
    }

    #[test]
    fn a_duration_beyond_the_end_of_the_clock_is_none() {
        let limit = Limit::new(Some(Duration::MAX), None, 100);
        assert_eq!(limit.time_is_over(u64::MAX - 1), None);
    }

    #[test]
    fn of_events_exactly_as_many_pass_as_were_wanted() {
        let mut limit = Limit::new(None, Some(StopAfter::Events(3)), 0);
        let (first, _) = admitted(&mut limit, &[(1, 10), (2, 20)], None);
        assert_eq!(first, [(1, 10), (2, 20)]);
        assert_eq!(limit.is_complete(), None);
        let (second, captures) = admitted(&mut limit, &[(1, 30), (3, 40), (1, 50)], None);
        assert_eq!((second, captures), (vec![(1, 30)], vec![1]));
        assert_eq!(limit.is_complete(), Some(Reached::StopAfter(StopAfter::Events(3))));
        assert_eq!(admitted(&mut limit, &[(4, 60)], Some(70)), (vec![], vec![]));
    }

    #[test]
    fn lone_captures_belong_to_packets_of_the_trace() {
        let captures = |limit: &mut Limit, packets: &[(u64, u64)]| {
            let mut batch = batch(packets);
            batch.events.clear();
            limit.admit(&mut batch, 0);
            batch.captures.iter().map(|capture| capture.packet).collect::<Vec<_>>()
        };
        let mut limit = Limit::new(None, Some(StopAfter::Packets(2)), 0);
        admitted(&mut limit, &[(1, 10)], None);
        assert_eq!(captures(&mut limit, &[(2, 20)]), [2], "its events may follow");
        admitted(&mut limit, &[(2, 20), (3, 30)], None);
        assert_eq!(captures(&mut limit, &[(1, 40), (2, 40), (3, 40), (4, 40)]), [1, 2]);
    }

    #[test]
    fn a_batch_that_ends_at_the_limit_is_not_cut() {
        let mut limit = Limit::new(None, Some(StopAfter::Events(2)), 0);
        let events = [(1, 10), (2, 20)];
        assert_eq!(admitted(&mut limit, &events, None), (events.to_vec(), vec![1, 2]));
        assert!(limit.is_complete().is_some());
    }

    #[test]
    fn the_first_packets_pass_whole_and_no_others() {
        let mut limit = Limit::new(None, Some(StopAfter::Packets(2)), 0);
        let (events, captures) = admitted(&mut limit, &[(5, 10), (5, 11), (3, 12), (4, 13), (5, 14)], None);
        assert_eq!(events, [(5, 10), (5, 11), (3, 12), (5, 14)]);
        assert_eq!(captures, [5, 3]);
        let (events, captures) = admitted(&mut limit, &[(4, 20), (3, 21), (6, 22)], None);
        assert_eq!((events, captures), (vec![(3, 21)], vec![3]));
    }

    #[test]
    fn packets_are_complete_after_a_quiet_second() {
        let mut limit = Limit::new(None, Some(StopAfter::Packets(2)), 0);
        admitted(&mut limit, &[(1, 10)], Some(5 * QUIET));
        assert_eq!(limit.is_complete(), None, "the second is still to come");
        admitted(&mut limit, &[(2, 6 * QUIET)], Some(6 * QUIET));
        admitted(&mut limit, &[], Some(7 * QUIET - 1));
        assert_eq!(limit.is_complete(), None);
        admitted(&mut limit, &[(1, 7 * QUIET - 1)], Some(7 * QUIET));
        assert_eq!(limit.is_complete(), None, "one of them went on");
        admitted(&mut limit, &[], Some(8 * QUIET - 1));
        let reached = limit.is_complete().unwrap();
        assert_eq!(reached, Reached::StopAfter(StopAfter::Packets(2)));
        assert_eq!(reached.to_string(), "2 packets");
    }

    #[test]
    fn a_lagging_reader_does_not_complete_packets() {
        let mut limit = Limit::new(None, Some(StopAfter::Packets(1)), 0);
        admitted(&mut limit, &[(1, 10)], None);
        // However late it is: the events read are old.
        admitted(&mut limit, &[(2, 20)], None);
        assert_eq!(limit.is_complete(), None);
        admitted(&mut limit, &[(2, 10 + QUIET)], None);
        assert!(
            limit.is_complete().is_some(),
            "a flood of others does not keep it from ending"
        );
    }

    #[test]
    fn packets_that_are_left_out_are_not_counted() {
        let mut limit = Limit::new(None, Some(StopAfter::Packets(2)), 0);
        admitted(&mut limit, &[(1, 10)], None);
        assert_eq!(limit.packets(3), 3, "two of them have lost all their events");
        admitted(&mut limit, &[(2, 20), (3, 30), (4, 40)], None);
        assert_eq!(limit.packets(6), 2);

        let mut limit = Limit::new(None, Some(StopAfter::Events(3)), 0);
        admitted(&mut limit, &[(1, 10)], None);
        assert_eq!(limit.packets(3), 3);
        admitted(&mut limit, &[(2, 20), (1, 30), (3, 40)], None);
        assert_eq!(limit.packets(6), 2);
    }
}
