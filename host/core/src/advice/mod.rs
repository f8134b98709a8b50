//! What the kernel's reasons of drops mean, and what to do: the texts of `drops.txt`. Imports nothing.

use std::sync::OnceLock;

/// Whether a drop matters to those who miss a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The packet is lost.
    Lost,
    /// Its data had arrived before.
    Duplicate,
    /// It is not for this host or program, and others get theirs.
    Unwanted,
    /// It was a copy, of which the original went on.
    Clone,
    /// The kernel freed memory of its own.
    Internal,
}

impl Class {
    const ALL: [Class; 5] = [
        Class::Lost,
        Class::Duplicate,
        Class::Unwanted,
        Class::Clone,
        Class::Internal,
    ];

    /// The word of the file.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Lost => "lost",
            Class::Duplicate => "duplicate",
            Class::Unwanted => "unwanted",
            Class::Clone => "clone",
            Class::Internal => "internal",
        }
    }
}

/// What is known of a reason.
#[derive(Debug, PartialEq, Eq)]
pub struct Advice {
    /// The reason's name, without `SKB_DROP_REASON_`.
    pub reason: &'static str,
    /// The function that dropped the packet; empty if it may be any.
    pub function: &'static str,
    /// Whether it matters.
    pub class: Class,
    /// Why the packet was dropped: a sentence.
    pub why: &'static str,
    /// The command or change that tells more or helps; empty if there is none.
    pub remedy: &'static str,
}

/// The name of the reason that the kernel gives where it has no better one, and that stands for none before 5.17.
pub const NO_REASON: &str = "NOT_SPECIFIED";

impl Advice {
    /// Returns whether it is more than that there is no reason, which the name says.
    pub fn says_something(&self) -> bool {
        self.reason != NO_REASON || !self.function.is_empty()
    }
}

/// Returns all advice, in order of reason and function.
pub fn all() -> &'static [Advice] {
    static ALL: OnceLock<Vec<Advice>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = parse(include_str!("drops.txt"));
        all.sort_unstable_by_key(|advice| (advice.reason, advice.function));
        all
    })
}

/// Returns the index in [`all`] of the advice on a packet that a function dropped for a reason. A suffix of the
/// function, which is the compiler's, does not matter.
pub fn find(reason: &str, function: &str) -> Option<usize> {
    let function = without_suffix(function);
    let of =
        |function: &str| all().binary_search_by_key(&(reason, function), |advice| (advice.reason, advice.function));
    of(function).or_else(|_| of("")).ok()
}

/// Returns whether advice depends on whether this function dropped the packet.
pub fn matters(function: &str) -> bool {
    let function = without_suffix(function);
    !function.is_empty() && all().iter().any(|advice| advice.function == function)
}

/// `ip_rcv_finish_core.isra.0` is `ip_rcv_finish_core`.
fn without_suffix(function: &str) -> &str {
    function.split_once('.').map_or(function, |(name, _)| name)
}

/// Parses the file. What is not an entry is passed over; a test finds it.
fn parse(text: &'static str) -> Vec<Advice> {
    let mut all: Vec<Advice> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("    ") {
            None => all.extend(heading(line)),
            Some(text) => {
                let Some(last) = all.last_mut() else { continue };
                match last.why {
                    "" => last.why = text,
                    _ => last.remedy = text,
                }
            }
        }
    }
    all
}

/// Parses `REASON [in FUNCTION] [(CLASS)]`.
fn heading(line: &'static str) -> Option<Advice> {
    let (line, class) = match line.strip_suffix(')').and_then(|line| line.split_once(" (")) {
        Some((line, word)) => (line, Class::ALL.into_iter().find(|class| class.name() == word)?),
        None => (line, Class::Lost),
    };
    let (reason, function) = line.split_once(" in ").unwrap_or((line, ""));
    Some(Advice {
        reason,
        function,
        class,
        why: "",
        remedy: "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_file_is_in_an_entry() {
        let text = include_str!("drops.txt");
        let headings = text
            .lines()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
        assert_eq!(all().len(), headings.count());
        let others = text
            .lines()
            .filter(|line| !line.starts_with(['#', ' ']) && !line.is_empty());
        assert_eq!(all().len(), others.count());
        for pair in all().windows(2) {
            assert!(
                (pair[0].reason, pair[0].function) != (pair[1].reason, pair[1].function),
                "{pair:?}"
            );
        }
        for advice in all() {
            assert!(advice.why.ends_with('.') && !advice.remedy.ends_with('.'), "{advice:?}");
            assert!(
                !advice.reason.contains(' ') && !advice.function.contains(' '),
                "{advice:?}"
            );
        }
        let lines = text.lines().filter(|line| line.starts_with("    ")).count();
        let remedies = all().iter().filter(|advice| !advice.remedy.is_empty()).count();
        assert_eq!(lines, all().len() + remedies, "an entry has more than two lines");
    }

    #[test]
    fn the_function_decides_before_the_reason_alone() {
        let text = |reason, function| find(reason, function).map(|index| &all()[index]);
        assert_eq!(text("NO_SOCKET", "icmp_rcv").unwrap().class, Class::Unwanted);
        assert_eq!(text("NO_SOCKET", "udp_rcv").unwrap().class, Class::Lost);
        assert!(text("IP_INHDR", "ip_forward").unwrap().why.contains("time to live"));
        assert_eq!(text("NO_SOCKET", "icmp_rcv.isra.0").unwrap().class, Class::Unwanted);
        assert_eq!(text("NO_SUCH_REASON", "icmp_rcv"), None);
        assert!(matters("icmp_rcv") && !matters("ip_rcv") && !matters(""));
    }
}
