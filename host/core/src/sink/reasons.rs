//! The kernel's reasons to drop packets: their names, and what is known about each. Imports `advice`, `event` and
//! `text`.

use crate::advice::{self, Class, NO_REASON};
use crate::event::{Function, Outcome, Trace};
use crate::text::{push_unsigned, push_visible};

/// The names of a trace's reasons, and the functions on which advice depends.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasons {
    /// By number.
    names: Vec<(u32, String)>,
    /// In order of their index.
    advised: Vec<(u32, String)>,
    /// Number of functions so far.
    functions: u32,
}

impl Reasons {
    /// Takes the names of a trace, and its functions.
    pub(super) fn new(trace: &Trace) -> Self {
        let reasons = trace.drop_reasons.iter();
        let mut names: Vec<(u32, String)> = reasons
            .filter_map(|reason| Some((u32::try_from(reason.value).ok()?, reason.name.clone())))
            .collect();
        // A recording may have them in any order.
        names.sort();
        let mut reasons = Reasons {
            names,
            ..Reasons::default()
        };
        reasons.append(&trace.functions);
        reasons
    }

    /// Takes functions that are new.
    pub(super) fn append(&mut self, new: &[Function]) {
        for function in new {
            if advice::matters(&function.name) {
                self.advised.push((self.functions, function.name.clone()));
            }
            self.functions += 1;
        }
    }

    /// Returns the name of an outcome's reason, if it has one.
    pub(super) fn name(&self, outcome: Outcome) -> Option<&str> {
        let Outcome::Dropped { reason } = outcome else {
            return None;
        };
        let at = self.names.binary_search_by_key(&reason, |(number, _)| *number).ok()?;
        self.names.get(at).map(|(_, name)| name.as_str())
    }

    /// Returns the index in [`advice::all`] of the advice on a packet that a function dropped.
    pub(super) fn advice(&self, outcome: Outcome, function: u32) -> Option<usize> {
        let reason = match self.name(outcome) {
            Some(name) => name,
            // Kernels before 5.17 give none.
            None if outcome == (Outcome::Dropped { reason: 0 }) => NO_REASON,
            None => return None,
        };
        let function = self.advised.binary_search_by_key(&function, |(index, _)| *index);
        let function = function.map_or("", |found| self.advised[found].1.as_str());
        advice::find(reason, function).filter(|index| advice::all()[*index].says_something())
    }

    /// Returns the class of a drop: a packet is lost where nothing else is known. `None` if it was not dropped.
    pub(super) fn class(&self, outcome: Outcome, function: u32) -> Option<Class> {
        matches!(outcome, Outcome::Dropped { .. }).then(|| {
            let advice = self.advice(outcome, function);
            advice.map_or(Class::Lost, |index| advice::all()[index].class)
        })
    }

    /// Appends how a packet ended, as `dropped NETFILTER_DROP`: a drop has a number if the reason has no name, and neither
    /// if there is none.
    pub(super) fn push_end(&self, out: &mut Vec<u8>, outcome: Outcome, function: u32) {
        out.extend_from_slice(self.word(outcome, function).as_bytes());
        match (outcome, self.name(outcome)) {
            (_, Some(name)) => {
                out.push(b' ');
                push_visible(out, name);
            }
            (Outcome::Dropped { reason }, None) if reason != 0 => {
                out.extend_from_slice(b" reason ");
                push_unsigned(out, reason.into());
            }
            _ => {}
        }
    }

    /// Returns the word for how a packet ended. A drop that is no loss is `discarded`.
    pub(super) fn word(&self, outcome: Outcome, function: u32) -> &'static str {
        match self.class(outcome, function) {
            Some(class) if class != Class::Lost => "discarded",
            _ => outcome.name(),
        }
    }
}
