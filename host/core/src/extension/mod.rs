//! What the user wants to see of each packet: kernel-side code that fills the event's payload, and the schema or the
//! decoder that says what the bytes mean.
//!
//! Each kind of file becomes the same: an [`Extension`]. Everything in here is made of bytes that anybody may have
//! written, and is checked before anything is attached. This module may import `event`, `expression` and `kernel`; no
//! sink knows that it exists.

pub mod compile;
pub mod decode;
pub mod generate;
pub mod layout;
pub mod lua;
pub mod object;
pub mod symbols;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::event::Schema;
use crate::expression::{self, ExpressionError, ExpressionFields};
use crate::kernel::{KernelError, Root, Types};
use compile::{CompileError, Compiler};
use decode::{Decode, Report, Tell};
use layout::LayoutError;
use lua::{Print, Script, ScriptError};
use object::ObjectError;

/// The reason why a file is not an extension.
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// The file cannot be read.
    #[error("cannot read the extension {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The source cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The object cannot be linked to ours.
    #[error("cannot use {path}: {source}", path = path.display())]
    Object {
        /// The file it came from.
        path: PathBuf,
        /// The problem.
        source: ObjectError,
    },
    /// The object does not say what its event means.
    #[error("cannot show what {path} collects: {source}", path = path.display())]
    Layout {
        /// The file it came from.
        path: PathBuf,
        /// The problem.
        source: LayoutError,
    },
    /// The script does not run.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The function cannot be compiled.
    #[error(transparent)]
    Function(#[from] ExpressionError),
    /// Names of symbols were wanted, and could not be read.
    #[error("cannot name the symbols that {path} asks for: {source}", path = path.display())]
    Symbols {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: KernelError,
    },
}

/// An extension, ready to be traced with.
#[derive(Default)]
pub struct Extension {
    object: Option<Vec<u8>>,
    schema: Schema,
    decoder: Option<Box<dyn Decode>>,
}

impl Extension {
    /// Compiles C source and takes the object. A readable `stop` ends the compiler.
    pub fn from_source(path: &Path, root: &Root, stop: BorrowedFd<'_>) -> Result<Self, ExtensionError> {
        let object = compile::compile(path, &Compiler::from_environment()?, stop)?;
        Extension::with_layout(path, object, root)
    }

    /// Takes an object that was compiled already.
    pub fn from_object(path: &Path, root: &Root) -> Result<Self, ExtensionError> {
        let mut object = Vec::new();
        // One byte more than is accepted, so that the check sees that it is too much.
        File::open(path)
            .and_then(|file| file.take(object::MAX_OBJECT as u64 + 1).read_to_end(&mut object))
            .map_err(|source| ExtensionError::Read {
                path: path.to_owned(),
                source,
            })?;
        Extension::with_layout(path, object, root)
    }

    fn with_layout(path: &Path, object: Vec<u8>, root: &Root) -> Result<Self, ExtensionError> {
        let checked = check(path, &object)?;
        let mut schema = layout::read(checked.btf()).map_err(|source| ExtensionError::Layout {
            path: path.to_owned(),
            source,
        })?;
        symbols::resolve(&mut schema, root).map_err(|source| ExtensionError::Symbols {
            path: path.to_owned(),
            source,
        })?;
        Ok(Extension {
            object: Some(object),
            schema,
            decoder: None,
        })
    }

    /// Runs a Lua script. A call into it that continues after `stop` has become readable is interrupted; its first
    /// failure at an event is reported through `tell`.
    pub fn from_script(path: &Path, print: Print, stop: BorrowedFd<'_>, tell: Tell) -> Result<Self, ExtensionError> {
        let stop = stop.try_clone_to_owned().map_err(|source| ExtensionError::Read {
            path: path.to_owned(),
            source,
        })?;
        let script = Script::load(path, print, Some(stop), tell)?;
        let object = script.program().map(<[u8]>::to_vec);
        if let Some(object) = &object {
            check(path, object)?;
        }
        Ok(Extension {
            object,
            schema: Schema {
                tail: true,
                ..Schema::default()
            },
            decoder: Some(Box::new(script)),
        })
    }

    /// Takes what a plugin brings: kernel code, a decoder, or both. Kernel code without a decoder describes itself, as
    /// an object's does. `path` is what messages call it.
    pub fn from_plugin(
        path: &Path,
        object: Option<Vec<u8>>,
        decoder: Option<Box<dyn Decode>>,
        root: &Root,
    ) -> Result<Self, ExtensionError> {
        match (object, decoder) {
            (Some(object), None) => Extension::with_layout(path, object, root),
            (object, decoder) => {
                if let Some(object) = &object {
                    check(path, object)?;
                }
                Ok(Extension {
                    object,
                    schema: Schema {
                        tail: decoder.is_some(),
                        ..Schema::default()
                    },
                    decoder,
                })
            }
        }
    }

    /// Takes fields that are expressions.
    pub fn from_fields(fields: ExpressionFields) -> Self {
        Extension {
            object: Some(fields.object),
            schema: fields.schema,
            decoder: None,
        }
    }

    /// Compiles the function of a Lua script; `None` if the script is not of API version 2, but one that runs.
    pub fn from_function(path: &Path, types: &Types<'_>) -> Result<Option<Self>, ExtensionError> {
        /// More than the compiler takes.
        const MOST: u64 = 1 << 20;
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MOST).read_to_end(&mut bytes))
            .map_err(|source| ExtensionError::Read {
                path: path.to_owned(),
                source,
            })?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Ok(None);
        };
        if !expression::is_function(&text) {
            return Ok(None);
        }
        let fields = expression::function(&path.display().to_string(), &text, types)?;
        Ok(Some(Extension::from_fields(fields)))
    }

    /// The object whose `module` fills the payload, checked. Without one, there is no payload.
    pub fn object(&self) -> Option<&[u8]> {
        self.object.as_deref()
    }

    /// Returns the layout of the extension's part of the payloads, once decoded.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Returns how many bytes of the extension's part of an entry's payload to keep.
    pub fn payload_size(&self) -> usize {
        match &self.object {
            None => 0,
            Some(_) if self.decoder.is_some() => decode::DATA,
            Some(_) => self.schema.size as usize,
        }
    }

    /// Returns the decoder of payloads that no schema describes.
    pub fn decoder(&mut self) -> Option<&mut dyn Decode> {
        match &mut self.decoder {
            Some(decoder) => Some(&mut **decoder),
            None => None,
        }
    }

    /// The output is complete.
    pub fn finish(&mut self) -> Report {
        self.decoder
            .as_mut()
            .map(|decoder| decoder.finish())
            .unwrap_or_default()
    }
}

fn check<'a>(path: &Path, object: &'a [u8]) -> Result<object::Checked<'a>, ExtensionError> {
    object::check(object).map_err(|source| ExtensionError::Object {
        path: path.to_owned(),
        source,
    })
}
