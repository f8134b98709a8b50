//! The built-in fields, which `--show` adds to every entry without an extension.
//!
//! Each has its own file here, with its name, its description and its type, and a header of the same name in
//! `bpf/src/field/`, which fills it. Every kernel that can be traced has both fields, and their schema describes them
//! whole: a field that needs a check of the kernel or a decoder of its own has it in its file. [`ALL`] is the registry: a field's index in it is its bit number in
//! `ipft_config.fields`.
//!
//! The selected fields are stored in the order of the registry, each aligned to its own size, before the extension's
//! bytes, which begin at a multiple of eight. This module imports only `event`.

mod len;
mod mark;

use std::str::FromStr;

use crate::event::{Field, FieldFormat, FieldType, Schema};

/// Alignment of an extension's bytes.
const ALIGNMENT: u32 = 8;

/// One built-in field.
#[derive(Debug)]
pub struct BuiltIn {
    /// Its name, in `--show` and in every output.
    pub name: &'static str,
    /// Its value in a few words, for the help of `--show`.
    pub about: &'static str,
    /// Size in bytes: a power of two of at most eight.
    pub size: u32,
    /// Type of the bytes.
    pub kind: FieldType,
    /// Display format.
    pub format: FieldFormat,
}

/// All built-in fields, in the order of their bits.
pub static ALL: [&BuiltIn; 2] = [&len::FIELD, &mark::FIELD];

/// The word for no field.
const NONE: &str = "none";

/// An unknown name of a built-in field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no field `{name}`; there are {}, or {NONE}", names().join(", "))]
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
    bits: u32,
}

impl FromStr for Show {
    type Err = UnknownField;

    /// Parses names separated by commas, in any order, or `none`.
    fn from_str(list: &str) -> Result<Show, UnknownField> {
        let mut show = Show::default();
        if list == NONE {
            return Ok(show);
        }
        for name in list.split(',').map(str::trim) {
            let known = ALL.iter().position(|field| field.name == name);
            let place = known.ok_or_else(|| UnknownField { name: name.to_owned() })?;
            show.bits |= 1 << place;
        }
        Ok(show)
    }
}

impl Show {
    /// Returns the configuration of the kernel side: one bit per field, in the order of [`ALL`].
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// Returns the bytes that they take before an extension's.
    pub fn size(self) -> u32 {
        let end = self.placed().last().map_or(0, |(field, offset)| offset + field.size);
        end.next_multiple_of(ALIGNMENT)
    }

    /// Returns the fields and their offsets.
    fn placed(self) -> impl Iterator<Item = (&'static BuiltIn, u32)> {
        let chosen = ALL
            .iter()
            .enumerate()
            .filter(move |(place, _)| self.bits >> place & 1 == 1);
        chosen.scan(0, |end: &mut u32, (_, field)| {
            let offset = end.next_multiple_of(field.size);
            *end = offset + field.size;
            Some((*field, offset))
        })
    }

    /// Returns the schema of payloads with these fields before an extension's.
    pub fn schema(self, extension: &Schema) -> Schema {
        let size = self.size();
        let builtin = self.placed().map(|(field, offset)| Field {
            name: field.name.to_owned(),
            offset,
            size: field.size,
            bits: None,
            kind: field.kind,
            format: field.format.clone(),
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

    /// Returns the first of these fields that has the same name as one of an extension's.
    pub fn clash(self, extension: &Schema) -> Option<&'static str> {
        let names = self.placed().map(|(field, _)| field.name);
        let mut clashes = names.filter(|name| extension.fields.iter().any(|field| field.name == *name));
        clashes.next()
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

    #[test]
    fn a_list_is_read_in_any_order() {
        for (list, bits, size) in [
            ("none", 0, 0),
            ("len", 1, 8),
            ("mark", 2, 8),
            ("mark, len", 3, 8),
            ("len,len", 1, 8),
        ] {
            let show: Show = list.parse().unwrap();
            assert_eq!((show.bits(), show.size()), (bits, size), "{list}");
        }
        for (list, name) in [("length", "length"), ("len,", ""), ("none,len", "none"), ("", "")] {
            let error = list.parse::<Show>().unwrap_err();
            assert_eq!(error.name, name);
            assert!(error.to_string().ends_with("there are len, mark, or none"), "{error}");
        }
    }

    #[test]
    fn built_in_fields_come_before_an_extension() {
        let both: Show = "len,mark".parse().unwrap();
        let schema = both.schema(&extension());
        let places = |schema: &Schema| -> Vec<(String, u32)> {
            let places = schema.fields.iter().map(|field| (field.name.clone(), field.offset));
            places.collect()
        };
        let expected = [("len", 0), ("mark", 4), ("gso_size", 12)].map(|(name, offset)| (name.to_owned(), offset));
        assert_eq!(places(&schema), expected);
        assert_eq!((schema.size, schema.builtin, schema.tail), (20, 8, false));
        assert!(schema.has_extension() && !both.schema(&Schema::default()).has_extension());
        let decoded = schema.decoded();
        assert_eq!(places(&decoded), expected[..2]);
        assert_eq!((decoded.size, decoded.builtin, decoded.tail), (8, 8, true));
        assert_eq!(Show::default().schema(&extension()), extension());
    }

    #[test]
    fn a_name_that_both_have_is_found() {
        let mut extension = extension();
        let show: Show = "len,mark".parse().unwrap();
        assert_eq!(show.clash(&extension), None);
        "mark".clone_into(&mut extension.fields[0].name);
        assert_eq!(show.clash(&extension), Some("mark"));
        assert_eq!("len".parse::<Show>().unwrap().clash(&extension), None);
    }

    #[test]
    fn the_programs_have_the_same_fields() {
        use ipft_bpf::wire;
        for (list, bits) in [
            ("len", wire::FIELD_LEN),
            ("mark", wire::FIELD_MARK),
            ("len,mark", wire::FIELD_LEN | wire::FIELD_MARK),
        ] {
            let show: Show = list.parse().unwrap();
            assert_eq!((show.bits(), show.size()), (bits, wire::fields_size(bits)), "{list}");
        }
    }

    #[test]
    fn every_field_has_a_size_that_it_can_be_aligned_to() {
        for field in ALL {
            assert!(
                field.size.is_power_of_two() && field.size <= ALIGNMENT,
                "{}",
                field.name
            );
        }
        assert_eq!(names().len(), ALL.len());
    }
}
