//! How packets end, where they are followed.

use crate::event::Event;
use crate::trace::Trace;

/// How a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was released in order, or in a way of a later version; nothing more is known.
    Released,
    /// The kernel dropped it.
    Dropped {
        /// The kernel's reason, which [`Trace::drop_reason`] names; 0 if the kernel tells none.
        reason: u32,
    },
    /// A socket, or a protocol of the kernel, took it.
    Delivered,
    /// The driver of a device has sent it.
    Sent,
    /// As `Sent`, and it, or the packet that it was made of, had been received from a device.
    Forwarded,
    /// It became part of another packet.
    Joined,
}

impl Outcome {
    /// Returns the word that ipft uses in its outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Released => "released",
            Outcome::Dropped { .. } => "dropped",
            Outcome::Delivered => "delivered",
            Outcome::Sent => "sent",
            Outcome::Forwarded => "forwarded",
            Outcome::Joined => "joined",
        }
    }

    /// Returns whether the kernel dropped the packet.
    pub const fn is_drop(self) -> bool {
        matches!(self, Outcome::Dropped { .. })
    }
}

impl Event {
    /// Returns how the packet ended, if the event is that of its end.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.kind != Event::ENDED {
            return None;
        }
        if self.spare & Event::DROPPED != 0 {
            return Some(Outcome::Dropped {
                reason: self.spare as u32,
            });
        }
        Some(match self.spare & 0xe << 32 {
            Event::DELIVERED => Outcome::Delivered,
            Event::SENT => Outcome::Sent,
            Event::FORWARDED => Outcome::Forwarded,
            Event::BECAME_PART => Outcome::Joined,
            _ => Outcome::Released,
        })
    }
}

/// The end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// The function that dropped it, as an index into [`Trace::functions`]; of no function if that is not known, or the
    /// packet was not dropped.
    pub function: u32,
    /// Nanoseconds, CLOCK_MONOTONIC.
    pub timestamp: u64,
}

impl End {
    /// Returns the end that an event tells of.
    pub fn of(event: &Event) -> Option<End> {
        Some(End {
            outcome: event.outcome()?,
            function: event.function,
            timestamp: event.timestamp,
        })
    }

    /// Returns whether the packet was dropped and is lost by that. Other drops are those of duplicates, of frames for
    /// other hosts, of copies whose original went on, and the like.
    pub fn is_loss(&self, trace: &Trace) -> bool {
        match self.outcome {
            Outcome::Dropped { reason } => trace.drop_class(reason, self.function).is_none(),
            _ => false,
        }
    }

    /// Returns the end in words: `delivered`, `dropped NETFILTER_DROP in nft_do_chain`. A drop that is no loss is
    /// `discarded`.
    pub fn words(&self, trace: &Trace) -> String {
        let mut words = match self.outcome.is_drop() && !self.is_loss(trace) {
            true => "discarded".to_owned(),
            false => self.outcome.name().to_owned(),
        };
        if let Outcome::Dropped { reason } = self.outcome {
            match trace.drop_reason(reason) {
                Some(name) => words.push_str(&format!(" {}", crate::text::visible(name))),
                None if reason == 0 => {}
                None => words.push_str(&format!(" reason {reason}")),
            }
            if let Some(function) = trace.functions.get(self.function as usize) {
                words.push_str(&format!(" in {}", crate::text::visible(&function.name)));
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Function;

    #[test]
    fn an_end_has_its_reason_and_function_in_words() {
        let trace = Trace {
            functions: ["nft_do_chain\x1b", "icmp_rcv", "f"]
                .map(|name| Function {
                    name: name.to_owned(),
                    ..Function::default()
                })
                .to_vec(),
            more: [
                ("filter", "icmp"),
                (
                    "drop-reasons",
                    "2=NOT_SPECIFIED,12=NETFILTER_DROP,x=Y,7,3=NO_SOCKET,4=OTHERHOST",
                ),
                (
                    "drop-classes",
                    "NO_SOCKET@icmp_rcv=unwanted,OTHERHOST=unwanted,=,@,OTHERHOST@f=lost,NOT_SPECIFIED@f=internal",
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            ..Trace::default()
        };
        let words = |spare, function| {
            let event = Event {
                kind: Event::ENDED,
                spare,
                function,
                ..Event::default()
            };
            End::of(&event).unwrap().words(&trace)
        };
        for (spare, function, expected) in [
            (0, 0, "released"),
            (Event::DELIVERED, u32::MAX, "delivered"),
            (Event::SENT, 7, "sent"),
            (Event::FORWARDED, 0, "forwarded"),
            (Event::BECAME_PART, 0, "joined"),
            (10 << 32, 0, "released"),
            (1 << 40 | 7, 0, "released"),
            (Event::DROPPED, u32::MAX, "dropped"),
            (Event::DROPPED | 12, 0, r"dropped NETFILTER_DROP in nft_do_chain\x1b"),
            (Event::DROPPED | 12, 9, "dropped NETFILTER_DROP"),
            (Event::DROPPED | 3, 1, "discarded NO_SOCKET in icmp_rcv"),
            (Event::DROPPED | 3, 2, "dropped NO_SOCKET in f"),
            (Event::DROPPED | 3, u32::MAX, "dropped NO_SOCKET"),
            (Event::DROPPED | 4, 1, "discarded OTHERHOST in icmp_rcv"),
            (Event::DROPPED | 4, u32::MAX, "discarded OTHERHOST"),
            (Event::DROPPED | 4, 2, "dropped OTHERHOST in f"),
            (Event::DROPPED, 2, "discarded in f"),
            (Event::DROPPED, 1, "dropped in icmp_rcv"),
            (Event::DROPPED | 7, 0, r"dropped reason 7 in nft_do_chain\x1b"),
        ] {
            assert_eq!(words(spare, function), expected);
        }
        assert_eq!(End::of(&Event::default()), None);
    }

    #[test]
    fn advice_goes_by_the_function_before_the_reason() {
        let trace = Trace {
            functions: ["nft_do_chain.isra.0", "f"]
                .map(|name| Function {
                    name: name.to_owned(),
                    ..Function::default()
                })
                .to_vec(),
            more: [
                ("drop-reasons", "12=NETFILTER_DROP,3=NO_SOCKET"),
                (
                    "drop-advice",
                    "NETFILTER_DROP\tA firewall.\t\nNETFILTER_DROP@nft_do_chain\tA rule.\tnft list ruleset\n\
                     NOT_SPECIFIED@f\tFull.\tss\nbroken\n\n\t\n",
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            ..Trace::default()
        };
        assert_eq!(trace.drop_advice(12, 0), Some(("A rule.", "nft list ruleset")));
        assert_eq!(trace.drop_advice(12, 1), Some(("A firewall.", "")));
        assert_eq!(trace.drop_advice(12, u32::MAX), Some(("A firewall.", "")));
        assert_eq!(trace.drop_advice(0, 1), Some(("Full.", "ss")));
        assert_eq!(trace.drop_advice(0, 0), None);
        assert_eq!(trace.drop_advice(3, 0), None);
        assert_eq!(trace.drop_advice(7, 0), None);
    }
}
