//! What one instance of a plugin holds on the host's side: its stream, its log, its limits, and a WASI in which there is
//! nothing but what the user granted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{
    Deterministic, FsPerms, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxView, WasiView,
};

use super::error::Failure;
use super::stdio::{LogStream, OutputStream};
use super::types::Level;
use crate::plugin::{Grants, Limits};
use crate::sink::stream::{Log, Messages, Output, Shared, locked};

/// Tables and the like of one instance, as its memory is limited separately.
const MAX_INSTANCES: usize = 1000;
const MAX_TABLES: usize = 1000;
const MAX_MEMORIES: usize = 100;
const MAX_TABLE_ELEMENTS: usize = 10_000_000;

/// Files, streams and waits that WASI may keep for one instance.
const MAX_RESOURCES: usize = 10_000;

/// Seed of all randomness that plugins see: none of it is random.
const RANDOM: u8 = 0x5a;

/// The data of a store.
pub(super) struct State {
    output: Shared<Output>,
    log: Shared<Messages>,
    limits: Limits,
    /// Bytes of all memories.
    memory: usize,
    /// Whether the current call was refused memory.
    refused: bool,
    /// When the current call must be over.
    deadline: Instant,
    /// Ends whatever runs.
    stop: Arc<AtomicBool>,
    wasi: WasiCtx,
    table: ResourceTable,
}

/// What the engine's clock calls when a plugin must end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("the time is over")]
    TimeOut,
    #[error("stopped")]
    Stopped,
}

impl State {
    /// A state in which there is nothing but what is granted.
    pub(super) fn new(
        grants: &Grants,
        output: Box<dyn Write + Send>,
        log: Log,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let limits = grants.limits;
        let output = Arc::new(Mutex::new(Output::new(output, limits.output)));
        let log = Arc::new(Mutex::new(Messages::new(log)));
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Ok(State {
            wasi: wasi(grants, &output, &log)?,
            output,
            log,
            limits,
            memory: 0,
            refused: false,
            deadline: Instant::now(),
            stop,
            table,
        })
    }

    /// A call begins.
    pub(super) fn begin(&mut self) {
        self.refused = false;
        self.deadline = Instant::now() + self.limits.timeout;
    }

    /// Hands what was written to the writer.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        locked(&self.output).flush()
    }

    /// Why the stream ended the plugin, if it did.
    pub(super) fn take_output_failure(&self) -> Option<Failure> {
        locked(&self.output).take_failure()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the current call wanted more memory than it may have.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Bytes of memory that the plugin has.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// `host.write`.
    pub(super) fn write(
        mut store: StoreContextMut<'_, State>,
        bytes: &wasmtime::component::WasmList<u8>,
    ) -> wasmtime::Result<()> {
        let output = store.data().output.clone();
        let waited = locked(&output).write(bytes.as_le_slice(&store));
        store.data_mut().waited(waited?);
        Ok(())
    }

    /// `host.log`.
    pub(super) fn log(&self, level: Level, message: &str) {
        locked(&self.log).say(level, message);
    }

    /// Time that the plugin's reader took is not the plugin's.
    fn waited(&mut self, time: Duration) {
        self.deadline += time;
    }

    /// What the engine does at each tick.
    pub(super) fn tick(store: &StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
        let state = store.data();
        if state.stop.load(Ordering::Relaxed) {
            return Err(Interrupted::Stopped.into());
        }
        if Instant::now() >= state.deadline {
            return Err(Interrupted::TimeOut.into());
        }
        Ok(UpdateDeadline::Continue(1))
    }

    /// The time that is left to the current call.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        if memory > self.limits.memory {
            self.refused = true;
            return Ok(false);
        }
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A WASI without arguments, input, sockets, names, time and chance. Output goes to the plugin's stream, error output to
/// its log.
fn wasi(grants: &Grants, output: &Shared<Output>, log: &Shared<Messages>) -> Result<WasiCtx, Failure> {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(OutputStream(output.clone()))
        .stderr(LogStream::new(log.clone()))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .wall_clock(Frozen)
        .monotonic_clock(Frozen)
        .secure_random(Deterministic::new(vec![RANDOM]))
        .insecure_random(Deterministic::new(vec![RANDOM]))
        .insecure_random_seed(u128::from_ne_bytes([RANDOM; 16]))
        .max_random_size(1 << 20);
    for name in &grants.env {
        // What is not UTF-8 cannot cross, and what is not set is not set.
        if let Ok(value) = std::env::var(name) {
            wasi.env(name, value);
        }
    }
    for dir in &grants.dirs {
        let access = if dir.read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        wasi.preopened_dir(&dir.host, &dir.guest, access)
            .map_err(|error| Failure::Folder {
                path: dir.host.clone(),
                source: error.downcast().unwrap_or_else(io::Error::other),
            })?;
    }
    Ok(wasi.build())
}

/// A clock that stands still: a plugin draws events, which bring their own time.
struct Frozen;

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}
