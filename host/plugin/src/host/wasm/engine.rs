//! The engine that all plugins share: compiling their code, their imports, and the clock that ends calls that do not
//! return.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource, WasmList};
use wasmtime::{Config, StoreContextMut, WasmBacktraceDetails};
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::bindings::sync::io::poll;

use super::compiler::Compiler;
use super::folders::{Folders, FoldersOf};
use super::pace::TICK;
use super::poll::{Polls, PollsOf};
use super::state::State;
use crate::host::Level;
use crate::host::error::MAX_FRAMES;

/// Maximum stack of a plugin's functions, in bytes. Interpreters need more than half of it, the engine's default.
const STACK: usize = 1 << 20;

/// Compiles and runs plugins.
#[derive(Clone)]
pub struct Engine {
    pub(super) engine: wasmtime::Engine,
    pub(super) linker: Arc<Linker<State>>,
    /// The compiler process; `None` compiles here.
    pub(super) compiler: Option<Compiler>,
}

/// The processor, or the machine, cannot run plugins.
#[derive(Debug, thiserror::Error)]
#[error("plugins cannot be run on this machine: {0}")]
pub struct EngineError(String);

impl Engine {
    /// Starts the engine and its clock, which ends with it.
    pub fn new() -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = bare().map_err(failed)?;
        let linker = Arc::new(linker(&engine).map_err(failed)?);
        let clock = engine.weak();
        std::thread::Builder::new()
            .name("plugin clock".to_owned())
            .spawn(move || {
                while let Some(engine) = clock.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .map_err(|error| EngineError(format!("no thread for their clock: {error}")))?;
        Ok(Engine {
            engine,
            linker,
            compiler: None,
        })
    }

    /// Starts an engine that compiles in another process.
    pub fn compiling_in(self, compiler: Compiler) -> Self {
        Engine {
            compiler: Some(compiler),
            ..self
        }
    }
}

/// Creates a compile-only engine. All of them compile alike, in whichever process.
pub(super) fn bare() -> wasmtime::Result<wasmtime::Engine> {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        // Each frame has a copy of its function's name.
        .wasm_backtrace_max_frames(Some(MAX_FRAMES))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    wasmtime::Engine::new(&config)
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Engine")
    }
}

/// Defines everything that a plugin may import. The result of calls depends on its [`State`].
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<State, Waits>(&mut linker, |state| WaitsOf(state))?;
    types::add_to_linker::<State, Folders>(&mut linker, |state| FoldersOf(state))?;
    poll::add_to_linker::<State, Polls>(&mut linker, |state| PollsOf(state))?;
    linker.allow_shadowing(false);
    let mut host = linker.instance("ipft:plugin/host@0.1.0")?;
    host.func_wrap(
        "write",
        |store: StoreContextMut<'_, State>, (bytes,): (WasmList<u8>,)| State::write(store, &bytes),
    )?;
    host.func_wrap(
        "log",
        |store: StoreContextMut<'_, State>, (level, message): (Level, String)| {
            store.data().log(level, &message);
            Ok(())
        },
    )?;
    Ok(linker)
}

/// WASI's own clock lets a plugin wait for any time, during which no tick can end it. Here a wait ends with the call's
/// time limit.
struct Waits;

struct WaitsOf<'a>(&'a mut State);

impl HasData for Waits {
    type Data<'a> = WaitsOf<'a>;
}

impl monotonic_clock::Host for WaitsOf<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(0)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1_000_000_000)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        // The clock shows 0.
        self.subscribe_duration(when)
    }

    fn subscribe_duration(&mut self, nanoseconds: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let longest = self.0.left() + TICK;
        let wait = Duration::from_nanos(nanoseconds).min(longest);
        let nanoseconds = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let mut clocks = self.0.clocks();
        monotonic_clock::Host::subscribe_duration(&mut clocks, nanoseconds)
    }
}
