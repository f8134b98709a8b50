//! A loaded native plugin, and the values created from it.

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

/// A plugin that can be started any number of times. Its file stays loaded until the program ends, since the plugin may
/// have threads, or handlers that the C library calls.
#[derive(Clone, Debug)]
pub struct Library {
    description: Description,
    functions: Functions,
}

impl Library {
    /// Loads a file, which runs code of the plugin. The path is that of a file; it is not searched for.
    pub fn load(path: &Path) -> Result<Self, NativeError> {
        load(path).map_err(|problem| NativeError {
            path: path.to_owned(),
            problem,
        })
    }

    /// Returns its description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Creates a sink that passes a trace on to it. `output` is its stream. Of the grants, only the limits of output
    /// and time apply: native code can do anything else anyway. A call beyond its time limit is not interrupted, but
    /// when the trace has ended, ipft does not wait for it.
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
            // Its calls cannot be interrupted.
            stop: Arc::new(AtomicBool::new(false)),
            pulse: Some(pulse),
        })
    }
}

fn load(path: &Path) -> Result<Library, Problem> {
    if cfg!(target_feature = "crt-static") {
        return Err(Problem::Static);
    }
    // A name without a slash would be searched for in the system's libraries (dlopen(3)).
    let path = std::path::absolute(path).map_err(Problem::Read)?;
    elf::check(&mut File::open(&path).map_err(Problem::Read)?)?;
    let table = table(open(&path)?)?;
    // SAFETY: the header requires a description of this length that does not change.
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

/// Loads the file permanently, and finds its symbol.
fn open(path: &Path) -> Result<Entry, Problem> {
    // All symbols are resolved now: a missing one would otherwise end the program at its first use. They are local to
    // the library, so that those of two plugins do not mix.
    let flags = unix::RTLD_NOW | unix::RTLD_LOCAL;
    // SAFETY: this runs code of the library, which the user named for that purpose. It is never unloaded.
    let library =
        unsafe { unix::Library::open(Some(path), flags) }.map_err(|error| Problem::of_linker(&said(&error)))?;
    // SAFETY: the header defines the symbol of this name as a function of this type.
    let entry = unsafe { library.get::<Entry>(SYMBOL) }.map(|symbol| *symbol);
    if entry.is_ok() {
        std::mem::forget(library);
    }
    entry.map_err(|_| Problem::NoEntry)
}

/// Returns the dynamic linker's message.
fn said(error: &libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { source } => source.to_string(),
        other => other.to_string(),
    }
}

/// Requests the table, and copies the members that are known here.
fn table(entry: Entry) -> Result<Plugin, Problem> {
    // SAFETY: the header defines the function so, and any thread may call it.
    let table = unsafe { entry() };
    if table.is_null() || !table.is_aligned() {
        return Err(Problem::NoTable);
    }
    // SAFETY: a table begins with these two words in every version, and is never changed.
    let Head { version, struct_size } = unsafe { table.cast::<Head>().read() };
    // Later versions of the interface only append, but a plugin that declares one may need the rest.
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
