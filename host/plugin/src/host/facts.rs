//! Facts about a trace that follows packets, as the contract's comment on `more` describes them. May import `advice`
//! and `event` of `ipft_core`.

use ipft_core::advice::{self, Class};
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
    facts.push(("drop-classes", classes()));
    facts.push(("drop-advice", advice()));
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The classes of drops that are no loss, by reason and, where it matters, function.
fn classes() -> String {
    let mut classes = String::new();
    for advice in advice::all().iter().filter(|advice| advice.class != Class::Lost) {
        let separator = if classes.is_empty() { "" } else { "," };
        let place = if advice.function.is_empty() { "" } else { "@" };
        let (reason, function, class) = (advice.reason, advice.function, advice.class.name());
        classes.push_str(&format!("{separator}{reason}{place}{function}={class}"));
    }
    classes
}

/// What drops mean and what to do about them, by reason and, where it matters, function.
fn advice() -> String {
    let mut lines = String::new();
    for advice in advice::all().iter().filter(|advice| advice.says_something()) {
        let place = if advice.function.is_empty() { "" } else { "@" };
        let (reason, function) = (advice.reason, advice.function);
        lines.push_str(&format!(
            "{reason}{place}{function}\t{}\t{}\n",
            advice.why, advice.remedy
        ));
    }
    lines
}
