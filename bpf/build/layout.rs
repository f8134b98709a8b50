//! Translates what the compiler says of `wire.h` into Rust constants that `src/wire.rs` is built from and compared with:
//! of each struct its size and its fields' places, of each enum its values, and the values of `#define`s. Reads ELF files
//! for that. Imports nothing of ours.
//!
//! The structs and enums come from the BTF of an object (`include/uapi/linux/btf.h` in the kernel's sources), the
//! `#define`s from the preprocessor's list. Anything unexpected is a panic: it stops the build.

/// Prefix of the relevant names.
const PREFIX: &str = "ipft_";

/// Generates Rust modules for the types in an object's BTF.
pub(crate) fn of_types(object: &[u8]) -> String {
    let btf = Btf::parse(section(object, ".BTF"));
    let mut rust = String::new();
    for each in btf.types.iter().filter(|each| each.name.starts_with(PREFIX)) {
        let constants: Vec<String> = match each.kind {
            Kind::Struct => {
                let fields = btf.fields(each).into_iter();
                let place = |(name, offset, size)| format!("pub const {name}: (usize, usize) = ({offset}, {size});\n");
                let size = format!("pub const SIZE: usize = {};\n", each.size);
                std::iter::once(size).chain(fields.map(place)).collect()
            }
            Kind::Enum => {
                let values = btf.values(each).into_iter();
                values
                    .map(|(name, value)| format!("pub const {name}: u32 = {value};\n"))
                    .collect()
            }
            _ => continue,
        };
        let count = format!("pub const COUNT: usize = {};\n", each.count);
        rust += &format!("pub mod {} {{\n{count}{}}}\n", each.name, constants.concat());
    }
    rust
}

/// The `#define`s of `wire.h` with their values.
pub(crate) struct Defines(Vec<(String, u64)>);

impl Defines {
    /// Parses the output of `clang -E -dM`.
    pub(crate) fn parse(preprocessed: &str) -> Self {
        let mut defines = Vec::new();
        for line in preprocessed.lines() {
            let mut words = line.split_whitespace().skip(1);
            let (Some(name), Some(value), None) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if name.starts_with("IPFT_") {
                let digits = value.trim_end_matches(['u', 'l']);
                let number = match digits.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16),
                    None => digits.parse(),
                };
                let number =
                    number.unwrap_or_else(|_| panic!("wire.h: the value of {name} is no plain number: {value}"));
                defines.push((name.to_owned(), number));
            }
        }
        Defines(defines)
    }

    /// Returns the value of one of them.
    pub(crate) fn value(&self, wanted: &str) -> u64 {
        let found = self.0.iter().find(|(name, _)| name == wanted);
        found.unwrap_or_else(|| panic!("wire.h does not define {wanted}")).1
    }

    /// Generates Rust constants.
    pub(crate) fn to_rust(&self) -> String {
        let constant = |(name, value): &(String, u64)| format!("pub const {name}: u64 = {value};\n");
        self.0.iter().map(constant).collect()
    }
}

/// A 64-bit little-endian ELF file.
pub(crate) struct Elf<'a> {
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) functions: Vec<Function<'a>>,
}

/// A section of an ELF file.
pub(crate) struct Section<'a> {
    pub(crate) index: usize,
    name: &'a str,
    kind: usize,
    flags: usize,
    /// Position in the file.
    pub(crate) start: usize,
    size: usize,
}

/// A symbol of a function.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_global: bool,
    /// Index of its section.
    pub(crate) section: usize,
    /// Position in its section.
    pub(crate) start: usize,
    pub(crate) size: usize,
}

impl Section<'_> {
    /// Returns the position in the file after the section.
    pub(crate) fn end(&self) -> usize {
        self.start + self.size
    }

    /// Returns whether the section has instructions (SHF_EXECINSTR).
    pub(crate) fn is_code(&self) -> bool {
        self.flags & 4 != 0
    }
}

impl<'a> Elf<'a> {
    pub(crate) fn parse(object: &'a [u8]) -> Self {
        const SYMBOL: usize = 24;
        const SYMBOLS: usize = 2;
        const FUNCTION: u8 = 2;
        let headers = long(object, 0x28);
        let header = |index: usize| &object[headers + index * 64..][..64];
        let bytes = |header: &[u8]| &object[long(header, 24)..][..long(header, 32)];
        let names = bytes(header(short(object, 0x3e).into()));
        let sections: Vec<Section<'a>> = (0..usize::from(short(object, 0x3c)))
            .map(|index| (index, header(index)))
            .map(|(index, header)| Section {
                index,
                name: text(names, word(header, 0)),
                kind: word(header, 4),
                flags: long(header, 8),
                start: long(header, 24),
                size: long(header, 32),
            })
            .collect();
        let tables = sections.iter().filter(|section| section.kind == SYMBOLS);
        let functions = tables.flat_map(|table| {
            let names = bytes(header(word(header(table.index), 40)));
            let symbols = object[table.start..table.end()].chunks_exact(SYMBOL);
            symbols
                .filter(|symbol| symbol[4] & 15 == FUNCTION)
                .map(move |symbol| Function {
                    name: text(names, word(symbol, 0)),
                    is_global: symbol[4] >> 4 == 1,
                    section: short(symbol, 6).into(),
                    start: long(symbol, 8),
                    size: long(symbol, 16),
                })
        });
        let functions = functions.collect();
        Elf { sections, functions }
    }
}

/// Returns a section's bytes.
fn section<'a>(object: &'a [u8], wanted: &str) -> &'a [u8] {
    let elf = Elf::parse(object);
    let found = elf.sections.iter().find(|section| section.name == wanted);
    let found = found.unwrap_or_else(|| panic!("the object of wire.h has no section {wanted}"));
    &object[found.start..found.end()]
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Pointer,
    Array,
    Struct,
    Enum,
    /// A typedef or qualifier of another type.
    Alias,
    Other,
}

struct Type<'a> {
    name: &'a str,
    kind: Kind,
    /// Size in bytes, or the number of the referenced type.
    size: usize,
    count: usize,
    /// The data after the type's head.
    more: &'a [u8],
}

struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    fn parse(section: &'a [u8]) -> Self {
        let start = word(section, 4);
        let strings = &section[start + word(section, 16)..];
        let mut rest = &section[start + word(section, 8)..][..word(section, 12)];
        // Type 0 is void.
        let mut types = vec![Type {
            name: "",
            kind: Kind::Other,
            size: 0,
            count: 0,
            more: &[],
        }];
        while !rest.is_empty() {
            let info = word(rest, 4);
            let count = info & 0xffff;
            let (kind, more) = match info >> 24 & 0x1f {
                1 => (Kind::Plain, 4),
                2 => (Kind::Pointer, 0),
                3 => (Kind::Array, 12),
                4 => (Kind::Struct, 12 * count),
                5 => (Kind::Other, 12 * count),
                6 => (Kind::Enum, 8 * count),
                8..=11 => (Kind::Alias, 0),
                7 | 12 | 16 | 18 => (Kind::Other, 0),
                13 => (Kind::Other, 8 * count),
                14 | 17 => (Kind::Other, 4),
                15 | 19 => (Kind::Other, 12 * count),
                other => panic!("BTF of wire.h: kind {other} is not known"),
            };
            let (head, behind) = rest.split_at(12);
            types.push(Type {
                name: text(strings, word(head, 0)),
                kind,
                size: word(head, 8),
                count,
                more: &behind[..more],
            });
            rest = &behind[more..];
        }
        Btf { types, strings }
    }

    /// Returns name, offset and size of each field, in bytes.
    fn fields(&self, of: &Type<'a>) -> Vec<(&'a str, usize, usize)> {
        let field = |index| {
            let field = &of.more[12 * index..][..12];
            (
                text(self.strings, word(field, 0)),
                word(field, 8) / 8,
                self.size(word(field, 4)),
            )
        };
        (0..of.count).map(field).collect()
    }

    /// Returns name and number of each enumerator.
    fn values(&self, of: &Type<'a>) -> Vec<(&'a str, usize)> {
        let value = |index| {
            let value = &of.more[8 * index..][..8];
            (text(self.strings, word(value, 0)), word(value, 4))
        };
        (0..of.count).map(value).collect()
    }

    /// Returns the size of a type in bytes.
    fn size(&self, id: usize) -> usize {
        let of = &self.types[id];
        match of.kind {
            Kind::Plain | Kind::Struct | Kind::Enum => of.size,
            Kind::Pointer => 8,
            Kind::Array => self.size(word(of.more, 0)) * word(of.more, 8),
            Kind::Alias => self.size(of.size),
            Kind::Other => panic!("BTF of wire.h: a field has a type that is not known"),
        }
    }
}

fn text(strings: &[u8], at: usize) -> &str {
    let rest = &strings[at..];
    let end = rest
        .iter()
        .position(|byte| *byte == 0)
        .expect("strings of an object end");
    std::str::from_utf8(&rest[..end]).expect("names in C are text")
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn long(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize
}
