//! The functions that can be traced, and of those the ones that the user wants: for `ipft -m` and `ipft -l`.

use anyhow::bail;
use ipft_core::event::SkippedFunction;
use ipft_core::kernel::{self, Candidate, Root};
use ipft_core::probe::identity;

use super::empty;
use crate::args;

/// The functions of a trace: those that the user wants, and those that identity needs besides.
pub(super) struct Functions {
    pub(super) wanted: Vec<Candidate>,
    pub(super) silent: Vec<Candidate>,
    pub(super) skipped: Vec<SkippedFunction>,
    /// Modules without types, with the reason.
    pub(super) missing: Vec<kernel::MissingModule>,
    /// Where it was learnt what can be traced.
    pub(super) source: &'static str,
}

/// Looks for them in the kernel. An error if the filter leaves none.
pub(super) fn find_functions(root: &Root, filter: &args::Filter) -> anyhow::Result<Functions> {
    let found = kernel::find_functions(root)?;
    let (wanted, rest): (Vec<_>, Vec<_>) = found
        .candidates
        .into_iter()
        .partition(|candidate| filter.matches(&candidate.name, &candidate.module));
    if wanted.is_empty() {
        bail!(
            "no function that takes a packet matches {}; see them all with 'ipft -l'",
            empty::filter(filter).unwrap_or_else(|| "the filter".to_owned())
        );
    }
    let skipped = found
        .skipped
        .into_iter()
        .filter(|skipped| filter.matches(&skipped.name, &skipped.module))
        .map(|skipped| SkippedFunction {
            name: skipped.name,
            module: skipped.module,
            reason: skipped.reason.to_string(),
        })
        .collect();
    Ok(Functions {
        wanted,
        silent: rest.into_iter().filter(identity::is_needed).collect(),
        skipped,
        missing: found.missing,
        source: found.source,
    })
}
