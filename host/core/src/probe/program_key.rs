//! Keys of BPF programs. The C files define one named program per key (`bpf/src/program/`); only this file knows the
//! names. It imports `identity`, `kernel`, what `decisions` has programs for, and the target
//! of `probe`.

use ipft_bpf::wire::Maker;

use super::Target;
use super::decisions::Judge;
use super::identity::Role;
use crate::kernel::{Candidate, PacketArgument};

/// Identifies a program of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ProgramKey {
    /// Runs at entries of functions; in a session, also at returns.
    Entry(Entry),
    /// The same for functions with different properties, which the attach cookie says.
    Any,
    /// The same for functions of different roles that get the packet first.
    End,
    /// Where packets are followed: gates of any place.
    AnyGate,
    /// Where packets are followed: functions of any place at which packets end.
    AnyEnd,
    /// Where packets are followed: functions that make packets out of others, in any way.
    AnyMaker,
    /// Runs at the return of any function.
    Return,
    /// Runs when the kernel drops a packet.
    Dropped,
    /// Sees all drops, in a trace of drops.
    Drop,
    /// Runs when a function begins to judge a packet.
    Judging(Judge),
    /// Runs when it has.
    Judged(Judge),
}

/// Common properties of the functions of an entry program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Type of the argument with the packet.
    argument: Argument,
    /// Index of the argument.
    position: u8,
    /// Role of the functions in a packet's life.
    role: Role,
    /// Whether the user did not select them, so that no events are sent.
    silent: bool,
}

/// Types of arguments (`enum argument` in `untyped.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Argument {
    Pointer,
    DoublePointer,
    Unsure,
}

impl ProgramKey {
    /// Returns the program for the entries of a target.
    pub(super) fn of(target: &Target<'_>) -> Self {
        ProgramKey::entry(target.function, target.role, target.is_silent())
    }

    /// Returns the program for the entries of a function of this role. `silent` is for a function that the user did not
    /// select.
    pub(super) fn entry(function: &Candidate, role: Role, silent: bool) -> Self {
        let argument = match (function.argument, function.unsure) {
            (PacketArgument::DoublePointer, _) => Argument::DoublePointer,
            (PacketArgument::Pointer, true) => Argument::Unsure,
            (PacketArgument::Pointer, false) => Argument::Pointer,
        };
        ProgramKey::Entry(Entry {
            argument,
            position: function.position,
            role,
            // Identity does not need the other roles.
            silent: silent && !matches!(role, Role::Ordinary | Role::Teardown),
        })
    }

    /// Returns the program that this one's functions share with others of a role, or with any.
    pub(super) fn shared(self) -> Self {
        match self {
            ProgramKey::Entry(entry) if entry.role != Role::Ordinary && entry.position == 0 => ProgramKey::End,
            _ => ProgramKey::Any,
        }
    }

    /// Returns the program that this one's functions share with others where packets are followed.
    pub(super) fn shared_in_following(self) -> Self {
        let ProgramKey::Entry(entry) = self else {
            return self;
        };
        match entry.role {
            Role::Ordinary => ProgramKey::Any,
            Role::Gate => ProgramKey::AnyGate,
            Role::Teardown | Role::Release | Role::Free => ProgramKey::AnyEnd,
            // It looks at a frame, whatever is followed.
            Role::Rebuild => self,
            Role::Copy
            | Role::Fragment
            | Role::Split
            | Role::Gro
            | Role::Coalesce
            | Role::Partial
            | Role::Queue
            | Role::Assemble => ProgramKey::AnyMaker,
        }
    }

    /// Returns whether the program reads the properties of a function from the cookie.
    pub(super) fn reads_cookie(self) -> bool {
        matches!(
            self,
            ProgramKey::Any | ProgramKey::End | ProgramKey::AnyGate | ProgramKey::AnyEnd | ProgramKey::AnyMaker
        )
    }

    /// Returns the properties as the upper half of a cookie (`PLACE_POSITION` and others in `untyped.h`).
    pub(super) fn place(self) -> u64 {
        let ProgramKey::Entry(entry) = self else {
            return 0;
        };
        let argument = match entry.argument {
            Argument::Pointer => 0,
            Argument::DoublePointer => 1,
            Argument::Unsure => 2,
        };
        let role = match entry.role {
            Role::Teardown => 1,
            Role::Release => 2,
            Role::Free => 3,
            _ => 0,
        };
        let maker = match entry.role {
            Role::Copy => Some(Maker::Copy),
            Role::Fragment => Some(Maker::Fragment),
            Role::Split => Some(Maker::Split),
            Role::Gro => Some(Maker::Gro),
            Role::Coalesce => Some(Maker::Coalesce),
            Role::Partial => Some(Maker::Partial),
            Role::Queue => Some(Maker::Queue),
            Role::Assemble => Some(Maker::Assemble),
            _ => None,
        };
        let maker = maker.map_or(0, |maker| maker as u64);
        u64::from(entry.position) << 32 | argument << 36 | role << 40 | u64::from(entry.silent) << 44 | maker << 48
    }

    /// Returns the program's name in its object.
    pub(super) fn name(self) -> String {
        let entry = match self {
            ProgramKey::Entry(entry) => entry,
            ProgramKey::Any => return "ipft_any".to_owned(),
            ProgramKey::End => return "ipft_end".to_owned(),
            ProgramKey::AnyGate => return "ipft_any_gate".to_owned(),
            ProgramKey::AnyEnd => return "ipft_any_end".to_owned(),
            ProgramKey::AnyMaker => return "ipft_any_maker".to_owned(),
            ProgramKey::Return => return "ipft_function_return".to_owned(),
            ProgramKey::Dropped => return "ipft_dropped".to_owned(),
            ProgramKey::Drop => return "ipft_drop".to_owned(),
            ProgramKey::Judging(judge) => return format!("ipft_{}_entry", judge.program()),
            ProgramKey::Judged(judge) => return format!("ipft_{}_exit", judge.program()),
        };
        let kind = match (entry.role, entry.argument) {
            (Role::Release, _) => "release",
            (Role::Free, _) => "free",
            (Role::Teardown, _) => "teardown",
            (Role::Gate, Argument::DoublePointer) => "gate_double",
            (Role::Gate, _) => "gate",
            (Role::Copy, _) => "copy",
            (Role::Fragment, _) => "fragment",
            (Role::Split, _) => "split",
            (Role::Rebuild, _) => "rebuilt",
            (Role::Gro, _) => "gro",
            (Role::Coalesce, _) => "coalesce",
            (Role::Partial, _) => "partial",
            (Role::Queue, _) => "queue",
            (Role::Assemble, _) => "assemble",
            (Role::Ordinary, Argument::DoublePointer) => "double",
            (Role::Ordinary, Argument::Unsure) => "unsure",
            (Role::Ordinary, Argument::Pointer) => "pointer",
        };
        let silent = if entry.silent { "silent_" } else { "" };
        format!("ipft_{silent}{kind}_{}", entry.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::identity;
    use crate::probe::testing::candidate_at;

    fn key(function: &Candidate, silent: bool) -> ProgramKey {
        ProgramKey::entry(function, identity::role(function), silent)
    }

    fn followed(function: &Candidate, silent: bool) -> ProgramKey {
        ProgramKey::entry(function, identity::role_in_following(function), silent)
    }

    #[test]
    fn each_place_and_role_has_its_own_program() {
        let name = |function: &Candidate, silent| key(function, silent).name();
        assert_eq!(name(&candidate_at("ip_rcv", 0), false), "ipft_pointer_0");
        assert_eq!(name(&candidate_at("ip_output", 2), false), "ipft_pointer_2");
        assert_eq!(name(&candidate_at("sock_wfree", 0), false), "ipft_teardown_0");
        assert_eq!(name(&candidate_at("kfree_skbmem", 0), false), "ipft_free_0");
        assert_eq!(name(&candidate_at("kfree_skbmem", 0), true), "ipft_silent_free_0");
        assert_eq!(name(&candidate_at("napi_reuse_skb", 1), true), "ipft_silent_release_1");
        let mut function = candidate_at("ip_rcv", 1);
        function.unsure = true;
        assert_eq!(name(&function, false), "ipft_unsure_1");
        function.argument = PacketArgument::DoublePointer;
        assert_eq!(name(&function, false), "ipft_double_1");
    }

    fn names(code: &ipft_bpf::Code) -> Vec<String> {
        let code = code.for_mark(1, u32::MAX).unwrap();
        let file = object::File::parse(&*code).expect("the object is whole");
        let symbols = object::Object::symbols(&file);
        let names = symbols.filter_map(|symbol| object::ObjectSymbol::name(&symbol).ok());
        names.map(str::to_owned).collect()
    }

    const ENDS: [&str; 4] = ["ip_rcv", "sock_wfree", "kfree_skbmem", "skb_release_head_state"];

    #[test]
    fn every_program_that_a_key_names_is_in_the_object() {
        let keys = ENDS.iter().flat_map(|function| {
            let function = candidate_at(function, 0);
            [false, true].map(|silent| key(&function, silent))
        });
        let names = names(&ipft_bpf::KPROBE.plain);
        for key in keys.chain([ProgramKey::Return, ProgramKey::Any, ProgramKey::End]) {
            assert!(names.contains(&key.name()), "{key:?}");
        }
    }

    #[test]
    fn every_object_has_the_programs_that_follow() {
        let mut keys = Vec::new();
        let places = identity::gates_and_makers().chain(ENDS.map(|name| (name, 0)));
        for (name, position) in places {
            let mut function = candidate_at(name, position);
            keys.extend([false, true].map(|silent| followed(&function, silent)));
            if identity::role_in_following(&function) == Role::Gate && position == 0 {
                function.argument = PacketArgument::DoublePointer;
                keys.extend([false, true].map(|silent| followed(&function, silent)));
            }
        }
        for object in [
            &ipft_bpf::KPROBE,
            &ipft_bpf::KPROBE_BY_HELPER,
            &ipft_bpf::KPROBE_SESSION,
            &ipft_bpf::FENTRY_SESSION,
            &ipft_bpf::FENTRY_MULTI,
        ] {
            let names = names(&object.following);
            for key in &keys {
                assert!(names.contains(&key.shared_in_following().name()), "{key:?}");
            }
        }
        for object in [
            &ipft_bpf::KPROBE,
            &ipft_bpf::KPROBE_BY_HELPER,
            &ipft_bpf::KPROBE_SESSION,
            &ipft_bpf::FTRACE,
            &ipft_bpf::FTRACE_BY_HELPER,
            &ipft_bpf::FENTRY_SESSION,
            &ipft_bpf::FENTRY_MULTI,
        ] {
            let names = names(&object.following);
            for key in &keys {
                assert!(names.contains(&key.name()), "{key:?}");
            }
        }
    }

    #[test]
    fn the_cookie_says_where_a_packet_is_and_its_role() {
        let place = |function: &Candidate, silent| key(function, silent).place() >> 32;
        assert_eq!(place(&candidate_at("ip_rcv", 0), false), 0);
        assert_eq!(place(&candidate_at("ip_output", 2), false), 2);
        assert_eq!(place(&candidate_at("kfree_skbmem", 0), true), 0x1300);
        assert_eq!(place(&candidate_at("napi_reuse_skb", 1), false), 0x201);
        let mut function = candidate_at("ip_rcv", 5);
        function.unsure = true;
        assert_eq!(place(&function, false), 0x25);
        function.argument = PacketArgument::DoublePointer;
        assert_eq!(place(&function, false), 0x15);
        assert_eq!(
            followed(&candidate_at("__copy_skb_header", 1), true).place() >> 32,
            0x1_1001
        );
        assert_eq!(
            followed(&candidate_at("inet_frag_reasm_finish", 1), false).place() >> 32,
            0x8_0001
        );
    }

    #[test]
    fn only_identitys_own_functions_are_silent() {
        let silent = |name: &str, silent| key(&candidate_at(name, 0), silent).name().contains("silent");
        assert!(silent("kfree_skbmem", true));
        assert!(!silent("kfree_skbmem", false));
        assert!(!silent("ip_rcv", true));
    }
}
