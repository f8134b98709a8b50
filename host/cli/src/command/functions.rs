//! Finds the traceable functions, and selects the user's: for `ipft -m` and `ipft -l`.

use anyhow::bail;
use ipft_core::event::SkippedFunction;
use ipft_core::kernel::{self, Candidate, Root, Types};
use ipft_core::probe::identity;

use super::empty;
use crate::args;

/// The functions of a trace: the selected ones, and those that identity needs in addition.
pub(super) struct Functions {
    pub(super) wanted: Vec<Candidate>,
    pub(super) silent: Vec<Candidate>,
    pub(super) skipped: Vec<SkippedFunction>,
    /// Modules without types, with the reason.
    pub(super) missing: Vec<kernel::MissingModule>,
    /// The source of the list.
    pub(super) source: &'static str,
}

/// No functions, for a trace that attaches to none.
pub(super) fn no_functions() -> Functions {
    Functions {
        wanted: Vec::new(),
        silent: Vec::new(),
        skipped: Vec::new(),
        missing: Vec::new(),
        source: "nowhere: none is traced",
    }
}

/// Finds them in the kernel. Fails if the filter leaves none.
/// `following`: for programs that follow packets.
pub(super) fn find_functions(
    root: &Root,
    types: &Types<'_>,
    filter: &args::Filter,
    following: bool,
) -> anyhow::Result<Functions> {
    let found = kernel::find_functions_with(root, types)?;
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
        silent: (rest.into_iter().chain(found.unfilled))
            .filter(|function| identity::is_needed(function, following))
            .collect(),
        skipped,
        missing: found.missing,
        source: found.source,
    })
}
