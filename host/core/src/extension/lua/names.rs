//! The names of fields so far: each has a permanent number, and an alphabetical position.
//!
//! The keys of nearly every table are the same strings as those of the table before, at the same addresses, so finding
//! a name is one comparison. [`super::call`] keeps the strings alive in a table of Lua's.

use std::collections::HashMap;
use std::ffi::c_int;

use mlua::ffi;
use rustc_hash::FxHashMap;

use super::call::ANCHORS;

/// Different names that fields may have in one trace. A script that makes names of data would fill the memory.
pub(super) const MAX_NAMES: usize = 4096;
/// Bytes of a name. Every block of a recording has all names.
pub(super) const MAX_NAME: usize = 1024;

/// The names that fields have had.
#[derive(Debug, Default)]
pub(super) struct Names {
    list: Vec<String>,
    /// By the address of Lua's string. A short string is the same wherever it comes from.
    by_address: FxHashMap<usize, u32>,
    /// By the bytes, for long strings, of which there may be many that are equal.
    by_text: HashMap<Box<[u8]>, u32>,
    /// The names' numbers in alphabetical order.
    sorted: Vec<u32>,
    /// The place of each in that order.
    ranks: Vec<u32>,
    /// The addresses that the last table had, in its order: mostly the next has the same.
    recent: Vec<(usize, u32, u32)>,
}

/// The reason why a name has no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It had none, and has one now. The places of others have changed.
    New,
    /// There are too many names.
    TooMany,
    /// It is too long.
    TooLong,
}

impl Names {
    /// All names, by number.
    pub(super) fn list(&self) -> &[String] {
        &self.list
    }

    /// The number and the rank of the name whose string is at `index` of the stack. It is the `position`-th name of the
    /// table at hand.
    ///
    /// # Safety
    ///
    /// There must be a string at `index`, and the anchors where they belong.
    #[inline]
    pub(super) unsafe fn find(
        &mut self,
        state: *mut ffi::lua_State,
        index: c_int,
        position: usize,
    ) -> Result<(u32, u32), Unknown> {
        // SAFETY: there is a string at the index.
        let (start, length) = unsafe { bytes(state, index) };
        match self.recent.get(position) {
            Some(&(address, name, rank)) if address == start.addr() => Ok((name, rank)),
            // SAFETY: as this function's.
            _ => unsafe { self.find_other(state, index, position, (start, length)) },
        }
    }

    /// As [`Names::find`], of a name that was not at this position of the table before.
    ///
    /// # Safety
    ///
    /// As for [`Names::find`]; `text` must be the string at `index`.
    #[inline(never)]
    unsafe fn find_other(
        &mut self,
        state: *mut ffi::lua_State,
        index: c_int,
        position: usize,
        text: (*const u8, usize),
    ) -> Result<(u32, u32), Unknown> {
        let address = text.0.addr();
        if let Some(&name) = self.by_address.get(&address) {
            let found = (name, self.ranks[name as usize]);
            // A table with more fields than any before it makes the list longer, by one at a time.
            if position <= self.recent.len() && position < MAX_NAMES {
                let entry = (address, found.0, found.1);
                match self.recent.get_mut(position) {
                    Some(place) => *place = entry,
                    None => self.recent.push(entry),
                }
            }
            return Ok(found);
        }
        // SAFETY: Lua keeps a string where it is while it is on the stack.
        let bytes = unsafe { std::slice::from_raw_parts(text.0, text.1) };
        if let Some(&name) = self.by_text.get(bytes) {
            return Ok((name, self.ranks[name as usize]));
        }
        if bytes.len() > MAX_NAME {
            return Err(Unknown::TooLong);
        }
        if self.list.len() >= MAX_NAMES {
            return Err(Unknown::TooMany);
        }
        let name = self.list.len() as u32;
        // SAFETY: the index is relative to the top or below it, and taken before anything is pushed. If memory runs out
        // here, the name is as unknown as before.
        unsafe {
            ffi::lua_pushvalue(state, index);
            ffi::lua_rawseti(state, ANCHORS, i64::from(name) + 1);
        }
        self.list.push(String::from_utf8_lossy(bytes).into_owned());
        self.by_address.insert(address, name);
        self.by_text.insert(bytes.into(), name);
        let rank = self
            .sorted
            .partition_point(|other| self.list[*other as usize] < self.list[name as usize]);
        self.sorted.insert(rank, name);
        self.ranks.resize(self.list.len(), 0);
        for (rank, name) in self.sorted.iter().enumerate() {
            self.ranks[*name as usize] = rank as u32;
        }
        self.recent.clear();
        // Fields that were gathered before have ranks of the old order.
        Err(Unknown::New)
    }
}

/// Returns the string at `index`, and its length.
///
/// # Safety
///
/// There must be a string.
#[inline]
pub(super) unsafe fn bytes(state: *mut ffi::lua_State, index: c_int) -> (*const u8, usize) {
    let mut length = 0;
    // SAFETY: the value is a string, so it is neither converted nor moved.
    let start = unsafe { ffi::lua_tolstring(state, index, &raw mut length) };
    (start.cast(), length)
}
