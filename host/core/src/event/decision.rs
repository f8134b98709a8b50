//! What was decided about a packet: the spare word of an event of the kind [`super::EventKind::DECIDED`]. Imports nothing.

/// What was decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A chain or table of netfilter, which the event's function names, has judged it.
    Netfilter(Verdict),
    /// A program of generic XDP, which the event's function names, has judged it.
    Xdp(XdpVerdict),
    /// Filters or actions of traffic control, which the event's function names, have judged it.
    Tc(TcVerdict),
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

/// A verdict of XDP (`XDP_*` in `include/uapi/linux/bpf.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum XdpVerdict {
    /// The program failed: the packet is dropped.
    Aborted,
    /// It is dropped.
    Drop,
    /// It goes on.
    Pass,
    /// It is sent back by the device that it came from.
    Tx,
    /// It is sent by another device, or to another CPU or socket.
    Redirect,
}

impl XdpVerdict {
    const ALL: [XdpVerdict; 5] = [
        XdpVerdict::Aborted,
        XdpVerdict::Drop,
        XdpVerdict::Pass,
        XdpVerdict::Tx,
        XdpVerdict::Redirect,
    ];

    /// Returns the verdict that a program has returned. The kernel takes those that it does not know for aborted.
    pub fn of_program(returned: u32) -> XdpVerdict {
        let known = XdpVerdict::ALL.get(returned as usize).copied();
        known.unwrap_or(XdpVerdict::Aborted)
    }

    /// The word that all outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            XdpVerdict::Aborted => "aborted",
            XdpVerdict::Drop => "drop",
            XdpVerdict::Pass => "pass",
            XdpVerdict::Tx => "tx",
            XdpVerdict::Redirect => "redirect",
        }
    }
}

/// A verdict of traffic control (`TC_ACT_*` in `include/uapi/linux/pkt_cls.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TcVerdict {
    /// It goes on, in the class that was found if there is one.
    Ok,
    /// It begins again.
    Reclassify,
    /// It is dropped.
    Shot,
    /// The next action follows.
    Pipe,
    /// It was taken.
    Stolen,
    /// It was taken, to go on later.
    Queued,
    /// The actions begin again.
    Repeat,
    /// It is sent by another device.
    Redirect,
    /// It is given to the CPU, by hardware.
    Trap,
    /// It was taken by an action, and is no longer there.
    Consumed,
    /// No filter has matched.
    Unspec,
    /// Some actions are passed over.
    Jump,
    /// Another chain of filters follows.
    GotoChain,
}

impl TcVerdict {
    const ALL: [TcVerdict; 13] = [
        TcVerdict::Ok,
        TcVerdict::Reclassify,
        TcVerdict::Shot,
        TcVerdict::Pipe,
        TcVerdict::Stolen,
        TcVerdict::Queued,
        TcVerdict::Repeat,
        TcVerdict::Redirect,
        TcVerdict::Trap,
        TcVerdict::Consumed,
        TcVerdict::Unspec,
        TcVerdict::Jump,
        TcVerdict::GotoChain,
    ];

    /// Returns the verdict that filters or actions have returned; `None` if it is none that is known. The upper four bits
    /// say that the others are a number (`TC_ACT_JUMP`, `TC_ACT_GOTO_CHAIN`).
    pub fn of_action(returned: u32) -> Option<TcVerdict> {
        match (returned >> 28, returned) {
            (_, u32::MAX) => Some(TcVerdict::Unspec),
            (1, _) => Some(TcVerdict::Jump),
            (2, _) => Some(TcVerdict::GotoChain),
            (0, 0..=9) => TcVerdict::ALL.get(returned as usize).copied(),
            _ => None,
        }
    }

    /// The word that all outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            TcVerdict::Ok => "ok",
            TcVerdict::Reclassify => "reclassify",
            TcVerdict::Shot => "shot",
            TcVerdict::Pipe => "pipe",
            TcVerdict::Stolen => "stolen",
            TcVerdict::Queued => "queued",
            TcVerdict::Repeat => "repeat",
            TcVerdict::Redirect => "redirect",
            TcVerdict::Trap => "trap",
            TcVerdict::Consumed => "consumed",
            TcVerdict::Unspec => "unspec",
            TcVerdict::Jump => "jump",
            TcVerdict::GotoChain => "goto_chain",
        }
    }
}

impl Decision {
    const NETFILTER: u32 = 1;
    const XDP: u32 = 2;
    const TC: u32 = 3;

    /// Returns the decision that a spare word says; `None` if it is of a later version.
    pub fn of_word(spare: u64) -> Option<Decision> {
        let verdict = spare as u32 as usize;
        match (spare >> 32) as u32 {
            Decision::NETFILTER => Verdict::ALL.get(verdict).copied().map(Decision::Netfilter),
            Decision::XDP => XdpVerdict::ALL.get(verdict).copied().map(Decision::Xdp),
            Decision::TC => TcVerdict::ALL.get(verdict).copied().map(Decision::Tc),
            _ => None,
        }
    }

    /// Returns the spare word of an event.
    pub const fn to_word(self) -> u64 {
        let (kind, verdict) = match self {
            Decision::Netfilter(verdict) => (Decision::NETFILTER, verdict as u64),
            Decision::Xdp(verdict) => (Decision::XDP, verdict as u64),
            Decision::Tc(verdict) => (Decision::TC, verdict as u64),
        };
        (kind as u64) << 32 | verdict
    }

    /// The word that all outputs use for what decides.
    pub const fn kind(self) -> &'static str {
        match self {
            Decision::Netfilter(_) => "netfilter",
            Decision::Xdp(_) => "xdp",
            Decision::Tc(_) => "tc",
        }
    }

    /// The word that all outputs use for what was decided.
    pub const fn name(self) -> &'static str {
        match self {
            Decision::Netfilter(verdict) => verdict.name(),
            Decision::Xdp(verdict) => verdict.name(),
            Decision::Tc(verdict) => verdict.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_the_decision() {
        let all = (Verdict::ALL.into_iter().map(Decision::Netfilter))
            .chain(XdpVerdict::ALL.into_iter().map(Decision::Xdp))
            .chain(TcVerdict::ALL.into_iter().map(Decision::Tc));
        for decision in all {
            assert_eq!(Decision::of_word(decision.to_word()), Some(decision));
        }
        // Of later versions.
        for word in [0, 1, 1 << 32 | 6, 2 << 32 | 5, 3 << 32 | 13, 4 << 32, 1 << 40, u64::MAX] {
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

    #[test]
    fn what_tc_and_xdp_return_is_a_verdict() {
        for (returned, verdict) in [
            (0, Some("ok")),
            (2, Some("shot")),
            (9, Some("consumed")),
            (10, None),
            (u32::MAX, Some("unspec")),
            (u32::MAX - 1, None),
            (1 << 28 | 2, Some("jump")),
            (2 << 28 | 7, Some("goto_chain")),
            (3 << 28, None),
        ] {
            assert_eq!(
                TcVerdict::of_action(returned).map(TcVerdict::name),
                verdict,
                "{returned:#x}"
            );
        }
        for (returned, verdict) in [(1, "drop"), (4, "redirect"), (5, "aborted"), (u32::MAX, "aborted")] {
            assert_eq!(XdpVerdict::of_program(returned).name(), verdict);
        }
    }
}
