//! A native plugin's file, loaded, and what can be made of it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libloading::os::unix;

use super::abi::{Entry, Head, Plugin, SYMBOL, VERSION};
use super::elf;
use super::error::{NativeError, Problem};
use super::host::{Host, slice};
use super::instance::{Functions, Instance};
use crate::host::PluginSink;
use crate::host::stream::Log;
use crate::host::worker::{Draw, Pulse, Setup};
use crate::package::{Description, Grants, OptionValues};

/// A plugin that can be started, any number of times. Its file stays loaded until the program ends, since nobody can
/// tell whether the plugin has threads, or handlers that the C library calls.
#[derive(Clone, Debug)]
pub struct Library {
    description: Description,
    functions: Functions,
}

impl Library {
    /// Loads a file. Code of the plugin runs here already. The path is that of a file, and is searched for nowhere.
    pub fn load(path: &Path) -> Result<Self, NativeError> {
        load(path).map_err(|problem| NativeError {
            path: path.to_owned(),
            problem,
        })
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// A sink that passes a trace on to it. `output` is its stream. Of what the user grants, only the limits of output
    /// and time mean anything: everything else it can do anyway. A call that takes longer than it may is not ended, but
    /// when the trace has ended, it is not waited for.
    pub fn sink(&self, grants: &Grants, options: OptionValues, output: Box<dyn Write + Send>, log: Log) -> PluginSink {
        let limits = grants.limits;
        let plugin: Arc<str> = self.description.name.as_str().into();
        let pulse = Pulse::new(limits.timeout);
        let (functions, name, beat) = (self.functions, plugin.clone(), pulse.clone());
        let make = move || -> Result<Box<dyn Draw>, _> {
            let host = Host::new(output, limits.output, log, beat.clone());
            Ok(Box::new(Instance::new(name, functions, options, host, beat)))
        };
        PluginSink::new(Setup {
            plugin,
            make: Box::new(make),
            rest: limits.timeout,
            // Nothing can end its calls.
            stop: Arc::new(AtomicBool::new(false)),
            pulse: Some(pulse),
        })
    }
}

fn load(path: &Path) -> Result<Library, Problem> {
    if cfg!(target_feature = "crt-static") {
        return Err(Problem::Static);
    }
    // A name without a slash would be looked for among the libraries of the system (dlopen(3)).
    let path = std::path::absolute(path).map_err(Problem::Read)?;
    elf::check(&mut File::open(&path).map_err(Problem::Read)?)?;
    let table = table(open(&path)?)?;
    // SAFETY: the header asks for a description that has these bytes and stays as it is.
    let description = Description::read(unsafe { slice(table.description.data, table.description.len) })?;
    Ok(Library {
        description,
        functions: Functions {
            start: table.start.ok_or(Problem::NoFunction("start"))?,
            learn: table.learn,
            events: table.events.ok_or(Problem::NoFunction("events"))?,
            missed: table.missed,
            finish: table.finish.ok_or(Problem::NoFunction("finish"))?,
            destroy: table.destroy,
        },
    })
}

/// Loads the file, for ever, and finds its one symbol.
fn open(path: &Path) -> Result<Entry, Problem> {
    // All symbols are resolved now: one that is missing would otherwise end the program at the first call that needs it.
    // They are for the library alone, so that those of two plugins do not mix.
    let flags = unix::RTLD_NOW | unix::RTLD_LOCAL;
    // SAFETY: this runs code of the library, and the user, who named it, asked for that. It is never unloaded.
    let library =
        unsafe { unix::Library::open(Some(path), flags) }.map_err(|error| Problem::of_linker(&said(&error)))?;
    // SAFETY: the header defines the symbol of this name as a function of this type.
    let entry = unsafe { library.get::<Entry>(SYMBOL) }.map(|symbol| *symbol);
    if entry.is_ok() {
        std::mem::forget(library);
    }
    entry.map_err(|_| Problem::NoEntry)
}

/// The dynamic linker's own words.
fn said(error: &libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { source } => source.to_string(),
        other => other.to_string(),
    }
}

/// Asks for the table, and copies as much of it as is known here.
fn table(entry: Entry) -> Result<Plugin, Problem> {
    // SAFETY: the header defines the function so, and lets any thread call it.
    let table = unsafe { entry() };
    if table.is_null() || !table.is_aligned() {
        return Err(Problem::NoTable);
    }
    // SAFETY: a table begins with these two words in every version, and is never changed.
    let Head { version, struct_size } = unsafe { table.cast::<Head>().read() };
    // What comes first in later versions of the interface is the same, but a plugin that says so may need the rest.
    if version > VERSION {
        return Err(Problem::Newer(version));
    }
    if version < VERSION || (struct_size as usize) < size_of::<Plugin>() {
        return Err(Problem::Table {
            version,
            size: struct_size,
        });
    }
    // SAFETY: the table has as many bytes as it says, and they lie as the header defines (asserted in `abi`). Function
    // pointers may be null there, as here.
    Ok(unsafe { table.read() })
}
