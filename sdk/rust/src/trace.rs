//! Properties of a trace besides its events: before them, with new functions, and after them.

use std::sync::LazyLock;

use crate::fields::Lookup;

/// Properties of a trace that are known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// `function` (entries only) or `function_graph` (entries and returns).
    pub tracer: String,
    /// The backend that attached (`kprobe-multi`, ...).
    pub backend: String,
    /// The fixed fields, with which every non-empty payload begins.
    pub fields: Vec<Field>,
    /// Size of the fixed fields in a payload, in bytes.
    pub payload_size: u32,
    /// Whether named values of a script or a decoder may follow them.
    pub tail: bool,
    /// Nanoseconds to add to an event's timestamp to get nanoseconds since 1970 (UTC).
    pub clock_offset: i64,
    /// The command line, as given.
    pub command_line: Vec<String>,
    /// `uname -r` of the traced kernel.
    pub kernel_release: String,
    /// The mark that a packet must carry, after masking.
    pub mark: u32,
    /// The bits of the mark that count.
    pub mask: u32,
    /// Properties that later versions add.
    pub more: Vec<(String, String)>,
    /// The functions, in the order of the events' indices. The list grows.
    pub functions: Vec<Function>,
    /// The names of tagged values. The list grows.
    pub names: Vec<String>,
}

impl Trace {
    /// Returns whether returns are traced, so that calls have a duration and a depth.
    pub fn has_returns(&self) -> bool {
        self.tracer == "function_graph"
    }

    /// Returns the function with this index; one named `?` if there is none, as in broken recordings.
    pub fn function(&self, index: u32) -> &Function {
        static UNKNOWN: LazyLock<Function> = LazyLock::new(|| Function {
            name: "?".to_owned(),
            module: "?".to_owned(),
            address: 0,
        });
        self.functions.get(index as usize).unwrap_or(&UNKNOWN)
    }

    /// Returns whether packets are followed, so that there are events of the kinds [`crate::Event::BORN`],
    /// [`crate::Event::JOINED`] and [`crate::Event::ENDED`].
    pub fn is_followed(&self) -> bool {
        self.fact("follow") == Some("true")
    }

    /// Returns the kernel's name of a reason to drop packets, such as `NETFILTER_DROP`; `None` if it is not known, as
    /// before Linux 5.17.
    pub fn drop_reason(&self, reason: u32) -> Option<&str> {
        let found = self.drop_reasons().find(|(number, _)| *number == reason)?;
        Some(found.1)
    }

    /// Returns the name by which classes and advice know a reason.
    fn reason_name(&self, reason: u32) -> Option<&str> {
        match self.drop_reason(reason) {
            Some(name) => Some(name),
            // Kernels before 5.17 tell no reason.
            None if reason == 0 => Some("NOT_SPECIFIED"),
            None => None,
        }
    }

    /// Returns why the kernel drops packets for a reason in a function, which is an index into `functions`, in one
    /// sentence, and the command or the change that tells more or helps, which may be empty. `None` if nothing is known.
    pub fn drop_advice(&self, reason: u32, function: u32) -> Option<(&str, &str)> {
        let lines = self.fact("drop-advice").unwrap_or_default().lines();
        let entries = lines.filter_map(|line| {
            let mut columns = line.split('\t');
            Some((columns.next()?, (columns.next()?, columns.next()?)))
        });
        self.of_drop(entries, reason, function)
    }

    /// Returns the class of a drop that is no loss, by the kernel's reason and the function that dropped the packet, as
    /// an index into `functions`: `duplicate`, `unwanted`, `clone`, `internal`, or one of a later version. `None` if
    /// the packet is lost, or nothing is known.
    pub fn drop_class(&self, reason: u32, function: u32) -> Option<&str> {
        let classes = self.fact("drop-classes").unwrap_or_default().split(',');
        let entries = classes.filter_map(|entry| entry.split_once('='));
        self.of_drop(entries, reason, function).filter(|class| *class != "lost")
    }

    /// Returns what entries by `REASON` or `REASON@FUNCTION` say of a drop. The function decides before the reason alone.
    fn of_drop<'a, T>(&self, entries: impl Iterator<Item = (&'a str, T)>, reason: u32, function: u32) -> Option<T> {
        let name = self.reason_name(reason)?;
        let function = self.functions.get(function as usize);
        // A suffix is the compiler's.
        let function = function.and_then(|function| function.name.split('.').next());
        let mut found = None;
        for (drop, said) in entries {
            match drop.split_once('@') {
                None if drop == name => found = found.or(Some(said)),
                Some((reason, place)) if reason == name && Some(place) == function => return Some(said),
                _ => {}
            }
        }
        found
    }

    /// Returns all reasons whose names are known, with their numbers.
    pub fn drop_reasons(&self) -> impl Iterator<Item = (u32, &str)> {
        let entries = self.fact("drop-reasons").unwrap_or_default().split(',');
        entries.filter_map(|entry| {
            let (number, name) = entry.split_once('=')?;
            Some((number.parse().ok()?, name))
        })
    }

    /// Returns a property of [`Trace::more`], such as `filter`.
    pub fn fact(&self, name: &str) -> Option<&str> {
        let found = self.more.iter().find(|(other, _)| other == name)?;
        Some(&found.1)
    }

    /// Prepares access to a field by its name, so that events need no comparison of names. The result is for this trace
    /// only. An unknown field is allowed: no event has it.
    pub fn field(&self, name: &str) -> Lookup {
        Lookup::new(self, name)
    }
}

/// One traced function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Symbol name, with the compiler's suffix if it has one. It comes from the kernel and may contain anything.
    pub name: String,
    /// `vmlinux`, or the module's name.
    pub module: String,
    /// Address of the symbol; 0 if the kernel does not expose it.
    pub address: u64,
}

/// One named value in an event's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name as the author wrote it; nested structs are dotted.
    pub name: String,
    /// Offset in the payload, in bytes.
    pub offset: u32,
    /// Size in bytes. For a bit-field: the bytes that it touches, at most 9.
    pub size: u32,
    /// For a bit-field: its first bit within these bytes, read as one little-endian number.
    pub bit_offset: u32,
    /// For a bit-field: its width in bits, 1 to 64. 0 if the value fills its bytes.
    pub bit_width: u32,
    /// Type of the bytes.
    pub kind: Kind,
    /// Display format.
    pub format: Format,
    /// For the formats `Enum`, `Flags` and `Symbol`: names of values; symbols are sorted by value.
    pub members: Vec<Member>,
}

/// Type of a field's bytes, little-endian.
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
    /// Uninterpreted bytes.
    Bytes,
}

impl Kind {
    /// Parses the contract's name of a kind; an unknown one is bytes.
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
    /// The default of its kind.
    Plain,
    /// Hexadecimal with the prefix `0x`.
    Hex,
    /// The name of the member with this value.
    Enum,
    /// The names of the members whose bits are set.
    Flags,
    /// Four bytes in network order: an IPv4 address.
    Ipv4,
    /// Sixteen bytes in network order: an IPv6 address.
    Ipv6,
    /// Sixteen bytes in network order: an IPv6 address or, as `::ffff:a.b.c.d`, an IPv4 one, which is shown as such.
    Ip,
    /// Six bytes: an Ethernet address.
    Mac,
    /// Two bytes in network order: a port, an EtherType.
    Be16,
    /// Four bytes in network order.
    Be32,
    /// Nanoseconds, shown in seconds.
    Ktime,
    /// A kernel address, shown as the symbol that contains it.
    Symbol,
}

impl Format {
    /// Parses the contract's name of a format; an unknown one is plain.
    pub fn named(name: &str) -> Self {
        match name {
            "hex" => Format::Hex,
            "enum" => Format::Enum,
            "enum_flags" => Format::Flags,
            "ipv4" => Format::Ipv4,
            "ipv6" => Format::Ipv6,
            "ip" => Format::Ip,
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
    /// Its value; negative ones are sign-extended.
    pub value: u64,
}

/// Events lost in one way on one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// `buffer-full`, `recursion`, `return-missed`, `map-full`, `rate-limit`, `no-buffer`,
    /// `undecodable`, or one of a later version.
    pub kind: String,
    /// The CPU, if the kernel counts per CPU.
    pub cpu: Option<u32>,
    /// Number of events.
    pub count: u64,
}

/// A selected function that is not traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Symbol name.
    pub name: String,
    /// `vmlinux`, or the module's name.
    pub module: String,
    /// The reason, in words for the user.
    pub reason: String,
}

/// Properties that are known when the trace has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that the trace delivered, including those that this plugin missed.
    pub events: u64,
    /// Packets that were given an identity, including those that lost all of their events.
    pub packets: u64,
    /// Events that no sink received, by way and CPU; empty if none was lost.
    pub losses: Vec<Loss>,
    /// Events that this plugin missed because it was slower than the trace.
    pub missed: u64,
    /// Number of attached functions.
    pub attached: u32,
    /// Functions that could not be attached.
    pub skipped: Vec<Skipped>,
    /// Properties that later versions add.
    pub more: Vec<(String, String)>,
}

impl Summary {
    /// Returns the number of events lost in all ways and on all CPUs.
    pub fn lost(&self) -> u64 {
        self.losses.iter().fold(0, |sum, loss| sum.saturating_add(loss.count))
    }
}
