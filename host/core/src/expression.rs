//! Expressions in Lua over a packet (`--where`, `--show NAME=EXPR`), and functions of scripts: compiled for the running
//! kernel, whose types say where a field is. The compiler is `lua_bpf`. Imports `event` and `kernel`.

use lua_bpf::{CompileError, Format, Program, Source};

use crate::event::{EnumMember, Field, FieldFormat, FieldType, Schema};
use crate::kernel::{KernelError, Types};

/// The reason why expressions cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum ExpressionError {
    /// The kernel's types cannot be read.
    #[error("cannot look up the fields of packets: {0}")]
    Kernel(#[from] KernelError),
    /// The expression is wrong.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Two fields have one name.
    #[error("two fields are named `{0}`; name one of them with --show NAME=EXPR")]
    Twice(String),
}

/// A field that an expression makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedExpression {
    /// Its name in every output.
    pub name: String,
    /// The expression.
    pub text: String,
}

/// The fields of expressions: kernel code, and the layout of the payload that it writes.
#[derive(Clone, Debug)]
pub struct ExpressionFields {
    /// A relocatable object with `module`.
    pub object: Vec<u8>,
    /// The fields.
    pub schema: Schema,
}

/// The API version of scripts whose function is compiled.
const FUNCTIONS: i64 = 2;
/// Bytes of the payload.
const MOST_BYTES: u32 = ipft_bpf::wire::PAYLOAD_SIZE as u32;
/// What messages and the verifier's log call the sources.
const WHERE: &str = "--where";
const SHOW: &str = "--show";

/// Compiles a condition.
pub fn condition(text: &str, types: &Types<'_>) -> Result<Program, ExpressionError> {
    let source = Source { name: WHERE, text };
    Ok(lua_bpf::condition(source, types.get()?)?)
}

/// Compiles fields, in the order in which they are shown.
pub fn fields(expressions: &[NamedExpression], types: &Types<'_>) -> Result<ExpressionFields, ExpressionError> {
    let is_twice = |(at, each): (usize, &NamedExpression)| {
        let mut before = expressions.iter().take(at);
        before.any(|other| other.name == each.name).then(|| each.name.clone())
    };
    if let Some(name) = expressions.iter().enumerate().find_map(is_twice) {
        return Err(ExpressionError::Twice(name));
    }
    let sources: Vec<(&str, Source<'_>)> = (expressions.iter())
        .map(|each| {
            let source = Source {
                name: SHOW,
                text: &each.text,
            };
            (each.name.as_str(), source)
        })
        .collect();
    Ok(made(lua_bpf::fields(&sources, types.get()?, MOST_BYTES)?, SHOW))
}

/// Returns whether a script is of the API version whose function is compiled.
pub fn is_function(script: &str) -> bool {
    lua_bpf::assigned_number(script, "api_version") == Some(FUNCTIONS)
}

/// Compiles the function `module` of a script. `name`: of the script, in messages.
pub fn function(name: &str, script: &str, types: &Types<'_>) -> Result<ExpressionFields, ExpressionError> {
    let source = Source { name, text: script };
    Ok(made(lua_bpf::module(source, types.get()?, MOST_BYTES)?, name))
}

fn made(compiled: lua_bpf::Fields, file: &str) -> ExpressionFields {
    ExpressionFields {
        object: compiled.program.object("module", file),
        schema: Schema {
            size: compiled.size,
            fields: compiled.fields.into_iter().map(field).collect(),
            ..Schema::default()
        },
    }
}

fn field(field: lua_bpf::Field) -> Field {
    let unsigned = FieldType::Unsigned;
    let (kind, format) = match field.format {
        Format::Unsigned => (unsigned, FieldFormat::Plain),
        Format::Signed => (FieldType::Signed, FieldFormat::Plain),
        Format::Boolean => (FieldType::Bool, FieldFormat::Plain),
        Format::Text => (FieldType::Char, FieldFormat::Plain),
        Format::Pointer => (FieldType::Pointer, FieldFormat::Plain),
        Format::Network if field.size == 2 => (unsigned, FieldFormat::Be16),
        Format::Network => (unsigned, FieldFormat::Be32),
        Format::Ipv4 => (unsigned, FieldFormat::Ipv4),
        Format::Ipv6 => (FieldType::Bytes, FieldFormat::Ipv6),
        Format::Mac => (FieldType::Bytes, FieldFormat::Mac),
        Format::Enum { signed, members } => {
            let member = |(name, value)| EnumMember { name, value };
            let kind = if signed { FieldType::Signed } else { unsigned };
            (kind, FieldFormat::Enum(members.into_iter().map(member).collect()))
        }
    };
    Field {
        name: field.name,
        offset: field.offset,
        size: field.size,
        bits: None,
        kind,
        format,
    }
}
