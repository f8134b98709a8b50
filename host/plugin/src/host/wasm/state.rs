//! What one instance of a plugin holds on the host's side: its stream, its log, its limits, and a WASI in which there is
//! nothing but what the user granted.

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

/// Instances and the like of one plugin, each of which the engine needs a little for that nobody counts.
const MAX_INSTANCES: usize = 1000;
const MAX_TABLES: usize = 1000;
const MAX_MEMORIES: usize = 100;

/// Files, streams and waits that WASI may keep for one instance. A stream holds up to 64 KiB, and a file a descriptor of
/// those that ipft may have.
pub(super) const MAX_RESOURCES: usize = 500;

/// Seed of all randomness that plugins see: none of it is random.
const RANDOM: u8 = 0x5a;

/// The data of a store.
pub(super) struct State {
    output: Shared<Output>,
    log: Shared<Messages>,
    limits: Limits,
    account: Account,
    pace: Arc<Pace>,
    /// What may still be written to folders.
    allowance: Allowance,
    /// Lists of folders that are open.
    lists: usize,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl State {
    /// A state in which there is nothing but what is granted. `held`: bytes that the instances themselves need.
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

    /// A call begins.
    pub(super) fn begin(&mut self) {
        self.account.begin();
        self.pace.begin(self.limits.timeout);
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
        self.account.was_refused()
    }

    /// Bytes that are held for the plugin.
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

    /// Time that the plugin's reader took is not the plugin's.
    fn waited(&mut self, time: Duration) {
        self.pace.add(time);
    }

    /// What the engine does at each tick.
    pub(super) fn tick(store: &StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
        store.data().pace.check()?;
        Ok(UpdateDeadline::Continue(1))
    }

    /// The time that is left to the current call.
    pub(super) fn left(&self) -> Duration {
        self.pace.left()
    }

    /// What tells when the current call must be over.
    pub(super) fn pace(&self) -> Arc<Pace> {
        self.pace.clone()
    }

    /// What may still be written to folders.
    pub(super) fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }

    /// Lists of folders that are open.
    pub(super) fn lists(&self) -> usize {
        self.lists
    }

    /// One more.
    pub(super) fn add_list(&mut self) {
        self.lists += 1;
    }

    /// One less.
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
