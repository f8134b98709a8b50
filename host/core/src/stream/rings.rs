//! Merges the records of several BPF ring buffers by time.
//!
//! Each CPU, or each few, writes to a ring of its own, and a packet moves between CPUs. Within one ring, records lie in
//! the order in which they were reserved. Across rings only their timestamps order them. The merge keeps this rule: if
//! one record was written before the program of another one began, as two events of one packet are, it comes first.
//!
//! Let `e1` be that record, in ring A, and `e2` the other, in ring B. The timestamp of `e2` was taken after `e1` was
//! reserved, and so after everything in front of `e1` in A was. Three bounds follow:
//!
//! - The time is read before the ends of the rings. If `e1` lies behind the end that was read, it was reserved after
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
    /// Reads records until one is not before this time or the batch is full. Returns what is first then.
    #[inline(never)]
    fn read_until(&mut self, bound: u64, decoder: &mut Decoder, batch: &mut Batch) -> Head {
        let (mut position, end) = (self.position, self.end);
        let mut latest = 0;
        let head = loop {
            if position >= end {
                break Head::None;
            }
            match self.ring.find(position) {
                Found::Busy => break Head::Busy,
                Found::Discarded { next } => position = next,
                Found::Record { bytes, next } => {
                    let time = ring::timestamp(bytes);
                    if time >= bound || is_full(batch) {
                        break Head::At(time);
                    }
                    decoder.decode(bytes, batch);
                    position = next;
                    latest = latest.max(time);
                }
            }
        };
        self.position = position;
        self.after = self.after.max(latest);
        head
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
        // First none is read, to see which ring has the earliest record; then that ring, up to the others' first record.
        let mut turn = 0..self.lanes.len();
        loop {
            let (number, bound) = match turn.next() {
                Some(number) => (number, 0),
                None => match self.heads.pop() {
                    Some(Reverse((time, number))) if time < limit && !is_full(batch) => {
                        let others = self.heads.peek().map_or(u64::MAX, |Reverse((time, _))| *time);
                        (number, limit.min(others.saturating_add(1)))
                    }
                    _ => break,
                },
            };
            let Some(lane) = self.lanes.get_mut(number) else {
                break;
            };
            match lane.read_until(bound, decoder, batch) {
                Head::At(time) => self.heads.push(Reverse((time, number))),
                Head::None => lane.after = lane.after.max(now),
                Head::Busy => {
                    rest = Rest::Unfinished;
                    limit = limit.min(lane.after);
                }
            }
        }
        for lane in &mut self.lanes {
            lane.ring.release(lane.position);
        }
        if is_full(batch) { Rest::More } else { rest }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
