//! Limits of each number and list of a recording. The author of a file may write any number into it, so none determines
//! a reader's memory before it was compared with its limit, or with the size of the file.
//!
//! The error names the limited number, its value and the limit. Imports nothing of the crate.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::layout::{Kind, MAX_BLOCK};

/// Bytes of the fixed part of a payload. An extension fills 64, built-in fields the rest.
pub(super) const MAX_PAYLOAD: u64 = 256;
/// Bytes of the content of a block with events. A writer closes one with 4 MiB of payloads or captures, and 256 events
/// whose payloads are as large as they can be are added to it at once.
const MAX_EVENTS_BLOCK: u32 = 32 << 20;
/// Bytes of JSON. A kernel with its modules has some 300,000 symbols, of some 60 bytes each.
const MAX_DOCUMENT: u32 = 32 << 20;
/// Events of a block. Those that ipft writes have at most 32,768.
pub(super) const MAX_EVENTS: u64 = 1 << 20;
/// Names of tagged values. A script can make 4,096.
pub(super) const MAX_NAMES: u64 = 1 << 16;
/// Bytes of all of them.
pub(super) const MAX_NAME_BYTES: u64 = 8 << 20;
/// Members of one field that shows flags: each event is compared with all of them.
pub(super) const MAX_FLAGS: u64 = 1 << 12;
/// Members of all enums.
pub(super) const MAX_MEMBERS: u64 = 1 << 18;
/// Bytes of the names of all fields: each event is shown with all of them.
pub(super) const MAX_FIELD_NAMES: u64 = 1 << 16;

/// A number that is more than it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {found}, and can be at most {most}")]
pub struct TooLarge {
    /// Name of the number in the description of the format.
    pub field: &'static str,
    /// Its value.
    pub found: u64,
    /// The most that makes sense.
    pub most: u64,
}

/// The number, if it is no more than it can be.
pub(super) fn at_most(field: &'static str, found: u64, most: u64) -> Result<u64, TooLarge> {
    match found <= most {
        true => Ok(found),
        false => Err(TooLarge { field, found, most }),
    }
}

/// Bytes of the content of a block of this kind, at most.
pub(super) fn content(kind: Kind) -> u32 {
    match kind {
        Kind::EVENTS => MAX_EVENTS_BLOCK,
        Kind::TRACE | Kind::FUNCTIONS | Kind::LOSSES | Kind::DONE => MAX_DOCUMENT,
        _ => MAX_BLOCK,
    }
}

/// The items of a list.
pub(super) trait Entry {
    /// Name of the list.
    const LIST: &'static str;
    /// Maximum number of items.
    const MOST: usize;
}

/// A list that ends with an error, and not with the memory, when it is longer than it can be.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<T> List<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        List(items.into_iter().collect())
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + Entry> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Entry> Visitor<'de> for Items<T> {
    type Value = List<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the list `{}`", T::LIST)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == T::MOST {
                return Err(A::Error::custom(format_args!(
                    "`{}` can have at most {} entries",
                    T::LIST,
                    T::MOST
                )));
            }
            items.push(item);
        }
        Ok(List(items))
    }
}

/// A text that has at most so many bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Text<const MOST: usize>(pub(super) String);

/// The name of a function, a module, a field, or another word of the kernel.
pub(super) type Name = Text<4096>;
/// A word of a command line, of which the kernel takes 128 KiB.
pub(super) type Word = Text<{ 128 << 10 }>;

impl<const MOST: usize> From<&str> for Text<MOST> {
    fn from(text: &str) -> Self {
        Text(text.to_owned())
    }
}

impl<const MOST: usize> Serialize for Text<MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Text<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Characters::<MOST>)
    }
}

struct Characters<const MOST: usize>;

impl<const MOST: usize> Visitor<'_> for Characters<MOST> {
    type Value = Text<MOST>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a text of at most {MOST} bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text<MOST>, E> {
        match text.len() <= MOST {
            true => Ok(Text(text.to_owned())),
            false => Err(E::custom(format_args!(
                "a text has {} bytes, and can have at most {MOST}",
                text.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Three(#[allow(dead_code)] u8);

    impl Entry for Three {
        const LIST: &'static str = "threes";
        const MOST: usize = 3;
    }

    #[test]
    fn a_list_of_one_too_many_names_itself_and_the_place() {
        assert_eq!(serde_json::from_str::<List<Three>>("[1,2,3]").unwrap().0.len(), 3);
        let error = serde_json::from_str::<List<Three>>("[1,2,3,4]")
            .err()
            .unwrap()
            .to_string();
        assert_eq!(error, "`threes` can have at most 3 entries at line 1 column 9");
    }

    #[test]
    fn a_text_of_one_byte_too_many_is_refused() {
        assert_eq!(serde_json::from_str::<Text<3>>("\"abc\"").unwrap().0, "abc");
        let error = serde_json::from_str::<Text<3>>("\"abcd\"").unwrap_err().to_string();
        assert!(
            error.starts_with("a text has 4 bytes, and can have at most 3"),
            "{error}"
        );
    }

    #[test]
    fn a_number_that_is_too_large_is_named_with_its_limit() {
        assert_eq!(at_most("schema.size", 256, 256), Ok(256));
        let error = at_most("schema.size", 257, 256).unwrap_err();
        assert_eq!(error.to_string(), "`schema.size` is 257, and can be at most 256");
    }
}
