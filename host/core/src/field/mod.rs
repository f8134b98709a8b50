//! The built-in fields, which `--show` adds to every entry without an extension.
//!
//! They come in groups. Each has its own file here, with its name, its description and its fields, and a header of the
//! same name in `bpf/src/field/`, which fills it. Every kernel that can be traced has all of them, and their schema
//! describes them whole: a field that needs a check of the kernel or a decoder of its own has it in its file. [`ALL`]
//! is the registry: a group's index in it is its bit number in `ipft_config.fields`.
//!
//! The selected groups are stored in the order of the registry, each aligned, before the extension's bytes, which begin
//! at a multiple of eight. What a packet does not have is 0, or empty. This module imports `event`, and the layout of
//! `ipft_bpf`.

mod csum;
mod ct;
mod gso;
mod iface;
mod len;
mod mark;
mod netfilter;
mod netns;
mod proc;
mod route;
mod sock;
mod stack;
mod tc;
mod tunnel;
mod tuple;
mod vlan;

use std::str::FromStr;

use ipft_bpf::wire;

use crate::event::{EnumMember, Field, FieldFormat, FieldType, Schema};

/// One group of built-in fields.
#[derive(Debug)]
pub struct BuiltIn {
    /// Its name, in `--show`.
    pub name: &'static str,
    /// Its values in a few words, for the help of `--show`.
    pub about: &'static str,
    /// Its fields, in the order in which they are shown.
    pub fields: &'static [Part],
}

/// One field of a group.
#[derive(Debug)]
pub struct Part {
    /// Its name in every output.
    pub name: &'static str,
    /// Bytes from the start of the group.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
    /// Type of the bytes.
    pub kind: FieldType,
    /// Display format.
    pub format: PartFormat,
}

/// Display format of a built-in field.
#[derive(Clone, Copy, Debug)]
pub enum PartFormat {
    /// One without members.
    Simple(fn() -> FieldFormat),
    /// The name of the member that has the value.
    Enum(&'static [(&'static str, u64)]),
    /// The names of the members whose bits are set.
    Flags(&'static [(&'static str, u64)]),
}

impl PartFormat {
    const PLAIN: PartFormat = PartFormat::Simple(|| FieldFormat::Plain);
    const HEX: PartFormat = PartFormat::Simple(|| FieldFormat::Hex);
    const IP: PartFormat = PartFormat::Simple(|| FieldFormat::Ip);
    const BE16: PartFormat = PartFormat::Simple(|| FieldFormat::Be16);

    fn of_field(self) -> FieldFormat {
        let named = |members: &[(&str, u64)]| {
            let member = |(name, value): &(&str, u64)| EnumMember {
                name: (*name).to_owned(),
                value: *value,
            };
            members.iter().map(member).collect()
        };
        match self {
            PartFormat::Simple(format) => format(),
            PartFormat::Enum(members) => FieldFormat::Enum(named(members)),
            PartFormat::Flags(members) => FieldFormat::Flags(named(members)),
        }
    }
}

/// All groups, in the order of their bits.
pub static ALL: [&BuiltIn; wire::FIELDS] = [
    &len::GROUP,
    &mark::GROUP,
    &tuple::GROUP,
    &iface::GROUP,
    &netns::GROUP,
    &vlan::GROUP,
    &gso::GROUP,
    &csum::GROUP,
    &sock::GROUP,
    &proc::GROUP,
    &tunnel::GROUP,
    &ct::GROUP,
    &route::GROUP,
    &netfilter::GROUP,
    &tc::GROUP,
    &stack::GROUP,
];

/// The groups of a trace that follows packets, by default.
const OF_FILTER: u32 = wire::FIELD_LEN | wire::FIELD_MARK | wire::FIELD_TUPLE | wire::FIELD_IFACE | wire::FIELD_NETNS;

/// The word for no field.
const NONE: &str = "none";

/// The word for all fields.
const EVERY: &str = "all";

/// An unknown name of a built-in field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no field `{name}`; there are {}, {EVERY}, or {NONE}", names().join(", "))]
pub struct UnknownField {
    /// The unknown name.
    pub name: String,
}

/// Returns the names of all fields.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|field| field.name).collect()
}

/// Returns the fields with what they show, for a sentence: `len (length of the packet) and mark (its mark)`.
pub fn described() -> String {
    let mut fields: Vec<String> = ALL
        .iter()
        .map(|field| format!("{} ({})", field.name, field.about))
        .collect();
    let last = fields.pop().unwrap_or_default();
    match fields.is_empty() {
        true => last,
        false => format!("{} and {last}", fields.join(", ")),
    }
}

/// The built-in fields of a trace; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Show {
    /// The groups that are shown.
    bits: u32,
    /// Those of them that the user named.
    named: u32,
}

/// A change of the fields of a trace, as a user gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowList {
    /// Replaces the fields that a trace has by default.
    replaces: bool,
    added: u32,
    removed: u32,
}

impl FromStr for ShowList {
    type Err = UnknownField;

    /// Parses names separated by commas, in any order, or `all` or `none`. A name with `+` or `-` before it adds to the
    /// fields that there are by default, or takes away from them; a list of such names alone keeps the others.
    fn from_str(list: &str) -> Result<ShowList, UnknownField> {
        let mut parsed = ShowList {
            replaces: false,
            added: 0,
            removed: 0,
        };
        for word in list.split(',').map(str::trim) {
            let (sign, name) = match word.as_bytes().first() {
                Some(sign @ (b'+' | b'-')) => (Some(*sign), &word[1..]),
                _ => (None, word),
            };
            let bits = match (sign, name) {
                (_, EVERY) => (1 << ALL.len()) - 1,
                (None, NONE) if list == NONE => 0,
                (_, name) => {
                    let known = ALL.iter().position(|group| group.name == name);
                    1 << known.ok_or_else(|| UnknownField { name: name.to_owned() })?
                }
            };
            parsed.replaces |= sign.is_none();
            match sign {
                Some(b'-') => (parsed.removed, parsed.added) = (parsed.removed | bits, parsed.added & !bits),
                _ => (parsed.added, parsed.removed) = (parsed.added | bits, parsed.removed & !bits),
            }
        }
        Ok(parsed)
    }
}

impl ShowList {
    /// Returns the fields of a trace that has these by default.
    pub fn applied_to(&self, default: Show) -> Show {
        let kept = if self.replaces { 0 } else { default.bits };
        Show {
            bits: (kept | self.added) & !self.removed,
            named: self.added,
        }
    }
}

impl Show {
    /// The fields of a trace that follows packets, by default.
    pub fn of_filter() -> Show {
        Show {
            bits: OF_FILTER,
            named: 0,
        }
    }

    /// The groups of a trace of drops, by default.
    pub fn of_drops() -> Show {
        Show {
            bits: OF_FILTER | wire::FIELD_PROC,
            named: 0,
        }
    }

    /// Returns the configuration of the kernel side: one bit per group, in the order of [`ALL`].
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// Returns whether a group needs to know whether a softirq runs ([`crate::kernel::Contexts`]).
    pub fn has_proc(self) -> bool {
        self.bits & wire::FIELD_PROC != 0
    }

    /// Returns whether the verdicts of netfilter are shown.
    pub fn has_netfilter(self) -> bool {
        self.bits & wire::FIELD_NETFILTER != 0
    }

    /// Returns whether the verdicts of traffic control and XDP are shown.
    pub fn has_tc(self) -> bool {
        self.bits & wire::FIELD_TC != 0
    }

    /// Returns whether the stacks of drops are shown.
    pub fn has_stack(self) -> bool {
        self.bits & wire::FIELD_STACK != 0
    }

    /// Returns these fields as the perf buffer can carry them, and the names of those that it leaves out: its record is
    /// on the stack of a program, which has no room for `tunnel`, `ct` and `route`.
    pub fn by_perf_buffer(mut self) -> (Show, Vec<&'static str>) {
        let left_out = self.bits & (wire::FIELD_TUNNEL | wire::FIELD_CT | wire::FIELD_ROUTE);
        self.bits &= !left_out;
        let groups = ALL.iter().enumerate();
        let names = groups.filter(|(place, _)| left_out >> place & 1 == 1);
        (self, names.map(|(_, group)| group.name).collect())
    }

    /// Returns the bytes that they take before an extension's.
    pub fn size(self) -> u32 {
        wire::fields_size(self.bits)
    }

    /// Returns the groups and their offsets.
    fn placed(self) -> impl Iterator<Item = (&'static BuiltIn, u32)> {
        let chosen =
            (ALL.iter().zip(wire::FIELD_PLACES).enumerate()).filter(move |(place, _)| self.bits >> place & 1 == 1);
        chosen.scan(0, |end: &mut u32, (_, (group, (size, alignment)))| {
            let offset = end.next_multiple_of(alignment);
            *end = offset + size;
            Some((*group, offset))
        })
    }

    /// Returns the schema of payloads with these fields before an extension's.
    pub fn schema(self, extension: &Schema) -> Schema {
        let size = self.size();
        let builtin = self.placed().flat_map(|(group, start)| {
            group.fields.iter().map(move |field| Field {
                name: field.name.to_owned(),
                offset: start + field.offset as u32,
                size: field.size as u32,
                bits: None,
                kind: field.kind,
                format: field.format.of_field(),
            })
        });
        let moved = extension.fields.iter().map(|field| Field {
            offset: size + field.offset,
            ..field.clone()
        });
        Schema {
            size: size + extension.size,
            fields: builtin.chain(moved).collect(),
            builtin: size,
            tail: extension.tail,
        }
    }

    /// Returns these fields without the groups that an extension has a name of. A group that the user named is none to
    /// be left out: then the first such name is returned.
    pub fn beside(mut self, extension: &Schema) -> Result<Show, &'static str> {
        for (place, group) in ALL.iter().enumerate() {
            let clash = (group.fields.iter().map(|field| field.name))
                .find(|name| extension.fields.iter().any(|field| field.name == *name));
            match clash {
                Some(name) if self.bits & self.named & 1 << place != 0 => return Err(name),
                Some(_) => self.bits &= !(1 << place),
                None => {}
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension() -> Schema {
        Schema {
            size: 12,
            fields: vec![Field {
                name: "gso_size".to_owned(),
                offset: 4,
                size: 4,
                bits: None,
                kind: FieldType::Unsigned,
                format: FieldFormat::Plain,
            }],
            ..Schema::default()
        }
    }

    fn show(list: &str) -> Show {
        list.parse::<ShowList>().unwrap().applied_to(Show::default())
    }

    fn places(schema: &Schema) -> Vec<(&str, u32)> {
        let places = schema.fields.iter().map(|field| (&*field.name, field.offset));
        places.collect()
    }

    #[test]
    fn a_list_is_read_in_any_order() {
        for (list, bits, size) in [
            ("none", 0, 0),
            ("len", 1, 8),
            ("mark", 2, 8),
            ("mark, len", 3, 8),
            ("len,len", 1, 8),
            ("tuple", 4, 56),
            ("len,tuple", 5, 64),
            ("iface", 8, 24),
            ("iface,netns", 24, 32),
            ("vlan", 32, 8),
            ("proc", 512, 24),
            ("tunnel", 1024, 56),
            ("ct", 2048, 88),
            ("route", 4096, 40),
            ("netfilter", 8192, 0),
            ("tc", 16384, 0),
            ("stack", 32768, 0),
            ("all", 65535, 352),
            ("all,-tuple", 65531, 296),
            ("+len", 1, 8),
        ] {
            let show = show(list);
            assert_eq!((show.bits(), show.size()), (bits, size), "{list}");
        }
        for (list, name) in [
            ("length", "length"),
            ("len,", ""),
            ("none,len", "none"),
            ("", ""),
            ("+none", "none"),
        ] {
            let error = list.parse::<ShowList>().unwrap_err();
            assert_eq!(error.name, name);
            assert!(
                error.to_string().ends_with(
                    "there are len, mark, tuple, iface, netns, vlan, gso, csum, sock, proc, tunnel, ct, route, netfilter, tc, stack, all, or none"
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn the_perf_buffer_leaves_the_long_fields_out() {
        for (list, bits, less) in [
            ("all", 58367, vec!["tunnel", "ct", "route"]),
            ("tunnel,len", 1, vec!["tunnel"]),
            ("tuple", 4, vec![]),
        ] {
            let (carried, left_out) = show(list).by_perf_buffer();
            assert_eq!((carried.bits(), left_out), (bits, less), "{list}");
        }
    }

    #[test]
    fn signs_change_the_default() {
        for (list, bits) in [
            ("-tuple", 27),
            ("+len", 31),
            ("+proc,+vlan", 31 + 512 + 32),
            ("all", 65535),
            ("-tuple,-iface", 19),
            ("-all", 0),
            ("tuple", 4),
            ("-len,+len", 31),
        ] {
            let list: ShowList = list.parse().unwrap();
            assert_eq!(list.applied_to(Show::of_filter()).bits(), bits, "{list:?}");
        }
    }

    #[test]
    fn built_in_fields_come_before_an_extension() {
        let both = show("len,mark");
        let schema = both.schema(&extension());
        assert_eq!(places(&schema), [("len", 0), ("mark", 4), ("gso_size", 12)]);
        assert_eq!((schema.size, schema.builtin, schema.tail), (20, 8, false));
        assert!(schema.has_extension() && !both.schema(&Schema::default()).has_extension());
        let decoded = schema.decoded();
        assert_eq!(places(&decoded), [("len", 0), ("mark", 4)]);
        assert_eq!((decoded.size, decoded.builtin, decoded.tail), (8, 8, true));
        assert_eq!(Show::default().schema(&extension()), extension());
    }

    #[test]
    fn groups_have_the_places_that_the_programs_give_them() {
        let schema = show("len,tuple,iface,netns").schema(&Schema::default());
        let place = |name: &str| {
            let field = schema.fields.iter().find(|field| field.name == name).unwrap();
            (field.offset, field.size)
        };
        assert_eq!(
            ["len", "saddr", "dport", "icmp_seq", "iface", "ifindex", "netns"].map(place),
            [(0, 4), (8, 16), (42, 2), (62, 2), (64, 16), (80, 4), (88, 4)]
        );
        assert_eq!(schema.size, 96);
    }

    #[test]
    fn a_name_that_both_have_is_found() {
        let mut extension = extension();
        let show = show("len,mark");
        assert_eq!(show.beside(&extension), Ok(show));
        "mark".clone_into(&mut extension.fields[0].name);
        assert_eq!(show.beside(&extension), Err("mark"));
        assert_eq!(Show::of_filter().beside(&extension).unwrap().bits(), 29);
    }

    #[test]
    fn every_field_lies_in_its_group() {
        let mut names: Vec<&str> = Vec::new();
        for (group, (size, alignment)) in ALL.iter().zip(wire::FIELD_PLACES) {
            for field in group.fields {
                assert!(field.offset + field.size <= size as usize, "{}", field.name);
                names.push(field.name);
            }
            assert!(alignment <= 8, "so the bytes of an extension are");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name is there twice");
    }
}
