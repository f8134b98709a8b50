//! The user's selection of events, as plain values. Imports nothing of the crate.

use regex::Regex;

/// Which events of a recording are wanted: those that meet all conditions.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only these packets; all if empty.
    pub packets: Vec<u64>,
    /// Only these functions.
    pub filter: Filter,
    /// Not before this.
    pub from: Option<Moment>,
    /// Not after this.
    pub to: Option<Moment>,
    /// The first so many that meet the other conditions.
    pub limit: Option<u64>,
}

impl Wanted {
    /// Returns whether everything is selected.
    pub fn is_all(&self) -> bool {
        self.packets.is_empty()
            && self.filter.function.is_none()
            && self.filter.module.is_none()
            && self.from.is_none()
            && self.to.is_none()
            && self.limit.is_none()
    }
}

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// As outputs show it: nanoseconds since the machine started.
    Timestamp(u64),
    /// Nanoseconds after the first event.
    Since(u64),
    /// Nanoseconds since 1970 (UTC).
    Wall(i64),
}

/// Which functions are wanted: those that match all patterns given, anywhere in the name.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// On the function's name.
    pub function: Option<Regex>,
    /// On the module's name (`vmlinux` for the kernel itself).
    pub module: Option<Regex>,
}

impl Filter {
    /// Returns whether a function is selected.
    pub fn matches(&self, function: &str, module: &str) -> bool {
        self.function.as_ref().is_none_or(|pattern| pattern.is_match(function)) && self.matches_module(module)
    }

    /// Returns whether functions of a module may be selected.
    pub fn matches_module(&self, module: &str) -> bool {
        self.module.as_ref().is_none_or(|pattern| pattern.is_match(module))
    }
}
