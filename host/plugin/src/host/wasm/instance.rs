//! One running instance of a plugin: its memory, and calls that end in time and report the cause of failures.

use std::sync::Arc;

use wasmtime::component::{ComponentNamedList, InstancePre, Lift, Lower, TypedFunc};
use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, ResourceTableError};

use super::folders::UsedUp;
use super::pace::Interrupted;
use super::state::{MAX_RESOURCES, State};
use crate::host::error::{During, Failure, Frames, PluginError, Text};

/// Bytes that one call may make the host allocate: results of a plugin, or arguments of host functions.
const HOST_BYTES: usize = 64 << 20;

/// An instance with its state.
pub(super) struct Running {
    plugin: Arc<str>,
    store: Store<State>,
    instance: wasmtime::component::Instance,
}

impl Running {
    /// Starts an instance, which may run code of the plugin.
    pub(super) fn new(plugin: Arc<str>, component: &InstancePre<State>, state: State) -> Result<Self, PluginError> {
        let mut store = Store::new(component.engine(), state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|store| State::tick(&store));
        let limit = store.data().limits().memory;
        store.set_hostcall_fuel(HOST_BYTES.min(limit));
        store.data_mut().begin();
        match component.instantiate(&mut store) {
            Ok(instance) => Ok(Running {
                plugin,
                store,
                instance,
            }),
            Err(error) => Err(explain(plugin, "start", &mut store, error)),
        }
    }

    /// Finds a function of an exported interface, and compares its type.
    pub(super) fn function<P, R>(&mut self, interface: &str, name: &'static str) -> Result<TypedFunc<P, R>, PluginError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let failed = |plugin: &Arc<str>, message: String| PluginError {
            plugin: plugin.to_string(),
            during: During::Load,
            failure: Failure::Link(Text::line(&message)),
        };
        let index = self
            .instance
            .get_export_index(&mut self.store, None, interface)
            .and_then(|interface| self.instance.get_export_index(&mut self.store, Some(&interface), name))
            .ok_or_else(|| failed(&self.plugin, format!("{interface} has no function `{name}`")))?;
        self.instance.get_typed_func(&mut self.store, index).map_err(|error| {
            failed(
                &self.plugin,
                format!("the type of `{name}` is not that of {interface}: {error:#}"),
            )
        })
    }

    /// Calls a function of the plugin. After a failure, no other call may follow.
    pub(super) fn call<P, R>(
        &mut self,
        name: &'static str,
        function: &TypedFunc<P, R>,
        parameters: P,
    ) -> Result<R, PluginError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.store.data_mut().begin();
        function
            .call(&mut self.store, parameters)
            .map_err(|error| explain(self.plugin.clone(), name, &mut self.store, error))
    }

    /// Like [`Running::call`], for a function that returns its own errors.
    pub(super) fn ask<P, T>(
        &mut self,
        name: &'static str,
        function: &TypedFunc<P, (Result<T, String>,)>,
        parameters: P,
    ) -> Result<T, PluginError>
    where
        P: ComponentNamedList + Lower,
        (Result<T, String>,): ComponentNamedList + Lift,
    {
        let (answer,) = self.call(name, function, parameters)?;
        answer.map_err(|message| PluginError {
            plugin: self.plugin.to_string(),
            during: During::Call(name),
            failure: Failure::Returned(Text::new(&message)),
        })
    }

    /// Flushes the plugin's output.
    pub(super) fn flush(&mut self, name: &'static str) -> Result<(), PluginError> {
        self.store.data().flush().map_err(|failure| PluginError {
            plugin: self.plugin.to_string(),
            during: During::Call(name),
            failure,
        })
    }

    /// Returns the bytes of memory that the plugin has.
    pub(super) fn memory(&self) -> usize {
        self.store.data().memory()
    }
}

/// Returns the cause of a failed call: conditions noted during the call take precedence over the trap.
fn explain(plugin: Arc<str>, call: &'static str, store: &mut Store<State>, error: wasmtime::Error) -> PluginError {
    let backtrace = error
        .downcast_ref::<WasmBacktrace>()
        .map(Frames::new)
        .unwrap_or_default();
    let state = store.data_mut();
    let limits = state.limits();
    let failure = if let Some(failure) = state.take_output_failure() {
        failure
    } else if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        match interrupted {
            Interrupted::TimeOut => Failure::TimeOut {
                limit: limits.timeout,
                backtrace,
            },
            Interrupted::Stopped => Failure::Stopped,
        }
    } else if error.downcast_ref::<UsedUp>().is_some() {
        Failure::Output { limit: limits.output }
    } else if let Some(ResourceTableError::Full) = error.downcast_ref() {
        Failure::Contract(Text::line(&format!(
            "it has more than {MAX_RESOURCES} files, streams and waits open"
        )))
    } else if let Some(exit) = error.downcast_ref::<I32Exit>() {
        Failure::Exit(exit.0)
    } else if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        Failure::Stack { backtrace }
    } else if state.was_refused() {
        Failure::Memory {
            limit: limits.memory,
            backtrace,
        }
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        Failure::Trap {
            message: Text::line(&trap.to_string()),
            backtrace,
        }
    } else {
        Failure::Contract(Text::line(&format!("{}", error.root_cause())))
    };
    // Its earlier output is still written; the failure above is the one to report.
    let _ = store.data().flush();
    PluginError {
        plugin: plugin.to_string(),
        during: During::Call(call),
        failure,
    }
}
