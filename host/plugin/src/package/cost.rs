//! Lower bounds of the cost of compiling and starting a component, from its structure: a kilobyte of it can require
//! more instances than there is memory, so this is checked before compiling. Imports nothing of the crate.
//!
//! The limits are far above the output of compilers; an interpreter of 20 MiB reaches a tenth of each. A component
//! within them that still costs too much hits the limits of the compiler process.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Encoding, FunctionBody,
    Instance, Payload,
};

/// Instances, of components and modules, per start of the component.
const MAX_INSTANCES: u64 = 1000;

/// Definitions processed per start: aliases, lifted and lowered functions, arguments, exports.
const MAX_STEPS: u64 = 200_000;

/// Functions, types and bytes of code of all modules.
const MAX_FUNCTIONS: u64 = 200_000;
const MAX_TYPES: u64 = 200_000;
const MAX_CODE: u64 = 40 << 20;

/// Bytes of code of one function, and its local variables: parts of the compiler take time proportional to their
/// product.
const MAX_FUNCTION: u64 = 2 << 20;
const MAX_LOCALS: u64 = 20_000;
const MAX_FLOW: u64 = 1 << 30;

/// Bytes that the engine keeps per function, global variable and so on of an instance: the size of the largest.
const ENTRY: u64 = 32;

/// The exceeded limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// More than the accepted number of something.
    #[error("it has more than {limit} {what}, which is more than ipft compiles")]
    Count {
        /// The counted things, in the plural.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Components that are passed on as values cannot be counted.
    #[error(
        "it imports, exports or passes on a component or a module, and ipft compiles nothing whose size it cannot tell"
    )]
    Passed,
}

/// Cost of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    instances: u64,
    steps: u64,
    /// Bytes of memory.
    bytes: u64,
}

impl Weight {
    fn add(&mut self, other: Weight) {
        self.instances = self.instances.saturating_add(other.instances);
        self.steps = self.steps.saturating_add(other.steps);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn step(&mut self, count: usize) {
        self.steps = self.steps.saturating_add(count as u64);
    }
}

/// A module or component being read, with the costs of those in it, by index.
#[derive(Debug, Default)]
struct Open {
    is_module: bool,
    own: Weight,
    modules: Vec<Weight>,
    components: Vec<Weight>,
}

/// Sums the cost of a component, payload by payload.
#[derive(Debug, Default)]
pub(super) struct Cost {
    open: Vec<Open>,
    functions: u64,
    types: u64,
    code: u64,
    /// Cost of the outermost one.
    whole: Weight,
}

impl Cost {
    /// Bytes that the engine needs for the instances themselves.
    pub(super) fn bytes(&self) -> u64 {
        self.whole.bytes
    }

    /// Adds a payload of the parser. Inconsistencies are left to the validator.
    pub(super) fn read(&mut self, payload: &Payload<'_>) -> Result<(), CostError> {
        match payload {
            Payload::Version { encoding, .. } => self.open.push(Open {
                is_module: *encoding == Encoding::Module,
                ..Open::default()
            }),
            Payload::End(_) => self.close(),
            Payload::TypeSection(section) => sum(&mut self.types, section.count(), "types", MAX_TYPES)?,
            Payload::ImportSection(section) => self.entries(section.count()),
            Payload::FunctionSection(section) => {
                sum(&mut self.functions, section.count(), "functions", MAX_FUNCTIONS)?;
                self.entries(section.count());
            }
            Payload::TableSection(section) => self.entries(section.count()),
            Payload::MemorySection(section) => self.entries(section.count()),
            Payload::GlobalSection(section) => self.entries(section.count()),
            Payload::TagSection(section) => self.entries(section.count()),
            Payload::ElementSection(section) => self.entries(section.count()),
            Payload::DataSection(section) => self.entries(section.count()),
            Payload::CodeSectionEntry(body) => self.function(body)?,
            Payload::CoreTypeSection(section) => sum(&mut self.types, section.count(), "types", MAX_TYPES)?,
            Payload::ComponentTypeSection(section) => sum(&mut self.types, section.count(), "types", MAX_TYPES)?,
            Payload::ComponentCanonicalSection(section) => self.steps(section.count() as usize)?,
            Payload::ComponentImportSection(section) => {
                self.steps(section.count() as usize)?;
                for import in section.clone() {
                    known(import?.ty.kind())?;
                }
            }
            Payload::ComponentExportSection(section) => {
                self.steps(section.count() as usize)?;
                for export in section.clone() {
                    known(export?.kind)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                self.steps(section.count() as usize)?;
                for alias in section.clone() {
                    self.alias(&alias?)?;
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    self.instance(&instance?)?;
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    self.component_instance(&instance?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some(closed) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(around) if closed.is_module => around.modules.push(closed.own),
            Some(around) => around.components.push(closed.own),
            None => self.whole = closed.own,
        }
    }

    fn entries(&mut self, count: u32) {
        if let Some(open) = self.open.last_mut() {
            open.own.bytes = open.own.bytes.saturating_add(u64::from(count) * ENTRY);
        }
    }

    fn steps(&mut self, count: usize) -> Result<(), TooMuch> {
        self.grow(|open| open.own.step(count))
    }

    /// Adds to the current component, checking the limits.
    fn grow(&mut self, add: impl FnOnce(&mut Open)) -> Result<(), TooMuch> {
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        add(open);
        at_most(open.own.instances, "instances", MAX_INSTANCES)?;
        at_most(open.own.steps, "definitions", MAX_STEPS)
    }

    fn function(&mut self, body: &FunctionBody<'_>) -> Result<(), CostError> {
        let length = body.range().len() as u64;
        self.code = self.code.saturating_add(length);
        at_most(self.code, "bytes of code", MAX_CODE)?;
        at_most(length, "bytes of code in one function", MAX_FUNCTION)?;
        let mut locals = 0_u64;
        for group in body.get_locals_reader()? {
            locals = locals.saturating_add(group?.0.into());
        }
        at_most(locals, "local variables in one function", MAX_LOCALS)?;
        if locals.saturating_mul(length) > MAX_FLOW {
            // Name the number that is easier to reduce.
            return Err(CostError::TooMuch(TooMuch::Count {
                what: "local variables in a function of that size",
                limit: MAX_FLOW / length.max(1),
            }));
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), TooMuch> {
        match alias {
            ComponentAlias::InstanceExport { kind, .. } => known(*kind),
            ComponentAlias::CoreInstanceExport { .. } => Ok(()),
            ComponentAlias::Outer { kind, count, index } => {
                let (count, index) = (*count as usize, *index as usize);
                let from = self.open.len().checked_sub(count.saturating_add(1));
                let from = from.and_then(|from| self.open.get(from));
                let found = match kind {
                    ComponentOuterAliasKind::CoreModule => from.and_then(|from| from.modules.get(index)),
                    ComponentOuterAliasKind::Component => from.and_then(|from| from.components.get(index)),
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => return Ok(()),
                };
                let found = found.copied().unwrap_or_default();
                if let Some(open) = self.open.last_mut() {
                    match kind {
                        ComponentOuterAliasKind::CoreModule => open.modules.push(found),
                        _ => open.components.push(found),
                    }
                }
                Ok(())
            }
        }
    }

    fn instance(&mut self, instance: &Instance<'_>) -> Result<(), TooMuch> {
        self.grow(|open| match instance {
            Instance::Instantiate { module_index, args } => {
                open.own.instances = open.own.instances.saturating_add(1);
                open.own.step(args.len());
                let module = open.modules.get(*module_index as usize);
                open.own.add(module.copied().unwrap_or_default());
            }
            Instance::FromExports(exports) => open.own.step(exports.len() + 1),
        })
    }

    fn component_instance(&mut self, instance: &ComponentInstance<'_>) -> Result<(), TooMuch> {
        match instance {
            ComponentInstance::Instantiate { args, .. } => args.iter().try_for_each(|arg| known(arg.kind))?,
            ComponentInstance::FromExports(exports) => exports.iter().try_for_each(|export| known(export.kind))?,
        }
        self.grow(|open| match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                open.own.instances = open.own.instances.saturating_add(1);
                open.own.step(args.len());
                let component = open.components.get(*component_index as usize);
                open.own.add(component.copied().unwrap_or_default());
            }
            ComponentInstance::FromExports(exports) => open.own.step(exports.len() + 1),
        })
    }
}

/// The reason why counting stops.
#[derive(Debug)]
pub(super) enum CostError {
    TooMuch(TooMuch),
    Malformed(wasmparser::BinaryReaderError),
}

impl From<TooMuch> for CostError {
    fn from(error: TooMuch) -> Self {
        CostError::TooMuch(error)
    }
}

impl From<wasmparser::BinaryReaderError> for CostError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        CostError::Malformed(error)
    }
}

fn at_most(count: u64, what: &'static str, limit: u64) -> Result<(), TooMuch> {
    match count <= limit {
        true => Ok(()),
        false => Err(TooMuch::Count { what, limit }),
    }
}

fn sum(all: &mut u64, count: u32, what: &'static str, limit: u64) -> Result<(), TooMuch> {
    *all = all.saturating_add(count.into());
    at_most(*all, what, limit)
}

/// Returns whether an instance's cost is known: that of an imported component is not.
fn known(kind: ComponentExternalKind) -> Result<(), TooMuch> {
    match kind {
        ComponentExternalKind::Component | ComponentExternalKind::Module => Err(TooMuch::Passed),
        _ => Ok(()),
    }
}
