//! Facts about a trace that follows packets, as the contract's comment on `more` describes them. May import `event` of
//! `ipft_core`.

use ipft_core::event::{EnumMember, Trace};

/// Returns the facts, by name.
pub(super) fn facts(trace: &Trace) -> Vec<(String, String)> {
    if !trace.follow {
        return Vec::new();
    }
    let mut facts = vec![("filter", trace.filter.clone()), ("follow", "true".to_owned())];
    let reason = |reason: &EnumMember| format!("{}={}", reason.value, reason.name);
    let reasons: Vec<String> = trace.drop_reasons.iter().map(reason).collect();
    if !reasons.is_empty() {
        facts.push(("drop-reasons", reasons.join(",")));
    }
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
