//! WASI's standard output and standard error: the plugin's stream and its log.
//!
//! A plugin should use `host.write` and `host.log`, which are much faster. This is for linked code: `println!`, and the
//! message of a panic.

use bytes::Bytes;
use tokio::io::{AsyncWrite, sink};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream as WasiStream, Pollable, StreamError, StreamResult};

use crate::host::Level;
use crate::host::stream::{Messages, Output, Shared, locked};

/// Maximum bytes per call.
const PERMIT: usize = 64 << 10;

/// Maximum bytes of an unfinished line.
const MAX_LINE: usize = 4096;

/// Standard output.
pub(super) struct OutputStream(pub(super) Shared<Output>);

/// Standard error.
pub(super) struct LogStream {
    log: Shared<Messages>,
    line: Vec<u8>,
}

impl LogStream {
    pub(super) fn new(log: Shared<Messages>) -> Self {
        LogStream { log, line: Vec::new() }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        if !line.trim().is_empty() {
            locked(&self.log).say(Level::Info, &line);
        }
        self.line.clear();
    }
}

impl IsTerminal for OutputStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputStream {
    /// WASI 0.2 uses the other one.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(sink())
    }

    fn p2_stream(&self) -> Box<dyn WasiStream> {
        Box::new(OutputStream(self.0.clone()))
    }
}

impl StdoutStream for LogStream {
    /// WASI 0.2 uses the other one.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(sink())
    }

    fn p2_stream(&self) -> Box<dyn WasiStream> {
        Box::new(LogStream::new(self.log.clone()))
    }
}

#[async_trait]
impl Pollable for OutputStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl WasiStream for OutputStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // Here the plugin is charged for the time.
        locked(&self.0)
            .write(&bytes)
            .map(drop)
            .map_err(|ended| StreamError::Trap(ended.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl WasiStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for &byte in bytes.iter() {
            if byte == b'\n' {
                self.end_line();
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.end_line();
    }
}
