//! What is known about a trace besides its events: before them, while it learns new functions, and after them.

use std::sync::LazyLock;

use crate::fields::Lookup;

/// Everything about a trace that is known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// `function` (entries only) or `function_graph` (entries and returns).
    pub tracer: String,
    /// The backend that attached (`kprobe-multi`, ...).
    pub backend: String,
    /// The fixed fields, which every payload begins with, unless it is empty.
    pub fields: Vec<Field>,
    /// Bytes of the part of a payload that the fixed fields are in.
    pub payload_size: u32,
    /// Whether values of a script or a decoder, each with its name, may follow them.
    pub tail: bool,
    /// Nanoseconds to add to an event's timestamp to get nanoseconds since 1970 (UTC).
    pub clock_offset: i64,
    /// The command line, as it was given.
    pub command_line: Vec<String>,
    /// `uname -r` of the traced kernel.
    pub kernel_release: String,
    /// The mark that a packet must carry, after masking.
    pub mark: u32,
    /// The bits of the mark that count.
    pub mask: u32,
    /// What a later version says besides.
    pub more: Vec<(String, String)>,
    /// The functions that events name by their index. It grows.
    pub functions: Vec<Function>,
    /// The names of tagged values. It grows.
    pub names: Vec<String>,
}

impl Trace {
    /// Whether returns are traced, so that calls have a duration and a depth.
    pub fn has_returns(&self) -> bool {
        self.tracer == "function_graph"
    }

    /// The function with this index; one named `?` if there is none, as in broken recordings.
    pub fn function(&self, index: u32) -> &Function {
        static UNKNOWN: LazyLock<Function> = LazyLock::new(|| Function {
            name: "?".to_owned(),
            module: "?".to_owned(),
            address: 0,
        });
        self.functions.get(index as usize).unwrap_or(&UNKNOWN)
    }

    /// Prepares access to a field by its name, so that no event costs a comparison of names. It is of use for this
    /// trace only. There need not be such a field: then no event has it.
    pub fn field(&self, name: &str) -> Lookup {
        Lookup::new(self, name)
    }
}

/// One function that is traced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Symbol name, with the compiler's suffix if it has one. It comes from the kernel and may hold anything.
    pub name: String,
    /// `vmlinux`, or the module's name.
    pub module: String,
    /// Address of the symbol, 0 where the kernel does not tell.
    pub address: u64,
}

/// One named value in an event's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name as the author wrote it; nested structs are dotted.
    pub name: String,
    /// Bytes from the start of the payload.
    pub offset: u32,
    /// Bytes. Of a bit-field: those that it touches, at most 9.
    pub size: u32,
    /// Of a bit-field: its first bit within these bytes, which are read as one little-endian number.
    pub bit_offset: u32,
    /// Of a bit-field: how many bits, 1 to 64. 0 if the value fills its bytes.
    pub bit_width: u32,
    /// What the bytes hold.
    pub kind: Kind,
    /// How people want to read it.
    pub format: Format,
    /// Of the formats `Enum`, `Flags` and `Symbol`: the names for values; symbols are sorted by value.
    pub members: Vec<Member>,
}

/// What a field's bytes hold, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned integer of up to 8 bytes.
    Unsigned,
    /// Signed integer of up to 8 bytes.
    Signed,
    /// Zero or not.
    Bool,
    /// Text, ended by a NUL or by the field's size.
    Char,
    /// A kernel address.
    Pointer,
    /// Bytes without a meaning of their own.
    Bytes,
}

impl Kind {
    /// The kind that the contract calls so; one that it does not know is bytes.
    pub fn named(name: &str) -> Self {
        match name {
            "unsigned" => Kind::Unsigned,
            "signed" => Kind::Signed,
            "bool" => Kind::Bool,
            "char" => Kind::Char,
            "pointer" => Kind::Pointer,
            _ => Kind::Bytes,
        }
    }
}

/// How a field is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As its kind suggests.
    Plain,
    /// Hexadecimal with `0x` in front.
    Hex,
    /// The name of the member that has the value.
    Enum,
    /// The names of the members whose bits are set.
    Flags,
    /// Four bytes in network order: an IPv4 address.
    Ipv4,
    /// Sixteen bytes in network order: an IPv6 address.
    Ipv6,
    /// Six bytes: an Ethernet address.
    Mac,
    /// Two bytes in network order: a port, an EtherType.
    Be16,
    /// Four bytes in network order.
    Be32,
    /// Nanoseconds, shown in seconds.
    Ktime,
    /// An address in the kernel, shown as the symbol that contains it.
    Symbol,
}

impl Format {
    /// The format that the contract calls so; one that it does not know is plain.
    pub fn named(name: &str) -> Self {
        match name {
            "hex" => Format::Hex,
            "enum" => Format::Enum,
            "enum_flags" => Format::Flags,
            "ipv4" => Format::Ipv4,
            "ipv6" => Format::Ipv6,
            "mac" => Format::Mac,
            "be16" => Format::Be16,
            "be32" => Format::Be32,
            "ktime" => Format::Ktime,
            "symbol" => Format::Symbol,
            _ => Format::Plain,
        }
    }
}

/// One member of an enum, or one symbol of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name in the source.
    pub name: String,
    /// Its value; a negative one sign-extended.
    pub value: u64,
}

/// Events that were lost in one way on one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// `buffer-full`, `recursion`, `return-missed`, `map-full`, `undecodable`, or a way of a later version.
    pub kind: String,
    /// Where, if the kernel counts it per CPU.
    pub cpu: Option<u32>,
    /// How many events.
    pub count: u64,
}

/// A function that was wanted and is not traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Symbol name.
    pub name: String,
    /// `vmlinux`, or the module's name.
    pub module: String,
    /// Why, in words for the user.
    pub reason: String,
}

/// Everything that is known when the trace has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that the trace delivered, also those that this plugin missed.
    pub events: u64,
    /// Packets that were given an identity, also those all of whose events were lost.
    pub packets: u64,
    /// Events that no sink saw, by way and CPU; empty if none was lost.
    pub losses: Vec<Loss>,
    /// Events that this plugin did not get because it was slower than the trace.
    pub missed: u64,
    /// How many functions were attached.
    pub attached: u32,
    /// The functions that could not be.
    pub skipped: Vec<Skipped>,
    /// What a later version says besides.
    pub more: Vec<(String, String)>,
}

impl Summary {
    /// Events lost in all ways and on all CPUs.
    pub fn lost(&self) -> u64 {
        self.losses.iter().fold(0, |sum, loss| sum.saturating_add(loss.count))
    }
}
