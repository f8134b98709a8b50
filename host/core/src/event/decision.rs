//! What was decided about a packet: the spare word of an event of the kind [`super::EventKind::DECIDED`]. Imports nothing.

/// What was decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A chain or table of netfilter, which the event's function names, has judged it.
    Netfilter(Verdict),
}

/// A verdict of netfilter (`NF_*` in `include/uapi/linux/netfilter.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// It is dropped.
    Drop,
    /// It goes on, to the next chain or table of the hook.
    Accept,
    /// It was taken: it goes on elsewhere, or later.
    Stolen,
    /// It is given to a program in user space.
    Queue,
    /// The hook begins again.
    Repeat,
    /// It goes on, and the hook ends here.
    Stop,
}

impl Verdict {
    const ALL: [Verdict; 6] = [
        Verdict::Drop,
        Verdict::Accept,
        Verdict::Stolen,
        Verdict::Queue,
        Verdict::Repeat,
        Verdict::Stop,
    ];

    /// Returns the verdict that a hook has returned; `None` if it is none that is known. Who drops a packet by itself,
    /// as nf_tables does from Linux 6.12 on, returns that it is stolen, and an error in the upper half (`NF_DROP_REASON`).
    pub fn of_hook(returned: u32) -> Option<Verdict> {
        match Verdict::ALL.get((returned & 0xff) as usize).copied()? {
            Verdict::Stolen if returned >> 16 != 0 => Some(Verdict::Drop),
            verdict => Some(verdict),
        }
    }

    /// The word that all outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Drop => "drop",
            Verdict::Accept => "accept",
            Verdict::Stolen => "stolen",
            Verdict::Queue => "queue",
            Verdict::Repeat => "repeat",
            Verdict::Stop => "stop",
        }
    }
}

impl Decision {
    const NETFILTER: u32 = 1;

    /// Returns the decision that a spare word says; `None` if it is of a later version.
    pub fn of_word(spare: u64) -> Option<Decision> {
        match (spare >> 32) as u32 {
            Decision::NETFILTER => Verdict::ALL
                .get(spare as u32 as usize)
                .copied()
                .map(Decision::Netfilter),
            _ => None,
        }
    }

    /// Returns the spare word of an event.
    pub const fn to_word(self) -> u64 {
        match self {
            Decision::Netfilter(verdict) => (Decision::NETFILTER as u64) << 32 | verdict as u64,
        }
    }

    /// The word that all outputs use for what decides.
    pub const fn kind(self) -> &'static str {
        match self {
            Decision::Netfilter(_) => "netfilter",
        }
    }

    /// The word that all outputs use for what was decided.
    pub const fn name(self) -> &'static str {
        match self {
            Decision::Netfilter(verdict) => verdict.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_the_decision() {
        for verdict in Verdict::ALL {
            let decision = Decision::Netfilter(verdict);
            assert_eq!(Decision::of_word(decision.to_word()), Some(decision));
        }
        // Of later versions.
        for word in [0, 1, 1 << 32 | 6, 2 << 32, 1 << 40, u64::MAX] {
            assert_eq!(Decision::of_word(word), None, "{word:#x}");
        }
    }

    #[test]
    fn what_a_hook_returns_is_a_verdict() {
        for (returned, verdict) in [
            (0, Some(Verdict::Drop)),
            (1 << 16, Some(Verdict::Drop)),
            (1, Some(Verdict::Accept)),
            (2, Some(Verdict::Stolen)),
            // EPERM, of a packet that nf_tables has dropped.
            (1 << 16 | 2, Some(Verdict::Drop)),
            (7 << 16 | 3, Some(Verdict::Queue)),
            (5, Some(Verdict::Stop)),
            (6, None),
            (u32::MAX, None),
        ] {
            assert_eq!(Verdict::of_hook(returned), verdict, "{returned:#x}");
        }
    }
}
