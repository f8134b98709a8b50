//! The functions that a native plugin may call: its stream and its log, as a table of C functions.

use std::ffi::{c_char, c_void};
use std::io::Write;
use std::rc::Rc;
use std::sync::Mutex;

use super::abi::HostTable;
use crate::host::Level;
use crate::host::error::Failure;
use crate::host::stream::{Log, Messages, Output, locked};
use crate::host::worker::Pulse;

/// The table of one instance, and the state of its functions.
pub(super) struct Host {
    table: Rc<HostTable>,
    state: Rc<State>,
}

/// A plugin may call from its own threads, so everything here is locked.
struct State {
    output: Mutex<Output>,
    log: Mutex<Messages>,
    pulse: Pulse,
}

const _: () = {
    const fn shared<T: Sync>() {}
    shared::<State>();
};

impl Host {
    /// `limit`: maximum bytes of output.
    pub(super) fn new(output: Box<dyn Write + Send>, limit: u64, log: Log, pulse: Pulse) -> Self {
        let state = Rc::new(State {
            output: Mutex::new(Output::new(output, limit)),
            log: Mutex::new(Messages::new(log)),
            pulse,
        });
        let table = Rc::new(HostTable {
            struct_size: size_of::<HostTable>() as u64,
            context: Rc::as_ptr(&state).cast_mut().cast(),
            write: append,
            log: say,
        });
        Host { table, state }
    }

    /// Returns the table, which stays valid as long as `self`.
    pub(super) fn table(&self) -> *const HostTable {
        Rc::as_ptr(&self.table)
    }

    /// Returns the reason why the stream was closed, if it was; once.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        locked(&self.state.output).take_failure()
    }

    /// Passes buffered output on to the stream's writer.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        let mut output = locked(&self.state.output);
        self.state.pulse.wait(|| output.flush())
    }
}

impl State {
    /// Returns `false` if the stream is closed.
    fn append(&self, bytes: &[u8]) -> bool {
        let mut output = locked(&self.output);
        if output.has_room(bytes) {
            return output.write(bytes).is_ok();
        }
        self.pulse.wait(|| output.write(bytes).is_ok())
    }

    fn say(&self, level: u32, message: &[u8]) {
        let level = match level {
            0 => Level::Error,
            1 => Level::Warning,
            2 => Level::Info,
            // Also for a level of a later version, which is unknown here.
            _ => Level::Debug,
        };
        locked(&self.log).say(level, &String::from_utf8_lossy(message));
    }
}

/// `write` of the table.
unsafe extern "C" fn append(context: *mut c_void, bytes: *const c_void, len: u64) -> i32 {
    // SAFETY: the header requires the caller to pass the table's context while the instance lives: `Host` owns the
    // target, which is only shared, and `Sync`.
    let state = unsafe { &*context.cast::<State>() };
    // SAFETY: the header requires `len` valid bytes.
    let bytes = unsafe { slice(bytes.cast(), len) };
    if state.append(bytes) { 0 } else { -1 }
}

/// `log` of the table.
unsafe extern "C" fn say(context: *mut c_void, level: u32, message: *const c_char, len: u64) {
    // SAFETY: as in `append`.
    let state = unsafe { &*context.cast::<State>() };
    // SAFETY: as in `append`.
    let message = unsafe { slice(message.cast(), len) };
    state.say(level, message);
}

/// Returns the bytes of a pointer and a length of the interface; the pointer is ignored for length 0.
///
/// # Safety
///
/// There are `len` bytes, which do not change while they are borrowed.
pub(super) unsafe fn slice<'a>(data: *const u8, len: u64) -> &'a [u8] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: guaranteed by the caller. Plugins have 64 bits, so that no length is cut.
    unsafe { std::slice::from_raw_parts(data, len as usize) }
}
