//! The names of the kernel's reasons to drop packets. Imports `event`.

use crate::event::{Outcome, Trace};

/// The names, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasons(Vec<(u32, String)>);

impl Reasons {
    /// Takes the names of a trace.
    pub(super) fn new(trace: &Trace) -> Self {
        let reasons = trace.drop_reasons.iter();
        let mut names: Vec<(u32, String)> = reasons
            .filter_map(|reason| Some((u32::try_from(reason.value).ok()?, reason.name.clone())))
            .collect();
        names.sort_by_key(|(number, _)| *number);
        Reasons(names)
    }

    /// Returns the name of an outcome's reason, if it has one.
    pub(super) fn name(&self, outcome: Outcome) -> Option<&str> {
        let Outcome::Dropped { reason } = outcome else {
            return None;
        };
        let at = self.0.binary_search_by_key(&reason, |(number, _)| *number).ok()?;
        self.0.get(at).map(|(_, name)| name.as_str())
    }
}
