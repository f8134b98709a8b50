//! Compiles functions in Lua to BPF, without LLVM, clang or any other process.
//!
//! ```text
//! source -> lexer -> parser (ast) -> check (ir: types from BTF) -> generate -> emit -> instructions
//! ```
//!
//! A source reads the kernel's memory by the names that the kernel's own types have: `skb.dev.name`. What a pointer
//! leads to is read by a helper that cannot fail: behind a null pointer, numbers are 0 and texts are empty. Integers
//! have Lua's semantics: 64 bits with sign that wrap, division toward minus infinity (by 0 it is 0, and the rest of it
//! is the dividend), shifts by any number of bits. What the kernel has no place for is refused, with the place and a
//! remedy.
//!
//! A function of a script that runs ([`socket()`]) is a program of its own, which the kernel loads as it is; it reads the
//! packet and shares maps with its script.
//!
//! Otherwise the result is instructions, which [`Program::object`] makes a relocatable object of, for libbpf's linker. The crate
//! knows no program that they are linked to. It uses no unsafe code, and no source makes it panic, take more than some
//! milliseconds, or much memory.
//!
//! # Example
//!
//! ```no_run
//! use lua_bpf::{Source, condition};
//!
//! let types = std::fs::read("/sys/kernel/btf/vmlinux")?;
//! let types = bpf_btf::Btf::parse(&types)?;
//! let text = "skb.len > 1400 and skb.dev.name == \"eth0\"";
//! let program = condition(Source { name: "expression", text }, &types)?;
//! println!("{}", bpf_assembly::text(&program.code));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod ast;
mod builtin;
mod check;
mod compare;
mod context;
mod element;
mod emit;
mod error;
mod field;
mod function;
mod generate;
mod ir;
mod kernel;
mod lexer;
mod outside;
mod packet;
mod parser;
mod statement;
mod value;

use bpf_assembly::{Instruction, Line, Object, Parameter};
use bpf_btf::Btf;

use check::Checker;
pub use error::{CompileError, Problem};
pub use field::{Field, Format};
use generate::{Convention, Excess};
use ir::{Node, Step, Steps};
pub use lexer::Source;
pub use outside::{Environment, Map, Outside, Scalar};

/// The most instructions of a program.
const MOST_INSTRUCTIONS: usize = 12_000;

/// A compiled function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its instructions.
    pub code: Vec<Instruction>,
    /// The lines of the source that they are of.
    pub lines: Vec<Line>,
    /// Bytes of its stack.
    pub stack: u32,
    convention: Convention,
}

/// Compiled fields, and where they are in the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// `int module(void *ctx, void *skb, void *data)`, which writes the fields and returns 0.
    pub program: Program,
    /// The fields, in the order of their offsets.
    pub fields: Vec<Field>,
    /// Their bytes together.
    pub size: u32,
}

impl Program {
    /// Returns a relocatable object with the function, hidden, of this name. `file`: the name of the source in the
    /// verifier's log.
    pub fn object(&self, name: &str, file: &str) -> Vec<u8> {
        let parameters: &[(&str, Parameter)] = match self.convention {
            Convention::Condition => &[("skb", Parameter::U64)],
            Convention::Module => &[
                ("ctx", Parameter::Pointer),
                ("skb", Parameter::Pointer),
                ("data", Parameter::Pointer),
            ],
            Convention::Socket => &[("skb", Parameter::Pointer)],
        };
        let object = Object {
            name,
            parameters,
            code: &self.code,
            file,
            lines: &self.lines,
        };
        object.write()
    }

    /// Returns a condition that holds for every packet: `int f(u64 skb)`, which returns 1.
    pub fn always() -> Program {
        Program {
            code: vec![Instruction::number(0, 1).0, Instruction::exit()],
            lines: emit::lines("true", &[(0, 0)]),
            stack: 0,
            convention: Convention::Condition,
        }
    }
}

/// Compiles an expression that is a condition to `int f(u64 skb)`, which returns 1 where it holds, else 0. The argument
/// is the address of an sk_buff.
pub fn condition(source: Source<'_>, types: &Btf<'_>) -> Result<Program, CompileError> {
    let expression = parser::expression(source)?;
    let checker = Checker::new(source, types)?;
    let condition = checker.condition(&expression)?;
    let result = |value| vec![(expression.at.start, Step::Return(Node::Number(value)))];
    let steps = vec![(expression.at.start, Step::If(condition, result(1), result(0)))];
    program(source, &steps, Convention::Condition, checker.slots)
}

/// Compiles expressions to a function that writes their values behind each other, in at most `most` bytes.
pub fn fields(sources: &[(&str, Source<'_>)], types: &Btf<'_>, most: u32) -> Result<Fields, CompileError> {
    let mut fields = Vec::new();
    let mut steps = Steps::new();
    // One text for all, so that each line of it stands for a field.
    let mut lines: Vec<String> = Vec::new();
    let mut start = 0;
    for (name, source) in sources {
        let expression = parser::expression(*source)?;
        let checker = Checker::new(*source, types)?;
        let value = checker.value(&expression)?;
        let (_, step) = field::place(&checker, &mut fields, name, value, &expression.at)?;
        let needed = field::size(&fields);
        if needed > most {
            return Err(source.error(&expression.at, Problem::TooManyBytes { needed, most }));
        }
        let line: String = source.text.split_whitespace().collect::<Vec<_>>().join(" ");
        steps.push((start, step));
        start += line.len() + 1;
        lines.push(line);
    }
    let text = lines.join("\n");
    let whole = Source {
        name: sources.first().map_or("fields", |(_, source)| source.name),
        text: &text,
    };
    let program = program(whole, &steps, Convention::Module, 0)?;
    let size = field::size(&fields);
    Ok(Fields { program, fields, size })
}

/// The name of the function that a script defines.
const MODULE: &str = "module";

/// Compiles the function `module(skb)` of a script, which returns a table of values, or nil to drop the event. The
/// values are written behind each other, in at most `most` bytes. Beside the function, a script has constants.
pub fn module(source: Source<'_>, types: &Btf<'_>, most: u32) -> Result<Fields, CompileError> {
    let script = parser::script(source)?;
    let whole = 0..source.text.lines().next().unwrap_or_default().len();
    let unsupported = |at: &std::ops::Range<usize>, what: &str, remedy: &'static str| {
        let what = what.to_owned();
        source.error(at, Problem::Unsupported { what, remedy })
    };
    let mut function = None;
    for each in script.functions {
        if each.name != MODULE || function.is_some() {
            let what = "a script has one function, 'module'";
            return Err(unsupported(&each.at, what, "write its statements into that function"));
        }
        function = Some(each);
    }
    let Some(function) = function else {
        let remedy = "define it: function module(skb) return { len = skb.len } end";
        return Err(unsupported(&whole, "the script has no function 'module'", remedy));
    };
    let [(packet, _)] = function.parameters.as_slice() else {
        let remedy = "write: function module(skb)";
        return Err(unsupported(
            &function.at,
            "'module' has one parameter, the packet",
            remedy,
        ));
    };
    let mut checker = Checker::new(source, types)?;
    for (name, at, value) in &script.constants {
        let value = checker.value(value)?;
        let is_constant = match &value.kind {
            value::Kind::Number(node, _) => matches!(node, Node::Number(_)),
            value::Kind::Constant(_) => true,
            value::Kind::Boolean => matches!(value.truth, ir::Condition::Constant(_)),
            _ => false,
        };
        if !is_constant {
            return Err(unsupported(
                at,
                "outside of the function, values are constants",
                "move it into the function",
            ));
        }
        checker.variables.push(check::Variable {
            name: name.clone(),
            value,
            slot: None,
        });
    }
    checker.variables.push(check::Variable {
        name: packet.clone(),
        value: value::Value::pointer(Node::Packet, checker.packet),
        slot: None,
    });
    let mut body = statement::Body::new(checker, &function.body, most);
    let steps = body.function(&function.body, function.end)?;
    let Some(fields) = body.fields else {
        let remedy = "return a table: return { len = skb.len }";
        return Err(unsupported(&function.at, "'module' returns no values", remedy));
    };
    let program = program(source, &steps, Convention::Module, body.checker.slots)?;
    let size = field::size(&fields);
    Ok(Fields { program, fields, size })
}

/// Compiles a function of a script that runs to a program of a socket, `int f(struct __sk_buff *)`, which the kernel
/// loads as it is. `lines`: the first and the last line of the function in the script, as Lua knows them.
///
/// The function reads the packet (`pkt.ip.proto`), fields of its one parameter (`skb.len`), and maps; it writes maps.
/// Its result is the number of bytes of the packet that the socket keeps; without one, 0.
pub fn socket(
    source: Source<'_>,
    lines: std::ops::RangeInclusive<usize>,
    environment: &dyn Environment,
) -> Result<Program, CompileError> {
    let part = function::find(source, &lines)?;
    let function = parser::function(source, part.clone())?;
    let types = bpf_btf::Builder::new().build();
    let unreadable = || {
        let what = "the compiler's own types cannot be read".to_owned();
        let remedy = "report it as a bug";
        source.error(&function.at, Problem::Unsupported { what, remedy })
    };
    let types = Btf::parse(&types).map_err(|_| unreadable())?;
    let mut checker = Checker::of_socket(source, &types, environment);
    if let Some((_, at)) = function.parameters.get(1) {
        let what = "a program of a socket has one parameter, the packet's context".to_owned();
        let remedy = "remove the others: function (skb)";
        return Err(source.error(at, Problem::Unsupported { what, remedy }));
    }
    for (name, _) in &function.parameters {
        checker.variables.push(check::Variable {
            name: name.clone(),
            value: value::Value::always(value::Kind::Context),
            slot: None,
        });
    }
    let mut body = statement::Body::new(checker, &function.body, 0);
    let steps = body.function(&function.body, function.end)?;
    let slots = body.checker.slots;
    program_at(source, &part, &steps, Convention::Socket, slots)
}

/// Returns the number that a script assigns to a name at its top, such as `api_version`; none if it does not.
pub fn assigned_number(text: &str, name: &str) -> Option<i64> {
    let tokens = lexer::tokens(Source { name: "script", text }).ok()?;
    let mut depth = 0_usize;
    let mut found = None;
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            lexer::TokenKind::Symbol("function" | "if" | "do" | "repeat" | "{" | "(") => depth += 1,
            lexer::TokenKind::Symbol("end" | "until" | "}" | ")") => depth = depth.saturating_sub(1),
            lexer::TokenKind::Name(found_name) if depth == 0 && found_name == name => {
                let next = |distance: usize| tokens.get(at + distance).map(|token| &token.kind);
                if let (Some(lexer::TokenKind::Symbol("=")), Some(lexer::TokenKind::Integer(value))) =
                    (next(1), next(2))
                {
                    found = Some(*value);
                }
            }
            _ => {}
        }
    }
    found
}

/// Makes the program of statements.
fn program(source: Source<'_>, steps: &Steps, convention: Convention, slots: usize) -> Result<Program, CompileError> {
    let at = 0..source.text.trim_end().len();
    program_at(source, &at, steps, convention, slots)
}

/// Makes the program of statements, which are these bytes of a source.
fn program_at(
    source: Source<'_>,
    at: &std::ops::Range<usize>,
    steps: &Steps,
    convention: Convention,
    slots: usize,
) -> Result<Program, CompileError> {
    let excess = |excess| {
        let problem = match excess {
            Excess::Stack => Problem::Stack(convention.most_stack()),
            Excess::Instructions => Problem::TooLarge(MOST_INSTRUCTIONS),
        };
        source.error(at, problem)
    };
    let (emitter, stack) = generate::generate(steps, convention, slots, field::longest_read(steps)).map_err(excess)?;
    let (code, sources) = emitter.finish().ok_or_else(|| excess(Excess::Instructions))?;
    Ok(Program {
        code,
        lines: emit::lines(source.text, &sources),
        stack,
        convention,
    })
}
