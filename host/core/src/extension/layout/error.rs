//! Errors in layouts, in words for the author of the struct.

use thiserror::Error;

use crate::text::visible;

use super::{EVENT, MAX_DEPTH, MAX_ENUM_MEMBERS, MAX_EVENT, MAX_MEMBERS, MAX_NAME};

/// The reason why there is no layout.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    /// Nothing says which struct it is.
    #[error(
        "the object has no variable `{EVENT}`, which names the struct that `module` fills; \
         end the struct's definition with: }} {EVENT};"
    )]
    NoEvent,
    /// It is something else.
    #[error("`{EVENT}` is {0} and has to be a struct; end the struct's definition with: }} {EVENT};")]
    NotStruct(&'static str),
    /// It does not fit.
    #[error(
        "the struct of `{EVENT}` has {size} bytes, and an event {MAX_EVENT}; {culprit} does not fit",
        culprit = name.as_ref().map_or("its end".to_owned(), |name| format!("the member `{}`", visible(name)))
    )]
    TooLarge {
        /// Bytes of the struct.
        size: u32,
        /// The first member that ends behind the event; `None` if there is only padding.
        name: Option<String>,
    },
    /// A member cannot be shown.
    #[error("the member `{name}` of the event {problem}", name = visible(name))]
    Member {
        /// The member, with the names of the structs around it.
        name: String,
        /// The problem.
        problem: MemberProblem,
    },
}

/// The problem of a member.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MemberProblem {
    /// It ends behind its struct, which no compiler does.
    #[error("lies outside its struct: the object's type information is damaged")]
    OutOfRange,
    /// Its type cannot be shown.
    #[error("is {0}, which cannot be shown")]
    Type(&'static str),
    /// An integer of three bytes, or of sixteen.
    #[error("is an integer of {0} bytes; only those of 1, 2, 4 and 8 bytes can be shown")]
    IntegerSize(u32),
    /// A misspelt tag, or one of a later version.
    #[error(
        "has the unknown tag `{}`; known are hex, enum:REF, enum_flags:REF, ipv4, ipv6, mac, be16, be32, ktime and symbol",
        visible(.0)
    )]
    UnknownTag(String),
    /// Two tags that contradict each other.
    #[error("has two tags that say how to show it, and can be shown in one way only")]
    TwoTags,
    /// The tag is for something else.
    #[error("has the tag `ipft:fmt:{tag}`, which is for {wanted}")]
    TagMismatch {
        /// The tag without what all begin with.
        tag: &'static str,
        /// The members that it applies to.
        wanted: &'static str,
    },
    /// The tag's REF is not there.
    #[error(
        "has a tag that refers to `{name}`, and no variable has this name; declare: enum {{ ... }} __ipft_ref({name});",
        name = visible(.0)
    )]
    NoReference(String),
    /// The tag's REF is something else.
    #[error(
        "has a tag that refers to `{name}`, which is no enum with members; declare: enum {{ ... }} __ipft_ref({name});",
        name = visible(.0)
    )]
    NotEnum(String),
    /// Nested too deeply.
    #[error("is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Too many.
    #[error("is one of more than {MAX_MEMBERS}")]
    TooMany,
    /// Too long.
    #[error("has a name of more than {MAX_NAME} bytes, or an enum's member does")]
    NameTooLong,
    /// Too many.
    #[error("makes it more than {MAX_ENUM_MEMBERS} enum members in all fields")]
    TooManyEnumMembers,
}
