//! Checks a BPF object before libbpf reads it.
//!
//! libbpf's linker speaks to developers of libbpf, and trusts its input more than a file from anybody deserves. Here
//! each way in which an object cannot become an extension has an error of its own that says what to change. Nothing
//! is copied, and no bytes make it panic or take longer than a few passes over them.

use object::NativeEndian;
use object::elf::{self, FileHeader64, SectionHeader64};
use object::read::elf::{FileHeader, SectionHeader, SectionTable, Sym, SymbolTable};
use thiserror::Error;

use crate::kernel::btf::{Btf, BtfError, Kind, Type};

/// The most bytes of an object. With full DWARF of all the kernel's types it has two million.
pub const MAX_OBJECT: usize = 16 << 20;

/// The function that every kernel-side extension defines.
const MODULE: &str = "module";
/// Its source, for messages.
const PROTOTYPE: &str = "__hidden int module(void *ctx, struct sk_buff *skb, __u8 data[64])";

/// The reason why an object cannot be linked into the probes.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ObjectError {
    /// Larger than any extension.
    #[error("the object has {0} bytes, and an extension at most {MAX_OBJECT}")]
    TooLarge(usize),
    /// Something else.
    #[error("this is no ELF object; compile the source with: clang -target bpf -O2 -g -c")]
    NotElf,
    /// Output of `clang -emit-llvm`, which is one step short of an object.
    #[error("this is LLVM bitcode and no object yet; compile without -emit-llvm: clang -target bpf -O2 -g -c")]
    Bitcode,
    /// ELF for 32-bit machines.
    #[error("the object is 32-bit ELF, and BPF's is 64-bit; compile with: clang -target bpf -O2 -g -c")]
    NotElf64,
    /// Made for a machine of the other byte order.
    #[error("the object is for machines of the other byte order; compile with -target {TARGET} instead")]
    Endian,
    /// Made for a processor.
    #[error("the object is for machine {0} and not for BPF (247); compile with: clang -target bpf -O2 -g -c")]
    Machine(u16),
    /// Linked already, or a core file.
    #[error("the object is of ELF type {0} and not relocatable (1); compile with -c, and do not link it")]
    NotRelocatable(u16),
    /// It says it is an object and is none.
    #[error("the object is damaged: {0}; compile it anew")]
    Damaged(String),
    /// It has no such symbol.
    #[error("the object has no function `module`; define it: {PROTOTYPE}")]
    NoModule,
    /// It uses `module` and does not have it.
    #[error("the object declares the function `module` and does not define it; define it: {PROTOTYPE}")]
    Undefined,
    /// `static`, or made local by other means.
    #[error("`module` is local to the object, where the probes cannot call it; remove `static`: {PROTOTYPE}")]
    Local,
    /// A variable.
    #[error("`module` is no function in the object; define it as one: {PROTOTYPE}")]
    NotFunction,
    /// It has a value and no code.
    #[error("`module` is not in a section of code that the object has; define it as a plain function: {PROTOTYPE}")]
    NotCode,
    /// It is a program of its own: libbpf links only `.text` as functions that programs call.
    #[error("`module` has a section of its own and must be in .text to be called; remove its SEC(...): {PROTOTYPE}")]
    Section,
    /// It has no type information.
    #[error("the object has no type information (.BTF); compile with -g")]
    NoBtf,
    /// Its type information cannot be read.
    #[error("cannot read the object's type information (.BTF): {0}; compile it anew with -g")]
    Btf(#[from] BtfError),
    /// Its type information does not have `module`.
    #[error("the object's type information (.BTF) does not have `module`; compile it with -g, and do not strip it")]
    NoPrototype,
    /// `module` takes or returns something else.
    #[error("`module` {0}; it has to be: {PROTOTYPE}")]
    Prototype(&'static str),
}

/// clang's name of BPF with this machine's byte order.
const TARGET: &str = if cfg!(target_endian = "little") {
    "bpfel"
} else {
    "bpfeb"
};

impl From<object::read::Error> for ObjectError {
    fn from(error: object::read::Error) -> Self {
        ObjectError::Damaged(error.to_string())
    }
}

/// An object that can be handed to libbpf.
#[derive(Debug)]
pub struct Checked<'a> {
    bytes: &'a [u8],
    btf_bytes: &'a [u8],
    btf: Btf<'a>,
}

impl<'a> Checked<'a> {
    /// The whole object.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its section `.BTF`.
    pub fn btf_bytes(&self) -> &'a [u8] {
        self.btf_bytes
    }

    /// Its types.
    pub fn btf(&self) -> &Btf<'a> {
        &self.btf
    }
}

type Header = FileHeader64<NativeEndian>;
type Sections<'a> = SectionTable<'a, Header>;

/// Checks an object that is to be linked into the probes.
pub fn check(bytes: &[u8]) -> Result<Checked<'_>, ObjectError> {
    if bytes.len() > MAX_OBJECT {
        return Err(ObjectError::TooLarge(bytes.len()));
    }
    let header = header(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let names = section_names(header, endian, bytes, &sections)?;
    check_module(endian, bytes, &sections, names)?;
    let btf_bytes = btf_section(endian, bytes, &sections, names)?;
    let btf = Btf::parse(btf_bytes)?;
    check_prototype(&btf)?;
    Ok(Checked { bytes, btf_bytes, btf })
}

/// The header of an object for BPF on this machine.
fn header(bytes: &[u8]) -> Result<&Header, ObjectError> {
    if bytes.starts_with(b"BC\xc0\xde") {
        return Err(ObjectError::Bitcode);
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(ObjectError::NotElf);
    }
    // The class, then the byte order, follow the magic.
    match bytes.get(4) {
        Some(1) => return Err(ObjectError::NotElf64),
        Some(2) => {}
        _ => return Err(ObjectError::Damaged("its class is neither 32 nor 64 bits".to_owned())),
    }
    match (bytes.get(5), cfg!(target_endian = "little")) {
        (Some(1), true) | (Some(2), false) => {}
        (Some(1 | 2), _) => return Err(ObjectError::Endian),
        _ => {
            return Err(ObjectError::Damaged(
                "its byte order is neither little nor big".to_owned(),
            ));
        }
    }
    let header = Header::parse(bytes)?;
    let endian = header.endian()?;
    if header.e_machine(endian) != elf::EM_BPF {
        return Err(ObjectError::Machine(header.e_machine(endian).0));
    }
    if header.e_type(endian) != elf::ET_REL {
        return Err(ObjectError::NotRelocatable(header.e_type(endian).0));
    }
    Ok(header)
}

/// The bytes of the table that holds the sections' names.
///
/// Names are compared in place, without looking for their ends: a table of a million names may be one long string.
fn section_names<'a>(
    header: &Header,
    endian: NativeEndian,
    bytes: &'a [u8],
    sections: &Sections<'a>,
) -> Result<&'a [u8], ObjectError> {
    let index = header.shstrndx(endian, bytes)?;
    let section = sections.section(object::SectionIndex(index as usize))?;
    Ok(section.data(endian, bytes)?)
}

/// Returns whether the string at an offset is this one.
fn is_named(strings: &[u8], offset: u32, name: &str) -> bool {
    let rest = strings
        .get(offset as usize..)
        .and_then(|tail| tail.strip_prefix(name.as_bytes()));
    rest.is_some_and(|rest| rest.first() == Some(&0))
}

/// Checks the symbol `module`, if there are several the one that comes nearest to what it should be.
fn check_module<'a>(
    endian: NativeEndian,
    bytes: &'a [u8],
    sections: &Sections<'a>,
    names: &[u8],
) -> Result<(), ObjectError> {
    let table = sections.symbols(endian, bytes, elf::SHT_SYMTAB)?;
    let strings = match table.string_section().0 {
        0 => &[][..],
        _ => sections.section(table.string_section())?.data(endian, bytes)?,
    };
    let mut judgement = Err(ObjectError::NoModule);
    for (index, symbol) in table.enumerate() {
        if !is_named(strings, symbol.st_name(endian), MODULE) {
            continue;
        }
        let judged = judge(endian, bytes, sections, names, &table, (index, symbol));
        // A local symbol may have the name beside the global one, which is the one that others see.
        if symbol.st_bind() != elf::STB_LOCAL {
            return judged;
        }
        judgement = judged;
    }
    judgement
}

fn judge<'a>(
    endian: NativeEndian,
    bytes: &'a [u8],
    sections: &Sections<'a>,
    names: &[u8],
    table: &SymbolTable<'a, Header>,
    (index, symbol): (object::SymbolIndex, &elf::Sym64<NativeEndian>),
) -> Result<(), ObjectError> {
    if symbol.is_undefined(endian) {
        return Err(ObjectError::Undefined);
    }
    if symbol.st_type() != elf::STT_FUNC {
        return Err(ObjectError::NotFunction);
    }
    match symbol.st_bind() {
        // A weak one is as good: ours is a declaration.
        elf::STB_GLOBAL | elf::STB_WEAK => {}
        _ => return Err(ObjectError::Local),
    }
    let place = table.symbol_section(endian, symbol, index)?;
    let section: &SectionHeader64<_> = sections.section(place.ok_or(ObjectError::NotCode)?)?;
    let code = section.sh_type(endian) == elf::SHT_PROGBITS && section.sh_flags(endian).contains(elf::SHF_EXECINSTR);
    let len = section.data(endian, bytes)?.len() as u64;
    let end = symbol.st_value(endian).checked_add(symbol.st_size(endian));
    if !code || symbol.st_size(endian) == 0 || end.is_none_or(|end| end > len) {
        return Err(ObjectError::NotCode);
    }
    if !is_named(names, section.sh_name(endian), ".text") {
        return Err(ObjectError::Section);
    }
    Ok(())
}

/// The bytes of the section `.BTF`.
fn btf_section<'a>(
    endian: NativeEndian,
    bytes: &'a [u8],
    sections: &Sections<'a>,
    names: &[u8],
) -> Result<&'a [u8], ObjectError> {
    let section = sections
        .iter()
        .find(|section| is_named(names, section.sh_name(endian), ".BTF"))
        .ok_or(ObjectError::NoBtf)?;
    let data = section.data(endian, bytes)?;
    if data.is_empty() {
        return Err(ObjectError::NoBtf);
    }
    Ok(data)
}

/// Checks what `module` takes and returns. libbpf's linker compares the declarations too, and says less.
fn check_prototype(btf: &Btf) -> Result<(), ObjectError> {
    let function = btf.functions().find(|function| function.is_named(MODULE));
    let prototype = function
        .and_then(|function| btf.get(function.target()))
        .filter(|prototype| prototype.kind() == Kind::Prototype)
        .ok_or(ObjectError::NoPrototype)?;
    if prototype.parameters().len() != 3 {
        return Err(ObjectError::Prototype("does not take three parameters"));
    }
    let is = |id, wanted: &[Kind]| btf.peel(id).is_some_and(|found: Type| wanted.contains(&found.kind()));
    if !prototype
        .parameters()
        .all(|parameter| is(parameter.type_id, &[Kind::Pointer]))
    {
        return Err(ObjectError::Prototype("has a parameter that is no pointer"));
    }
    if !is(prototype.target(), &[Kind::Int]) || btf.size_of(prototype.target()) != Some(4) {
        return Err(ObjectError::Prototype("does not return an int"));
    }
    Ok(())
}
