//! Detects fields of an extension that are named like a key of the output, or like a fixed field in the same object.
//!
//! JSON allows duplicate keys, and readers differ; most keep the last. Outputs with ipftrace2's format cannot rename
//! keys, so the user gets a warning.

use std::fmt;

use crate::event::Schema;

/// Gets the messages.
pub(super) type Tell = Box<dyn FnMut(&str)>;

/// Checks every name once, and warns about those that clash.
#[derive(Default)]
pub(super) struct Clashes {
    keys: &'static [&'static str],
    tell: Option<Tell>,
    /// The names of the fixed fields.
    fixed: Vec<String>,
    /// Names of tagged values that were looked at.
    seen: usize,
}

impl Clashes {
    /// With these keys; `tell` gets a message for each name that is among them.
    pub(super) fn new(keys: &'static [&'static str], tell: Tell) -> Self {
        Clashes {
            keys,
            tell: Some(tell),
            fixed: Vec::new(),
            seen: 0,
        }
    }

    /// Changes the keys, before any name is looked at.
    pub(super) fn set_keys(&mut self, keys: &'static [&'static str]) {
        self.keys = keys;
    }

    /// The fields that are known at the start.
    pub(super) fn look_at_schema(&mut self, schema: &Schema) {
        for field in &schema.fields {
            self.look_at(&field.name);
        }
        self.fixed = schema.fields.iter().map(|field| field.name.clone()).collect();
    }

    /// The names that a batch brings. The list only grows.
    #[inline]
    pub(super) fn look_at_names(&mut self, names: &[String]) {
        for name in names.get(self.seen..).unwrap_or_default() {
            self.look_at(name);
        }
        self.seen = self.seen.max(names.len());
    }

    fn look_at(&mut self, name: &str) {
        let Some(tell) = &mut self.tell else { return };
        if self.fixed.iter().any(|field| field == name) {
            tell(&format!(
                "the script or plugin makes a field `{name}`, as --show does, so that events have that key twice: most readers \
                 keep the last, which is not the one of --show"
            ));
        }
        if self.keys.contains(&name) {
            tell(&format!(
                "the field `{name}` of the extension has the name of a key of -o json, which each event has twice now: \
                 most readers keep the last, the extension's; -o jsonl keeps them apart"
            ));
        }
    }
}

impl fmt::Debug for Clashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clashes")
            .field("keys", &self.keys)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
