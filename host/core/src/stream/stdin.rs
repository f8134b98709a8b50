//! Standard input until a stop is requested: it may be a trace without events.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};

/// Standard input, until the other descriptor is readable.
pub(super) struct StoppableStdin {
    stdin: io::Stdin,
    stop: OwnedFd,
}

impl StoppableStdin {
    pub(super) fn new(stop: OwnedFd) -> Self {
        StoppableStdin {
            stdin: io::stdin(),
            stop,
        }
    }
}

impl Read for StoppableStdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut polled = [
            PollFd::new(&self.stop, PollFlags::IN),
            PollFd::new(&self.stdin, PollFlags::IN),
        ];
        poll(&mut polled, None)?;
        if !polled[0].revents().is_empty() {
            return Err(io::Error::other("it was stopped"));
        }
        // Not through the library's own buffer, whose content no poll tells of.
        Ok(rustix::io::read(&self.stdin, buffer)?)
    }
}
