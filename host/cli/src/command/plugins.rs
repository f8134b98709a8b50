//! The plugins of a trace: found, loaded and checked before attaching, then connected to the sinks.
//!
//! This combines `package` (descriptions and grants) and `host` (running plugins) for `trace` and for `ipft plugin`.

use std::io::IsTerminal;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::args::{Output, PluginFile};
use ipft_core::extension::Extension;
use ipft_core::extension::decode::Decode;
use ipft_core::kernel::Root;
use ipft_core::message;
use ipft_core::output::{self, Stream, Target};
use ipft_core::sink::{Destination, Sinks};
use ipft_plugin_host::decoder::WasmDecoder;
use ipft_plugin_host::host::native::{self, Library};
use ipft_plugin_host::host::wasm::{Cache, Compiler, Component, Engine, Level};
use ipft_plugin_host::host::{Log, PluginSink, Usage};
use ipft_plugin_host::package::{Description, Folders, Grants, OptionValues, inspect};

/// Extension of native plugins.
const NATIVE: &str = "so";

/// The plugins that the user named.
#[derive(Default)]
pub struct Plugins {
    loaded: Vec<Loaded>,
    /// Whether to include messages for a plugin's author.
    verbose: bool,
}

struct Loaded {
    /// Unique name in messages.
    name: String,
    /// The name given by the user.
    path: PathBuf,
    code: Code,
    grants: Grants,
    values: OptionValues,
    /// Output; `None` if it is not a sink.
    stream: Option<(Stream, Destination)>,
    /// Its resource usage, once it runs.
    usage: Option<Usage>,
}

/// A plugin's code.
enum Code {
    /// In the sandbox.
    Wasm(Component),
    /// In this process.
    Native(Library),
}

impl Code {
    fn description(&self) -> &Description {
        match self {
            Code::Wasm(component) => component.description(),
            Code::Native(library) => library.description(),
        }
    }

    /// Returns whether it takes events, rather than only adding to them.
    fn draws(&self) -> bool {
        match self {
            Code::Wasm(component) => component.exports().draws(),
            Code::Native(_) => true,
        }
    }

    fn sink(&self, grants: &Grants, values: OptionValues, stream: Stream, log: Log) -> anyhow::Result<PluginSink> {
        Ok(match self {
            Code::Wasm(component) => component.sink(grants, values, Box::new(stream), log)?,
            Code::Native(library) => library.sink(grants, values, Box::new(stream), log),
        })
    }
}

impl Plugins {
    /// Finds, reads, checks and compiles the plugins. `own` is the output that ipft itself writes to stdout, if the
    /// user requested it. A readable `stop` ends this.
    pub fn load(
        files: &[PluginFile],
        own: Option<Output>,
        verbose: bool,
        stop: Option<BorrowedFd<'_>>,
    ) -> anyhow::Result<Self> {
        if files.is_empty() {
            return Ok(Plugins::default());
        }
        let names = names(files);
        refuse_shared_files(files, &names)?;
        let compiler = Compiler::this_program(stop).context("cannot compile plugins")?;
        let engine = Engine::new()?.compiling_in(compiler);
        let cache = Cache::of_user();
        let folders = Folders::of_environment();
        let mut loaded: Vec<Loaded> = Vec::new();
        for (file, name) in files.iter().zip(names) {
            let code = if file.path.extension().is_some_and(|extension| extension == NATIVE) {
                load_library(file, verbose)?
            } else {
                Code::Wasm(load_component(
                    &engine,
                    cache.as_ref(),
                    &folders,
                    &file.path,
                    &file.name,
                    verbose,
                )?)
            };
            let values = code
                .description()
                .values(&file.grants.options)
                .with_context(|| format!("plugin {}", file.name))?;
            loaded.push(Loaded {
                name,
                path: file.path.clone(),
                code,
                grants: file.grants.clone(),
                values,
                stream: None,
                usage: None,
            });
        }
        let mut plugins = Plugins { loaded, verbose };
        plugins.open_streams(own)?;
        Ok(plugins)
    }

    /// Returns whether one of them is a sink, so that ipft's own output is not needed.
    pub fn draw(&self) -> bool {
        self.loaded.iter().any(|plugin| plugin.code.draws())
    }

    /// Returns whether one of them writes to stdout.
    pub fn use_stdout(&self) -> bool {
        let mut streams = self.loaded.iter().filter_map(|plugin| plugin.stream.as_ref());
        streams.any(|(_, destination)| *destination == Destination::Stdout)
    }

    /// Plugins that write to the same place are written one after the other at the end of the trace.
    fn open_streams(&mut self, own: Option<Output>) -> anyhow::Result<()> {
        let mut drawing: Vec<&mut Loaded> = self.loaded.iter_mut().filter(|plugin| plugin.code.draws()).collect();
        let without_file = drawing.iter().filter(|plugin| plugin.grants.out.is_none()).count();
        for plugin in &mut drawing {
            plugin.stream = Some(match &plugin.grants.out {
                Some(path) => {
                    let stream = Stream::file(path)
                        .with_context(|| format!("plugin {} cannot write to {}", plugin.name, path.display()))?;
                    (stream, Destination::Elsewhere)
                }
                // JSON output is kept valid.
                None if matches!(own, Some(Output::Json | Output::Jsonl)) => {
                    (held(Target::Stderr)?, Destination::Elsewhere)
                }
                None if own.is_some() || without_file > 1 => (held(Target::Stdout)?, Destination::Stdout),
                None => (Stream::direct(Target::Stdout), Destination::Stdout),
            });
        }
        Ok(())
    }

    /// Returns the addition to each event by the plugin with kernel code or a decoder. There can be one.
    pub fn extension(&self, root: &Root) -> anyhow::Result<Option<Extension>> {
        let Some((plugin, component)) = self.bringing()? else {
            return Ok(None);
        };
        let log = log(&plugin.name, self.verbose);
        let object = if component.exports().program {
            Some(component.object(&plugin.grants, &plugin.values, log)?)
        } else {
            None
        };
        let decoder = self.decoder_of(plugin, component)?;
        let path = plugin.path.as_path();
        Ok(Some(Extension::from_plugin(path, object, decoder, root)?))
    }

    /// Returns the decoder of recorded payloads, if a plugin has one. There can be one.
    pub fn decoder(&self) -> anyhow::Result<Option<Box<dyn Decode>>> {
        match self.bringing()? {
            Some((plugin, component)) => self.decoder_of(plugin, component),
            None => Ok(None),
        }
    }

    /// Returns the plugin that determines the events' payload.
    fn bringing(&self) -> anyhow::Result<Option<(&Loaded, &Component)>> {
        let mut bringing = self.loaded.iter().filter_map(|plugin| match &plugin.code {
            Code::Wasm(component) => {
                let exports = component.exports();
                (exports.program || exports.decoder).then_some((plugin, component))
            }
            Code::Native(_) => None,
        });
        let Some((plugin, component)) = bringing.next() else {
            return Ok(None);
        };
        if let Some((other, _)) = bringing.next() {
            bail!(
                "the plugins {} and {} both say what an event's payload is; leave one of them out",
                plugin.name,
                other.name
            );
        }
        Ok(Some((plugin, component)))
    }

    fn decoder_of(&self, plugin: &Loaded, component: &Component) -> anyhow::Result<Option<Box<dyn Decode>>> {
        if !component.exports().decoder {
            return Ok(None);
        }
        let log = log(&plugin.name, self.verbose);
        let decoder = component.decoder(&plugin.grants, plugin.values.clone(), log)?;
        let tell = Box::new(|message: &str| message!("ipft: {message}"));
        Ok(Some(Box::new(WasmDecoder::new(decoder, tell))))
    }

    /// Adds the sinks.
    pub fn add_to(&mut self, sinks: &mut Sinks) -> anyhow::Result<()> {
        let verbose = self.verbose;
        for plugin in &mut self.loaded {
            let Some((stream, destination)) = &plugin.stream else {
                continue;
            };
            let log = log(&plugin.name, verbose);
            let values = plugin.values.clone();
            let sink = plugin.code.sink(&plugin.grants, values, stream.clone(), log)?;
            plugin.usage = Some(sink.usage());
            sinks.add(plugin.name.as_str(), *destination, Box::new(sink));
        }
        Ok(())
    }

    /// Finishes after the end of the trace and of all sinks: plugin output is moved to its destination, except that of
    /// failed plugins. Reports write errors. Returns `false` after one.
    pub fn complete(&self, sinks: &Sinks) -> bool {
        let mut good = true;
        for plugin in &self.loaded {
            let Some((stream, _)) = &plugin.stream else {
                continue;
            };
            let missed = plugin.usage.as_ref().map_or(0, Usage::missed);
            if missed > 0 {
                message!(
                    "ipft: {}: dropped {missed} events (could not keep up); other outputs are unaffected",
                    plugin.name
                );
            }
            if sinks.failures().any(|(name, _)| name == plugin.name) {
                stream.give_up();
                continue;
            }
            match stream.complete() {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                Err(error) => {
                    let to = plugin.grants.out.as_deref().unwrap_or(Path::new("its stream"));
                    message!("ipft: {}: cannot write {}: {error}", plugin.name, to.display());
                    good = false;
                }
            }
        }
        good
    }
}

/// Returns unique names for messages.
fn names(files: &[PluginFile]) -> Vec<String> {
    let name = |(index, file): (usize, &PluginFile)| {
        let before = files[..index].iter().filter(|other| other.name == file.name);
        match before.count() {
            0 => file.name.clone(),
            others => format!("{} ({})", file.name, others + 1),
        }
    };
    files.iter().enumerate().map(name).collect()
}

/// Refuses outputs that would overwrite each other.
fn refuse_shared_files(files: &[PluginFile], names: &[String]) -> anyhow::Result<()> {
    let files = files.iter().zip(names);
    let outs = files.filter_map(|(file, name)| Some((name, file.grants.out.as_deref()?)));
    if let Some((other, name)) = output::shared(outs) {
        bail!("the plugins {other} and {name} would write to the same file");
    }
    Ok(())
}

fn held(target: Target) -> anyhow::Result<Stream> {
    Stream::held(target).context("a plugin's output cannot be held back until the end")
}

/// Prints a plugin's message to stderr, with its name.
pub fn log(name: &str, verbose: bool) -> Log {
    let name = name.to_owned();
    Arc::new(move |level: Level, message: &str| match level {
        Level::Error => message!("ipft: {name}: error: {message}"),
        Level::Warning => message!("ipft: {name}: warning: {message}"),
        Level::Info => message!("ipft: {name}: {message}"),
        Level::Debug if verbose => message!("ipft: {name}: {message}"),
        Level::Debug => {}
    })
}

/// Loads a library. The user named the file: nothing is searched.
fn load_library(file: &PluginFile, verbose: bool) -> anyhow::Result<Code> {
    if verbose {
        message!(
            "Plugin {} is native code: it runs with the rights of ipft, and no sandbox limits it",
            file.name
        );
    }
    Ok(Code::Native(Library::load(&file.path)?))
}

/// Finds, reads and compiles a plugin.
fn load_component(
    engine: &Engine,
    cache: Option<&Cache>,
    folders: &Folders,
    word: &Path,
    name: &str,
    verbose: bool,
) -> anyhow::Result<Component> {
    let (path, bytes) = read(folders, word)?;
    let tell = || {
        if std::io::stderr().is_terminal() {
            message!("Compiling plugin {name}, for the first time ...");
        }
    };
    let mut complain = |message: &str| {
        if verbose {
            message!("{message}");
        }
    };
    Ok(Component::load(
        engine,
        &path.display().to_string(),
        &bytes,
        cache,
        tell,
        &mut complain,
    )?)
}

/// Finds and reads a component's file.
pub fn read(folders: &Folders, word: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let found = folders.find(word)?;
    for why in &found.skipped {
        message!("ipft: {why}");
    }
    let path = found.path;
    let bytes = inspect::read(&path).with_context(|| format!("cannot read the plugin {}", path.display()))?;
    if native::is_elf(&bytes) {
        bail!(
            "{} is a native plugin: nothing is known of it until its code runs; 'ipft plugin run' and --plugin do that",
            path.display()
        );
    }
    Ok((path, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the error for missing plugins that would write to these files.
    fn refusal(outs: &[&Path]) -> String {
        let files: Vec<_> = outs
            .iter()
            .map(|out| PluginFile {
                name: "flame".to_owned(),
                path: PathBuf::from("/none/flame.wasm"),
                grants: Grants {
                    out: Some(out.to_path_buf()),
                    ..Grants::default()
                },
            })
            .collect();
        match Plugins::load(&files, None, false, None) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("there are such plugins"),
        }
    }

    #[test]
    fn two_plugins_for_one_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("a.svg"), folder.path().join("b.svg"));
        let again = folder.path().join("./a.svg");
        let said = refusal(&[&one, &other, &again]);
        assert_eq!(said, "the plugins flame and flame (3) would write to the same file");
        std::os::unix::fs::symlink("a.svg", &other).unwrap();
        std::fs::write(&one, b"").unwrap();
        let said = refusal(&[&other, &one]);
        assert_eq!(said, "the plugins flame and flame (2) would write to the same file");
        std::fs::remove_file(&other).unwrap();
        assert!(refusal(&[&one, &other]).contains("/none/flame.wasm"));
    }
}
