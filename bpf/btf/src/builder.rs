//! Writes BTF: for what a compiler describes, and for tests. Imports [`Kind`].

use super::Kind;

/// Writes BTF, type by type. Ids are handed out in order, from 1 or from where the base ends.
#[derive(Debug)]
pub struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    first_string: u32,
    next_id: u32,
}

impl Builder {
    /// Creates one without types.
    pub fn new() -> Self {
        Builder {
            types: Vec::new(),
            strings: vec![0],
            first_string: 0,
            next_id: 1,
        }
    }

    /// Continues another one.
    pub fn split(base: &Builder) -> Self {
        Builder {
            types: Vec::new(),
            strings: Vec::new(),
            first_string: base.first_string + base.strings.len() as u32,
            next_id: base.next_id,
        }
    }

    /// Adds text to the strings, and returns its offset.
    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.first_string + self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        offset
    }

    /// Any type: its kind, the flag, the count, the third word and what follows.
    pub fn add(&mut self, kind: Kind, name: &str, flag: bool, count: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        let info = u32::from(flag) << 31 | (kind as u32) << 24 | count;
        for word in [name, info, size_or_type].iter().chain(rest) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// An unsigned integer.
    pub fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(Kind::Int, name, false, 0, bytes, &[bytes * 8])
    }

    /// A pointer, a qualifier, a typedef: whatever only refers to another type.
    pub fn refer(&mut self, kind: Kind, name: &str, to: u32) -> u32 {
        self.add(kind, name, false, 0, to, &[])
    }

    /// A pointer to a type.
    pub fn pointer(&mut self, to: u32) -> u32 {
        self.refer(Kind::Pointer, "", to)
    }

    /// A struct whose members are (name, type, offset in bits).
    pub fn composite(&mut self, kind: Kind, name: &str, bytes: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut rest = Vec::new();
        for (member, type_id, offset) in members {
            rest.extend([self.string(member), *type_id, *offset]);
        }
        self.add(kind, name, false, members.len() as u32, bytes, &rest)
    }

    /// A prototype whose parameters have no names.
    pub fn prototype(&mut self, returns: u32, parameters: &[u32]) -> u32 {
        let rest: Vec<u32> = parameters.iter().flat_map(|type_id| [0, *type_id]).collect();
        self.add(Kind::Prototype, "", false, parameters.len() as u32, returns, &rest)
    }

    /// A function and its prototype; the function's id.
    pub fn function(&mut self, name: &str, returns: u32, parameters: &[u32]) -> u32 {
        let prototype = self.prototype(returns, parameters);
        self.refer(Kind::Function, name, prototype)
    }

    /// Gives a type that was made by [`Builder::function`] the name at an offset.
    pub fn rename(&mut self, function: u32, name: u32) {
        debug_assert_eq!(function, self.next_id - 1);
        let at = self.types.len() - 12;
        self.types[at..at + 4].copy_from_slice(&name.to_ne_bytes());
    }

    /// Returns the bytes, as they are in a section `.BTF`.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        bytes.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}
