//! Merges the records of several BPF ring buffers by time.
//!
//! Each CPU, or each few, writes to a ring of its own, and a packet moves between CPUs. Within one ring, records lie in
//! the order in which they were reserved. Across rings only their timestamps order them. The merge keeps this rule: if
//! one record was written before the program of another one began, as two events of one packet are, it comes first.
//!
//! Let `e1` be that record, in ring A, and `e2` the other, in ring B. The timestamp of `e2` was taken after `e1` was
//! reserved, and so after everything in front of `e1` in A was. Three bounds follow:
//!
//! - Before the ends of the rings are read, the time is. If `e1` lies behind the end that was read, it was reserved after
//!   that time, and `e2` is later: records from that time on are left for the next batch.
//! - The ring with the earliest first record is read, up to the earliest first record of the others. What lies in
//!   front of `e1` in A is earlier than `e2`, even if it is later than `e1` because an interrupt wrote it. So A is read
//!   up to `e1` before `e2` is.
//! - If `e1` lies behind a record that is still being written, `e2` is later than the last record in front of that one,
//!   and later than the last time at which A was found empty: records from the later of the two times on wait.
//!
//! So a writer that was interrupted holds up all rings, as it does in a ring that all CPUs share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::ring::{self, Found, Records, RingBuffer};
use super::{Decoder, Rest, Source, StreamError, is_full};
use crate::event::Batch;

/// The readers of several ring buffers.
#[derive(Debug)]
pub struct RingBuffers<'a>(Merge<RingBuffer<'a>, fn() -> u64>);

impl<'a> RingBuffers<'a> {
    /// Reads these rings. The clock is that of their records.
    pub fn new(rings: Vec<RingBuffer<'a>>, clock: fn() -> u64) -> Self {
        RingBuffers(Merge::new(rings, clock))
    }
}

impl Source for RingBuffers<'_> {
    fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<(), StreamError> {
        let descriptors: Vec<BorrowedFd<'_>> = self.0.lanes.iter().map(|lane| lane.ring.fd()).collect();
        ring::wait(&descriptors, stop, timeout)
    }

    fn read(&mut self, decoder: &mut Decoder, batch: &mut Batch) -> Result<Rest, StreamError> {
        Ok(self.0.read(decoder, batch))
    }
}

/// See the module.
#[derive(Debug)]
struct Merge<R, C> {
    lanes: Vec<Lane<R>>,
    /// Timestamp of the first record of each ring that has one to read, and the ring's number.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// The time as records have it.
    clock: C,
}

/// A ring, and how far it was read.
#[derive(Debug)]
struct Lane<R> {
    ring: R,
    /// Position of the first record that was not read, and of the end when that was last read.
    position: u64,
    end: u64,
    /// Everything behind `position` was reserved later than this.
    after: u64,
}

/// The first record of a lane.
enum Head {
    /// There is none before the lane's end.
    None,
    /// It is still being written.
    Busy,
    /// It was written at this time.
    At(u64),
}

impl<R: Records> Lane<R> {
    /// Passes over records that were given up.
    #[inline]
    fn head(&mut self) -> Head {
        while self.position < self.end {
            match self.ring.find(self.position) {
                Found::Busy => return Head::Busy,
                Found::Discarded { next } => self.position = next,
                Found::Record { bytes, .. } => return Head::At(ring::timestamp(bytes)),
            }
        }
        Head::None
    }
}

impl<R: Records, C: FnMut() -> u64> Merge<R, C> {
    fn new(rings: Vec<R>, clock: C) -> Self {
        let lanes: Vec<Lane<R>> = rings
            .into_iter()
            .map(|ring| Lane {
                position: ring.consumed(),
                end: 0,
                after: 0,
                ring,
            })
            .collect();
        Merge {
            heads: BinaryHeap::with_capacity(lanes.len()),
            lanes,
            clock,
        }
    }

    /// As [`Source::read`].
    fn read(&mut self, decoder: &mut Decoder, batch: &mut Batch) -> Rest {
        // Records from this time on are left for later.
        let now = (self.clock)();
        let mut limit = now;
        let mut rest = Rest::Nothing;
        for lane in &mut self.lanes {
            lane.end = lane.ring.reserved();
        }
        self.heads.clear();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            match lane.head() {
                Head::At(time) => self.heads.push(Reverse((time, number))),
                Head::None => lane.after = lane.after.max(now),
                Head::Busy => {
                    rest = Rest::Unfinished;
                    limit = limit.min(lane.after);
                }
            }
        }
        while let Some(Reverse((mut time, number))) = self.heads.pop() {
            if time >= limit || is_full(batch) {
                break;
            }
            let others = self.heads.peek().map_or(u64::MAX, |Reverse((time, _))| *time);
            let Some(lane) = self.lanes.get_mut(number) else {
                continue;
            };
            // The ring is read on until another one has an earlier record.
            while time <= others && time < limit && !is_full(batch) {
                if let Found::Record { bytes, next } = lane.ring.find(lane.position) {
                    decoder.decode(bytes, batch);
                    lane.position = next;
                    lane.after = lane.after.max(time);
                }
                match lane.head() {
                    Head::At(next) => time = next,
                    Head::None => {
                        lane.after = lane.after.max(now);
                        time = u64::MAX;
                    }
                    Head::Busy => {
                        rest = Rest::Unfinished;
                        limit = limit.min(lane.after);
                        time = u64::MAX;
                    }
                }
            }
            if time != u64::MAX {
                self.heads.push(Reverse((time, number)));
            }
        }
        for lane in &mut self.lanes {
            lane.ring.release(lane.position);
        }
        if is_full(batch) { Rest::More } else { rest }
    }
}

#[cfg(test)]
mod tests;
