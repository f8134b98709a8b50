//! Inspects a plugin's file: its exports, imports and description.
//!
//! It runs and compiles no code: only the structure of the component is read and validated. So it is cheap for large
//! files, and `ipft plugin inspect` is safe on any file. The result decides whether a component is compiled at all; the
//! engine validates the code when it compiles it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use wasmparser::component_types::ComponentEntityType;
use wasmparser::{
    ComponentExternalKind, Encoding, KnownCustom, Parser, Payload, ProducersSectionReader, ValidPayload, Validator,
    WasmFeatures,
};

use super::cost::{Cost, CostError, TooMuch};
use super::{Description, DescriptionError, SECTION};
use ipft_core::text::visible;

/// Maximum bytes of a component. The largest useful ones contain an interpreter and have 20 MiB.
pub const MAX_COMPONENT: usize = 64 << 20;

/// Maximum nesting of components and modules. Tools produce a depth of three.
const MAX_DEPTH: usize = 32;

/// Maximum imports and exports that are read.
const MAX_NAMES: usize = 1000;

/// Maximum bytes of a name, or of a tool's description, that are kept.
const MAX_NAME: usize = 200;

/// The package of the contract, and its version in this ipft. Later versions continue to load plugins of this one.
const PACKAGE: &str = "ipft:plugin/";
const MAJOR: u64 = 0;
const MINOR: u64 = 1;

/// The functions of `host` in this version.
const HOST_FUNCTIONS: [&str; 2] = ["write", "log"];

/// The reason why a file is not a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// It is too large.
    #[error("it has more than {} MiB, which is the most that a plugin may have", MAX_COMPONENT >> 20)]
    TooLarge,
    /// It is another kind of file.
    #[error("it is no WebAssembly: a plugin is a WebAssembly component, a file that begins with \"\\0asm\"")]
    NotWasm,
    /// It is a core module without a component around it.
    #[error(
        "it is a core module, not a component: build it for wasm32-wasip2, or make a component of it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// Compiling or starting it would take more than a plugin may.
    #[error("{0}")]
    TooMuch(#[from] TooMuch),
    /// It is malformed.
    #[error("it is damaged: {message} (at byte {offset})")]
    Malformed {
        /// The parser's message, in one line.
        message: String,
        /// The offset.
        offset: usize,
    },
}

/// The reason why this ipft cannot run a component as a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The custom section is missing.
    #[error("it does not describe itself: it has no custom section `{SECTION}`; `ipft plugin pack` adds one")]
    NoDescription,
    /// The custom section is invalid.
    #[error("{0}")]
    Description(String),
    /// It needs a later version of the contract.
    #[error(
        "it wants version {version} of the plugin contract, and this ipft has {MAJOR}.{MINOR}: use an ipft that has \
         it, or a version of the plugin that was built for {MAJOR}.{MINOR}"
    )]
    Newer {
        /// That version.
        version: String,
    },
    /// It exports nothing that ipft calls.
    #[error(
        "it exports none of {PACKAGE}sink, raw-sink, decoder and program in version {MAJOR}.{MINOR}: \
         nothing in it is for ipft"
    )]
    NoRole,
    /// It exports both sink interfaces.
    #[error("it exports both sink and raw-sink; a plugin has one of the two")]
    TwoSinks,
    /// It imports something unknown.
    #[error("it imports {what}, which ipft does not offer: {remedy}")]
    Missing {
        /// The interface, or a function of it.
        what: String,
        /// The remedy.
        remedy: &'static str,
    },
}

/// The content of a component.
#[derive(Debug)]
pub struct Inspection {
    /// File size in bytes.
    pub size: usize,
    /// Its description, if it has one.
    pub description: Option<Result<Description, DescriptionError>>,
    /// Its exports.
    pub exports: Vec<Interface>,
    /// Its imports.
    pub imports: Vec<Interface>,
    /// Bytes of each core module in it.
    pub modules: Vec<usize>,
    /// Bytes of memory that its instances need from the start, without their memories and tables.
    pub held: u64,
    /// Languages and tools that produced it, as declared: role, name, version. Untrusted text.
    pub producers: Vec<(String, String, String)>,
}

/// A named import or export of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `package:name/interface@version`, or any other name.
    pub name: String,
    /// The functions in it, if it is an interface.
    pub functions: Vec<String>,
}

/// A plugin's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// A sink.
    pub sink: bool,
    /// A sink that takes bytes.
    pub raw_sink: bool,
    /// A decoder.
    pub decoder: bool,
    /// A program for the kernel.
    pub program: bool,
}

/// A capability that a component may request, according to its imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Files.
    Files,
    /// Environment variables and arguments.
    Environment,
    /// Sockets and name lookups.
    Network,
    /// The time.
    Clocks,
    /// Random numbers.
    Random,
}

impl Exports {
    /// Returns whether it takes events, rather than only adding to them.
    pub fn draws(self) -> bool {
        self.sink || self.raw_sink
    }
}

impl Need {
    /// Returns the request, and the answer to it.
    pub fn description(self) -> &'static str {
        match self {
            Need::Files => "files: it sees none but those under --plugin-dir",
            Need::Environment => "the environment: it sees nothing but what --plugin-env names",
            Need::Network => "the network: no plugin gets it",
            Need::Clocks => "the time: every clock stands still",
            Need::Random => "random numbers: they are the same in every run",
        }
    }
}

/// Reads a file that may be a plugin, up to slightly more than the maximum size.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is accepted, so that the check detects it.
    File::open(path)?
        .take(MAX_COMPONENT as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Inspects a component.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    if bytes.len() > MAX_COMPONENT {
        return Err(InspectError::TooLarge);
    }
    if Parser::is_core_wasm(bytes) {
        return Err(InspectError::CoreModule);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let mut reader = Reader {
        validator: Validator::new_with_features(WasmFeatures::default()),
        depth: 0,
        starts: Vec::new(),
        names: [Vec::new(), Vec::new()],
        section: None,
        cost: Cost::default(),
        producers: HashSet::new(),
        inspection: Inspection {
            size: bytes.len(),
            description: None,
            exports: Vec::new(),
            imports: Vec::new(),
            modules: Vec::new(),
            held: 0,
            producers: Vec::new(),
        },
    };
    for payload in Parser::new(0).parse_all(bytes) {
        reader.payload(payload?)?;
    }
    reader.inspection.held = reader.cost.bytes();
    reader.inspection.description = reader.section.map(|(_, json)| Description::read(json));
    Ok(reader.inspection)
}

struct Reader<'a> {
    validator: Validator,
    /// Number of open modules and components.
    depth: usize,
    /// For each of them: whether it is a module, and its start offset.
    starts: Vec<(bool, usize)>,
    /// Imports and exports of the component itself.
    names: [Vec<&'a str>; 2],
    /// The description, and its depth in the file: the outermost one counts.
    section: Option<(usize, &'a [u8])>,
    cost: Cost,
    /// The producers found, which modules mostly share.
    producers: HashSet<(&'a str, &'a str, &'a str)>,
    inspection: Inspection,
}

impl<'a> Reader<'a> {
    fn payload(&mut self, payload: Payload<'a>) -> Result<(), InspectError> {
        // First: the validator tracks the structure.
        self.cost.read(&payload)?;
        match &payload {
            Payload::Version { encoding, range, .. } => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(malformed("too many components are in each other", range.start));
                }
                self.starts.push((*encoding == Encoding::Module, range.start));
            }
            Payload::End(end) => {
                self.depth = self.depth.saturating_sub(1);
                if let Some((true, start)) = self.starts.pop() {
                    self.inspection.modules.push(end.saturating_sub(start));
                }
            }
            Payload::ComponentImportSection(section) if self.depth == 1 => {
                for import in section.clone() {
                    self.name(0, import?.name.name, section.range().start)?;
                }
            }
            Payload::ComponentExportSection(section) if self.depth == 1 => {
                for export in section.clone() {
                    let export = export?;
                    if matches!(
                        export.kind,
                        ComponentExternalKind::Instance | ComponentExternalKind::Func
                    ) {
                        self.name(1, export.name.name, section.range().start)?;
                    }
                }
            }
            Payload::CustomSection(section) => {
                if section.name() == SECTION && self.section.is_none_or(|(depth, _)| self.depth < depth) {
                    self.section = Some((self.depth, section.data()));
                }
                if let KnownCustom::Producers(producers) = section.as_known() {
                    self.producers(producers);
                }
            }
            _ => {}
        }
        // Code is validated when it is compiled.
        if let ValidPayload::End(types) = self.validator.payload(&payload)? {
            let types = types.as_ref();
            let functions = |entity: Option<ComponentEntityType>| match entity {
                Some(ComponentEntityType::Instance(instance)) => types[instance]
                    .exports
                    .iter()
                    .filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)))
                    .take(MAX_NAMES)
                    .map(|(name, _)| kept(name))
                    .collect(),
                _ => Vec::new(),
            };
            if self.depth == 0 {
                let [imports, exports] = &self.names;
                for name in imports {
                    self.inspection.imports.push(Interface {
                        name: kept(name),
                        functions: functions(types.component_item_for_import(name).map(|item| item.ty)),
                    });
                }
                for name in exports {
                    self.inspection.exports.push(Interface {
                        name: kept(name),
                        functions: functions(types.component_item_for_export(name).map(|item| item.ty)),
                    });
                }
            }
        }
        Ok(())
    }

    fn name(&mut self, direction: usize, name: &'a str, offset: usize) -> Result<(), InspectError> {
        if self.names[direction].len() == MAX_NAMES {
            return Err(malformed("it imports or exports too much", offset));
        }
        self.names[direction].push(name);
        Ok(())
    }

    /// Unreadable parts are left out: nothing depends on them.
    fn producers(&mut self, producers: ProducersSectionReader<'a>) {
        for field in producers.into_iter().flatten() {
            for value in field.values.into_iter().flatten() {
                // A file may have millions of them.
                if self.producers.len() == MAX_NAMES {
                    return;
                }
                if self.producers.insert((field.name, value.name, value.version)) {
                    let entry = (kept(field.name), kept(value.name), kept(value.version));
                    self.inspection.producers.push(entry);
                }
            }
        }
    }
}

impl Inspection {
    /// Returns its roles.
    pub fn roles(&self) -> Exports {
        let has = |role: &str| {
            let found = |interface: &Interface| matches!(contract(&interface.name), Some((name, version)) if name == role && speaks(&version));
            self.exports.iter().any(found)
        };
        Exports {
            sink: has("sink"),
            raw_sink: has("raw-sink"),
            decoder: has("decoder"),
            program: has("program"),
        }
    }

    /// Returns the versions of the contract that it was built against: one, unless it was composed of parts.
    pub fn contract_versions(&self) -> Vec<String> {
        let mut versions: Vec<String> = self
            .imports
            .iter()
            .chain(&self.exports)
            .filter_map(|interface| contract(&interface.name))
            .map(|(_, version)| version.to_string())
            .collect();
        versions.sort();
        versions.dedup();
        versions
    }

    /// Returns the capabilities that it may request, according to its imports. Many components import functions that
    /// they never call.
    pub fn needs(&self) -> Vec<Need> {
        let need = |interface: &Interface| {
            let name = interface.name.strip_prefix("wasi:")?;
            [
                ("filesystem/", Need::Files),
                ("cli/environment", Need::Environment),
                ("sockets/", Need::Network),
                ("http/", Need::Network),
                ("clocks/", Need::Clocks),
                ("random/", Need::Random),
            ]
            .into_iter()
            .find_map(|(prefix, need)| name.starts_with(prefix).then_some(need))
        };
        let mut needs: Vec<Need> = self.imports.iter().filter_map(need).collect();
        needs.sort();
        needs.dedup();
        needs
    }

    /// Checks whether this ipft can run it; returns its description.
    pub fn check(&self) -> Result<&Description, Refusal> {
        self.check_versions()?;
        let roles = self.roles();
        if roles == Exports::default() {
            return Err(Refusal::NoRole);
        }
        if roles.sink && roles.raw_sink {
            return Err(Refusal::TwoSinks);
        }
        for import in &self.imports {
            check_import(import)?;
        }
        match &self.description {
            None => Err(Refusal::NoDescription),
            Some(Err(error)) => Err(Refusal::Description(visible(&error.to_string()).into_owned())),
            Some(Ok(description)) => Ok(description),
        }
    }

    fn check_versions(&self) -> Result<(), Refusal> {
        for interface in self.imports.iter().chain(&self.exports) {
            if let Some((_, version)) = contract(&interface.name)
                && !speaks(&version)
            {
                return Err(Refusal::Newer {
                    version: version.to_string(),
                });
            }
        }
        Ok(())
    }
}

fn check_import(import: &Interface) -> Result<(), Refusal> {
    if let Some((name, _)) = contract(&import.name) {
        return match name {
            "types" => Ok(()),
            "host" => match import
                .functions
                .iter()
                .find(|function| !HOST_FUNCTIONS.contains(&function.as_str()))
            {
                None => Ok(()),
                Some(function) => Err(Refusal::Missing {
                    what: format!("the function `{function}` of {}", import.name),
                    remedy: "it is of a later version, so use a later ipft",
                }),
            },
            _ => Err(missing(import, "a plugin may import `host` only")),
        };
    }
    match import.name.split_once('/') {
        Some(("wasi:cli" | "wasi:clocks" | "wasi:filesystem" | "wasi:io" | "wasi:random" | "wasi:sockets", rest)) => {
            match rest.split_once('@') {
                Some((_, version)) if version.starts_with("0.2.") => Ok(()),
                _ => Err(missing(import, "build it for WASI 0.2 (wasm32-wasip2)")),
            }
        }
        Some(("wasi:http", _)) => Err(missing(import, "no plugin gets the network")),
        _ => Err(missing(
            import,
            "a plugin may import ipft:plugin/host and WASI 0.2, so its build has to include the rest",
        )),
    }
}

fn missing(import: &Interface, remedy: &'static str) -> Refusal {
    Refusal::Missing {
        what: import.name.clone(),
        remedy,
    }
}

/// Returns the version of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 2],
    text: String,
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Returns the contract's interface of this name, with its version.
fn contract(name: &str) -> Option<(&str, Version)> {
    let rest = name.strip_prefix(PACKAGE)?;
    let (name, version) = rest.split_once('@').unwrap_or((rest, ""));
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(u64::MAX));
    let mut number = || parts.next().unwrap_or(u64::MAX);
    let numbers = [number(), number()];
    let text = version.to_owned();
    Some((name, Version { numbers, text }))
}

/// Returns whether this ipft supports the version: below 1.0 a minor one may change everything.
fn speaks(version: &Version) -> bool {
    version.numbers == [MAJOR, MINOR]
}

/// Cuts and escapes a text.
fn kept(text: &str) -> String {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    visible(&text[..end]).into_owned()
}

fn malformed(message: &str, offset: usize) -> InspectError {
    InspectError::Malformed {
        message: kept(message),
        offset,
    }
}

impl From<CostError> for InspectError {
    fn from(error: CostError) -> Self {
        match error {
            CostError::TooMuch(error) => error.into(),
            CostError::Malformed(error) => error.into(),
        }
    }
}

impl From<wasmparser::BinaryReaderError> for InspectError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        malformed(error.message(), error.offset())
    }
}
