//! The declaration tags that define a member's display format.

use super::MemberProblem;
use crate::event::FieldFormat;

/// Prefix of ipft's tags.
pub(super) const PREFIX: &str = "ipft:fmt:";

/// The display format of a member.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag<'b> {
    Hex,
    Enum(&'b str),
    Flags(&'b str),
    Ipv4,
    Ipv6,
    Ip,
    Mac,
    Be16,
    Be32,
    Ktime,
    Symbol,
}

impl<'b> Tag<'b> {
    /// Parses the whole text of a tag; `None` if it is not one of these.
    pub(super) fn parse(text: &'b str) -> Option<Self> {
        Some(match text.strip_prefix(PREFIX)? {
            "hex" => Tag::Hex,
            "ipv4" => Tag::Ipv4,
            "ipv6" => Tag::Ipv6,
            "ip" => Tag::Ip,
            "mac" => Tag::Mac,
            "be16" => Tag::Be16,
            "be32" => Tag::Be32,
            "ktime" => Tag::Ktime,
            "symbol" => Tag::Symbol,
            other => match other.split_once(':')? {
                ("enum", reference) => Tag::Enum(reference),
                ("enum_flags", reference) => Tag::Flags(reference),
                _ => return None,
            },
        })
    }

    /// Its name, and what it can be on.
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Tag::Hex => ("hex", "an integer, a pointer, an array of bytes, or an array of these"),
            Tag::Enum(_) => ("enum", "an integer or an array of integers"),
            Tag::Flags(_) => ("enum_flags", "an integer or an array of integers"),
            Tag::Ipv4 => ("ipv4", "an integer of 4 bytes, four bytes or a struct of this size"),
            Tag::Ipv6 => ("ipv6", "sixteen bytes, or a struct of this size"),
            Tag::Ip => ("ip", "sixteen bytes, or a struct of this size"),
            Tag::Mac => ("mac", "six bytes, or a struct of this size"),
            Tag::Be16 => ("be16", "an integer of 2 bytes, or two bytes"),
            Tag::Be32 => ("be32", "an integer of 4 bytes, or four bytes"),
            Tag::Ktime => ("ktime", "an integer of 8 bytes"),
            Tag::Symbol => ("symbol", "a pointer or an integer of 8 bytes"),
        }
    }

    /// The error of a tag that is on something else.
    pub(super) fn mismatch(self) -> MemberProblem {
        let (tag, wanted) = self.describe();
        MemberProblem::TagMismatch { tag, wanted }
    }

    /// Returns the size and format of a tag for several bytes in network order.
    pub(super) fn bytes(self) -> Option<(u32, FieldFormat)> {
        Some(match self {
            Tag::Ipv4 => (4, FieldFormat::Ipv4),
            Tag::Ipv6 => (16, FieldFormat::Ipv6),
            Tag::Ip => (16, FieldFormat::Ip),
            Tag::Mac => (6, FieldFormat::Mac),
            Tag::Be16 => (2, FieldFormat::Be16),
            Tag::Be32 => (4, FieldFormat::Be32),
            Tag::Hex | Tag::Enum(_) | Tag::Flags(_) | Tag::Ktime | Tag::Symbol => return None,
        })
    }
}
