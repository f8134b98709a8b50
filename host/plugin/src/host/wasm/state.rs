//! The host's state of one plugin instance: its stream, its log, its limits, and a WASI with only the user's grants.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{
    Deterministic, FsPerms, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxView, WasiView,
};

use super::account::Account;
use super::folders::Allowance;
use super::pace::Pace;
use super::stdio::{LogStream, OutputStream};
use crate::host::Level;
use crate::host::error::Failure;
use crate::host::stream::{Log, Messages, Output, Shared, locked};
use crate::package::{Grants, Limits};

/// Limit of instances and similar objects of one plugin, each of which costs the engine some uncounted memory.
const MAX_INSTANCES: usize = 1000;
const MAX_TABLES: usize = 1000;
const MAX_MEMORIES: usize = 100;

/// Limit of files, streams and waits that WASI may hold for one instance. A stream holds up to 64 KiB, a file one of
/// ipft's descriptors.
pub(super) const MAX_RESOURCES: usize = 500;

/// Seed of all random numbers for plugins: none of them is random.
const RANDOM: u8 = 0x5a;

/// The data of a store.
pub(super) struct State {
    output: Shared<Output>,
    log: Shared<Messages>,
    limits: Limits,
    account: Account,
    pace: Arc<Pace>,
    /// Remaining bytes of the write limit for folders.
    allowance: Allowance,
    /// Open folder lists.
    lists: usize,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl State {
    /// Creates a state with only these grants. `held`: bytes that the instances themselves need.
    pub(super) fn new(
        grants: &Grants,
        held: usize,
        output: Box<dyn Write + Send>,
        log: Log,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let limits = grants.limits;
        let account = Account::new(limits.memory, held);
        if account.was_refused() {
            return Err(Failure::Memory {
                limit: limits.memory,
                backtrace: Default::default(),
            });
        }
        let output = Arc::new(Mutex::new(Output::new(output, limits.output)));
        let log = Arc::new(Mutex::new(Messages::new(log)));
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Ok(State {
            wasi: wasi(grants, &output, &log)?,
            output,
            log,
            limits,
            account,
            pace: Arc::new(Pace::new(stop)),
            allowance: Allowance::new(limits.output),
            lists: 0,
            table,
        })
    }

    /// Starts a call.
    pub(super) fn begin(&mut self) {
        self.account.begin();
        self.pace.begin(self.limits.timeout);
    }

    /// Flushes the output to the writer.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        locked(&self.output).flush()
    }

    /// Returns the reason why the stream ended the plugin, if it did.
    pub(super) fn take_output_failure(&self) -> Option<Failure> {
        locked(&self.output).take_failure()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns whether the current call exceeded the memory limit.
    pub(super) fn was_refused(&self) -> bool {
        self.account.was_refused()
    }

    /// Returns the bytes held for the plugin.
    pub(super) fn memory(&self) -> usize {
        self.account.used()
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

    /// The plugin is not charged for the time of its reader.
    fn waited(&mut self, time: Duration) {
        self.pace.add(time);
    }

    /// Called at each tick of the engine.
    pub(super) fn tick(store: &StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
        store.data().pace.check()?;
        Ok(UpdateDeadline::Continue(1))
    }

    /// Returns the remaining time of the current call.
    pub(super) fn left(&self) -> Duration {
        self.pace.left()
    }

    /// Returns the clock of the current call.
    pub(super) fn pace(&self) -> Arc<Pace> {
        self.pace.clone()
    }

    /// Returns the remaining write limit for folders.
    pub(super) fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }

    /// Returns the number of open folder lists.
    pub(super) fn lists(&self) -> usize {
        self.lists
    }

    /// Counts one more.
    pub(super) fn add_list(&mut self) {
        self.lists += 1;
    }

    /// Counts one less.
    pub(super) fn remove_list(&mut self) {
        self.lists = self.lists.saturating_sub(1);
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.account.grow_memory(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.account.grow_table(current, desired))
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

/// Creates a WASI without arguments, input, sockets, names, time and randomness. Output goes to the plugin's stream,
/// error output to its log.
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
        // Values that are not UTF-8 cannot be passed, and unset ones stay unset.
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

/// A clock that stands still: a plugin draws events, which have their own time.
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
