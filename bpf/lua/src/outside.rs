//! What a compiled function sees of the script around it: values of upvalues and globals, as they are when it is
//! compiled. Imports nothing.

/// The values around a function.
pub trait Environment {
    /// Returns what a name stands for, or a name in a table of that name, and so on; none if nothing has it.
    fn find(&self, path: &[&str]) -> Option<Outside>;

    /// Returns the names that [`Environment::find`] knows, for messages.
    fn names(&self) -> Vec<String>;
}

/// What a name outside of the function stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outside {
    /// True or false.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Float,
    /// A string.
    Text(Vec<u8>),
    /// A map, which both sides see.
    Map(Map),
    /// A table.
    Table,
    /// Anything else, in words.
    Other(String),
}

/// A map of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// Its file descriptor.
    pub descriptor: i32,
    /// Its keys; none if they are no integers.
    pub key: Option<Scalar>,
    /// Its values; none if they are no integers.
    pub value: Option<Scalar>,
    /// Whether its elements can be removed.
    pub removes: bool,
}

/// An integer in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scalar {
    /// Its bytes: 1, 2, 4 or 8.
    pub bytes: u8,
    /// Whether it has a sign.
    pub signed: bool,
}
