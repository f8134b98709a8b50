//! The perf buffer: one ring per CPU, for kernels without a BPF ring buffer and on request.
//!
//! libbpf maps and reads the rings. Each counts its lost records and reports them in a separate record. Rings of
//! different CPUs are drained one after the other, so events are put in order of time before they go on.

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::time::Duration;

use super::{Decoder, Rest, Source, StreamError, ring};
use crate::event::Batch;

/// The perf buffer, in the terms of perf_event_open(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfOptions {
    /// Data pages per CPU, a power of two.
    pub pages: u32,
    /// Every how many events one is taken.
    pub sample_period: u64,
    /// Every how many events the reader is woken.
    pub wakeup_events: u32,
}

/// The inbox that callbacks fill while the rings are drained.
#[derive(Debug, Default)]
struct Inbox {
    /// Records, one after the other, each behind its length.
    records: Vec<u8>,
}

/// An inbox whose address libbpf holds. A `Box` may not be in its place: to move one says that nothing else points to
/// what is in it.
#[derive(Debug)]
struct SharedInbox(NonNull<Inbox>);

impl SharedInbox {
    fn new() -> Self {
        SharedInbox(NonNull::from(Box::leak(Box::<Inbox>::default())))
    }

    /// For libbpf, which hands it to [`on_event`].
    fn context(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// What has been taken.
    fn get(&mut self) -> &mut Inbox {
        // SAFETY: it is alive until `drop`, and callbacks, which borrow it, run only while rings are drained. They are
        // not drained during this borrow, because draining borrows the buffer that owns it.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for SharedInbox {
    fn drop(&mut self) {
        // SAFETY: it was created by a box, and all users of its address are gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// The reader of a perf buffer.
#[derive(Debug)]
pub struct PerfBuffer<'a> {
    /// The rings are in a map that must stay open.
    map: PhantomData<BorrowedFd<'a>>,
    buffer: NonNull<libbpf_sys::perf_buffer>,
    /// Dropped after the buffer is freed, which is in `drop`.
    inbox: SharedInbox,
}

/// Called by libbpf for each record of a ring: the raw perf event.
unsafe extern "C" fn on_event(
    context: *mut c_void,
    _cpu: i32,
    event: *mut libbpf_sys::perf_event_header,
) -> libbpf_sys::bpf_perf_event_ret {
    // SAFETY: `context` is the inbox that `new` gave to libbpf, with no other borrow while rings are drained.
    let inbox = unsafe { &mut *context.cast::<Inbox>() };
    // SAFETY: libbpf hands over a complete event: a header, and `size` bytes in all.
    let bytes = unsafe { std::slice::from_raw_parts(event.cast::<u8>(), (*event).size.into()) };
    inbox.take(bytes);
    libbpf_sys::LIBBPF_PERF_EVENT_CONT
}

impl Inbox {
    /// Takes a `perf_event_header { u32 type; u16 misc; u16 size }` and what follows it.
    fn take(&mut self, event: &[u8]) {
        let Some((header, body)) = event.split_at_checked(8) else {
            return;
        };
        // PERF_RECORD_LOST is redundant: the programs count records that do not fit.
        if u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) != libbpf_sys::PERF_RECORD_SAMPLE {
            return;
        }
        // PERF_SAMPLE_RAW: `u32 size; char data[size]`.
        let Some((size, data)) = body.split_at_checked(4) else {
            return;
        };
        let size = u32::from_ne_bytes([size[0], size[1], size[2], size[3]]) as usize;
        let data = &data[..size.min(data.len())];
        self.records.extend_from_slice(&(data.len() as u32).to_ne_bytes());
        self.records.extend_from_slice(data);
    }
}

impl<'a> PerfBuffer<'a> {
    /// Opens and maps a ring for every CPU and puts them into the map `fd`.
    pub fn new(fd: BorrowedFd<'a>, options: PerfOptions) -> Result<Self, StreamError> {
        const PERF_COUNT_SW_BPF_OUTPUT: u64 = 10;
        let inbox = SharedInbox::new();
        // SAFETY: all-zero is a valid perf_event_attr, which is plain data.
        let mut attr: libbpf_sys::perf_event_attr = unsafe { std::mem::zeroed() };
        attr.size = size_of::<libbpf_sys::perf_event_attr>() as u32;
        attr.type_ = libbpf_sys::PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_BPF_OUTPUT;
        attr.sample_type = libbpf_sys::PERF_SAMPLE_RAW.into();
        attr.__bindgen_anon_1.sample_period = options.sample_period;
        attr.__bindgen_anon_2.wakeup_events = options.wakeup_events;
        // SAFETY: the map, the attributes and the callback are valid for the call; the inbox outlives the buffer,
        // which `drop` frees first. Null options are allowed.
        let buffer = unsafe {
            libbpf_sys::perf_buffer__new_raw(
                fd.as_raw_fd(),
                options.pages as _,
                &raw mut attr,
                Some(on_event),
                inbox.context(),
                std::ptr::null(),
            )
        };
        match NonNull::new(buffer) {
            Some(buffer) => Ok(PerfBuffer {
                map: PhantomData,
                buffer,
                inbox,
            }),
            None => Err(StreamError::Setup {
                what: "the perf buffer",
                source: io::Error::last_os_error(),
            }),
        }
    }
}

impl Drop for PerfBuffer<'_> {
    fn drop(&mut self) {
        // SAFETY: the buffer is ours, and is not used again.
        unsafe { libbpf_sys::perf_buffer__free(self.buffer.as_ptr()) };
    }
}

impl Source for PerfBuffer<'_> {
    fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<(), StreamError> {
        // SAFETY: the epoll descriptor belongs to the buffer and is open as long as it.
        let epoll = unsafe { BorrowedFd::borrow_raw(libbpf_sys::perf_buffer__epoll_fd(self.buffer.as_ptr())) };
        ring::wait(&[epoll], stop, timeout)
    }

    fn read(&mut self, decoder: &mut Decoder, batch: &mut Batch) -> Result<Rest, StreamError> {
        // SAFETY: the buffer is alive, and the callback's inbox is not borrowed.
        let result = unsafe { libbpf_sys::perf_buffer__consume(self.buffer.as_ptr()) };
        if result < 0 {
            return Err(StreamError::Wait(io::Error::from_raw_os_error(-result)));
        }
        let inbox = self.inbox.get();
        let mut rest = inbox.records.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let Some((record, behind)) = behind.split_at_checked(u32::from_ne_bytes(*length) as usize) else {
                break;
            };
            decoder.decode(record, batch);
            rest = behind;
        }
        inbox.records.clear();
        decoder.sort(batch);
        Ok(Rest::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(((8 + body.len()) as u16).to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn samples_are_kept_and_nothing_else_is() {
        let mut inbox = Inbox::default();
        inbox.take(&event(libbpf_sys::PERF_RECORD_SAMPLE, &[3, 0, 0, 0, 1, 2, 3, 0]));
        inbox.take(&event(libbpf_sys::PERF_RECORD_LOST, &[1; 16]));
        assert_eq!(inbox.records, [3, 0, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn a_moved_inbox_keeps_its_address_for_libbpf() {
        let inbox = SharedInbox::new();
        let context = inbox.context();
        let mut moved = Box::new((inbox, 1));
        let mut sample = event(libbpf_sys::PERF_RECORD_SAMPLE, &[3, 0, 0, 0, 1, 2, 3, 0]);
        for _ in 0..2 {
            // SAFETY: the context is an inbox that is not borrowed, and the event is complete.
            unsafe { on_event(context, 0, sample.as_mut_ptr().cast()) };
            assert_eq!(moved.0.get().records, [3, 0, 0, 0, 1, 2, 3]);
            moved.0.get().records.clear();
        }
    }

    #[test]
    fn a_truncated_perf_event_is_ignored() {
        let mut inbox = Inbox::default();
        inbox.take(&[1, 2, 3]);
        inbox.take(&event(libbpf_sys::PERF_RECORD_SAMPLE, &[1]));
        assert!(inbox.records.is_empty());
    }
}
