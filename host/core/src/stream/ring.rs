//! Reads the BPF ring buffer in place.
//!
//! The kernel maps it as one page with the reader's position, one with the writers', and the data twice in a row, so
//! that a record never wraps (`kernel/bpf/ringbuf.c`). libbpf reads it through a callback per record; here the records
//! of a batch are decoded in one loop. This file has the only `unsafe` of the event's path: the mapping, and the
//! slices made from it; what is in them is parsed elsewhere, as bytes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use ipft_bpf::wire;

use super::{Decoder, Rest, Source, StreamError, is_full};
use crate::event::Batch;

/// `BPF_RINGBUF_BUSY_BIT`: the record is being written.
pub(super) const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: its writer gave it up.
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`: length and page offset before each record.
const HEADER: u64 = 8;

/// One mapping of memory that the kernel shares with us.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    pub(super) fn new(fd: BorrowedFd<'_>, length: usize, protection: i32, offset: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Mapping { start, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The 64-bit word at the start.
    pub(super) fn position(&self) -> &AtomicU64 {
        // SAFETY: the mapping is at least a page, aligned to one, and lives as long as `self`; the kernel's side
        // changes the word only atomically.
        unsafe { self.start.cast::<AtomicU64>().as_ref() }
    }
}

// SAFETY: tests share the mapping between threads, which access it only as atomic words.
#[cfg(test)]
unsafe impl Sync for Mapping {}

#[cfg(test)]
impl Mapping {
    /// A word at this place, which a test writes.
    pub(super) fn word(&self, place: usize) -> &AtomicU64 {
        assert!(place.is_multiple_of(8) && place + 8 <= self.length);
        // SAFETY: the place is in the mapping, aligned, and lives as long as `self`.
        unsafe { self.start.add(place).cast::<AtomicU64>().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrowed from it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Returns the size of a page. Not with rustix, which reads the auxiliary vector in a way that ends under valgrind; there
/// `cargo xtask bench sinks` counts instructions.
pub(super) fn page_size() -> usize {
    // SAFETY: the call takes an integer and changes nothing.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// What lies at a position of a ring.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// A record that is still being written.
    Busy,
    /// A record that its writer gave up.
    Discarded {
        /// Position of the record after it.
        next: u64,
    },
    /// A record.
    Record {
        /// Its bytes.
        bytes: &'a [u8],
        /// Position of the record after it.
        next: u64,
    },
}

/// A ring of records, as its reader sees it. Positions only grow.
pub(super) trait Records {
    /// Returns the position of the first record that was not released.
    fn consumed(&self) -> u64;
    /// Returns the position behind the last record that was reserved.
    fn reserved(&self) -> u64;
    /// Returns what lies at a position before that.
    fn find(&self, position: u64) -> Found<'_>;
    /// Gives everything before the position back to the writers.
    fn release(&mut self, position: u64);
}

/// Returns the time in a record, which events and captures have at the same place. A record that is too short for one
/// comes first.
#[inline]
pub(super) fn timestamp(record: &[u8]) -> u64 {
    const PLACE: usize = std::mem::offset_of!(wire::Event, timestamp);
    const _: () = assert!(PLACE == std::mem::offset_of!(wire::Capture, timestamp));
    match record.get(PLACE..).and_then(|bytes| bytes.first_chunk()) {
        Some(bytes) => u64::from_ne_bytes(*bytes),
        None => 0,
    }
}

/// The reader of a BPF ring buffer.
#[derive(Debug)]
pub struct RingBuffer<'a> {
    fd: BorrowedFd<'a>,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    size: u64,
}

impl<'a> RingBuffer<'a> {
    /// Maps the ring buffer map `fd` of `size` bytes (a power of two).
    pub fn new(fd: BorrowedFd<'a>, size: u32) -> Result<Self, StreamError> {
        let page = page_size();
        let failed = |source| StreamError::Setup {
            what: "the ring buffer",
            source,
        };
        let consumer = Mapping::new(fd, page, libc::PROT_READ | libc::PROT_WRITE, 0).map_err(failed)?;
        let producer = Mapping::new(fd, page + 2 * size as usize, libc::PROT_READ, page).map_err(failed)?;
        Ok(RingBuffer {
            fd,
            consumer,
            producer,
            page,
            size: size.into(),
        })
    }

    /// The length word of the record at a position.
    fn header(&self, position: u64) -> &AtomicU32 {
        let offset = self.page + (position & (self.size - 1)) as usize;
        // SAFETY: `offset` lies in the first copy of the data, and records are aligned to 8 bytes.
        unsafe { self.producer.start.add(offset).cast::<AtomicU32>().as_ref() }
    }

    /// The bytes of the record at a position, whose writer is done with it.
    fn record(&self, position: u64, length: u32) -> &[u8] {
        let offset = self.page + (position & (self.size - 1)) as usize + HEADER as usize;
        let length = (length as usize).min(self.producer.length - offset);
        // SAFETY: the range lies in the mapping, and the kernel leaves the bytes alone until the consumer's position
        // has passed them, which only `read` moves, after this borrow has ended.
        unsafe { std::slice::from_raw_parts(self.producer.start.add(offset).as_ptr(), length) }
    }

    /// The descriptor to wait for.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

impl Records for RingBuffer<'_> {
    fn consumed(&self) -> u64 {
        self.consumer.position().load(Ordering::Relaxed)
    }

    fn reserved(&self) -> u64 {
        self.producer.position().load(Ordering::Acquire)
    }

    #[inline]
    fn find(&self, position: u64) -> Found<'_> {
        let length = self.header(position).load(Ordering::Acquire);
        if length & BUSY != 0 {
            return Found::Busy;
        }
        let bytes = length & !DISCARD;
        let next = position + ((u64::from(bytes) + HEADER + 7) & !7);
        match length & DISCARD {
            0 => Found::Record {
                bytes: self.record(position, bytes),
                next,
            },
            _ => Found::Discarded { next },
        }
    }

    fn release(&mut self, position: u64) {
        self.consumer.position().store(position, Ordering::Release);
    }
}

impl Source for RingBuffer<'_> {
    fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<(), StreamError> {
        wait(&[self.fd], stop, timeout)
    }

    fn read(&mut self, decoder: &mut Decoder, batch: &mut Batch) -> Result<Rest, StreamError> {
        let mut rest = Rest::Nothing;
        let mut position = self.consumed();
        let end = self.reserved();
        while position < end && !is_full(batch) {
            match self.find(position) {
                Found::Busy => {
                    rest = Rest::Unfinished;
                    break;
                }
                Found::Discarded { next } => position = next,
                Found::Record { bytes, next } => {
                    decoder.decode(bytes, batch);
                    position = next;
                }
            }
        }
        self.release(position);
        Ok(if is_full(batch) { Rest::More } else { rest })
    }
}

/// Waits until one of the descriptors or the stop descriptor is readable, or the time is over.
pub(super) fn wait(descriptors: &[BorrowedFd<'_>], stop: BorrowedFd<'_>, timeout: Duration) -> Result<(), StreamError> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .chain(std::iter::once(&stop))
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(StreamError::Wait(error.into())),
    }
}
