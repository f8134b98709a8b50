//! A compiled plugin, and the values created from it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wasmtime::component::InstancePre;

use super::cache::Cache;
use super::decoder::Decoder;
use super::engine::Engine;
use super::guest::Guest;
use super::instance::Running;
use super::state::State;
use super::types::{Answer, OptionValue};
use crate::host::PluginSink;
use crate::host::error::{During, Failure, PluginError, Text};
use crate::host::stream::Log;
use crate::host::worker::{Draw, Setup};
use crate::package::inspect::{self, Exports, Inspection};
use crate::package::{Description, Grants, OptionValues};

/// A plugin that can be started any number of times.
#[derive(Clone)]
pub struct Component {
    plugin: Arc<str>,
    description: Description,
    exports: Exports,
    interfaces: Interfaces,
    component: InstancePre<State>,
    /// Bytes that an instance needs besides its memories.
    held: usize,
}

/// Full names of the exported interfaces.
#[derive(Clone, Debug, Default)]
struct Interfaces {
    sink: String,
    raw_sink: String,
    decoder: String,
    program: String,
}

impl Interfaces {
    fn of(inspection: &Inspection) -> Self {
        let name = |role: &str| {
            let start = format!("ipft:plugin/{role}@");
            let found = inspection.exports.iter().find(|export| export.name.starts_with(&start));
            found.map(|export| export.name.clone()).unwrap_or_default()
        };
        Interfaces {
            sink: name("sink"),
            raw_sink: name("raw-sink"),
            decoder: name("decoder"),
            program: name("program"),
        }
    }
}

/// The plugin's sink interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// With records, through this interface.
    Records(String),
    /// With bytes, through this interface.
    Bytes(String),
}

impl Component {
    /// Inspects a file, and compiles it unless the cache has it compiled. `name` is used in messages until its own name
    /// is known. `on_slow` is called if compiling in the other process takes longer than half a second; problems with
    /// the cache are reported through `tell`.
    pub fn load(
        engine: &Engine,
        name: &str,
        bytes: &[u8],
        cache: Option<&Cache>,
        on_slow: impl FnOnce(),
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, PluginError> {
        let mut plugin = name.to_owned();
        Component::load_named(engine, &mut plugin, bytes, cache, on_slow, tell).map_err(|failure| PluginError {
            plugin,
            during: During::Load,
            failure,
        })
    }

    fn load_named(
        engine: &Engine,
        plugin: &mut String,
        bytes: &[u8],
        cache: Option<&Cache>,
        on_slow: impl FnOnce(),
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, Failure> {
        let inspection = inspect::inspect(bytes)?;
        let description = inspection.check()?.clone();
        plugin.clone_from(&description.name);
        let cached = cache.and_then(|cache| cache.load(&engine.engine, bytes, tell));
        let compiled = match cached {
            Some(compiled) => compiled,
            None => {
                let code = compile(engine, bytes, on_slow)?;
                if let Some(cache) = cache {
                    cache.store(&engine.engine, bytes, &code, tell);
                }
                // SAFETY: `compile` has just created this code, with this program and for such an engine.
                let loaded = unsafe { wasmtime::component::Component::deserialize(&engine.engine, code) };
                loaded.map_err(|error| Failure::Compile(Text::line(&format!("{error:#}"))))?
            }
        };
        let component = engine
            .linker
            .instantiate_pre(&compiled)
            .map_err(|error| Failure::Link(Text::line(&format!("{error:#}"))))?;
        Ok(Component {
            plugin: plugin.as_str().into(),
            description,
            exports: inspection.roles(),
            interfaces: Interfaces::of(&inspection),
            component,
            held: usize::try_from(inspection.held).unwrap_or(usize::MAX),
        })
    }

    /// Returns its description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns its roles.
    pub fn exports(&self) -> Exports {
        self.exports
    }

    /// Creates a sink that passes a trace on to it, if it is one. `output` is its stream.
    pub fn sink(
        &self,
        grants: &Grants,
        options: OptionValues,
        output: Box<dyn Write + Send>,
        log: Log,
    ) -> Result<PluginSink, PluginError> {
        let style = if self.exports.raw_sink {
            Style::Bytes(self.interfaces.raw_sink.clone())
        } else {
            Style::Records(self.interfaces.sink.clone())
        };
        let stop = Arc::new(AtomicBool::new(false));
        let state = self.state(grants, output, log, stop.clone())?;
        let (plugin, component) = (self.plugin.clone(), self.component.clone());
        let make = move || -> Result<Box<dyn Draw>, _> {
            Ok(Box::new(Guest::new(plugin, &component, &style, options, state)?))
        };
        Ok(PluginSink::new(Setup {
            plugin: self.plugin.clone(),
            make: Box::new(make),
            rest: grants.limits.timeout,
            stop,
            pulse: None,
        }))
    }

    /// Creates a decoder, if it is one. Its output is discarded.
    pub fn decoder(&self, grants: &Grants, options: OptionValues, log: Log) -> Result<Decoder, PluginError> {
        let state = self.state(grants, Box::new(std::io::sink()), log, Arc::default())?;
        let running = Running::new(self.plugin.clone(), &self.component, state)?;
        Decoder::new(self.plugin.clone(), running, &self.interfaces.decoder, options)
    }

    /// Returns its BPF object, unchecked, if it has one.
    pub fn object(&self, grants: &Grants, options: &[OptionValue], log: Log) -> Result<Vec<u8>, PluginError> {
        let state = self.state(grants, Box::new(std::io::sink()), log, Arc::default())?;
        let mut running = Running::new(self.plugin.clone(), &self.component, state)?;
        let object = running.function::<(&[OptionValue],), Answer<Vec<u8>>>(&self.interfaces.program, "object")?;
        running.ask("object", &object, (options,))
    }

    fn state(
        &self,
        grants: &Grants,
        output: Box<dyn Write + Send>,
        log: Log,
        stop: Arc<AtomicBool>,
    ) -> Result<State, PluginError> {
        State::new(grants, self.held, output, log, stop).map_err(|failure| PluginError {
            plugin: self.plugin.to_string(),
            during: During::Load,
            failure,
        })
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Component")
            .field("plugin", &self.plugin)
            .field("exports", &self.exports)
            .finish_non_exhaustive()
    }
}

/// Compiles to native code, on all processors, in this process or another.
fn compile(engine: &Engine, bytes: &[u8], on_slow: impl FnOnce()) -> Result<Vec<u8>, Failure> {
    match &engine.compiler {
        Some(compiler) => compiler.compile(bytes, on_slow),
        None => engine
            .engine
            .precompile_component(bytes)
            .map_err(|error| Failure::Compile(Text::line(&format!("{error:#}")))),
    }
}
