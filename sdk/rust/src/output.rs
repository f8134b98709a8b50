//! The plugin's own stream, buffered: a host call costs far more than a copy.

use std::io::{self, Write};

/// Buffer size in bytes.
const BUFFER: usize = 64 << 10;

/// Receives bytes.
type Sink = dyn FnMut(&[u8]);

/// A plugin's output: the file that the user named (`--plugin-out`), else standard output.
///
/// The bytes of one write stay together unless they are longer than the buffer of 64 KiB. No flush is needed: the
/// buffer is passed on after each of the plugin's calls.
pub struct Output {
    buffer: Vec<u8>,
    sink: Box<Sink>,
}

impl Output {
    /// Creates an output that passes bytes on to `sink`.
    pub fn new(sink: impl FnMut(&[u8]) + 'static) -> Self {
        Output {
            buffer: Vec::with_capacity(BUFFER),
            sink: Box::new(sink),
        }
    }

    /// Appends bytes. Never fails: a closed stream ends the plugin.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.len() > BUFFER - self.buffer.len() {
            return self.push_full(bytes);
        }
        self.buffer.extend_from_slice(bytes);
    }

    #[cold]
    fn push_full(&mut self, bytes: &[u8]) {
        self.pass_on();
        if bytes.len() >= BUFFER {
            (self.sink)(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Passes the buffer on.
    pub(crate) fn pass_on(&mut self) {
        if !self.buffer.is_empty() {
            (self.sink)(&self.buffer);
            self.buffer.clear();
        }
    }
}

impl Write for Output {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.push(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on();
        Ok(())
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn writes_stay_whole_and_in_order() {
        let calls = Rc::new(RefCell::new(Vec::<Vec<u8>>::new()));
        let copy = Rc::clone(&calls);
        let mut output = Output::new(move |bytes| copy.borrow_mut().push(bytes.to_vec()));
        let pieces = [BUFFER - 1, 2, 0, BUFFER, 1, 3 * BUFFER, BUFFER - 2, 2, 1];
        let mut all = Vec::new();
        for (index, length) in pieces.into_iter().enumerate() {
            let piece = vec![index as u8; length];
            output.write_all(&piece).unwrap();
            all.extend(piece);
        }
        output.pass_on();
        output.pass_on();
        let calls = calls.borrow();
        assert_eq!(calls.concat(), all);
        for index in 0..pieces.len() as u8 {
            assert!(
                calls.iter().filter(|call| call.contains(&index)).count() <= 1,
                "{index}"
            );
        }
        assert!(calls.iter().all(|call| !call.is_empty()));
    }
}
